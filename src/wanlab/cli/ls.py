"""`wanlab ls`: the labs that are up."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from wanlab.cli.options import Json


def ls(json: Json = False) -> None:
    """List the labs that are up."""
    from wanlab.cli.text import columns, duration, print_json

    found = list(_labs())
    if json:
        print_json(found)
    elif not found:
        print("no lab is up")
    else:
        heading = ("NAME", "NODES", "PROGRAMS", "UP FOR", "PID", "ABOUT")
        rows = [
            (
                lab["name"],
                str(lab["nodes"]),
                str(lab["programs"]),
                duration(lab["uptime_s"]),
                str(lab["pid"]),
                lab["title"] or lab["topology"],
            )
            for lab in found
        ]
        print(columns([heading, *rows]))


def _labs() -> Iterator[dict[str, Any]]:
    import time

    from wanlab.errors import LabEnded, NoSuchLab
    from wanlab.runtime.connection import connect
    from wanlab.runtime.directory import labs, runtime_directory

    directory = runtime_directory()
    for name in labs(directory):
        try:
            connection = connect(directory, name)
            info, _ = connection.ask({"verb": "info"})
            connection.close()
        except (NoSuchLab, LabEnded):
            continue  # being built, or just gone
        yield {
            "name": info["name"],
            "topology": info["document"]["name"],
            "title": info["document"].get("title", ""),
            "nodes": len(info["nodes"]),
            "programs": info["programs"],
            "pid": info["pid"],
            "started": info["started"],
            "uptime_s": round(time.time() - info["started"], 3),
        }
