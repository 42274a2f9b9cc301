"""Hole punching for real: two hosts of a lab, a rendezvous on its WAN, and packets.

What two NATs should do to it is `theory.py`'s business; nothing of that is known here.
"""

from __future__ import annotations

import resource
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from wanlab.punch.machine import Transport
from wanlab.punch.tcp import TcpVolley
from wanlab.punch.udp import UdpVolley
from wanlab.punch.volley import Address, Peer, Volley

if TYPE_CHECKING:
    from wanlab.runtime.lab import Lab

_VOLLEYS: dict[Transport, type[Volley]] = {Transport.UDP: UdpVolley, Transport.TCP: TcpVolley}
_DESCRIPTORS = {Transport.UDP: 2, Transport.TCP: 10}  # of a pair: see the volleys
_MOST_PAIRS = 250  # at a time: what they all send at once must fit into the rendezvous' receive buffer

Progress = Callable[[int, int], None]
"""Told how many of how many pairs are done."""


@dataclass(frozen=True, slots=True)
class Punch:
    """What became of two peers' attempt to get through to each other."""

    a: str
    b: str
    connected: bool
    """Whether data went both ways."""
    met: bool
    """Whether both reached the rendezvous, and heard from it."""
    a_seen: Address | None
    """Where *a*'s packets came from, as the rendezvous saw it."""
    b_seen: Address | None


def punch(lab: Lab, a: str, b: str, rendezvous: str, transport: Transport = Transport.UDP) -> Punch:
    """Let the hosts *a* and *b* of a lab that is up punch towards each other; *rendezvous* is a host that both reach.

    *a* is a little earlier: its first packet arrives before *b* has sent its own. Without success it takes about half a
    second: `punch_volley.ROUNDS` rounds, each until there has been no news for `punch_volley.QUIET` seconds. Raises
    NoSuchNode, LabEnded.
    """
    return punch_many(lab, [(a, b)], rendezvous, transport)[0]


def punch_many(
    lab: Lab,
    pairs: Sequence[tuple[str, str]],
    rendezvous: str,
    transport: Transport = Transport.UDP,
    *,
    udp_port: int | None = None,
    progress: Progress | None = None,
) -> list[Punch]:
    """Many pairs at the same time, each with fresh sockets: see :func:`punch`. A host may be in any number of pairs.

    *udp_port*: what UDP is sent from, at both; then a host is in one pair only. Raises OSError where it is taken.
    """
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    at_once = max(1, min(_MOST_PAIRS, soft // 2 // _DESCRIPTORS[transport]))
    results: list[Punch] = []
    for start in range(0, len(pairs), at_once):
        volley = _VOLLEYS[transport](lab, pairs[start : start + at_once], rendezvous)
        if isinstance(volley, UdpVolley):
            volley.port = udp_port
        results += [_result(a, b) for a, b in volley.run()]
        if progress is not None:
            progress(len(results), len(pairs))
    return results


def _result(a: Peer, b: Peer) -> Punch:
    met = a.other is not None and b.other is not None
    return Punch(a.node, b.node, a.through and b.through, met, a.seen, b.seen)
