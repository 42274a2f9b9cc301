"""`PacketRing`: packets of one node in memory that the kernel writes and we read.

packet(7), PACKET_RX_RING; TPACKET_V3 is told by the kernel's Documentation/networking/packet_mmap.rst.
The kernel fills block after block, and hands each over when it is full, or some milliseconds after its first packet. So
no system call is needed for a packet, and what comes in bursts has room. Setting a ring up takes the kernel a grace
period of some 10 ms, which is why `PacketTap` does without one; several are set up at once (`open_rings`).
"""

from __future__ import annotations

import ctypes
import fcntl
import mmap
import os
import socket
import struct
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

from wanlab.capture.bpf import Program, attach
from wanlab.capture.packet_tap import listen
from wanlab.errors import KernelError

RETIRE_MS = 8
"""After so many milliseconds, or up to twice as many, the kernel hands over a block that is not full."""
LATE_NS = 4 * RETIRE_MS * 1_000_000
"""A packet that is so old has been handed over, on a machine that keeps up."""

Frame = tuple[int, int, bytes, int, bool]
"""Nanoseconds since 1970, index of the interface, bytes, how many there were on the wire, whether the node sent it."""

_SOL_PACKET, _PACKET_RX_RING, _PACKET_STATISTICS, _PACKET_VERSION, _TPACKET_V3 = 263, 5, 6, 10, 2
_PACKET_OUTGOING = 4
_USER, _KERNEL = 1, 0  # whose a block is: TP_STATUS_USER, TP_STATUS_KERNEL
_RING_REQUEST = struct.Struct("=7I")  # struct tpacket_req3
_FRAME_BYTES = 1 << 11  # nothing to V3 but a unit: block size must be a multiple of it
_STATUS = struct.Struct("=III")  # struct tpacket_hdr_v1 behind two words: block_status, num_pkts, offset_to_first_pkt
_STATUS_AT = 8
# struct tpacket3_hdr to tp_net, then padding and, 48 bytes from its start, struct sockaddr_ll.
_PACKET = struct.Struct("=IIIIIIH22x4xi2xB")
_SIOCGIFNAME = 0x8910
# A block takes its room however little is in it when it is handed over: many small ones outlast a reader that is busy
# elsewhere for a second. The large ones are for whole packets, of up to 64 KiB between hosts.
_SMALL_BLOCK, _LARGE_BLOCK = 1 << 14, 1 << 17
_SHORT = 2048  # what is kept of a packet that goes into a small block
_MOST_BYTES = 96 << 20  # of all rings of a capture
_LEAST_BLOCKS = 4
_LARGEST_RING = 16 << 20


class PacketRing:
    """What passes in the node that *tap* lives in: a packet socket, of protocol 0, so that it hears nothing yet."""

    def __init__(
        self, node: str, tap: socket.socket, program: Program, blocks: tuple[int, int], interface: str | None = None
    ) -> None:
        self.node = node
        self.lost = 0
        """How many packets the kernel had no room for, as far as `count_lost` knows."""
        self._socket = tap
        self._names: dict[int, str] = {}
        self._blocks, self._block_bytes = blocks
        self._next = 0
        tap.setblocking(False)
        attach(tap, program)
        tap.setsockopt(_SOL_PACKET, _PACKET_VERSION, _TPACKET_V3)
        _set_up(tap, self._block_bytes, self._blocks)
        self._memory = mmap.mmap(tap.fileno(), self._block_bytes * self._blocks)
        listen(tap, interface)

    def fileno(self) -> int:
        """The socket's descriptor: readable while a block waits."""
        return self._socket.fileno()

    def blocks(self) -> Iterator[bytes]:
        """The blocks that wait, each given back to the kernel as soon as it is copied."""
        memory, size = self._memory, self._block_bytes
        for _ in range(self._blocks):
            start = self._next * size
            status, _, _ = _STATUS.unpack_from(memory, start + _STATUS_AT)
            if not status & _USER:
                return
            (length,) = struct.unpack_from("=I", memory, start + 20)  # blk_len
            block = memory[start : start + length]
            struct.pack_into("=I", memory, start + _STATUS_AT, _KERNEL)
            self._next = (self._next + 1) % self._blocks
            yield block

    def name(self, interface: int) -> str:
        """What the node calls the interface of that index; `?` where it has gone."""
        found = self._names.get(interface)
        if found is None:
            found = "?"
            with suppress(OSError):
                answer = fcntl.ioctl(self._socket, _SIOCGIFNAME, struct.pack("16si20x", b"", interface))
                found = self._names[interface] = answer[:16].split(b"\0")[0].decode()
        return found

    def count_lost(self) -> int:
        """Ask the kernel; see `lost`."""
        with suppress(OSError):
            statistics = self._socket.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, 12)
            self.lost += struct.unpack("=III", statistics)[1]  # reading it sets it to 0
        return self.lost

    def deafen(self) -> None:
        """Hear nothing more: what has been heard is handed over within `LATE_NS`."""
        with suppress(OSError):
            attach(self._socket, ((0x06, 0, 0, 0),))

    def close(self) -> None:
        """Close it."""
        self._memory.close()
        self._socket.close()


def frames(block: bytes) -> Iterator[Frame]:
    """The packets in a block, in the order in which they came."""
    _, count, offset = _STATUS.unpack_from(block, _STATUS_AT)
    unpack = _PACKET.unpack_from
    for _ in range(count):
        step, seconds, nanoseconds, kept, length, _, mac, interface, kind = unpack(block, offset)
        start = offset + mac
        data = block[start : start + kept]
        yield seconds * 1_000_000_000 + nanoseconds, interface, data, length, kind == _PACKET_OUTGOING
        offset += step


def open_rings(
    taps: Sequence[tuple[str, socket.socket, str | None]], program: Program, snap_bytes: int
) -> list[PacketRing]:
    """A ring for each of these nodes' sockets, of one interface, or of all where none is named. Raises KernelError.

    *snap_bytes*: how much of a packet *program* keeps.
    """
    size = _SMALL_BLOCK if snap_bytes <= _SHORT else _LARGE_BLOCK
    room = min(_LARGEST_RING, _MOST_BYTES // max(1, len(taps)))
    each = max(_LEAST_BLOCKS, room // size), size
    with ThreadPoolExecutor(max_workers=16) as pool:  # their grace periods pass at the same time

        def opened(tap: tuple[str, socket.socket, str | None]) -> PacketRing:
            node, one, interface = tap
            try:
                return PacketRing(node, one, program, each, interface)
            except OSError as error:
                raise KernelError(f"listening in node {node!r}: {error.strerror}", errno=error.errno or 0) from None

        return list(pool.map(opened, taps))


_libc = ctypes.CDLL(None, use_errno=True)  # the socket module's own calls would hold up all threads meanwhile


def _set_up(tap: socket.socket, block_bytes: int, blocks: int) -> None:
    request = _RING_REQUEST.pack(
        block_bytes, blocks, _FRAME_BYTES, block_bytes // _FRAME_BYTES * blocks, RETIRE_MS, 0, 0
    )
    if _libc.setsockopt(tap.fileno(), _SOL_PACKET, _PACKET_RX_RING, request, len(request)):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def close_rings(rings: Sequence[PacketRing]) -> None:
    """Close them all: each takes the kernel a grace period, and these pass at the same time."""
    with ThreadPoolExecutor(max_workers=16) as pool:
        list(pool.map(PacketRing.close, rings))
