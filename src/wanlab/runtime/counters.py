"""How much each interface of a lab has sent and received, and what was dropped, by cause."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from wanlab.kernel.execute import Namespaces
from wanlab.kernel.queues import Queue, Traffic, queues, traffic
from wanlab.runtime.wire import Wire

_LOOPBACK = "lo"


@dataclass(frozen=True, slots=True)
class Counters:
    """Of one interface, since it was made; of its impairment, since that was set. Direction by direction."""

    node: str
    interface: str
    sent_packets: int
    """What left, after all impairment."""
    sent_bytes: int
    received_packets: int
    received_bytes: int
    refused: int = 0
    """Dropped by the interface itself: it, or the other end, is down; or the other end had no room."""
    impaired: int = 0
    """Dropped by the impairment of what it sends: by chance or by a full queue."""
    lost: int | None = None
    """Of these by chance; None: netem does not tell."""
    overflowed: int | None = None
    """Of these because the queue was full; None: netem does not tell."""
    waiting: int = 0
    """Packets that are being delayed now, or wait for their turn."""

    def to_row(self) -> list[Any]:
        """The fields in order, as JSON can hold them."""
        return [getattr(self, field.name) for field in fields(self)]

    def to_json(self) -> dict[str, Any]:
        """The fields by name."""
        return asdict(self)


def read_counters(namespaces: Namespaces, nodes: Iterable[str], wire: Wire | None) -> Iterator[Counters]:
    """The counters of all interfaces of these nodes. For the holder: it steps into each node. Raises OSError."""
    tallies = {} if wire is None else wire.tallies()
    taps = {} if wire is None else wire.interfaces
    try:
        for node in nodes:
            namespaces.enter(node)
            interfaces = {each.name: each for each in traffic()}
            netems = {} if wire is not None else {each.index: each for each in queues() if each.kind == "netem"}
            hidden = {tap for (owner, _), tap in taps.items() if owner == node}
            for name, each in interfaces.items():
                if name == _LOOPBACK or name in hidden:
                    continue
                tally = tallies.get((node, name))
                if tally is not None:
                    yield _by_wire(node, each, tally, interfaces.get(taps[node, name]))
                else:
                    yield _by_kernel(node, each, netems.get(each.index))
    finally:
        namespaces.enter(None)


def _by_kernel(node: str, each: Traffic, netem: Queue | None) -> Counters:
    counted = _passed(node, each)
    if netem is None:
        return replace(counted, lost=0, overflowed=0)
    return replace(counted, impaired=netem.dropped, waiting=netem.waiting)


def _by_wire(node: str, each: Traffic, tally: dict[str, int], tap: Traffic | None) -> Counters:
    unread = tap.sent_dropped if tap is not None else 0  # more came at once than the tap holds: a queue, too
    overflowed = tally["overflowed"] + unread
    counted = _passed(node, each)
    return replace(
        counted,
        refused=counted.refused + tally["refused"],
        impaired=tally["lost"] + overflowed,
        lost=tally["lost"],
        overflowed=overflowed,
        waiting=tally["held"],
    )


def _passed(node: str, each: Traffic) -> Counters:
    """What the interface itself has counted."""
    return Counters(
        node,
        each.name,
        each.sent_packets,
        each.sent_bytes,
        each.received_packets,
        each.received_bytes,
        each.sent_dropped + each.received_dropped,
    )
