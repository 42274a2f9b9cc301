"""Links as verbs count them: each direction on its own, by what its first end sends."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from wanlab.runtime.counters import Counters
    from wanlab.topology.network import Network

HEADINGS = ("link", "packets", "bytes", "dropped", "waiting")


@dataclass(frozen=True, slots=True)
class Way:
    """One direction of a link."""

    here: tuple[str, str]
    """Node and interface of the end that sends."""
    there: tuple[str, str]
    counters: Counters
    """Of the end that sends."""

    @property
    def link(self) -> str:
        """What the direction is called: `alice eth0 -> home-a lan`."""
        return f"{' '.join(self.here)} -> {' '.join(self.there)}"

    def to_json(self) -> dict[str, Any]:
        """Its name and all that was counted."""
        return {"link": self.link, **self.counters.to_json()}

    def cells(self) -> tuple[str, ...]:
        """As a row below :data:`HEADINGS`."""
        it = self.counters
        return self.link, str(it.sent_packets), short(it.sent_bytes), self._dropped(), str(it.waiting)

    def _dropped(self) -> str:
        it = self.counters
        causes = {"by chance": it.lost, "queue full": it.overflowed, "refused": it.refused}
        if it.lost is None:  # netem does not tell which of the two it was
            causes = {"by chance or queue full": it.impaired, "refused": it.refused}
        told = ", ".join(f"{number} {cause}" for cause, number in causes.items() if number)
        return told or "0"


def ways(network: Network, counters: Iterable[Counters], nodes: Collection[str] = ()) -> Iterator[Way]:
    """Both directions of every link, or of those that one of *nodes* is an end of."""
    found = {(each.node, each.interface): each for each in counters}
    for link in network.links:
        if nodes and not {link.a[0], link.b[0]} & set(nodes):
            continue
        for here, there in ((link.a, link.b), (link.b, link.a)):
            if here in found:  # somebody may have taken the interface away
                yield Way(here, there, found[here])


def short(number: float) -> str:
    """A number in few digits: `830`, `12.3k`, `4.0M`."""
    for unit in ("", "k", "M"):
        if number < 1000:
            return f"{number:.0f}{unit}" if not unit else f"{number:.1f}{unit}"
        number /= 1000
    return f"{number:.2f}G"
