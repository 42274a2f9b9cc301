"""`Recorder`: packets of many nodes in one stream, in order of time, as they come: what `wanlab capture` shows.

The rings of all nodes are read together. A packet is passed on when nothing older can come any more: the kernel keeps
one back for some milliseconds (see `packet_ring.py`).
"""

from __future__ import annotations

import os
import select
import socket
import threading
import time
from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import TYPE_CHECKING

from wanlab.capture.bpf import Program, compile_filter
from wanlab.capture.ends import Place, end_names, hidden, lab_filter, places
from wanlab.capture.packet_ring import LATE_NS, PacketRing, close_rings, frames, open_rings
from wanlab.capture.packet_tap import MOST_BYTES, start_clock
from wanlab.capture.translations import Pupil, TrackingFeed, Translations
from wanlab.errors import UsageError

if TYPE_CHECKING:
    from wanlab.runtime.lab import Lab

_PAUSE_S = 0.01  # between looks, so that packets are read many at a time
_PULL_PAUSE_S = 0.004
_IDLE_S = 0.05  # how long the thread that pulls waits for news
_TIME = itemgetter(0)
_MOST_BLOCKS = 2000  # of a ring, copied: then it is the kernel that has no room, and counts what is lost


Recorded = tuple[int, int, bytes, int, bool, str | None]
"""Nanoseconds since 1970, number of the end, bytes, how many were on the wire, whether its node sent it, comment."""


class Recorder:
    """Listens from now on, until `close`. As a context manager it closes itself.

    *words*: places, as `alice` or `home-a:wan`; all nodes if there are none. *filter*: in tcpdump's words. *pupils*
    learn what connection tracking says, before the packets that it is about are passed on. *also* is called again and
    again, in another thread, to take over what else comes. Raises NoSuchNode, UsageError, LabEnded, KernelError.
    """

    def __init__(
        self,
        lab: Lab,
        words: Sequence[str] = (),
        *,
        filter: str = "",
        snap_bytes: int = MOST_BYTES,
        pupils: Sequence[Pupil] = (),
        also: Callable[[], None] | None = None,
    ) -> None:
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
        self._hidden = hidden(network, listening)
        self._held: list[Recorded] = []
        self.complete_ns = time.time_ns()
        """Until when all packets have been passed on."""
        self._translations = Translations()
        nodes = list(dict.fromkeys(place.node for place in listening))
        self._feed = TrackingFeed(lab, nodes, self._translations, *pupils)
        self._watch = lab.watch()
        self._translating = [place.node in self._feed.nodes for place in listening]
        start_clock()  # else each ring looks at the clock by itself, and two captures tell one packet's time apart
        self._rings = self._open(lab, listening, program, snap_bytes)
        self._numbers: list[dict[int, int]] = [{} for _ in self._rings]
        """Of each ring, which end an index of an interface is; -1: none that is wanted."""
        self._blocks: list[deque[bytes]] = [deque() for _ in self._rings]
        """What was pulled and not yet looked at."""
        self._also = also
        self._pulled_ns = self.complete_ns
        """Until when the kernel's blocks have been copied, but for those of the last `LATE_NS`."""
        self._news = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._stopping = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._poll = select.poll()
        for descriptor in (self._news, self._watch.fileno()):
            self._poll.register(descriptor, select.POLLIN)
        self._puller = threading.Thread(target=self._pull_on, daemon=True, name=f"wanlab records {lab.name}")
        self._puller.start()

    @staticmethod
    def _open(lab: Lab, listening: Sequence[Place], program: Program, snap_bytes: int) -> list[PacketRing]:
        taps = lab.sockets([place.node for place in listening], socket.AF_PACKET, socket.SOCK_RAW, 0)
        return open_rings(
            [(place.node, tap, place.interface) for place, tap in zip(listening, taps, strict=True)],
            program,
            snap_bytes,
        )

    def __enter__(self) -> Recorder:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    @property
    def lost(self) -> int:
        """How many packets the kernel had no room for, so far."""
        return sum(ring.count_lost() for ring in self._rings)

    def interface(self, node: str, index: int) -> str:
        """What a node that is listened to calls the interface of that index; `?` where it has gone."""
        return next((ring.name(index) for ring in self._rings if ring.node == node), "?")

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
        if self._news in ready:
            os.eventfd_read(self._news)
        self.complete_ns = horizon = self._pulled_ns - LATE_NS
        self._collect()
        held = self._held
        place = bisect_right(held, horizon, key=_TIME)
        self._held = held[place:]
        return held[:place]

    def finish(self) -> list[Recorded]:
        """Hear nothing more, and give what is left."""
        for ring in self._rings:
            ring.deafen()
        time.sleep(LATE_NS / 1e9)
        self._stop()
        self._pull()
        self._collect()
        held, self._held = self._held, []
        return held

    def close(self) -> None:
        """Listen no more."""
        self._stop()
        self._feed.close()
        self._watch.close()
        close_rings(self._rings)
        for descriptor in (self._news, self._stopping):
            os.close(descriptor)

    # -- the thread that pulls -----------------------------------------------------------------------------------

    def _pull_on(self) -> None:
        """Take over what comes, whatever the other threads of this process have to do."""
        poll = select.poll()
        for ring in self._rings:
            poll.register(ring.fileno(), select.POLLIN)
        poll.register(self._stopping, select.POLLIN)
        while self._stopping not in {descriptor for descriptor, _ in poll.poll(_IDLE_S * 1000)}:
            time.sleep(_PULL_PAUSE_S)
            self._pull()

    def _pull(self) -> None:
        """Copy what the kernel has handed over, so that it has room again; it is looked at later."""
        now = time.time_ns()
        for ring, blocks in zip(self._rings, self._blocks, strict=True):
            if len(blocks) < _MOST_BLOCKS:
                blocks += ring.blocks()
        if self._also is not None:
            self._also()
        self._pulled_ns = now
        os.eventfd_write(self._news, 1)

    def _stop(self) -> None:
        if self._puller.is_alive():
            os.eventfd_write(self._stopping, 1)
            self._puller.join()

    def _collect(self) -> None:
        """Take what the kernel has handed over, in order of time."""
        found = self._held
        self._feed.read()  # before the packets: what was translated was announced before it left
        for ring, numbers, translating, blocks in zip(
            self._rings, self._numbers, self._translating, self._blocks, strict=True
        ):
            comment = self._translations.comment if translating else None
            while blocks:
                block = blocks.popleft()
                for time_ns, interface, data, length, outbound in frames(block):
                    end = numbers.get(interface)
                    if end is None:
                        end = numbers[interface] = self._number(f"{ring.node}:{ring.name(interface)}")
                    if end >= 0:
                        said = comment(ring.node, data) if outbound and comment is not None else None
                        found.append((time_ns, end, data, length, outbound, said))
        found.sort(key=_TIME)

    def _number(self, end: str) -> int:
        if self._hidden(end):
            return -1
        if end not in self.ends:
            self.ends.append(end)
        return self.ends.index(end)
