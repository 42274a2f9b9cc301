"""The process that carries impaired packets where the kernel has no netem: it reads what interfaces send, and sends it.

One for each lab. It is told what to do by the holder, by messages of JSON with descriptors beside them: for each
interface a tap, into which the kernel turns what the interface sends, and a packet socket, by which it gets out.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import heapq
import json
import os
import select
import signal
import socket
import struct
import time
from collections.abc import Callable
from typing import Any, NoReturn

from wanlab.kernel.channel import Channel
from wanlab.kernel.syscalls import set_process_name
from wanlab.topology.impairment import Impairment

_SLICE = 100_000  # nanoseconds: the shortest that the kernel takes
_BATCH = 64  # packets that are read from one tap before others have their turn
_HEADERS = 18  # bytes: Ethernet, and a VLAN's tag

_Message = dict[str, Any]

_libc = ctypes.CDLL(None, use_errno=True)
_TFD_NONBLOCK, _TFD_CLOEXEC, _TFD_TIMER_ABSTIME = 0o4000, 0o2000000, 1


def _be_prompt() -> None:
    """Ask to be let run at once when packets are due, for short times, rather than seldom and for long.

    Since Linux 6.12 (sched_setattr(2), `sched_runtime` of SCHED_OTHER) anybody may; elsewhere it is not to be had.
    """
    number = {"x86_64": 314, "aarch64": 274}.get(os.uname().machine)
    if number is not None:
        # struct sched_attr: size, policy, flags, nice, priority, runtime, deadline, period.
        attributes = struct.pack("=IIQiIQQQ", 48, 0, 0, os.nice(0), 0, _SLICE, 0, 0)
        _libc.syscall(number, 0, attributes, 0)


class _Alarm:
    """A timer of nanoseconds that epoll knows; Python's own has it since 3.13."""

    def __init__(self) -> None:
        self.fd = _libc.timerfd_create(time.CLOCK_MONOTONIC, _TFD_NONBLOCK | _TFD_CLOEXEC)
        if self.fd < 0:
            raise OSError(ctypes.get_errno(), "timerfd_create")
        self._spec = (ctypes.c_long * 4)()
        self._due = 0

    def set(self, due: int) -> None:
        """Go off at that time of the monotonic clock."""
        if due != self._due:
            self._due = due
            self._spec[2], self._spec[3] = divmod(max(due, 1), 1_000_000_000)
            _libc.timerfd_settime(self.fd, _TFD_TIMER_ABSTIME, self._spec, None)

    def hush(self) -> None:
        """It went off and has been heard."""
        self._due = 0
        with contextlib.suppress(BlockingIOError):  # set anew meanwhile
            os.read(self.fd, 8)


class _Port:
    """An interface whose packets go through here."""

    def __init__(self, tap: int, out: socket.socket, channel: Channel, largest: int) -> None:
        self.tap = tap
        self.out = out
        self.channel = channel
        self.largest = largest
        self.gone = False


class _Wire:
    def __init__(self, orders: socket.socket) -> None:
        self._orders = orders
        self._ports: dict[tuple[str, str], _Port] = {}
        self._by_tap: dict[int, _Port] = {}
        self._held: list[tuple[int, int, _Port, bytes]] = []
        """A heap of what is on its way, by when it leaves; what was sent first is first where that is equal."""
        self._number = 0
        self._alarm = _Alarm()
        self._poll = select.epoll()
        self._poll.register(orders, select.EPOLLIN)
        self._poll.register(self._alarm.fd, select.EPOLLIN)

    def run(self) -> NoReturn:
        orders = self._orders.fileno()
        while True:
            for ready, _ in self._poll.poll():
                port = self._by_tap.get(ready)
                if port is not None:
                    self._read(port)
                elif ready == self._alarm.fd:
                    self._alarm.hush()
                elif ready == orders:
                    self._obey()
                self._send()
            if self._held:
                self._alarm.set(self._held[0][0])

    def _read(self, port: _Port) -> None:
        tap, largest, arrive, held = port.tap, port.largest, port.channel.arrive, self._held
        read, now, push = os.read, time.monotonic_ns, heapq.heappush
        try:
            for _ in range(_BATCH):
                frame = read(tap, largest)
                for due, leaving in arrive(now(), frame):
                    self._number += 1
                    push(held, (due, self._number, port, leaving))
        except OSError:
            pass  # nothing more to read; or the interface's namespace is going away, and its tap with it

    def _send(self) -> None:
        held, pop, now = self._held, heapq.heappop, time.monotonic_ns()
        while held and held[0][0] <= now:
            _, _, port, frame = pop(held)
            port.channel.held -= 1
            if port.gone:
                continue
            try:
                port.out.send(frame)
            except OSError:
                port.channel.tally.refused += 1

    # -- orders --------------------------------------------------------------------------------------------------

    def _obey(self) -> None:
        data, descriptors, _, _ = socket.recv_fds(self._orders, 1 << 16, 2)
        if not data:
            os._exit(0)
        message = json.loads(data)
        match message["order"]:
            case "set":
                answer = self._set(message, descriptors)
            case "clear":
                answer = self._clear(message)
            case _:
                answer = {
                    "tallies": [
                        [*place, {**port.channel.tally.to_json(), "held": port.channel.held}]
                        for place, port in self._ports.items()
                    ]
                }
        self._orders.send(json.dumps(answer).encode())

    def _set(self, message: _Message, descriptors: list[int]) -> _Message:
        row = [tuple(value) if isinstance(value, list) else value for value in message["impairment"]]
        impairment = Impairment.from_row(tuple(row))
        place = (message["node"], message["interface"])
        port = self._ports.get(place)
        if port is not None:
            port.channel.impair(impairment, message["limit"])
            return {}
        tap, out = descriptors
        channel = Channel(impairment, message["limit"])
        port = _Port(tap, socket.socket(fileno=out), channel, message["mtu"] + _HEADERS)
        self._ports[place] = self._by_tap[tap] = port
        self._poll.register(tap, select.EPOLLIN)
        return {}

    def _clear(self, message: _Message) -> _Message:
        port = self._ports.pop((message["node"], message["interface"]), None)
        if port is not None:
            self._poll.unregister(port.tap)
            del self._by_tap[port.tap]
            os.close(port.tap)
            port.out.close()
            port.gone = True
        return {}


def run(orders: socket.socket, leave: Callable[[], None]) -> NoReturn:
    """Be the wire of a lab until the holder's end of *orders* closes, which it does with the lab.

    *leave* leaves the network namespace of whichever node the holder was in.
    """
    try:
        leave()
        set_process_name("wanlab-wire")
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        kept = orders.fileno()
        os.closerange(3, kept)
        os.closerange(kept + 1, os.sysconf("SC_OPEN_MAX"))
        _be_prompt()
        gc.freeze()
        gc.disable()  # nothing here makes cycles, and a collection would be a delay that nobody asked for
        _Wire(orders).run()
    finally:
        os._exit(1)
