"""The state of a lab's nodes, as their kernels have it: addresses, routes, rules with their counters, connections.

A program of ours looks, one in each node: the rules and connections of a network are shown to its root only, and no
other program (`ip`, `nft`, `conntrack`) is needed.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from wanlab.errors import WanlabError
from wanlab.measure.looking import look_in

if TYPE_CHECKING:
    from wanlab.runtime.lab import Lab


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
    found = look_in(lab, nodes, "wanlab.recording.state")
    return {node: State(**state) for node, state in found.items()}


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
