"""`Recorder`: packets of many nodes in one stream, in order of time, as they come: what `wanlab capture` shows.

The rings of all nodes are read together. A packet is passed on when nothing older can come any more: the kernel keeps
one back for some milliseconds (see `packet_ring.py`).
"""

from __future__ import annotations

import select
import socket
import time
from bisect import bisect_right
from collections.abc import Sequence
from operator import itemgetter
from typing import TYPE_CHECKING

from wanlab.errors import UsageError
from wanlab.measure.bpf import compile_filter
from wanlab.measure.ends import Place, bridges, end_names, lab_filter, places
from wanlab.measure.packet_ring import LATE_NS, PacketRing, close_rings, frames, open_rings
from wanlab.measure.packet_tap import MOST_BYTES
from wanlab.measure.translations import TrackingFeed, Translations

if TYPE_CHECKING:
    from wanlab.runtime.lab import Lab

_PAUSE_S = 0.01  # between looks, so that packets are read many at a time
_TIME = itemgetter(0)


Recorded = tuple[int, int, bytes, int, bool, str | None]
"""Nanoseconds since 1970, number of the end, bytes, how many were on the wire, whether its node sent it, comment."""


class Recorder:
    """Listens from now on, until `close`. As a context manager it closes itself.

    *words*: places, as `alice` or `home-a:wan`; all nodes if there are none. *filter*: in tcpdump's words. Raises
    NoSuchNode, UsageError, LabEnded, KernelError.
    """

    def __init__(self, lab: Lab, words: Sequence[str] = (), *, filter: str = "", snap_bytes: int = MOST_BYTES) -> None:
        if not 14 <= snap_bytes <= MOST_BYTES:
            raise UsageError(f"{snap_bytes} bytes of a packet cannot be kept", hint=f"from 14 to {MOST_BYTES} can")
        network = lab.network
        listening = places(network, words)
        program = compile_filter(lab_filter(network, filter), snap_bytes, loopback=False)
        self.lab_name = lab.name
        self.ends = end_names(network, listening)
        """The link ends, `node:interface`. More may come, where the lab changes."""
        self.lab_ended = False
        """Whether the lab has gone while we listened."""
        self._bridges = bridges(network, listening)
        self._held: list[Recorded] = []
        self._translations = Translations()
        nodes = list(dict.fromkeys(place.node for place in listening))
        self._feed = TrackingFeed(lab, nodes, self._translations)
        self._watch = lab.watch()
        self._translating = [place.node in self._feed.nodes for place in listening]
        self._rings = self._open(lab, listening, program)
        self._numbers: list[dict[int, int]] = [{} for _ in self._rings]
        """Of each ring, which end an index of an interface is; -1: none that is wanted."""
        self._poll = select.poll()
        for ring in self._rings:
            self._poll.register(ring.fileno(), select.POLLIN)
        self._poll.register(self._watch.fileno(), select.POLLIN)

    @staticmethod
    def _open(lab: Lab, listening: Sequence[Place], program: Sequence[tuple[int, int, int, int]]) -> list[PacketRing]:
        names = [place.node for place in listening]
        taps = lab.sockets(names, socket.AF_PACKET, socket.SOCK_RAW, 0)
        return open_rings([(p.node, tap, p.interface) for p, tap in zip(listening, taps, strict=True)], tuple(program))

    def __enter__(self) -> Recorder:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    @property
    def lost(self) -> int:
        """How many packets the kernel had no room for, so far."""
        return sum(ring.count_lost() for ring in self._rings)

    def read(self, timeout_s: float | None = None, wake: int | None = None) -> list[Recorded]:
        """Packets that nothing older can come before any more; perhaps none. Waits for news no longer than *timeout_s*.

        *wake* is a descriptor that ends the waiting when it can be read.
        """
        if wake is not None:
            self._poll.register(wake, select.POLLIN)
        wait = _PAUSE_S if self._held else timeout_s
        ready = {descriptor for descriptor, _ in self._poll.poll(None if wait is None else wait * 1000)}
        if self._watch.fileno() in ready:
            self.lab_ended = True
            return []
        if ready and wake not in ready:
            time.sleep(_PAUSE_S)
        self._collect()
        horizon = time.time_ns() - LATE_NS
        held = self._held
        place = bisect_right(held, horizon, key=_TIME)
        self._held = held[place:]
        return held[:place]

    def finish(self) -> list[Recorded]:
        """Hear nothing more, and give what is left."""
        for ring in self._rings:
            ring.deafen()
        time.sleep(LATE_NS / 1e9)
        self._collect()
        held, self._held = self._held, []
        return held

    def close(self) -> None:
        """Listen no more."""
        self._feed.close()
        self._watch.close()
        close_rings(self._rings)

    def _collect(self) -> None:
        """Take what the kernel has handed over, in order of time."""
        found = self._held
        self._feed.read()  # before the packets: what was translated was announced before it left
        for ring, numbers, translating in zip(self._rings, self._numbers, self._translating, strict=True):
            comment = self._translations.comment if translating else None
            for block in ring.blocks():
                for time_ns, interface, data, length, outbound in frames(block):
                    end = numbers.get(interface)
                    if end is None:
                        end = numbers[interface] = self._number(f"{ring.node}:{ring.name(interface)}")
                    if end >= 0:
                        said = comment(ring.node, data) if outbound and comment is not None else None
                        found.append((time_ns, end, data, length, outbound, said))
        found.sort(key=_TIME)

    def _number(self, end: str) -> int:
        if end in self._bridges:
            return -1
        if end not in self.ends:
            self.ends.append(end)
        return self.ends.index(end)
