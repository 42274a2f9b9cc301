"""`PacketTap`: a packet socket in one node of a lab, that hears every packet at every interface of it.

Ordinary sockets rather than rings (packet(7), PACKET_RX_RING): the kernel waits for a grace period, some 10 ms, for
each ring that it sets up, and a test shall not wait so long for each of its nodes.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import socket
import struct
import time
from dataclasses import dataclass

from wanlab.capture.bpf import Program, attach

ETH_P_ALL = 3
MOST_BYTES = 65535  # of a packet: what `snap_bytes` may be

_SOL_PACKET, _PACKET_STATISTICS, _PACKET_AUXDATA = 263, 6, 8
_SO_RCVBUFFORCE, _SO_TIMESTAMPNS = 33, 35
_PACKET_OUTGOING = 4
_BUFFER_BYTES = 4 << 20  # what we ask for; net.core.rmem_max limits what an ordinary user gets
_ANCILLARY = socket.CMSG_SPACE(16) + socket.CMSG_SPACE(20)  # struct timespec, struct tpacket_auxdata
_AT_A_TIME = 256  # packets from one node before the next one has its turn


@dataclass(frozen=True, slots=True)
class Seen:
    """A packet as the kernel hands it over."""

    time_ns: int
    interface: str
    data: bytes
    length: int
    outbound: bool


class PacketTap:
    """Hears what passes in the node that *tap* lives in: a packet socket of protocol 0, which hears nothing yet."""

    def __init__(
        self, node: str, tap: socket.socket, program: Program, snap_bytes: int, interface: str | None = None
    ) -> None:
        self.node = node
        self.lost = 0
        """How many packets the kernel had no room for, as far as `count_lost` knows."""
        self._socket = tap
        self._snap_bytes = snap_bytes
        tap.setblocking(False)
        attach(tap, program)
        for option in (_SO_RCVBUFFORCE, socket.SO_RCVBUF):
            try:
                tap.setsockopt(socket.SOL_SOCKET, option, _BUFFER_BYTES)
                break
            except PermissionError:  # the first is root's
                continue
        tap.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        tap.setsockopt(_SOL_PACKET, _PACKET_AUXDATA, 1)
        listen(tap, interface)

    def fileno(self) -> int:
        """The socket's descriptor: readable while packets wait."""
        return self._socket.fileno()

    def read(self) -> list[Seen]:
        """Packets that wait, not all of them where they are many."""
        found: list[Seen] = []
        receive, snap = self._socket.recvmsg, self._snap_bytes
        try:
            while len(found) < _AT_A_TIME:
                data, ancillary, _, (interface, _, kind, *_) = receive(snap, _ANCILLARY)
                time_ns, length = 0, len(data)
                for level, what, payload in ancillary:
                    if level == socket.SOL_SOCKET and what == _SO_TIMESTAMPNS:
                        seconds, nanoseconds = struct.unpack("=qq", payload)
                        time_ns = seconds * 1_000_000_000 + nanoseconds
                    elif level == _SOL_PACKET and what == _PACKET_AUXDATA:
                        (length,) = struct.unpack_from("=I", payload, 4)
                found.append(Seen(time_ns, interface, data, length, kind == _PACKET_OUTGOING))
        except (BlockingIOError, InterruptedError):
            pass
        except OSError:  # ENETDOWN: an interface went down, which is for others to tell
            pass
        return found

    def count_lost(self) -> int:
        """Ask the kernel; see `lost`."""
        with contextlib.suppress(OSError):
            statistics = self._socket.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, 8)
            self.lost += struct.unpack("=II", statistics)[1]  # reading it sets it to 0
        return self.lost

    def close(self) -> None:
        """Close the socket: takes the kernel some 10 ms (a grace period), which nobody need wait for."""
        self._socket.close()


def listen(tap: socket.socket, interface: str | None = None) -> None:
    """Have a packet socket that hears nothing yet hear all that passes at one interface, or at every one.

    The socket module's `bind` has no name for every one. Raises OSError.
    """
    if interface is not None:
        tap.bind((interface, ETH_P_ALL))
        return
    address = struct.pack("=HHiHBB8x", socket.AF_PACKET, socket.htons(ETH_P_ALL), 0, 0, 0, 0)
    if _libc.bind(tap.fileno(), address, len(address)):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


_libc = ctypes.CDLL(None, use_errno=True)
_clock: list[socket.socket] = []


def start_clock() -> None:
    """Have the kernel stamp packets when they come, not when they are read. Stays so as long as this process.

    It stamps while any socket asks for that, and begins some time after the first one has asked (net_enable_timestamp
    in net/core/dev.c): so one that nobody uses asks, and the first lab waits until it is so.
    """
    if _clock:
        return
    clock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    _clock.append(clock)
    with contextlib.suppress(OSError):  # a machine without 127.0.0.1: the first stamps may be late
        clock.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        clock.bind(("127.0.0.1", 0))
        clock.settimeout(1)
        for _ in range(50):
            clock.sendto(b"", clock.getsockname())
            time.sleep(0.001)
            late_ns = time.time_ns() - 500_000
            _, ancillary, _, _ = clock.recvmsg(1, socket.CMSG_SPACE(16))
            seconds, nanoseconds = struct.unpack("=qq", ancillary[0][2])
            if seconds * 1_000_000_000 + nanoseconds < late_ns:
                return
