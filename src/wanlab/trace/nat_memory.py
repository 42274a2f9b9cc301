"""What NATs remember, by what their connection tracking says: which external endpoint is whose, and whom it has met."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from wanlab.capture.headers import Endpoint
from wanlab.capture.translations import CT_NEW, connection
from wanlab.kernel.messages import messages

_MOST = 100_000  # external endpoints; then the oldest are forgotten


@dataclass(slots=True)
class Remembered:
    """An external endpoint of a NAT."""

    router: str
    protocol: int
    external: Endpoint
    internal: Endpoint
    peers: dict[Endpoint, None] = field(default_factory=dict)
    """Whom the inside has sent to through it, in order."""


class NatMemory:
    """All that routers have said; does no I/O."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, int, Endpoint], Remembered] = {}

    def learn(self, node: str, data: bytes) -> None:
        """What *node*'s connection tracking said: one or more netlink messages."""
        for kind, _, body in messages(data):
            if kind == CT_NEW:
                (protocol, source, destination), (_, answerer, outside) = connection(body)
                if outside != source:  # begun inside: the answer goes to the external endpoint
                    self._note(node, protocol, outside, source).peers[destination] = None
                elif answerer != destination:  # begun outside, and let in to somebody
                    self._note(node, protocol, destination, answerer)
        while len(self._known) > _MOST:
            del self._known[next(iter(self._known))]

    def _note(self, node: str, protocol: int, external: Endpoint, internal: Endpoint) -> Remembered:
        key = node, protocol, external
        known = self._known.get(key)
        if known is None or known.internal != internal:
            known = self._known[key] = Remembered(node, protocol, external, internal)
        return known

    def behind(self, router: str, protocol: int, external: Endpoint) -> Remembered | None:
        """Whose that external endpoint of a router's is; None: nobody's that is known."""
        return self._known.get((router, protocol, external))

    def of(self, router: str, protocol: int, internal: Endpoint) -> Iterator[Remembered]:
        """The mappings of an internal endpoint, oldest first."""
        for mapping in self._known.values():
            if (mapping.router, mapping.protocol, mapping.internal) == (router, protocol, internal):
                yield mapping

    def anywhere(self, protocol: int, external: Endpoint) -> Remembered | None:
        """The mapping with that external endpoint, of whatever router."""
        return next(
            (m for (_, number, outside), m in self._known.items() if (number, outside) == (protocol, external)), None
        )
