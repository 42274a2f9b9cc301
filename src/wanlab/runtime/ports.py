"""Ports for many sockets at once, where each is to have one of its own."""

from __future__ import annotations

import errno
import itertools
import socket
from collections.abc import Iterator

_MOST_TRIES = 100


def bind_to_next(one: socket.socket, address: str, ports: Iterator[int]) -> int:
    """Bind a socket to *address* and the next of *ports* that is free, and say which. Raises OSError."""
    for port in itertools.islice(ports, _MOST_TRIES):
        try:
            one.bind((address, port))
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
        else:
            return port
    raise OSError(errno.EADDRINUSE, "no free port in a run of ports")
