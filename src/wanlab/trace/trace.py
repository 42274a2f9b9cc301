"""`Trace`: follows the packets of a lab that is up from end to end, and tells what became of each as a `Story`.

Packets are seen at every link end by rings, as a capture sees them; what the rules decide is told by the kernel's own
trace of nftables, which a table in each host and router asks for as long as the trace lasts. `tracer.py` makes
stories of both.
"""

from __future__ import annotations

import socket
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from wanlab.capture.bpf import accepts, attach, compile_filter
from wanlab.capture.ends import lab_filter
from wanlab.capture.recorder import Recorded, Recorder
from wanlab.kernel import nftrace
from wanlab.kernel.messages import NETFILTER
from wanlab.topology.network import Kind, Network
from wanlab.trace.drops import DropWatch
from wanlab.trace.events import SNAP_BYTES, Sighting
from wanlab.trace.nat_memory import NatMemory
from wanlab.trace.rule_book import RuleBook
from wanlab.trace.tracer import Tracer

if TYPE_CHECKING:
    from wanlab.runtime.lab import Lab
    from wanlab.trace.story import Story

_LEAST_PATIENCE_S = 0.3
_LOOK_S = 0.05  # how often verdicts are read where no packet is seen
_AT_A_TIME = 2000  # packets that are thought about before it is read again what has come


class Trace:
    """Traces from now on, until `close`; as a context manager until the end of the `with`::

        with Lab("two-lans") as lab, lab.trace(filter="icmp") as trace:
            lab["alice"].run(["ping", "-c1", "coordinator"])
        for story in trace.stories:
            print(story)

    *senders*: only packets that these nodes have sent. *filter*: only such packets, as they were sent, in tcpdump's
    words. Raises NoSuchNode, UsageError, LabEnded, KernelError, MachineError where the kernel is too old.
    """

    def __init__(self, lab: Lab, *, senders: Sequence[str] = (), filter: str = "") -> None:
        network = lab.network
        program = compile_filter(lab_filter(network, filter))
        chosen = frozenset(network[sender].name for sender in senders)
        self.stories: list[Story] = []
        """After the `with`: all of them."""
        self.lost_verdicts = 0
        """How many messages of the kernel about rules were lost: known when it is closed."""
        self._closed = False
        self._rules = RuleBook(lab)
        memory = NatMemory()

        def wanted(sender: str, frame: bytes) -> bool:
            return (not chosen or sender in chosen) and accepts(program, frame)

        drops = DropWatch(lab.counters)
        self._tracer = Tracer(network, memory, self._rules.text, _patience_s(network), wanted, drops.since)
        self._sockets: list[tuple[str, socket.socket, nftrace.Reader]] = []
        self._tables: list[socket.socket] = []
        self._said: deque[tuple[str, nftrace.Reader, bytes, int]] = deque()
        """What the kernel has said of rules, as it came."""
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()
        self.recorder = Recorder(
            lab, filter="arp or ip or ip6", snap_bytes=SNAP_BYTES, pupils=[memory], also=self._take_verdicts
        )
        try:
            self._begin(lab, [node.name for node in network.of(Kind.HOST, Kind.ROUTER)])
        except BaseException:
            self.close()
            raise

    def _begin(self, lab: Lab, nodes: Sequence[str]) -> None:
        self._rules.read(node.name for node in lab.network.of(Kind.ROUTER) if node.firewall or node.nat is not None)
        opened = lab.sockets([*nodes, *nodes], socket.AF_NETLINK, socket.SOCK_RAW, NETFILTER)
        listening, self._tables = opened[: len(nodes)], opened[len(nodes) :]
        for one in listening:
            attach(one, nftrace.USEFUL)
            nftrace.listen(one)
        self._sockets = [(node, one, nftrace.Reader()) for node, one in zip(nodes, listening, strict=True)]
        for node, one in zip(nodes, self._tables, strict=True):
            nftrace.begin(one, node, leaving=lab.network[node].kind is Kind.HOST)

    def __enter__(self) -> Trace:
        self._thread = threading.Thread(target=self._read_on, daemon=True, name="wanlab traces")
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        with suppress(OSError):
            self.stories += self.finish()
        self.close()

    def _read_on(self) -> None:
        while not self._stop.is_set() and not self.lab_ended:
            self.stories += self.read()

    @property
    def lab_ended(self) -> bool:
        """Whether the lab has gone meanwhile."""
        return self.recorder.lab_ended

    @property
    def lost_packets(self) -> int:
        """How many sightings of packets the kernel had no room for: known when it is closed."""
        return self._lost_packets

    _lost_packets = 0

    def read(self, timeout_s: float = _LOOK_S, wake: int | None = None) -> list[Story]:
        """The stories that are over by now; waits for news no longer than *timeout_s*."""
        packets = self.recorder.read(min(timeout_s, _LOOK_S), wake)
        return list(self._think(packets))

    def finish(self) -> list[Story]:
        """Hear nothing more, and tell the rest."""
        patience = time.monotonic() + self._tracer.patience_s
        found = []
        while time.monotonic() < patience and not self.lab_ended:  # what is under way may arrive
            found += self.read()
        self._let_rules_be()
        found += self._think(self.recorder.finish())
        found += self._tracer.rest()
        return found

    def _think(self, packets: Sequence[Recorded]) -> Iterator[Story]:
        places = [tuple(end.split(":", 1)) for end in self.recorder.ends]
        for start in range(0, len(packets), _AT_A_TIME):
            self._hear()
            for time_ns, end, data, _, outbound, _ in packets[start : start + _AT_A_TIME]:
                node, interface = places[end]
                self._tracer.see(Sighting(time_ns, node, interface, outbound, data))
        self._hear()
        # Packets are passed on late, in order of time: until then nothing can be said to be missing.
        yield from self._tracer.finished(min(time.time_ns(), self.recorder.complete_ns))

    def _take_verdicts(self) -> None:
        """In the recorder's thread: take over what the kernel has said, before it has no room for more."""
        now = time.time_ns()
        for node, one, reader in self._sockets:
            with suppress(OSError):  # EAGAIN; ENOBUFS, which is counted at the end
                while True:
                    self._said.append((node, reader, one.recv(1 << 14), now))

    def _hear(self) -> None:
        while self._said:
            node, reader, data, now = self._said.popleft()
            traced = reader.read(data)
            if traced is None:
                continue
            if traced.verdict != nftrace.LEAVES:
                self._tracer.decide(node, traced, now)
            elif traced.goes_out is not None:
                self._tracer.leaves(node, self.recorder.interface(node, traced.goes_out), traced, now)

    def _let_rules_be(self) -> None:
        """Nothing of ours stays in a ruleset: the tables go with their sockets."""
        for one in self._tables:
            one.close()
        self._tables.clear()

    def close(self) -> None:
        """Trace no more; what has not been told is not."""
        if self._closed:
            return
        self._closed = True
        self._let_rules_be()
        self._lost_packets = self.recorder.lost
        self.recorder.close()  # and with it the thread that reads our sockets
        for _, one, _ in self._sockets:
            self.lost_verdicts += nftrace.lost(one)
            one.close()


def _patience_s(network: Network) -> float:
    """How long nothing may be seen of a packet that is under way: longer than any link delays it."""
    delays = [i.egress.longest_ms for node in network for i in node.interfaces if i.egress is not None]
    return _LEAST_PATIENCE_S + max(delays, default=0.0) / 1000
