"""Writing pcapng files, which Wireshark, tshark and tcpdump read: any number of interfaces, nanoseconds.

The format is that of draft-ietf-opsawg-pcapng; this writes one section, in the machine's byte order.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Protocol

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
    comment: str | None = None
    """What is worth saying of it: that it was translated, and how."""


class Target(Protocol):
    """What can be written to."""

    def write(self, data: bytes, /) -> object:
        """Take *data*: a whole block, always."""


class PcapngWriter:
    """Writes a section to *file*; it is a whole file after each call."""

    def __init__(self, file: Target, *, comment: str = "") -> None:
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
        number = self._numbers[packet.end]
        options = packet_options(packet.outbound, packet.comment)
        self._file.write(packet_block(number, packet.time_ns, packet.data, packet.length, options))

    def number(self, end: str) -> int:
        """What `packet_block` calls *end*, which is declared where it was not."""
        self.add_end(end)
        return self._numbers[end]

    def add_losses(self, end: str, time_ns: int, lost: int) -> None:
        """Say how many packets of *end* are missing."""
        self.add_end(end)
        body = struct.pack("=III", self._numbers[end], time_ns >> 32, time_ns & 0xFFFFFFFF)
        self._block(_STATISTICS, body + _option(_DROPPED, struct.pack("=Q", lost)) + _END)

    def _block(self, kind: int, body: bytes) -> None:
        length = struct.pack("=I", 12 + len(body))
        self._file.write(b"".join((struct.pack("=I", kind), length, body, length)))


def packet_options(outbound: bool, comment: str | None) -> bytes:
    """What a file says of a packet besides its bytes."""
    options = _OUT if outbound else _IN
    return options if comment is None else _option(_COMMENT, comment.encode()) + options


def packet_block(number: int, time_ns: int, data: bytes, length: int, options: bytes) -> bytes:
    """A packet as a file has it; *number*: of the interface. Quick: captures make hundreds of thousands a second."""
    kept = len(data)
    size = 32 + kept + (-kept & 3) + len(options)
    head = _PACKET_HEAD.pack(_PACKET, size, number, time_ns >> 32, time_ns & 0xFFFFFFFF, kept, length)
    return b"".join((head, data, _PADS[-kept & 3], options, head[4:8]))


def _padded(data: bytes) -> bytes:
    return data + b"\0" * (-len(data) % 4)


def _option(code: int, value: bytes) -> bytes:
    return struct.pack("=HH", code, len(value)) + _padded(value)


_END = _option(0, b"")
_IN, _OUT = (_option(_FLAGS, struct.pack("=I", flags)) + _END for flags in (_INBOUND, _OUTBOUND))
_PADS = tuple(bytes(length) for length in range(4))
_PACKET_HEAD = struct.Struct("=7I")
