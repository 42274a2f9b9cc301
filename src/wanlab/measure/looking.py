"""A look into nodes by a program of ours, one in each: what a network's kernel shows to its root only."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from wanlab.errors import WanlabError
from wanlab.kernel.interpreter import own_process

if TYPE_CHECKING:
    from wanlab.runtime.lab import Lab
    from wanlab.runtime.process import Process

_PATIENCE_S = 30.0  # a NAT with some 100,000 mappings takes its time


def look_in(lab: Lab, nodes: Iterable[str], module: str) -> dict[str, Any]:
    """What the function `look` of *module* prints in each of these nodes, which is JSON; they are looked at together.

    A node that cannot be looked at is left out.
    """
    command = own_process(f"from {module} import look; look()")
    looks: dict[str, Process] = {}
    found: dict[str, Any] = {}
    try:
        for node in nodes:
            looks[node] = lab[node].peek(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )
        for node, process in looks.items():
            output, _ = process.communicate(timeout=_PATIENCE_S)
            if process.wait() == 0:
                found[node] = json.loads(output)
    except (WanlabError, OSError, ValueError, subprocess.TimeoutExpired):
        pass  # the lab has gone, or hardly moves: what is known is better than nothing
    finally:
        for process in looks.values():
            process.kill()
            with process:
                pass
    return found
