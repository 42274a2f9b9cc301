"""`verify`: proof, by packets, that a lab is what its topology says.

Seven kinds of proof, each a group of checks:

- *reach*: every host and router sends to every address of the others; what arrives, from which source address, after
  how many forwards, and what does not, must be as the topology says.
- *nat*: which address and port a server sees, over UDP and TCP, from behind each NAT.
- *behaviour*: what each NAT does, axis by axis, measured as RFC 5780 says, beside what it was declared as.
- *links*: what is to impair what an interface sends is in place.
- *unsolicited*: packets for a LAN that are put right onto the WAN's cable for the router, as if the WAN had a route to
  it.
- *mtu*: a packet of exactly the path's size passes unfragmented, one byte more does not leave.
- *names*: every node resolves every node's name, by the resolver that programs use.
"""

from __future__ import annotations

import errno
import itertools
import math
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

from wanlab.errors import WanlabError
from wanlab.measure.exchange import Flow, Injection, exchange
from wanlab.measure.nat import measurable, measure_nats
from wanlab.runtime.faults import CURE
from wanlab.topology.impairment_text import impairment_words
from wanlab.topology.journey import INITIAL_TTL, Atlas, End, Journey, Translation
from wanlab.topology.nat import Ports
from wanlab.topology.network import Interface, IPAddress, Kind, Network, Node

if TYPE_CHECKING:
    from wanlab.runtime.lab import Lab

# The kernel keeps at most 1,024 neighbours for all namespaces together (gc_thresh3), and forgets none that is younger
# than 5 s: 16 nodes that all send to each other and 120 more pairs take half of that, whatever the lab looks like.
_CORE = 16
"""Up to so many nodes each is held against each."""
_OTHERS = 120
"""Of the rest so many, spread evenly, are held against one of those."""
_SERVER_PATIENCE = 2.0  # seconds for a TCP connection


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the report."""

    group: str
    subject: str
    expected: str
    seen: str
    ok: bool


@dataclass(frozen=True, slots=True)
class Report:
    """What was checked, and what was seen."""

    lab: str
    checks: tuple[Check, ...]
    seconds: float
    """How long it took."""
    notes: tuple[str, ...] = ()
    """What was left out, and why."""

    @property
    def ok(self) -> bool:
        """Whether everything is as it should be."""
        return all(check.ok for check in self.checks)

    @property
    def failed(self) -> tuple[Check, ...]:
        """The checks that found something else."""
        return tuple(check for check in self.checks if not check.ok)

    def to_json(self) -> dict[str, Any]:
        """The report as what JSON can hold."""
        return {
            "lab": self.lab,
            "ok": self.ok,
            "seconds": round(self.seconds, 3),
            "checks": [asdict(check) for check in self.checks],
            "notes": list(self.notes),
        }


def verify(lab: Lab) -> Report:
    """Prove that *lab* is what its topology says. Sends packets inside the lab only.

    It leaves the lab as it was; while it lasts, a server and some hosts more are in it (:mod:`wanlab.measure.nat`).

    Raises LabEnded where the lab goes away meanwhile; what differs is in the report, not an exception.
    """
    started = time.monotonic()
    verification = _Verification(lab)
    checks = tuple(verification.checks())
    return Report(lab.name, checks, time.monotonic() - started, tuple(verification.notes))


@dataclass(slots=True)
class _Trial:
    """A flow, and the journey that it should make."""

    flow: Flow
    journey: Journey


class _Verification:
    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.network: Network = lab.network
        self.atlas = Atlas(lab.network)
        self.notes: list[str] = []
        everyone = [node for node in self.network.of(Kind.ROUTER, Kind.HOST) if _addresses(node)]
        rest = everyone[_CORE:]
        self.core = everyone[:_CORE]
        self.others = rest[:: math.ceil(len(rest) / _OTHERS)] if rest else []
        self.nodes = [*self.core, *self.others]
        if self.others:
            self.notes.append(
                f"{len(self.nodes)} of {len(everyone)} nodes: {_CORE} each with each, the others with one of those;"
                f" names in {_CORE}"
            )

    def checks(self) -> Iterator[Check]:
        """All checks. The packets of one group go out together."""
        reach = self._reach_trials()
        sizes = self._size_trials()
        injected = list(self._injections())
        exchange(self.lab, [*(trial.flow for trial in (*reach, *sizes)), *(flow for _, flow in injected)])
        yield from (self._judge_reach(trial) for trial in reach)
        yield from self._judge_nat(reach)
        yield from self._behaviour()
        yield from self._links()
        yield from (self._judge_injection(name, flow) for name, flow in injected)
        yield from self._judge_sizes(sizes)
        yield from self._names()

    @cached_property
    def _names_of_nodes(self) -> frozenset[str]:
        return frozenset(node.name for node in self.nodes)

    # -- reach ---------------------------------------------------------------------------------------------------

    def _reach_trials(self) -> list[_Trial]:
        return [self._trial(a, b, address) for a, b in self._pairs() for address in self._addresses_for(a, b)]

    def _addresses_for(self, sender: Node, receiver: Node) -> Iterator[IPAddress]:
        """Where the receiver may be sent to: its own addresses, and those that stand for them elsewhere."""
        yield from _addresses(receiver)
        for address, own, router in self.atlas.outside(receiver.name):
            # By the same router to both from one socket would be the same flow twice once it is translated, and
            # connection tracking gives the second another port.
            if router.name not in self.atlas.journey(sender.name, own).path:
                yield address

    def _pairs(self) -> Iterator[tuple[Node, Node]]:
        yield from itertools.permutations(self.core, 2)
        for number, node in enumerate(self.others):
            other = self.core[number % len(self.core)]
            yield node, other
            yield other, node

    def _trial(self, sender: Node, receiver: Node, address: IPAddress) -> _Trial:
        journey = self.atlas.journey(sender.name, address)
        # With LANs that overlap, an address leads to whoever has it near the sender.
        expected = journey.delivered and journey.last == receiver.name
        return _Trial(Flow(sender.name, receiver.name, address, expected), journey)

    def _judge_reach(self, trial: _Trial) -> Check:
        flow, journey = trial.flow, trial.journey
        subject = f"{flow.sender} -> {self._called(flow)}"
        if not flow.expected:
            expected = f"nothing arrives ({_reason(journey)})"
            return Check("reach", subject, expected, _describe(flow), flow.arrived is None)
        hops = INITIAL_TTL - journey.ttl
        expected = f"arrives from {_any(journey)}" + (f" after {_count(hops, 'forward')}" if hops else "")
        answers = self.atlas.answered(journey)
        ok = (
            flow.arrived is not None
            and flow.arrived[0] in journey.sources
            and flow.ttl == journey.ttl
            and flow.answered == answers
        )
        return Check("reach", subject, expected, _describe(flow), ok)

    def _called(self, flow: Flow) -> str:
        node = self.network[flow.receiver]
        if flow.destination == node.address:
            return f"{node.name} {flow.destination}"
        holder = _holder(node, flow.destination)
        return f"{holder.name}.{node.name} {flow.destination}" if holder else f"{node.name} by {flow.destination}"

    # -- NAT -----------------------------------------------------------------------------------------------------

    def _judge_nat(self, trials: Sequence[_Trial]) -> Iterator[Check]:
        """For each host behind a NAT: what the servers outside see, by UDP (known already) and by TCP."""
        outside: dict[tuple[str, int], list[_Trial]] = {}
        for trial in trials:
            if trial.flow.expected and trial.journey.translations:
                outside.setdefault((trial.flow.sender, trial.flow.destination.version), []).append(trial)
        for (sender, _), seen in outside.items():
            server = next((t for t in seen if self.network[t.flow.receiver].kind is Kind.HOST), seen[0])
            yield self._judge_udp_source(sender, server, seen)
            choosy = self._choosy_of_tcp(server.journey)
            if choosy is None:
                yield self._judge_tcp_source(sender, server)
            else:
                self.notes.append(f"nat: {sender} over TCP: not tried: {choosy} lets it go to few ports only")

    def _choosy_of_tcp(self, journey: Journey) -> str | None:
        """The router on the way that lets TCP go to named ports only (a server there would have to be root)."""
        routers = [self.network[translation.router] for translation in journey.translations]
        return next((each.name for each in routers if each.nat is not None and each.nat.tcp_ports is not None), None)

    def _judge_udp_source(self, sender: str, server: _Trial, seen: Sequence[_Trial]) -> Check:
        ports = {trial.flow.arrived[1] for trial in seen if trial.flow.arrived}
        subject = f"{server.flow.receiver} sees {sender} over UDP as"
        if server.flow.arrived is None:
            return Check("nat", subject, _as_seen(server.journey, server.flow.port), "nothing", False)
        address, port = server.flow.arrived
        ok = address in server.journey.sources and _port_as_chosen(server.journey.translations, ports, server.flow.port)
        return Check("nat", subject, _as_seen(server.journey, server.flow.port), _endpoint(address, port), ok)

    def _judge_tcp_source(self, sender: str, server: _Trial) -> Check:
        subject = f"{server.flow.receiver} sees {sender} over TCP as"
        try:
            own, (address, port) = self._connect(sender, server.flow.receiver, server.flow.destination)
        except OSError as error:
            return Check("nat", subject, _as_seen(server.journey, None), error.strerror or str(error), False)
        ok = ip_address(address) in server.journey.sources and _port_as_chosen(server.journey.translations, {port}, own)
        return Check("nat", subject, _as_seen(server.journey, own), _endpoint(ip_address(address), port), ok)

    def _connect(self, sender: str, receiver: str, destination: IPAddress) -> tuple[int, tuple[str, int]]:
        """Connect by TCP: the client's own port, and the address and port that the server sees."""
        family = socket.AF_INET if destination.version == 4 else socket.AF_INET6
        with self.lab[receiver].socket(family) as server, self.lab[sender].socket(family) as client:
            # Not to the destination: where a prefix is translated, the receiver has another address than that.
            server.bind(("", 0))
            server.listen()
            server.settimeout(_SERVER_PATIENCE)
            client.settimeout(_SERVER_PATIENCE)
            client.connect((str(destination), server.getsockname()[1]))
            connection, peer = server.accept()
            connection.close()
            return client.getsockname()[1], peer[:2]

    # -- behaviour -----------------------------------------------------------------------------------------------

    def _behaviour(self) -> Iterator[Check]:
        several = [node for node in self.network.of(Kind.ROUTER) if measurable(node)]
        routers = [node.name for node in several if node.primary.carrier]
        self.notes += (
            f"behaviour: {node.name}: not measured: its uplink is {'not plugged in' if node.primary.up else 'down'}"
            for node in several
            if not node.primary.carrier
        )
        if len(routers) > _CORE:
            self.notes.append(f"behaviour: of the first {_CORE} of {len(routers)} routers that translate or filter")
        for measured in measure_nats(self.lab, routers[:_CORE]):
            self.notes += (f"behaviour: {measured.router}: {note}" for note in measured.notes)
            for found in measured.findings:
                subject = f"{measured.router}: {found.axis}"
                if found.ok is None:
                    self.notes.append(f"behaviour: {subject}: {found.measured}")
                else:
                    yield Check("behaviour", subject, found.declared, found.measured, found.ok)

    # -- links ---------------------------------------------------------------------------------------------------

    def _links(self) -> Iterator[Check]:
        impaired = [(i, i.egress) for node in self.network for i in node.interfaces if i.egress is not None]
        faults = self.lab.impairment_faults() if impaired else {}
        for interface, egress in impaired:
            fault = faults.get((interface.node, interface.name))
            if fault is not None:
                self.notes.append(f"links: {CURE.format(node=interface.node)}")
            subject, expected = f"{interface.node} {interface.name}", f"sends with {impairment_words(egress)}"
            yield Check("links", subject, expected, fault or "what does that is in place", fault is None)

    # -- unsolicited ---------------------------------------------------------------------------------------------

    def _injections(self) -> Iterator[tuple[str, Flow]]:
        """From a neighbour on each guarded router's uplink to everything on its inside segments."""
        for router in self.network.of(Kind.ROUTER):
            if not router.firewall or router.uplink is None:
                continue
            wan = router.interface(router.uplink)
            if not wan.carrier:
                continue
            peers = self.network.peers(wan.segment)
            outside = next(
                (i for i in peers if i.node != router.name and i.carrier and self.atlas.joined(i, wan)), None
            )
            if outside is None:
                self.notes.append(f"unsolicited: nobody is on the uplink of {router.name!r} to send from")
                continue
            inside = {i.segment for i in router.interfaces if i.addresses and i.name != router.uplink}
            for segment in sorted(inside):
                for target in self.network.peers(segment):
                    if target.node != router.name and target.node in self._names_of_nodes:
                        for address in target.addresses:
                            if any(a.version == address.version for a in outside.addresses):
                                injection = Injection(outside, wan)
                                yield (
                                    router.name,
                                    Flow(outside.node, target.node, address.ip, False, injection=injection),
                                )

    def _judge_injection(self, router: str, flow: Flow) -> Check:
        subject = f"{flow.sender} -> {flow.receiver} {flow.destination}, handed to {router}"
        seen = _describe(flow)
        return Check("unsolicited", subject, f"nothing arrives (dropped by {router})", seen, flow.arrived is None)

    # -- MTU -----------------------------------------------------------------------------------------------------

    def _size_trials(self) -> list[_Trial]:
        """For each node and family, two packets to the farthest that it reaches: the largest, and one byte too many."""
        trials = []
        for node in self.nodes:
            for version in {address.version for address in _addresses(node)}:
                # Of a large lab's nodes every one sends to the neighbour that it has met already.
                others = self.core if node in self.core else [self.core[self.others.index(node) % len(self.core)]]
                ways = [
                    self._trial(node, other, address)
                    for other in others
                    if other is not node
                    for address in _addresses(other)
                    if address.version == version
                ]
                reached = [way for way in ways if way.flow.expected]
                if reached:
                    farthest = max(reached, key=lambda way: len(way.journey.path))
                    trials += self._sized(farthest)
        return trials

    @staticmethod
    def _sized(way: _Trial) -> list[_Trial]:
        """Fits exactly; and one byte over."""
        trials = []
        for size, fits in ((way.journey.mtu, True), (way.journey.mtu + 1, False)):
            flow = Flow(way.flow.sender, way.flow.receiver, way.flow.destination, fits, size)
            trials.append(_Trial(flow, way.journey))
        return trials

    @staticmethod
    def _judge_sizes(trials: Sequence[_Trial]) -> Iterator[Check]:
        for fitting, excess in zip(trials[::2], trials[1::2], strict=True):
            size = fitting.journey.mtu
            subject = f"{fitting.flow.sender} -> {fitting.flow.receiver}"
            sent = excess.flow.error != errno.EMSGSIZE
            refused = size < fitting.journey.first_mtu or not sent
            seen = f"{size} {'arrive' if fitting.flow.arrived else 'do not arrive'}, {size + 1} "
            seen += "arrive" if excess.flow.arrived else "leave, and do not arrive" if not refused else "do not"
            ok = fitting.flow.arrived is not None and excess.flow.arrived is None and refused
            yield Check("mtu", subject, f"{size} bytes pass whole, {size + 1} do not", seen, ok)

    # -- names ---------------------------------------------------------------------------------------------------

    def _names(self) -> Iterator[Check]:
        names = _count(len(self.nodes), "name")
        for node in self.nodes if len(self.nodes) < 2 * _CORE else self.core:
            wrong, problem = self._resolve(node.name, {each.name: str(_address_for(node, each)) for each in self.nodes})
            seen = problem or (f"wrong: {', '.join(wrong)}" if wrong else names)
            yield Check("names", f"{node.name} resolves every node", names, seen, not wrong and not problem)

    def _resolve(self, node: str, wanted: dict[str, str]) -> tuple[list[str], str]:
        """Which names *node* resolves wrongly, and what kept it from trying."""
        try:
            # getent asks as programs do: by nsswitch.conf and /etc/hosts as the node sees them.
            done = self.lab[node].run(["getent", "ahosts", *wanted], capture_output=True, text=True, timeout=10)
        except (WanlabError, subprocess.TimeoutExpired) as error:
            return [], str(error)
        found: dict[str, set[str]] = {}
        name = ""
        for line in done.stdout.splitlines():
            fields = line.split()
            name = fields[2] if len(fields) > 2 else name
            found.setdefault(name, set()).add(fields[0])
        return [name for name, address in wanted.items() if address not in found.get(name, set())], ""


def _address_for(asking: Node, other: Node) -> IPAddress:
    """What another node's name means to this one: only an address of a family that it has itself (getaddrinfo(3))."""
    families = {address.version for address in _addresses(asking)}
    if other.address.version in families:
        return other.address
    return next((own.ip for own in other.primary.addresses if own.version in families), other.address)


def _addresses(node: Node) -> list[IPAddress]:
    return [address.ip for interface in node.interfaces for address in interface.addresses]


def _holder(node: Node, address: IPAddress) -> Interface | None:
    return next((i for i in node.interfaces if any(a.ip == address for a in i.addresses)), None)


def _reason(journey: Journey) -> str:
    match journey.end:
        case End.DELIVERED:
            return f"{journey.last} has that address, and is nearer"
        case End.NO_ROUTE:
            return f"{journey.last} has no route"
        case End.UNASKED:
            return f"{journey.last} drops what its LAN did not ask for"
        case End.NO_NEIGHBOUR:
            return "nobody has that address there"
        case End.PORT_CLOSED:
            return f"{journey.last} lets out to a few ports only"
        case _:
            return f"{journey.last} does not forward"


def _describe(flow: Flow) -> str:
    if flow.arrived is None:
        if flow.error in (errno.ENETUNREACH, errno.EHOSTUNREACH):
            return "nothing (no route)"
        return "nothing"
    hops = INITIAL_TTL - (flow.ttl or 0)
    seen = f"arrives from {flow.arrived[0]}" + (f" after {_count(hops, 'forward')}" if hops else "")
    return seen if flow.answered or flow.injection else f"{seen}, no answer gets back"


def _endpoint(address: IPAddress, port: int | str) -> str:
    return f"{address}:{port}" if address.version == 4 else f"[{address}]:{port}"


def _any(journey: Journey) -> str:
    return " or ".join(map(str, journey.sources))


def _as_seen(journey: Journey, own_port: int | None) -> str:
    if journey.translations[-1].ports is Ports.PRESERVE:
        return " or ".join(_endpoint(address, own_port or "its own port") for address in journey.sources)
    address = _any(journey)
    return f"{address}, another port than {own_port or 'its own'}"


def _port_as_chosen(translations: Sequence[Translation], ports: set[int], own: int) -> bool:
    """Whether the seen ports fit the NATs' way to choose: of random ones, not all can be the sender's own."""
    if all(translation.ports is Ports.PRESERVE for translation in translations):
        return ports == {own}
    return ports != {own}


def _count(number: int, what: str) -> str:
    return f"{number} {what}" + ("" if number == 1 else "s")
