"""What theory says of a cell that gives two routers a NAT: whether the hosts behind them can punch holes to each other.

It is there to be read beside what a program did, and judges nothing: a program with a relay gets through where theory
says that hole punching does not.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from wanlab.matrix.variation import Cell
from wanlab.punch.machine import Transport
from wanlab.punch.theory import Prediction, predict
from wanlab.topology.network import Kind, Network, Node


@dataclass(frozen=True, slots=True)
class Saying:
    """What theory says of one transport."""

    says: str
    """`direct`, `not`, or `luck`: a guess that may be right, or who happens to be the first to send."""
    why: str

    def __str__(self) -> str:
        return f"{self.says} ({self.why})"


@dataclass(frozen=True, slots=True)
class Theory:
    """What becomes of hole punching between a host behind one router and one behind the other."""

    udp: Saying
    tcp: Saying

    def to_json(self) -> dict[str, Any]:
        """As what JSON can hold."""
        return {
            name: {"says": saying.says, "why": saying.why} for name, saying in (("udp", self.udp), ("tcp", self.tcp))
        }


def theory_of(cell: Cell, network: Network) -> Theory | None:
    """The theory of a cell; None where it does not give NATs to two routers that are on one network outside."""
    places = [choice for choice in cell.choices if choice.key.split(".")[0] == "nat"]
    routers = [network[name] for name in dict.fromkeys(choice.node for choice in places)]
    if len(routers) != 2 or any(router.kind is not Kind.ROUTER or router.nat is None for router in routers):
        return None
    a, b = routers
    if a.uplink is None or b.uplink is None or a.primary.segment != b.primary.segment:
        return None
    return Theory(_saying(a, b, Transport.UDP), _saying(a, b, Transport.TCP))


def _saying(a: Node, b: Node, transport: Transport) -> Saying:
    """What holds whoever is the first to send, since nobody knows; where it does not, that is luck."""
    first, second = predict(a.nat, b.nat, transport), predict(b.nat, a.nat, transport)
    if first.connects == second.connects:
        return Saying(_word(first), _why(first, a, b))
    good, worse = ((b, a), first) if second.connects else ((a, b), second)
    early, late = good
    return Saying("luck", f"only where {early.name}'s side is the first to send; else {_why(worse, late, early)}")


def _word(prediction: Prediction) -> str:
    if prediction.connects:
        return "direct"
    return "luck" if prediction.luck else "not"


def _why(prediction: Prediction, a: Node, b: Node) -> str:
    """The reason, which speaks of peers *a* and *b*."""
    peers = f" (a: behind {a.name}; b: behind {b.name})" if re.search(r"\b[ab]('s)? ", prediction.why) else ""
    return prediction.why + peers
