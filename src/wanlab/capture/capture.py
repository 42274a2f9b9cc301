"""`Capture`: every packet at every end of every link of a lab, kept in memory, written to one file.

No right of root's and no other program is needed: the lab opens a packet socket in each node, and a thread reads them.
It takes a quarter of one core at the most; what it then has no time for is counted as lost. Memory is bounded too:
where packets are many, the last ones are kept.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import socket
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from wanlab.capture.bpf import compile_filter
from wanlab.capture.ends import end_names, hidden, lab_filter, places
from wanlab.capture.packet_tap import MOST_BYTES, PacketTap, Seen, start_clock
from wanlab.capture.pcapng import Packet, PcapngWriter
from wanlab.errors import UsageError

if TYPE_CHECKING:
    from wanlab.runtime.lab import Lab

_PAUSE_S = 0.005  # between looks, so that packets are read many at a time
_SHARE = 3  # how long it pauses for the time that it worked: a quarter of a core
_PACKET_OVERHEAD = 200  # bytes that a packet takes in memory besides its own, about

# Of a capture that is made in case that something fails:
_MOST_NODES = 128  # a socket is opened in each
_SNAP_BYTES = 2048  # whole packets, but of the 64 KiB ones that hosts pass to each other in one piece
_MOST_BYTES_IN_CASE = 32 << 20


def capture_in_case(lab: Lab, *, however_large: bool = False) -> Capture | None:
    """A capture that costs little, for the case that something fails; None for a lab where it would cost much.

    Raises LabEnded.
    """
    if len(lab.network.nodes) > _MOST_NODES and not however_large:
        return None
    return Capture(lab, snap_bytes=_SNAP_BYTES, most_bytes=_MOST_BYTES_IN_CASE)


class Capture:
    """Captures from now on, until `stop`; as a context manager until the end of the `with`::

        with Lab("two-lans") as lab, lab.capture() as capture:
            lab["alice"].run(["ping", "-c1", "coordinator"])
        capture.write("ping.pcapng")

    *ends*: nodes, or interfaces as `home-a:wan`; all nodes if left out. *filter*: which packets, in tcpdump's words
    (`packet_filter.py`). *snap_bytes*: how much of each packet is kept. *most_bytes*: how much memory the packets may
    take. Raises NoSuchNode, UsageError, LabEnded.
    """

    def __init__(
        self,
        lab: Lab,
        ends: Iterable[str] | None = None,
        *,
        filter: str = "",
        snap_bytes: int = MOST_BYTES,
        most_bytes: int = 64 << 20,
    ) -> None:
        if not 14 <= snap_bytes <= MOST_BYTES:
            raise UsageError(f"{snap_bytes} bytes of a packet cannot be kept", hint=f"from 14 to {MOST_BYTES} can")
        listening = places(lab.network, ends or ())
        program = compile_filter(lab_filter(lab.network, filter), snap_bytes, loopback=False)
        self.lab_name = lab.name
        self.forgotten = 0
        """How many packets were given up for later ones, where they are more than memory may hold."""
        self._snap_bytes = snap_bytes
        self._most_bytes = most_bytes
        self._ends = end_names(lab.network, listening)
        self._hidden = hidden(lab.network, listening)
        self._kept: deque[tuple[str, Seen]] = deque()
        self._bytes = 0
        self._lock = threading.Lock()
        start_clock()
        sockets = lab.sockets([place.node for place in listening], socket.AF_PACKET, socket.SOCK_RAW, 0)
        self._taps = [
            PacketTap(place.node, tap, program, snap_bytes, place.interface)
            for place, tap in zip(listening, sockets, strict=True)
        ]
        self._stop = os.eventfd(0, os.EFD_CLOEXEC)
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._read, daemon=True, name=f"wanlab captures {self.lab_name}")
        self._thread.start()

    def __enter__(self) -> Capture:
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()

    def __len__(self) -> int:
        """How many packets are kept; one is seen at each end that it passes."""
        return len(self._kept)

    @property
    def lost(self) -> int:
        """How many packets were lost, for want of room or time: known after `stop`."""
        return sum(tap.lost for tap in self._taps)

    def stop(self) -> None:
        """Read what waits, and listen no more."""
        if not self._done.is_set():
            os.eventfd_write(self._stop, 1)
            self._done.wait()

    def forget(self) -> None:
        """Keep nothing of what was seen so far."""
        with self._lock:
            self._kept.clear()
            self._bytes = self.forgotten = 0

    def packets(self) -> Iterator[Packet]:
        """The packets that are kept, in order of time. After `stop`."""
        for node, seen in sorted(self._kept, key=lambda kept: kept[1].time_ns):
            yield Packet(seen.time_ns, f"{node}:{seen.interface}", seen.data, seen.length, seen.outbound)

    def write(self, file: str | os.PathLike[str]) -> Path:
        """Write them to a pcapng file: an interface for each link end, named `node:interface`. After `stop`.

        Raises OSError; then there is no file, and one that was there is as it was.
        """
        path = Path(file)
        part = path.with_name(f".{path.name}.part")
        try:
            with part.open("wb") as target:
                writer = PcapngWriter(target, comment=f"lab {self.lab_name}")
                for end in self._ends:
                    writer.add_end(end, snap_bytes=self._snap_bytes)
                for packet in self.packets():
                    writer.write(packet)
                for tap in self._taps:
                    self._write_losses(writer, tap)
            part.replace(path)
        except BaseException:
            with contextlib.suppress(OSError):
                part.unlink()
            raise
        return path

    def _write_losses(self, writer: PcapngWriter, tap: PacketTap) -> None:
        first = next((end for end in self._ends if end.startswith(f"{tap.node}:")), None)
        if tap.lost and first is not None:  # the kernel counts them for the node
            writer.add_losses(first, time.time_ns(), tap.lost)

    # -- the thread ----------------------------------------------------------------------------------------------

    def _read(self) -> None:
        with selectors.PollSelector() as selector:  # needs no descriptor: this thread must not fail for want of one
            for tap in self._taps:
                selector.register(tap, selectors.EVENT_READ, tap)
            selector.register(self._stop, selectors.EVENT_READ)
            stopping = False
            while not stopping:
                ready = [key.data for key, _ in selector.select()]
                started = time.monotonic()
                stopping = None in ready
                for tap in ready:
                    if tap is not None:
                        self._keep(tap.node, tap.read())
                if not stopping:
                    stopping = self._pause(max(_PAUSE_S, _SHARE * (time.monotonic() - started)))
        for tap in self._taps:
            while seen := tap.read():
                self._keep(tap.node, seen)
            tap.count_lost()
        self._done.set()
        os.close(self._stop)
        for tap in self._taps:
            tap.close()

    def _pause(self, seconds: float) -> bool:
        """Whether it was told to stop meanwhile."""
        with selectors.PollSelector() as selector:
            selector.register(self._stop, selectors.EVENT_READ)
            return bool(selector.select(seconds))

    def _keep(self, node: str, packets: list[Seen]) -> None:
        with self._lock:
            for seen in packets:
                if not self._hidden(f"{node}:{seen.interface}"):
                    self._kept.append((node, seen))
                    self._bytes += len(seen.data) + _PACKET_OVERHEAD
            while self._bytes > self._most_bytes:
                _, oldest = self._kept.popleft()
                self._bytes -= len(oldest.data) + _PACKET_OVERHEAD
                self.forgotten += 1
