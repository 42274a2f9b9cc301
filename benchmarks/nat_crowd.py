"""A hundred thousand mappings at once through one NAT: made, held, and each leading to whose it is."""

import socket
import struct
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.contest import Missing
from benchmarks.ours import new_lab
from benchmarks.sandbox import settle

if TYPE_CHECKING:
    from wanlab import Lab, Topology

MAPPINGS = 100_000
HOSTS = 32
EXTERNAL_ADDRESSES = 4
FIRST_PORT = 20_000  # every host has the same ones, so that most mappings need another port outside
SERVER_PORT = 7000
ROUNDS = 3  # a datagram that was lost is sent again, as any program would
BURST = 128  # datagrams that surely fit into a socket's queue
PATIENCE_S = 0.5
CONNTRACK_MAX = Path("/proc/sys/net/netfilter/nf_conntrack_max")

Inside = tuple[int, int]
"""An endpoint inside: which host, and its port."""
Outside = tuple[str, int]
"""An external address of the NAT, and a port there."""

_IDENTITY = struct.Struct("!HH")
_UDP = struct.Struct("!HHHH")
_IP_HEADER_LENGTHS = 0x0F  # in the first byte, in words


@dataclass(frozen=True)
class Held:
    what: str
    wanted: int
    mapped: int
    """Inside endpoints whose datagrams have come out, each from an external endpoint that is nobody else's."""
    answered: int
    """Of these: how many the server's answer has come back to, once all stood."""
    called: int
    """Of these: how many a stranger's datagram to the external endpoint has come in to."""
    astray: int
    """Datagrams that came to an endpoint inside that they were not for."""
    made_s: float
    flows: int
    """What connection tracking held at the end."""
    most_flows: int
    """What it may hold: net.netfilter.nf_conntrack_max."""
    memory_kib: int
    """By how much the kernel's memory for objects grew until all mappings stood; rough on a machine with other work."""


def crowd() -> Iterator[Held]:
    """Raises Missing where the kernel would not hold so many flows."""
    most = int(CONNTRACK_MAX.read_text()) if CONNTRACK_MAX.exists() else 2 * MAPPINGS + 1
    if most <= 2 * MAPPINGS:  # one of the server's, one of the stranger's, for each mapping
        raise Missing(f"{CONNTRACK_MAX} is {most}: sysctl net.netfilter.nf_conntrack_max={4 * MAPPINGS}")
    settle()  # what was measured before is freed now, and would make the memory shrink meanwhile
    with new_lab(_topology()) as lab:
        yield _Meeting(lab).measured(most)


def _topology() -> "Topology":
    from wanlab import Topology
    from wanlab.topology.nat import NATS

    full = NATS["full"]
    assert full is not None
    topology = Topology("crowd")
    wan = topology.switch("wan", "172.16.0.0/24")
    topology.host("server", wan)
    topology.host("stranger", wan)
    router = topology.router("router", wan, nat=replace(full, name="crowd", addresses=EXTERNAL_ADDRESSES))
    for number in range(HOSTS):
        topology.host(f"h{number}", router)
    return topology


class _Meeting:
    """A server and a stranger outside, and the hosts inside, by their sockets."""

    def __init__(self, lab: "Lab") -> None:
        self.lab = lab
        self.server, self.stranger = lab.sockets(["server", "stranger"], socket.AF_INET, socket.SOCK_DGRAM)
        self.server.bind(("0.0.0.0", SERVER_PORT))
        # Raw ones: no process may have as many sockets as there are ports.
        hosts = [f"h{number}" for number in range(HOSTS)]
        self.hosts = lab.sockets(hosts, socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_UDP)
        self.addresses = [str(lab[name].address) for name in hosts]
        for each in (self.server, *self.hosts):
            each.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
            each.setblocking(False)
        self.astray = 0

    def measured(self, most_flows: int) -> Held:
        per_host = MAPPINGS // HOSTS
        wanted = [(host, FIRST_PORT + place) for place in range(per_host) for host in range(HOSTS)]
        before_kib = _kernel_objects_kib()
        start = time.monotonic()
        mapped = self._mapped(wanted)
        made_s = time.monotonic() - start
        grown_kib = _kernel_objects_kib() - before_kib
        if len(set(mapped.values())) != len(mapped):
            raise RuntimeError("two endpoints inside have one external endpoint")
        answered = self._reached(self.server, mapped)
        called = self._reached(self.stranger, mapped)
        return Held(
            f"{HOSTS} hosts behind 'full' with {EXTERNAL_ADDRESSES} addresses",
            len(wanted),
            len(mapped),
            len(answered),
            len(called),
            self.astray,
            made_s,
            self._flows(),
            most_flows,
            grown_kib,
        )

    def _mapped(self, wanted: Sequence[Inside]) -> dict[Inside, Outside]:
        to = str(self.lab["server"].address)
        found: dict[Inside, Outside] = {}
        for _ in range(ROUNDS):
            missing = [inside for inside in wanted if inside not in found]
            for first in range(0, len(missing), BURST):
                burst = missing[first : first + BURST]
                for host, port in burst:
                    identity = _IDENTITY.pack(host, port)
                    datagram = _datagram(port, identity, self.addresses[host], to)
                    self.hosts[host].sendto(datagram, (to, 0))
                stop = time.monotonic() + PATIENCE_S
                while not all(inside in found for inside in burst) and time.monotonic() < stop:
                    found.update(self._heard())
        return found

    def _heard(self) -> Iterator[tuple[Inside, Outside]]:
        for payload, source in _waiting(self.server):
            host, port = _IDENTITY.unpack(payload)
            yield (host, port), source

    def _reached(self, sender: socket.socket, mapped: Mapping[Inside, Outside]) -> set[Inside]:
        """Which endpoints inside get what *sender* sends to their external ones."""
        found: set[Inside] = set()
        for _ in range(ROUNDS):
            missing = [inside for inside in mapped if inside not in found]
            for first in range(0, len(missing), BURST):
                burst = missing[first : first + BURST]
                for inside in burst:
                    sender.sendto(_IDENTITY.pack(*inside), mapped[inside])
                stop = time.monotonic() + PATIENCE_S
                while not all(inside in found for inside in burst) and time.monotonic() < stop:
                    found.update(self._arrived())
        return found

    def _arrived(self) -> Iterator[Inside]:
        for host, sock in enumerate(self.hosts):
            for packet, _ in _waiting(sock):
                udp = packet[4 * (packet[0] & _IP_HEADER_LENGTHS) :]
                _, port, _, _ = _UDP.unpack_from(udp)
                meant = _IDENTITY.unpack_from(udp, _UDP.size)
                if meant == (host, port):
                    yield host, port
                else:
                    self.astray += 1

    def _flows(self) -> int:
        count = self.lab["router"].run(
            ["cat", "/proc/sys/net/netfilter/nf_conntrack_count"], capture_output=True, text=True, check=True
        )
        return int(count.stdout)


def _datagram(port: int, payload: bytes, source: str, to: str) -> bytes:
    """A UDP datagram to the server, its checksum included."""
    length = _UDP.size + len(payload)
    pseudo = socket.inet_aton(source) + socket.inet_aton(to) + struct.pack("!HH", socket.IPPROTO_UDP, length)
    summed = pseudo + _UDP.pack(port, SERVER_PORT, length, 0) + payload
    total = sum(struct.unpack(f"!{len(summed) // 2}H", summed)) % 0xFFFF
    return _UDP.pack(port, SERVER_PORT, length, 0xFFFF - total) + payload


def _waiting(sock: socket.socket) -> Iterator[tuple[bytes, Outside]]:
    while True:
        try:
            yield sock.recvfrom(2048)
        except BlockingIOError:
            return


def _kernel_objects_kib() -> int:
    for line in Path("/proc/meminfo").read_text().splitlines():
        name, amount, *_ = line.split()
        if name == "SUnreclaim:":
            return int(amount)
    raise Missing("/proc/meminfo does not tell the kernel's memory (SUnreclaim)")
