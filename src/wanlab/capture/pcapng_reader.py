"""Reading pcapng files: those that wanlab writes, and others' where each packet says which interface it was seen at."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from wanlab.capture.pcapng import Packet
from wanlab.errors import UsageError

_SECTION, _INTERFACE, _STATISTICS, _PACKET = 0x0A0D0D0A, 1, 5, 6
_MAGIC = 0x1A2B3C4D
_NAME, _RESOLUTION, _FLAGS, _DROPPED = 2, 9, 2, 5
_ETHERNET = 1
_OUTBOUND = 2


@dataclass(slots=True)
class _End:
    name: str
    ticks: int
    """How many of its time stamps make a second."""
    ethernet: bool


class PcapngFile:
    """A capture, read as one goes through its packets: `packets`. Then `ends` and `lost` are known too.

    Raises UsageError for what is no such file, OSError. A file that ends in the middle of a packet, since whoever wrote
    it was stopped, is read up to there.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.ends: list[str] = []
        """The interfaces' names, as `node:interface`."""
        self.lost = 0
        """How many packets are said to be missing."""

    def packets(self) -> Iterator[Packet]:
        """The packets, in the order of the file."""
        order = "="
        ends: list[_End] = []
        with self.path.open("rb") as file:
            while len(head := file.read(8)) == 8:
                if head[:4] == _SECTION.to_bytes(4, "big"):  # the same in both orders
                    magic = file.read(4)
                    order = self._order(magic)
                    (size,) = struct.unpack(f"{order}I", head[4:])
                    file.read(self._checked(size, 12) - 12)
                    ends = []
                    continue
                if order == "=":
                    raise self._refusal("it does not begin as one")
                kind, size = struct.unpack(f"{order}II", head)
                body = file.read(self._checked(size, 12) - 8)
                if len(body) < size - 8:
                    return
                body = body[:-4]
                if kind == _INTERFACE:
                    ends.append(self._end(order, body, len(ends)))
                elif kind == _STATISTICS:
                    self.lost += sum(_number(order, each) for each in _options(order, body[12:]).get(_DROPPED, ()))
                elif kind == _PACKET:
                    packet = self._packet(order, body, ends)
                    if packet is not None:
                        yield packet
        if order == "=":
            raise self._refusal("it is empty")

    def _order(self, magic: bytes) -> str:
        for order in "<>":
            if magic == struct.pack(f"{order}I", _MAGIC):
                return order
        raise self._refusal("its byte order is none")

    def _checked(self, size: int, least: int) -> int:
        if size < least or size % 4:
            raise self._refusal("a block has an impossible length")
        return size

    def _refusal(self, why: str) -> UsageError:
        return UsageError(f"{self.path} is no pcapng file: {why}", hint="give one that was captured in a lab")

    def _end(self, order: str, body: bytes, number: int) -> _End:
        if len(body) < 8:
            raise self._refusal("an interface says nothing of itself")
        options = _options(order, body[8:])
        name = options.get(_NAME, [b""])[0].decode(errors="replace") or f"interface {number}"
        resolution = options.get(_RESOLUTION, [b"\x06"])[0][:1] or b"\x06"
        ticks = 2 ** (resolution[0] & 0x7F) if resolution[0] & 0x80 else 10 ** resolution[0]
        self.ends.append(name)
        return _End(name, ticks, struct.unpack_from(f"{order}H", body)[0] == _ETHERNET)

    def _packet(self, order: str, body: bytes, ends: list[_End]) -> Packet | None:
        if len(body) < 20:
            raise self._refusal("a packet has no head")
        number, high, low, kept, length = struct.unpack_from(f"{order}5I", body)
        if number >= len(ends) or kept > len(body) - 20:
            raise self._refusal("a packet is of no interface, or longer than its block")
        end = ends[number]
        if not end.ethernet:
            return None
        options = _options(order, body[20 + kept + (-kept & 3) :])
        flags = _number(order, options.get(_FLAGS, [b"\0\0\0\0"])[0])
        return Packet(
            (high << 32 | low) * 1_000_000_000 // end.ticks,
            end.name,
            body[20 : 20 + kept],
            length,
            flags & 3 == _OUTBOUND,
        )


def _options(order: str, data: bytes) -> dict[int, list[bytes]]:
    found: dict[int, list[bytes]] = {}
    offset = 0
    while offset + 4 <= len(data):
        code, length = struct.unpack_from(f"{order}HH", data, offset)
        if code == 0:
            break
        found.setdefault(code, []).append(data[offset + 4 : offset + 4 + length])
        offset += 4 + length + (-length & 3)
    return found


def _number(order: str, data: bytes) -> int:
    return int.from_bytes(data, "little" if order == "<" else "big")
