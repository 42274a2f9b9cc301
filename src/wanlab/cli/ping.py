"""`wanlab ping`: ICMP echo between nodes, from a raw socket in the first: no `ping` needs to be installed."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Annotated, Any

import typer

from wanlab.cli import complete
from wanlab.cli.options import Json, UpLab

if TYPE_CHECKING:
    from wanlab.topology.network import IPAddress, Network

_PAYLOAD = 56  # bytes, as ping sends them
_PATIENCE = 4.0  # seconds; the kernel needs 3 to find that a neighbour does not exist
_LEAST_PATIENCE = 1.0
_NONCE = 8  # bytes of it, by which we know our own echoes


def ping(
    node: Annotated[str, typer.Argument(metavar="FROM", help="The node that asks.", autocompletion=complete.nodes)],
    to: Annotated[str, typer.Argument(metavar="TO", help="A node, or an address.", autocompletion=complete.nodes)],
    *,
    count: Annotated[
        int, typer.Option("-c", "--count", min=0, help="How many to send; 0: until Ctrl-C.", metavar="COUNT")
    ] = 4,
    interval: Annotated[
        float, typer.Option("-i", "--interval", min=0.0, help="Seconds between two.", metavar="SECONDS")
    ] = 0.2,
    patience: Annotated[
        float | None,
        typer.Option(
            "-W",
            "--timeout",
            min=0.0,
            metavar="SECONDS",
            help="How long to wait for the last answers; left out: by what the others took.",
            show_default=False,
        ),
    ] = None,
    lab: UpLab = None,
    json: Json = False,
) -> int:
    """Ping from one node to another.

    Exits with 1 where no answer comes.
    """
    import socket

    from wanlab.cli.target import attach
    from wanlab.cli.text import print_json

    up = attach(lab)
    sender = up[node]
    target = _Target(up.network, to)
    family, protocol = (
        (socket.AF_INET, socket.IPPROTO_ICMP)
        if target.address.version == 4
        else (socket.AF_INET6, socket.IPPROTO_ICMPV6)
    )
    with sender.socket(family, socket.SOCK_RAW, protocol) as opened:
        pinger = _Pinger(opened, target, quiet=json)
        if not json:
            print(f"PING {target.text} from {sender.name}: {_PAYLOAD} data bytes", flush=True)
        with contextlib.suppress(KeyboardInterrupt):  # as with any ping, the sum of it follows
            pinger.run(count, interval, patience)
    if json:
        print_json({"from": sender.name, "to": to, "address": str(target.address), **pinger.summary()})
    else:
        print("\n".join(pinger.summary_lines()))
    return 0 if pinger.round_trips_ms else 1


class _Target:
    """What to ping, and what to call the nodes that answer."""

    def __init__(self, network: Network, text: str) -> None:
        from ipaddress import ip_address

        from wanlab.errors import UsageError

        self._names = {a.ip: node.name for node in network for i in node.interfaces for a in i.addresses}
        self.address: IPAddress
        try:
            self.address = ip_address(text)
        except ValueError:
            try:
                self.address = network[text].address
            except LookupError as error:
                if not isinstance(error, KeyError):  # a switch
                    raise UsageError(str(error), hint="name a host, a router or an address") from None
                raise
        self.text = self.called(self.address)

    def called(self, address: IPAddress) -> str:
        name = self._names.get(address)
        return f"{name} ({address})" if name else str(address)


class _Pinger:
    """Sends, listens, counts and (unless *quiet*) prints."""

    def __init__(self, opened: Any, target: _Target, *, quiet: bool) -> None:
        import os
        import socket

        self._socket = opened
        self._target = target
        self._version = target.address.version
        self._quiet = quiet
        self._identifier = int.from_bytes(os.urandom(2))
        self._payload = os.urandom(_NONCE) + bytes(range(_PAYLOAD - _NONCE))
        self._sent: dict[int, float] = {}
        """When which sequence number left."""
        self._open: set[int] = set()
        """The sequence numbers that may still be answered."""
        self.transmitted = 0
        self.round_trips_ms: list[float] = []
        self.log: list[dict[str, Any]] = []
        """Every answer and every problem, as what JSON can hold."""
        self._began = self._ended = 0.0
        if self._version == 6:
            opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVHOPLIMIT, 1)

    def run(self, count: int, interval: float, patience: float | None) -> None:
        """Send *count* requests (0: until interrupted), and wait for their answers."""
        import time

        self._began = self._ended = time.perf_counter()
        number = 0
        while count == 0 or number < count:
            number += 1
            self._send(number)
            self._listen(self._began + number * interval if number != count else time.perf_counter(), stop_early=False)
        self._listen(time.perf_counter() + (self._patience() if patience is None else patience), stop_early=True)

    def _patience(self) -> float:
        if not self.round_trips_ms:
            return _PATIENCE
        return max(_LEAST_PATIENCE, 2 * max(self.round_trips_ms) / 1000)

    def _send(self, number: int) -> None:
        import time

        from wanlab.measure.icmp import Echo, build_request

        sequence = number & 0xFFFF
        request = build_request(self._version, Echo(self._identifier, sequence, self._payload))
        self.transmitted += 1
        self._sent[sequence] = self._ended = time.perf_counter()
        try:
            self._socket.sendto(request, (str(self._target.address), 0))
        except OSError as error:
            self._note(sequence, f"icmp_seq={sequence} {error.strerror}", {"error": error.strerror})
        else:
            self._open.add(sequence)

    def _listen(self, until: float, *, stop_early: bool) -> None:
        import select
        import time

        while self._open or not stop_early:
            left = until - time.perf_counter()
            readable, _, _ = select.select([self._socket], [], [], max(0.0, left))
            if not readable:
                return
            try:
                packet, ancillary, _, sender = self._socket.recvmsg(65536, 256)
            except OSError:
                continue  # an error that the kernel has queued; it comes as a packet as well
            self._hear(packet, ancillary, sender[0], time.perf_counter())

    def _hear(self, packet: bytes, ancillary: list[tuple[int, int, bytes]], sender: str, now: float) -> None:
        from ipaddress import ip_address

        from wanlab.measure.icmp import Problem, Reply, parse

        hops = int.from_bytes(ancillary[0][2][:4], "little") if ancillary else None
        message = parse(self._version, packet, hops)
        source = ip_address(sender.partition("%")[0])
        who = self._target.called(source)
        match message:
            case Reply(echo, ttl, size) if echo.identifier == self._identifier and echo.payload == self._payload:
                if echo.sequence in self._open:
                    self._open.discard(echo.sequence)
                    self._ended = now
                    took = (now - self._sent[echo.sequence]) * 1000
                    self.round_trips_ms.append(took)
                    self._note(
                        echo.sequence,
                        f"{size} bytes from {who}: icmp_seq={echo.sequence} ttl={ttl} time={took:.3f} ms",
                        {"from": str(source), "ttl": ttl, "rtt_ms": round(took, 3)},
                    )
            case Problem(identifier, sequence, destination) if (
                identifier == self._identifier and destination == self._target.address
            ):
                self._open.discard(sequence)
                self._ended = now
                self._note(
                    sequence,
                    f"From {who}: icmp_seq={sequence} {message.words}",
                    {"from": str(source), "error": message.words, "type": message.type, "code": message.code},
                )

    def _note(self, sequence: int, line: str, entry: dict[str, Any]) -> None:
        self.log.append({"sequence": sequence, **entry})
        if not self._quiet:
            print(line, flush=True)

    def summary(self) -> dict[str, Any]:
        """The numbers, as what JSON can hold."""
        trips = self.round_trips_ms
        spread = (
            {"min": min(trips), "avg": sum(trips) / len(trips), "max": max(trips)}
            if trips
            else {"min": None, "avg": None, "max": None}
        )
        return {
            "transmitted": self.transmitted,
            "received": len(trips),
            "rtt_ms": {key: value if value is None else round(value, 3) for key, value in spread.items()},
            "answers": self.log,
        }

    def summary_lines(self) -> list[str]:
        """The numbers, as ping prints them."""
        trips = self.round_trips_ms
        lost = 100 * (self.transmitted - len(trips)) / max(1, self.transmitted)
        took = (self._ended - self._began) * 1000
        lines = [
            "",
            f"--- {self._target.text} ping statistics ---",
            f"{self.transmitted} transmitted, {len(trips)} received, {lost:.0f}% loss, {took:.0f} ms",
        ]
        if trips:
            average = sum(trips) / len(trips)
            deviation = (sum((trip - average) ** 2 for trip in trips) / len(trips)) ** 0.5
            numbers = "/".join(f"{number:.3f}" for number in (min(trips), average, max(trips), deviation))
            lines.append(f"round trip min/avg/max/mdev = {numbers} ms")
        return lines
