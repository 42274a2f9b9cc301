"""Packets on their way while a lab changes: what arrives, and what does not."""

from __future__ import annotations

import contextlib
import socket
import threading
import time

from tests.support.labs import eventually
from wanlab import Lab

PORT = 7000


class Traffic:
    """A host that sends a number every few milliseconds to another, which notes what arrives and from where."""

    def __init__(self, lab: Lab, sender: str, receiver: str, port: int = PORT) -> None:
        self.arrived: list[tuple[int, str]] = []
        self._sender = lab[sender].socket(type=socket.SOCK_DGRAM)
        self._receiver = lab[receiver].socket(type=socket.SOCK_DGRAM)
        self._receiver.bind(("", port))
        self._receiver.settimeout(0.05)
        self._to = (str(lab[receiver].address), port)
        self._ended = threading.Event()
        self.number = 0
        self._threads = [threading.Thread(target=work) for work in (self._send, self._receive)]

    def _send(self) -> None:
        while not self._ended.is_set():
            self.number += 1
            with contextlib.suppress(OSError):  # no route: the interface is down
                self._sender.sendto(str(self.number).encode(), self._to)
            time.sleep(0.005)

    def _receive(self) -> None:
        while not self._ended.is_set():
            try:
                data, source = self._receiver.recvfrom(64)
            except TimeoutError:
                continue
            self.arrived.append((int(data), source[0]))

    def passes(self) -> bool:
        """Whether something that is sent from now on arrives."""
        now = self.number
        return bool(eventually(lambda: any(number > now for number, _ in list(self.arrived))))

    def stands_still(self, seconds: float = 0.5) -> bool:
        """Whether nothing arrives that is sent from a moment from now on."""
        time.sleep(0.1)  # what is under way
        now = self.number
        time.sleep(seconds)
        return self.number > now and not any(number > now for number, _ in list(self.arrived))

    def __enter__(self) -> Traffic:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()
        self._sender.close()
        self._receiver.close()
