"""Writing pcapng files, which Wireshark, tshark and tcpdump read: any number of interfaces, nanoseconds.

The format is that of draft-ietf-opsawg-pcapng; this writes one section, in the machine's byte order.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import BinaryIO

_SECTION, _INTERFACE, _STATISTICS, _PACKET = 0x0A0D0D0A, 1, 5, 6
_MAGIC = 0x1A2B3C4D
_ETHERNET = 1  # LINKTYPE_ETHERNET
_NANOSECONDS = 9  # if_tsresol: 10^-9
_COMMENT, _APPLICATION, _NAME, _DESCRIPTION, _RESOLUTION, _FLAGS, _DROPPED = 1, 4, 2, 3, 9, 2, 5
_INBOUND, _OUTBOUND = 1, 2


@dataclass(frozen=True, slots=True)
class Packet:
    """A packet as it was seen at one end of a link."""

    time_ns: int
    """Nanoseconds since 1970."""
    end: str
    """Which end: `alice:eth0`."""
    data: bytes
    """Its bytes from the Ethernet header on, perhaps not all of them."""
    length: int
    """How many it had."""
    outbound: bool
    """Whether the node sent it; else it has received it."""


class PcapngWriter:
    """Writes a section to *file*; it is a whole file after each call."""

    def __init__(self, file: BinaryIO, *, comment: str = "") -> None:
        from wanlab import __version__

        self._file = file
        self._numbers: dict[str, int] = {}
        options = _option(_COMMENT, comment.encode()) if comment else b""
        options += _option(_APPLICATION, f"wanlab {__version__}".encode())
        self._block(_SECTION, struct.pack("=IHHq", _MAGIC, 1, 0, -1) + options + _END)

    def add_end(self, end: str, *, snap_bytes: int = 0, description: str = "") -> None:
        """Declare the interface for *end*, also where no packet was seen at it. Declaring it again does nothing."""
        if end in self._numbers:
            return
        self._numbers[end] = len(self._numbers)
        options = _option(_NAME, end.encode()) + _option(_RESOLUTION, bytes([_NANOSECONDS]))
        if description:
            options += _option(_DESCRIPTION, description.encode())
        self._block(_INTERFACE, struct.pack("=HHI", _ETHERNET, 0, snap_bytes) + options + _END)

    def write(self, packet: Packet) -> None:
        """Add a packet; in order of time, readers expect."""
        self.add_end(packet.end)
        body = struct.pack(
            "=IIIII",
            self._numbers[packet.end],
            packet.time_ns >> 32,
            packet.time_ns & 0xFFFFFFFF,
            len(packet.data),
            packet.length,
        )
        flags = struct.pack("=I", _OUTBOUND if packet.outbound else _INBOUND)
        self._block(_PACKET, body + _padded(packet.data) + _option(_FLAGS, flags) + _END)

    def add_losses(self, end: str, time_ns: int, lost: int) -> None:
        """Say how many packets of *end* are missing."""
        self.add_end(end)
        body = struct.pack("=III", self._numbers[end], time_ns >> 32, time_ns & 0xFFFFFFFF)
        self._block(_STATISTICS, body + _option(_DROPPED, struct.pack("=Q", lost)) + _END)

    def _block(self, kind: int, body: bytes) -> None:
        length = struct.pack("=I", 12 + len(body))
        self._file.write(struct.pack("=I", kind) + length + body + length)


def _padded(data: bytes) -> bytes:
    return data + b"\0" * (-len(data) % 4)


def _option(code: int, value: bytes) -> bytes:
    return struct.pack("=HH", code, len(value)) + _padded(value)


_END = _option(0, b"")
