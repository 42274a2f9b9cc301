"""The state of a lab's nodes, as their kernels have it: addresses, routes, rules with their counters, connections.

A program of ours looks, one in each node: the rules and connections of a network are shown to its root only, and no
other program (`ip`, `nft`, `conntrack`) is needed.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from wanlab.errors import WanlabError

if TYPE_CHECKING:
    from wanlab.runtime.lab import Lab
    from wanlab.runtime.process import Process

_PACKAGE_ROOT = str(Path(__file__).resolve().parents[2])
# -I -S: as for the forge, nothing of the caller's environment or site-packages is wanted.
_LOOK = [
    sys.executable,
    "-IS",
    "-c",
    f"import sys; sys.path.append({_PACKAGE_ROOT!r}); from wanlab.measure.state import look; look()",
]
_PATIENCE_S = 10.0


@dataclass(frozen=True, slots=True)
class State:
    """What a node's kernel says. What cannot be read says why in its stead."""

    addresses: str
    routes: str
    rules: str
    """As `nft list ruleset` prints them."""
    connections: str
    """As /proc/net/nf_conntrack has them."""


def states(lab: Lab, nodes: Iterable[str]) -> dict[str, State]:
    """The state of each of these nodes; they are looked at together. A node that cannot be looked at is left out."""
    looks: dict[str, Process] = {}
    found: dict[str, State] = {}
    try:
        for node in nodes:
            looks[node] = lab[node].popen(
                _LOOK, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
            )
        for node, process in looks.items():
            output, _ = process.communicate(timeout=_PATIENCE_S)
            if process.wait() == 0:
                found[node] = State(**json.loads(output))
    except (WanlabError, OSError, ValueError, subprocess.TimeoutExpired):
        pass  # the lab has gone, or hardly moves: what is known is better than nothing
    finally:
        for process in looks.values():
            process.kill()
            with process:
                pass
    return found


def look() -> None:
    """In a node: print its state as JSON."""
    from wanlab.kernel import flows, nftables

    state = State(_lines(flows.addresses), _lines(flows.routes), _lines(nftables.listing), _lines(flows.connections))
    print(json.dumps(asdict(state)))


def _lines(read: Callable[[], str | list[str]]) -> str:
    try:
        found = read()
    except (WanlabError, OSError, LookupError, ValueError) as error:
        return f"(cannot be read: {error})"
    return found.rstrip("\n") if isinstance(found, str) else "\n".join(found)
