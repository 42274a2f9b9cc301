"""Reading what the kernel says over netlink: messages in a buffer, attributes in a message."""

from __future__ import annotations

import struct
from collections.abc import Iterator

HEADER_BYTES = 16  # struct nlmsghdr
NETFILTER = 12  # NETLINK_NETFILTER, which the socket module does not name
SOL_NETLINK, ADD_MEMBERSHIP = 270, 1
REQUEST, ACK, ROOT, MATCH = 0x1, 0x4, 0x100, 0x200
DUMP = ROOT | MATCH
ERROR, DONE = 2, 3

Attributes = dict[int, bytes]


def messages(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Of each message its kind, its sequence number, and its body."""
    offset = 0
    while offset + HEADER_BYTES <= len(data):
        length, kind, _, sequence, _ = struct.unpack_from("=IHHII", data, offset)
        yield kind, sequence, data[offset + HEADER_BYTES : offset + length]
        offset += max(HEADER_BYTES, (length + 3) & ~3)


def attributes(data: bytes) -> Attributes:
    """The attributes that *data* consists of; the last one where a kind is there twice."""
    found: Attributes = {}
    offset = 0
    while offset + 4 <= len(data):
        length, kind = struct.unpack_from("=HH", data, offset)
        found[kind & 0x3FFF] = data[offset + 4 : offset + length]  # without the flags that say how it is packed
        offset += max(4, (length + 3) & ~3)
    return found
