"""What a lab's holder and its clients say to each other: JSON objects and file descriptors over a Unix stream socket.

A frame is its length (4 bytes, big-endian) and that much JSON; descriptors travel with the frame's first byte. A client
opens one connection for each request, so that threads need no lock between them, and closing it takes the request back:
what was started for it ends.
"""

from __future__ import annotations

import array
import errno
import json
import os
import socket
import struct
from typing import Any

from wanlab import errors
from wanlab.errors import KernelError, LabEnded, WanlabError

Message = dict[str, Any]

_LENGTH = struct.Struct("!I")
_MOST_BYTES = 256 << 20  # a plan for 1,000 nodes takes half a megabyte; this only stops nonsense
_MOST_DESCRIPTORS = 16


class Frames:
    """Cuts a byte stream into messages; does no I/O itself."""

    def __init__(self) -> None:
        self._bytes = bytearray()
        self._descriptors: list[int] = []

    def feed(self, data: bytes, descriptors: list[int]) -> None:
        """Add what has arrived."""
        self._bytes += data
        self._descriptors += descriptors

    def next(self) -> tuple[Message, list[int]] | None:
        """The next whole message with its descriptors, or None while there is none.

        Raises ValueError for nonsense, OSError where this process may open no more descriptors.
        """
        if len(self._bytes) < _LENGTH.size:
            return None
        (length,) = _LENGTH.unpack_from(self._bytes)
        if length > _MOST_BYTES:
            raise ValueError(f"a message of {length} bytes")
        end = _LENGTH.size + length
        if len(self._bytes) < end:
            return None
        message = json.loads(self._bytes[_LENGTH.size : end])
        if not isinstance(message, dict):
            raise ValueError("a message that is no object")
        del self._bytes[:end]
        count = message.pop("descriptors", 0)
        if not isinstance(count, int):
            raise ValueError("a message with no number of descriptors")
        descriptors, self._descriptors = self._descriptors[:count], self._descriptors[count:]
        if len(descriptors) < count:
            # The kernel drops the descriptors that the receiver has no room for, and passes on the rest (unix(7)).
            for descriptor in descriptors:
                os.close(descriptor)
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return message, descriptors

    def close(self) -> None:
        """Close descriptors that came for messages which never did."""
        for descriptor in self._descriptors:
            os.close(descriptor)
        self._descriptors.clear()


def send(connection: socket.socket, message: Message, descriptors: list[int] | None = None) -> None:
    """Send one message; *descriptors* are duplicated into the receiver."""
    descriptors = descriptors or []
    body = json.dumps({**message, "descriptors": len(descriptors)} if descriptors else message).encode()
    data = _LENGTH.pack(len(body)) + body
    if descriptors:
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))]
        data = data[connection.sendmsg([data], rights) :]
    if data:
        connection.sendall(data)


def receive_some(connection: socket.socket, frames: Frames) -> bool:
    """Read once into *frames*. False at the end of the stream. Raises as `socket.recvmsg` does."""
    room = socket.CMSG_SPACE(_MOST_DESCRIPTORS * array.array("i").itemsize)
    data, ancillary, _, _ = connection.recvmsg(1 << 18, room, socket.MSG_CMSG_CLOEXEC)
    descriptors = array.array("i")
    for level, kind, payload in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            descriptors.frombytes(payload[: len(payload) - len(payload) % descriptors.itemsize])
    frames.feed(data, list(descriptors))
    return bool(data)


def receive(connection: socket.socket, frames: Frames) -> tuple[Message, list[int]]:
    """Wait for one message. Raises LabEnded where the other side has gone."""
    while True:
        found = frames.next()
        if found is not None:
            return found
        try:
            alive = receive_some(connection, frames)
        except ConnectionError:
            alive = False
        if not alive:
            raise LabEnded("the lab ended")


def error_message(error: BaseException) -> Message:
    """An error as a message."""
    if isinstance(error, WanlabError):
        return {
            "error": type(error).__name__,
            "what": error.what,
            "hint": error.hint,
            "errno": getattr(error, "errno", 0) or 0,
        }
    if isinstance(error, OSError) and error.errno:
        return {"error": "OSError", "what": os.strerror(error.errno), "hint": None, "errno": error.errno}
    return {"error": "KernelError", "what": f"{type(error).__name__}: {error}", "hint": None, "errno": 0}


def raise_if_error(message: Message) -> Message:
    """The message itself, unless it is an error: then that is raised, as on the other side."""
    if "error" not in message:
        return message
    if message["error"] == "OSError":
        raise OSError(message["errno"], message["what"])
    kind = getattr(errors, message["error"], KernelError)
    if kind in (KernelError, errors.CommandNotFound):
        error: WanlabError = kind(message["what"], errno=message["errno"])
        error.hint = message["hint"]
        raise error
    raise kind(message["what"], hint=message["hint"])
