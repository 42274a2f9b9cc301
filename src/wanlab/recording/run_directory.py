"""The run directory: all that is known of a lab at one moment, and what led to it, in files and for a report.

RUN/run.json                    what it is: lab, outcome, when, which files, what could not be written
RUN/topology.json, .txt         the lab as a file would declare it; drawn
RUN/events.jsonl                what was done to it since it came up: when, and what
RUN/processes.json              the programs that ran in it: node, arguments, exit status, log
RUN/processes/NN-NODE-NAME.log  the output of each, as far as it is known
RUN/nodes/NODE/*.txt            addresses, routes, rules (with counters, where the lab has them), connections
RUN/mappings.jsonl              what the NATs remembered
RUN/packets.pcapng              every packet at every link end

docs/reference/run-directory.md has its form; `recording.py` reads it, `lab_recorder.py` writes it as things happen.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wanlab.drawing.tree import draw_tree
from wanlab.errors import WanlabError
from wanlab.measure.mappings import LiveMapping, mappings
from wanlab.recording.state import State, states
from wanlab.runtime.server import describe_exit
from wanlab.topology.network import Kind

if TYPE_CHECKING:
    from wanlab.capture.capture import Capture
    from wanlab.runtime.changes import Changed
    from wanlab.runtime.lab import Lab
    from wanlab.runtime.record import Record

FORMAT = 1
"""Of the directory: a number that changes when a reader must."""

_MOST_LINES = 60  # of a part, in a report: the file has them all
_LAST_LINES = 30  # of a program's output


@dataclass(slots=True)
class Run:
    """What was recorded."""

    directory: Path | None
    """Where the files are; None: there are none."""
    parts: list[tuple[str, str]] = field(default_factory=list)
    """What a report shows: titles, and texts that are cut off where they are long."""
    files: list[str] = field(default_factory=list)
    """Their names, relative to the directory."""
    problems: list[str] = field(default_factory=list)
    """What could not be written, and why."""


def record_run(lab: Lab, directory: Path | None, outcome: str, capture: Capture | None = None) -> Run:
    """Record what is known of a lab that is up: its *outcome* is for the reader.

    *directory* is made; None: nothing is written, and the report is all. Never raises OSError: a disk that is full
    takes files from the run, and no test its failure.
    """
    run = Run(directory)
    records = lab.records  # before our own programs are among them
    write_topology(run, lab)
    _events(run, lab)
    _processes(run, records)
    nodes = [node.name for node in lab.network.of(Kind.ROUTER, Kind.HOST)]
    _states(run, lab, states(lab, nodes))
    _mappings(run, lab)
    _packets(run, capture)
    conclude(run, lab, outcome)
    return run


def conclude(run: Run, lab: Lab, outcome: str) -> None:
    """Write what the directory is."""
    about = {
        "format": FORMAT,
        "lab": lab.name,
        "outcome": outcome,
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "kept": lab.topology.kept.to_json(),
        "files": run.files,
        "problems": run.problems,
    }
    _write(run, "run.json", _json(about))


def write_topology(run: Run, lab: Lab) -> None:
    """Write what the lab is, and how it looks."""
    drawing = draw_tree(lab.network)
    run.parts.append(("topology", drawing))
    _write(run, "topology.txt", drawing + "\n")
    _write(run, "topology.json", _json(lab.topology.to_document()))


def _events(run: Run, lab: Lab) -> None:
    try:
        events = lab.events
    except WanlabError:  # the lab has ended: what it knew is gone
        return
    _write(run, "events.jsonl", "".join(map(change_line, events)))
    if events:
        lines = (f"{time.strftime('%H:%M:%S', time.localtime(event.time))}  {event.what}" for event in events)
        run.parts.append(("events", "\n".join(lines)))


def change_line(change: Changed) -> str:
    """A line of `events.jsonl`, for what somebody did to the lab."""
    return json.dumps({"time_ns": round(change.time * 1e9), "event": "change", "what": change.what}) + "\n"


def _mappings(run: Run, lab: Lab) -> None:
    if run.directory is None:
        return
    try:
        line = mappings_line(time.time_ns(), mappings(lab))
    except WanlabError as error:
        run.problems.append(f"the NATs' mappings could not be read: {error}")
    else:
        _write(run, "mappings.jsonl", line)


def mappings_line(time_ns: int, found: Sequence[LiveMapping]) -> str:
    """A line of `mappings.jsonl`."""
    return json.dumps({"time_ns": time_ns, "mappings": [each.to_json() for each in found]}) + "\n"


def _processes(run: Run, records: tuple[Record, ...]) -> None:
    listed = []
    lines = []
    for number, record in enumerate(records, 1):
        output = record.tail()
        log = _log(run, number, record, output)
        status = "runs" if record.returncode is None else describe_exit(record.returncode)
        lines.append(f"{record.node or '(no node)'}: {' '.join(record.args)}: {status}")
        shown = output.splitlines()
        if len(shown) > _LAST_LINES:
            lines.append("    ...")
        lines += [f"    {line}" for line in shown[-_LAST_LINES:]]
        listed.append(
            {
                "node": record.node,
                "args": list(record.args),
                "pid": record.pid,
                "returncode": record.returncode,
                "log": log,
            }
        )
    run.parts.append(("processes", "\n".join(lines) or "(none were started)"))
    _write(run, "processes.json", _json(listed))


def _log(run: Run, number: int, record: Record, output: str) -> str | None:
    """The name of the file that has the output of a program: its own where that is in the directory, else a copy."""
    path = record.log.path if record.log is not None else None
    if path is not None and run.directory is not None and path.parent == run.directory:
        run.files.append(path.name)
        return path.name
    whole = record.log.text() if record.log is not None else output
    name = f"processes/{number:02}-{record.node or 'lab'}-{Path(record.args[0]).name}.log"
    if not whole or not _write(run, name, whole):
        return None
    return name


def _states(run: Run, lab: Lab, found: dict[str, State]) -> None:
    for name, state in found.items():
        for each in fields(State):
            _write(run, f"nodes/{name}/{each.name}.txt", getattr(state, each.name) + "\n")
    routers = [node.name for node in lab.network.of(Kind.ROUTER) if node.name in found]
    run.parts.append(("routes", "\n".join(_beside(name, found[name].routes) for name in found)))
    for name in routers:
        if found[name].rules:
            run.parts.append((f"rules of {name}", _cut(found[name].rules, f"nodes/{name}/rules.txt", run)))
    for name in routers:
        run.parts.append(
            (f"connections of {name}", _cut(found[name].connections or "(none)", f"nodes/{name}/connections.txt", run))
        )
    if not found:
        run.parts.append(("nodes", "(their state could not be read: has the lab ended?)"))


def _packets(run: Run, capture: Capture | None) -> None:
    if capture is None:
        return
    capture.stop()
    missing = f", {capture.lost} lost" if capture.lost else ""
    missing += f", the first {capture.forgotten} given up" if capture.forgotten else ""
    name = "packets.pcapng"
    if run.directory is not None and _try(run, name, capture.write):
        run.parts.append(("packets", f"{len(capture)}{missing}: {run.directory / name}"))


def _write(run: Run, name: str, text: str) -> bool:
    return _try(run, name, lambda path: path.write_text(text, encoding="utf-8", errors="replace"))


def _try(run: Run, name: str, write: Callable[[Path], object]) -> bool:
    if run.directory is None:
        return False
    path = run.directory / name
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(path)
    except OSError as error:
        run.problems.append(f"{path} could not be written: {error.strerror}")
        return False
    run.files.append(name)
    return True


def _cut(text: str, name: str, run: Run) -> str:
    lines = text.splitlines()
    if len(lines) <= _MOST_LINES:
        return text
    where = f", all of them in {run.directory / name}" if run.directory else ""
    return "\n".join([*lines[:_MOST_LINES], f"... ({len(lines) - _MOST_LINES} more lines{where})"])


def _beside(name: str, text: str) -> str:
    return "\n".join(
        f"{name if number == 0 else '':12} {line}" for number, line in enumerate(text.splitlines() or ["-"])
    )


def _json(value: Any) -> str:
    return json.dumps(value, indent=2) + "\n"
