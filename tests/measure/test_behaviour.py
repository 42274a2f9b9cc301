"""Every NAT that can be described is what it says, by the own measurement and by coturn's.

The discovery is tried first against NATs simulated here, in a clock of their own; then it judges the kernel's.
"""

from __future__ import annotations

import itertools
import json
import os
import random
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st

from tests.compliance.requirement import requirement
from tests.support.labs import alone_with_many_hosts, eventually, program
from wanlab import KernelError, Lab, NoSuchNode, Topology, TopologyError, UsageError
from wanlab.measure.behaviour import (
    MANY,
    Behaviour,
    Outcome,
    discover,
    survey,
    survey_neighbours,
)
from wanlab.measure.conversation import Conversation, Pace
from wanlab.measure.lifetime import LIFETIME_SOCKETS, Lifetime, discover_lifetime, survey_lifetime
from wanlab.measure.nat import Measured, measure_nat, measure_nats
from wanlab.measure.stun import Endpoint, StunServer
from wanlab.plan.steps import AddAddress, AddNamespace, SetUp, Step
from wanlab.topology.nat import LINUX, NATS, Filtering, Hairpin, Mapping, Nat, Pooling, Ports, Unsolicited

EIM, ADM, APDM = Mapping
EIF, ADF, APDF = Filtering


def combinations() -> Iterator[Nat]:
    """Every combination of the axes that are values, as far as there can be such a NAT."""
    flags = (False, True)
    for mapping, filtering, ports, hairpin, overloading, parity in itertools.product(
        Mapping, Filtering, Ports, Hairpin, flags, flags
    ):
        words = [mapping.value, filtering.value, ports.value, "hairpin-" + hairpin.value]
        words += ["overloading"] * overloading + ["parity"] * parity
        try:
            yield Nat(
                "/".join(words), mapping, filtering, ports, overloading=overloading, parity=parity, hairpin=hairpin
            )
        except TopologyError:
            continue


PRESETS = [nat for nat in NATS.values() if nat is not None]
COMBINATIONS = [nat for nat in combinations() if nat.ports is not Ports.PRESERVE or nat.parity]
ODDITIES = [
    Nat("narrow", ports=Ports.RANDOM, parity=False, first_port=30_000, last_port=30_999),
    Nat("narrow-parity", ports=Ports.RANDOM, first_port=30_001, last_port=31_500),
    Nat(
        "narrow-sequential",
        APDM,
        APDF,
        Ports.SEQUENTIAL,
        parity=False,
        first_port=40_000,
        last_port=40_300,
        hairpin=Hairpin.OFF,
    ),
    Nat("high-preserving", first_port=50_000, last_port=59_999),
    Nat("blocks", ports=Ports.SEQUENTIAL, block=512, parity=False),
    Nat("blocks-parity", ports=Ports.RANDOM, block=700, first_port=3000),
    Nat("arbitrary", ports=Ports.RANDOM, addresses=3, pooling=Pooling.ARBITRARY),
    Nat("paired", APDM, APDF, Ports.SEQUENTIAL, addresses=4, hairpin=Hairpin.OFF),
    Nat("rejecting", unsolicited=Unsolicited.REJECT),
    Nat("accepting", filtering=APDF, unsolicited=Unsolicited.ACCEPT),
    Nat("no-udp", udp_ports=()),
    Nat("two-ports", udp_ports=(53, 443)),
]
EVERY = [*PRESETS, *COMBINATIONS, *ODDITIES]


def homes(nats: Sequence[Nat], hosts: int = 2) -> Topology:
    """Routers on one WAN with a server; behind router `rN` the hosts `aN`, `bN`."""
    t = Topology("homes")
    wan = t.switch("wan", "5.0.0.0/16")
    t.host("server", wan)
    for number, nat in enumerate(nats):
        router = t.router(f"r{number}", wan, nat=nat)
        for letter in "ab"[:hosts]:
            t.host(f"{letter}{number}", router)
    return t


# -- simulated NATs --------------------------------------------------------------------------------------------

FOUR: tuple[Endpoint, ...] = (("5.0.0.1", 3478), ("5.0.0.1", 3479), ("5.0.0.2", 3478), ("5.0.0.2", 3479))
PACE = Pace(interval_s=0.5, tries=3)


@dataclass
class Simulated:
    """A NAT of a few lines, written from RFC 4787's words and not from the rules that wanlab makes."""

    mapping: Mapping
    filtering: Filtering
    ports: Ports = Ports.RANDOM
    lifetime: float = 1e9
    outbound_refresh: bool = True
    inbound_refresh: bool = False
    loss: Callable[[], bool] = lambda: False
    now: float = 0.0
    last: int = 20_000
    mappings: dict[tuple[Any, ...], int] = field(default_factory=dict)
    expiry: dict[int, float] = field(default_factory=dict)
    owners: dict[int, Endpoint] = field(default_factory=dict)
    permitted: dict[int, set[Endpoint]] = field(default_factory=dict)

    def outwards(self, source: Endpoint, to: Endpoint) -> Endpoint:
        key = (source, *{EIM: (), ADM: to[:1], APDM: to}[self.mapping])
        port = self.mappings.get(key)
        if port is None or self.expiry[port] < self.now:
            port = self.choose(source[1])
            self.mappings[key], self.owners[port] = port, source
            self.permitted[port] = set()
            self.expiry[port] = self.now + self.lifetime
        elif self.outbound_refresh:
            self.expiry[port] = self.now + self.lifetime
        self.permitted[port].add(to)
        return "9.9.9.9", port

    def choose(self, port: int) -> int:
        taken = {port for port, expiry in self.expiry.items() if expiry >= self.now}
        if self.ports is Ports.PRESERVE and port not in taken:
            return port
        while True:
            self.last = self.last + 1 if self.ports is Ports.SEQUENTIAL else random.randrange(1024, 65536)
            if self.last not in taken:
                return self.last

    def inwards(self, source: Endpoint, port: int) -> Endpoint | None:
        if self.expiry.get(port, -1) < self.now:
            return None
        allowed = {
            EIF: True,
            ADF: source[0] in {address for address, _ in self.permitted[port]},
            APDF: source in self.permitted[port],
        }
        if allowed[self.filtering] and self.inbound_refresh:
            self.expiry[port] = self.now + self.lifetime
        return self.owners[port] if allowed[self.filtering] else None

    def carry(self, strand: Any, own: Sequence[Endpoint], server: StunServer | None) -> Any:
        """Let a strand talk through it to a server; what it returns."""
        conversation = Conversation([strand], PACE)
        while True:
            sent = list(conversation.datagrams_to_send(self.now))
            for number, data, to in sent:
                if self.loss():
                    continue
                seen = self.outwards(own[number], to)
                answer = (
                    server.answer(data, seen, server.endpoints.index(to)) if server and to[0] != "9.9.9.9" else None
                )
                if answer is not None and server is not None:
                    receiver = self.inwards(server.endpoints[answer.sent_from], answer.to[1])
                    if receiver is not None and not self.loss():
                        conversation.receive_datagram(
                            own.index(receiver), answer.data, server.endpoints[answer.sent_from], self.now
                        )
            if conversation.done:
                return conversation.results[0]
            due = conversation.next_due
            if due is not None and not sent:
                self.now = max(self.now, due)


def inside(count: int) -> list[Endpoint]:
    return [("10.0.0.2", port) for port in random.sample(range(1024, 65536), count)]


SIMULATED = [
    (mapping, filtering, ports)
    for mapping, filtering, ports in itertools.product(Mapping, Filtering, Ports)
    if mapping is EIM or ports is not Ports.PRESERVE
]


@pytest.mark.parametrize(("mapping", "filtering", "ports"), SIMULATED)
@pytest.mark.parametrize("lossy", [False, True], ids=["", "lossy"])
def test_discovery_tells_simulated_nats_apart(
    mapping: Mapping, filtering: Filtering, ports: Ports, lossy: bool
) -> None:
    passed = itertools.count(1)
    lost = (lambda: next(passed) % 10 == 0) if lossy else (lambda: False)  # one in ten, and each time the same ones
    own = inside(MANY)
    nat = Simulated(mapping, filtering, ports, loss=lost)
    behaviour = nat.carry(survey(range(MANY), own, FOUR[0]), own, StunServer(FOUR))
    assert isinstance(behaviour, Behaviour)
    assert behaviour.outcome is Outcome.MEASURED
    # By itself it cannot know whether a server that it has lost sight of is filtered or down: then it does not say.
    assert behaviour.mapping in ((mapping, None) if lossy else (mapping,))
    assert behaviour.filtering in ((filtering, None) if lossy else (filtering,))
    assert behaviour.ports is ports
    assert behaviour.translated


def test_discovery_says_nothing_about_what_a_lame_server_keeps_from_it() -> None:
    class Lame(StunServer):
        def answer(self, data: bytes, source: Endpoint, endpoint: int) -> Any:
            found = super().answer(data, source, endpoint)
            return found if found and found.sent_from == endpoint == 0 else None

    own = inside(MANY)
    behaviour = Simulated(EIM, EIF).carry(survey(range(MANY), own, FOUR[0]), own, Lame(FOUR))
    assert (behaviour.mapping, behaviour.filtering) == (None, None)


def test_discovery_is_not_fooled_by_a_server_that_answers_from_where_it_likes() -> None:
    class Stubborn(StunServer):
        def answer(self, data: bytes, source: Endpoint, endpoint: int) -> Any:
            found = super().answer(data, source, endpoint)
            return found and replace(found, sent_from=endpoint)

    own = inside(MANY)
    behaviour = Simulated(EIM, APDF).carry(survey(range(MANY), own, FOUR[0]), own, Stubborn(FOUR))
    assert behaviour.mapping is EIM
    assert behaviour.filtering is None


def test_no_answer_is_reported_as_udp_being_blocked() -> None:
    own = inside(MANY)
    assert Simulated(EIM, EIF).carry(survey(range(MANY), own, FOUR[0]), own, None).outcome is Outcome.BLOCKED


@pytest.mark.parametrize(("outbound", "inbound"), [*itertools.product([True, False], repeat=2)])
@pytest.mark.parametrize("seconds", [2.0, 30.0, 301.0, 7440.0])
@pytest.mark.parametrize("guess", [None, 300.0])
def test_lifetimes_are_found_by_bisection(outbound: bool, inbound: bool, seconds: float, guess: float | None) -> None:
    own = inside(LIFETIME_SOCKETS)
    nat = Simulated(APDM, APDF, lifetime=seconds, outbound_refresh=outbound, inbound_refresh=inbound)
    lifetime = nat.carry(survey_lifetime(range(LIFETIME_SOCKETS), FOUR[0], 10_000, guess), own, StunServer(FOUR))
    assert isinstance(lifetime, Lifetime)
    assert lifetime.at_most_s is not None
    assert lifetime.at_least_s <= seconds <= lifetime.at_most_s
    assert lifetime.at_most_s - lifetime.at_least_s <= 0.25 * lifetime.at_most_s
    assert (lifetime.outbound_refresh, lifetime.inbound_refresh) == (outbound, inbound)


def test_a_mapping_that_outlives_every_test_is_said_to() -> None:
    own = inside(LIFETIME_SOCKETS)
    lifetime = Simulated(EIM, EIF).carry(
        survey_lifetime(range(LIFETIME_SOCKETS), FOUR[0], 600, None), own, StunServer(FOUR)
    )
    assert lifetime == Lifetime(600, None)


def test_two_hosts_on_one_port_are_told_apart_by_a_simulated_nat() -> None:
    own = [("10.0.0.2", 5000), ("10.0.0.2", 5001), ("10.0.0.3", 5000), ("10.0.0.3", 5001)]
    found = Simulated(EIM, APDF, Ports.PRESERVE).carry(
        survey_neighbours([0, 1], [2, 3], own, FOUR[0]), own, StunServer(FOUR)
    )
    assert found.overloading is False
    assert found.hairpin is Hairpin.OFF


# -- the kernel's NATs, by ourselves and by coturn -------------------------------------------------------------


@dataclass(frozen=True)
class Judgement:
    """What coturn's client says."""

    mapping: str
    filtering: str
    hairpin: bool


COTURN = [nat for nat in (*PRESETS, *COMBINATIONS) if nat.parity or nat.ports is not Ports.RANDOM or nat in PRESETS]


@pytest.fixture(scope="module", autouse=True)
def alone() -> Iterator[None]:
    """Most labs of this file have a hundred hosts or more."""
    with alone_with_many_hosts():
        yield


@pytest.fixture(scope="module")
def coturn(alone: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], dict[str, Judgement]]]:
    """coturn's client behind every NAT, asking coturn's server; they wait most of the time, so we measure meanwhile."""
    scratch = tmp_path_factory.mktemp("coturn")
    with Lab(homes(COTURN, hosts=1)) as lab:
        main, other = str(lab["server"].address), "5.0.255.1"
        with lab.added([AddAddress("server", "eth0", f"{other}/16")]):
            for listens in ("3478", "53"):  # a hotel lets out what goes to 53
                command = ["turnserver", "-n", "--no-auth", "--no-tls", "--no-dtls", "--no-cli", "--log-file", "stdout"]
                command += ["-L", main, "-L", other, "-p", listens, "--pidfile", str(scratch / f"{listens}.pid")]
                command += ["--userdb", str(scratch / f"{listens}.db")]
                lab["server"].popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=scratch)

            def up(port: int) -> bool:
                with lab["server"].socket(type=socket.SOCK_DGRAM) as probe:
                    probe.bind((main, 0))
                    found = discover(
                        lambda: lab["server"].socket(type=socket.SOCK_DGRAM), (main, port), pace=Pace(0.05, 1)
                    )
                    return found.outcome is Outcome.MEASURED

            for port in (3478, 53):
                eventually(lambda port=port: up(port), "coturn's server")  # type: ignore[misc]
            asking = []
            for number, nat in enumerate(COTURN):
                host = lab[f"a{number}"]
                where = [main] if nat.udp_ports is None else ["-p", "53", main]
                command = ["turnutils_natdiscovery", "-m", "-f", "-H", "-L", str(host.address), "-l", "40000", *where]
                with (scratch / str(number)).open("w") as output:
                    asking.append(host.popen(command, stdout=output, stderr=output))

            def collect() -> dict[str, Judgement]:
                for process in asking:
                    process.wait(timeout=60)
                return {nat.name: judgement((scratch / str(n)).read_text()) for n, nat in enumerate(COTURN)}

            yield collect


def judgement(words: str) -> Judgement:
    def said(about: str) -> str:
        return next(
            (line for line in words.splitlines() if f"Dependent {about}" in line or f"ent {about}" in line), words
        )

    return Judgement(said("Mapping"), said("Filtering"), "successful hairpinning" in words)


@pytest.fixture(scope="module")
def measured(coturn: Any) -> dict[str, Measured]:
    """What each NAT was measured to be: many in one lab, and no more than the kernel's neighbour table bears."""
    found: dict[str, Measured] = {}
    for first in range(0, len(EVERY), 24):
        some = EVERY[first : first + 24]
        with Lab(homes(some)) as lab:
            found |= zip((nat.name for nat in some), measure_nats(lab), strict=True)
    return found


@requirement(
    "RFC 4787 REQ-1",
    "RFC 4787 REQ-2",
    "RFC 4787 REQ-3",
    "RFC 4787 REQ-4",
    "RFC 4787 REQ-8",
    "RFC 4787 REQ-9",
    "RFC 6888 REQ-1",
    "RFC 6888 REQ-2",
    "RFC 6888 REQ-7",
)
@pytest.mark.parametrize("nat", EVERY, ids=lambda nat: nat.name)
def test_a_nat_is_measured_as_what_it_was_described_as(nat: Nat, measured: dict[str, Measured]) -> None:
    found = measured[nat.name]
    assert found.ok, [finding for finding in found.findings if finding.ok is False]
    assert found.findings
    assert not found.notes
    behaviour = found.behaviour
    assert behaviour is not None
    if nat.udp_ports == ():
        assert behaviour.outcome is Outcome.BLOCKED
        return
    assert (behaviour.mapping, behaviour.filtering, behaviour.ports) == (nat.mapping, nat.filtering, nat.ports)
    assert found.neighbours is not None
    # Two hosts with an external address each cannot want the same port.
    assert found.neighbours.overloading in ((nat.overloading, None) if nat.addresses > 1 else (nat.overloading,))
    assert found.neighbours.hairpin is nat.hairpin
    assert {"port range", "external address", "unsolicited"} <= {finding.axis for finding in found.findings}


WORDS = {
    EIM: "Endpoint Independent Mapping",
    ADM: "Address Dependent Mapping",
    APDM: "Address and Port Dependent Mapping",
    EIF: "Endpoint Independent Filtering",
    ADF: "Address Dependent Filtering",
    APDF: "Address and Port Dependent Filtering",
}


@requirement("RFC 4787 REQ-1", "RFC 4787 REQ-8")
def test_coturn_agrees_about_every_preset_and_combination(
    measured: dict[str, Measured], coturn: Callable[[], dict[str, Judgement]]
) -> None:
    judged = coturn()
    differing = {}
    for nat in COTURN:
        behaviour = measured[nat.name].behaviour
        assert behaviour is not None
        assert behaviour.mapping is not None
        assert behaviour.filtering is not None
        said = judged[nat.name]
        agree = WORDS[behaviour.mapping] in said.mapping and WORDS[behaviour.filtering] in said.filtering
        # It asks from one host, which an internal source address does not reach, and does not open the way first.
        through = behaviour.hairpin is Hairpin.EXTERNAL and behaviour.filtering is EIF
        if not agree or said.hairpin != through:
            differing[nat.name] = said
    assert not differing


# -- any NAT ---------------------------------------------------------------------------------------------------


@st.composite
def nats(draw: st.DrawFn) -> Nat:
    """Any NAT that can be, with room enough to be measured."""
    first = draw(st.integers(1024, 50_000))
    last = draw(st.integers(first + 2000, 65_535))
    try:
        return Nat(
            mapping=draw(st.sampled_from(Mapping)),
            filtering=draw(st.sampled_from(Filtering)),
            ports=draw(st.sampled_from(Ports)),
            overloading=draw(st.booleans()),
            parity=draw(st.booleans()),
            first_port=first,
            last_port=last,
            block=draw(st.none() | st.integers(100, 2000)),
            addresses=draw(st.integers(1, 3)),
            pooling=draw(st.sampled_from(Pooling)),
            hairpin=draw(st.sampled_from(Hairpin)),
            unsolicited=draw(st.sampled_from(Unsolicited)),
            udp_timeout_s=draw(st.integers(20, 1000)),
            inbound_refresh=draw(st.booleans()),
            limit=draw(st.none() | st.integers(100, 1000)),
            udp_ports=draw(st.none() | st.just((53, 443)) | st.just(())),
        )
    except TopologyError:
        return draw(st.deferred(nats))


@settings(
    max_examples=5,
    deadline=None,
    phases=(Phase.explicit, Phase.reuse, Phase.generate),  # to make a failure smaller takes minutes
    suppress_health_check=list(HealthCheck),
)
@given(st.lists(nats(), min_size=8, max_size=8))
@example([Nat(ports=Ports.RANDOM, first_port=15095, last_port=52757, block=393)])  # begins with an odd port by itself
@example([Nat(ports=Ports.RANDOM, first_port=15095, last_port=52757, block=101)])
def test_any_nat_gives_back_its_description(described: list[Nat]) -> None:
    with Lab(homes(described)) as lab:
        for nat, found in zip(described, measure_nats(lab), strict=True):
            assert found.ok, (nat, [finding for finding in found.findings if finding.ok is False])
            assert found.findings


def test_a_pool_whose_address_nothing_remembers_is_refused_where_ports_are_overloaded() -> None:
    with pytest.raises(TopologyError, match="arbitrary pooling") as refused:
        Nat(overloading=True, filtering=APDF, hairpin=Hairpin.OFF, addresses=2, pooling=Pooling.ARBITRARY)
    assert "'paired'" in str(refused.value.hint)


# -- time ------------------------------------------------------------------------------------------------------

SHORT = [
    replace(nat, udp_timeout_s=2, inbound_refresh=inbound, name=f"{number}-{inbound}")
    for number, nat in enumerate((Nat(), Nat(mapping=ADM, filtering=EIF, ports=Ports.RANDOM), NATS["symmetric"]))
    for inbound in (False, True)
    if nat is not None
] + [replace(LINUX, udp_timeout_s=2)]


@requirement("RFC 4787 REQ-5", "RFC 4787 REQ-6")
def test_a_mapping_dies_on_time_and_lives_while_traffic_flows_as_declared() -> None:
    with Lab(homes(SHORT, hosts=1)) as lab:
        for nat, found in zip(SHORT, measure_nats(lab, lifetimes=True), strict=True):
            assert found.ok, found.findings
            lifetime = found.lifetime
            assert lifetime is not None
            assert lifetime.at_most_s is not None
            assert 1.5 < lifetime.at_least_s <= 2 <= lifetime.at_most_s < 2.5
            assert lifetime.outbound_refresh
            assert lifetime.inbound_refresh is nat.inbound_refresh


def test_lifetimes_are_found_without_knowing_them_and_by_ordinary_sockets() -> None:
    from wanlab.measure.stun import serve_stun

    with Lab(homes([Nat(udp_timeout_s=1)], hosts=1)) as lab:
        server = lab["server"]

        def make_socket() -> socket.socket:
            return lab["a0"].socket(type=socket.SOCK_DGRAM)

        with server.socket(type=socket.SOCK_DGRAM) as opened:
            opened.bind((str(server.address), 3478))
            with serve_stun([opened]) as stun:
                found = discover_lifetime(make_socket, stun.endpoints[0], most_s=4, pace=Pace(0.05, 3))
    assert found is not None
    assert found.at_most_s is not None
    assert found.at_least_s <= 1.05
    assert found.at_most_s >= 1
    assert (found.outbound_refresh, found.inbound_refresh) == (True, False)


# -- what others get wrong -------------------------------------------------------------------------------------

PORT = 6000


def meeting(nat: Nat) -> Topology:
    """Two hosts behind a NAT, and two peers outside."""
    t = Topology("meeting")
    wan = t.switch("wan", "5.0.0.0/24")
    t.host("peer", wan)
    t.host("stranger", wan)
    router = t.router("router", wan, nat=nat)
    t.host("a", router)
    t.host("b", router)
    return t


class Sockets:
    """UDP sockets of a lab's nodes on chosen ports."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.opened: dict[tuple[str, int], socket.socket] = {}
        for node in ("peer", "stranger", "a", "b"):
            for port in (PORT, PORT + 1):
                self.at(node, port)

    def at(self, node: str, port: int = PORT) -> socket.socket:
        if (node, port) not in self.opened:
            made = self.opened[node, port] = self.lab[node].socket(type=socket.SOCK_DGRAM)
            made.bind(("0.0.0.0", port))
            made.settimeout(2)
        return self.opened[node, port]

    def address(self, node: str) -> str:
        return str(self.lab[node].address)

    def send(self, node: str, to: Endpoint, text: bytes = b"hello", port: int = PORT) -> None:
        self.at(node, port).sendto(text, to)

    def arrives(self, node: str, text: bytes, port: int = PORT) -> Endpoint:
        data, source = self.at(node, port).recvfrom(100)
        assert data == text
        return source[0], source[1]

    def silent(self, node: str, port: int = PORT) -> bool:
        self.at(node, port).settimeout(0.15)
        try:
            self.at(node, port).recvfrom(100)
        except TimeoutError:
            return True
        finally:
            self.at(node, port).settimeout(2)
        return False


@pytest.fixture
def sockets(request: pytest.FixtureRequest) -> Iterator[Sockets]:
    with Lab(meeting(request.param)) as lab:
        found = Sockets(lab)
        yield found
        for opened in found.opened.values():
            opened.close()


def behind(*descriptions: Nat) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("sockets", descriptions, ids=lambda nat: nat.name, indirect=True)


WITH_UDP = [nat for nat in PRESETS if nat.udp_ports is None]


@requirement("RFC 4787 REQ-3")
@behind(*WITH_UDP)
def test_two_hosts_on_one_source_port_both_stay_reachable(sockets: Sockets) -> None:
    peer, stranger = sockets.address("peer"), sockets.address("stranger")
    for destinations in ((peer, peer), (peer, stranger)):
        seen = []
        for host, to in zip("ab", destinations, strict=True):
            receiver = "peer" if to == peer else "stranger"
            sockets.send(host, (to, PORT), host.encode())
            seen.append((receiver, sockets.arrives(receiver, host.encode())))
        if destinations == (peer, peer):
            assert seen[0] != seen[1]
        for (receiver, endpoint), host in zip(seen, "ab", strict=True):
            sockets.send(receiver, endpoint, f"to {host}".encode())
            assert sockets.arrives(host, f"to {host}".encode()) == (sockets.address(receiver), PORT)


KEEPING = [nat for nat in WITH_UDP if nat.ports is Ports.PRESERVE]


@behind(*KEEPING)
def test_a_peers_early_packet_moves_the_port_only_where_the_router_answers(sockets: Sockets) -> None:
    nat = sockets.lab.network["router"].nat
    assert nat is not None
    sockets.send("peer", (sockets.address("router"), PORT), b"early")
    sockets.send("a", (sockets.address("peer"), PORT), b"punch")
    _, port = sockets.arrives("peer", b"punch")
    assert (port != PORT) == (nat.unsolicited is Unsolicited.ACCEPT)
    assert (port != PORT) == (nat.name == "answering")


@requirement("RFC 4787 REQ-8")
@behind(*(nat for nat in PRESETS if nat.filtering is EIF))
def test_endpoint_independent_filtering_delivers_with_the_strangers_true_address(sockets: Sockets) -> None:
    sockets.send("a", (sockets.address("peer"), PORT), b"out")
    external = sockets.arrives("peer", b"out")
    sockets.send("stranger", external, b"in", port=7777)
    assert sockets.arrives("a", b"in") == (sockets.address("stranger"), 7777)


@requirement("RFC 4787 REQ-8")
@behind(*(nat for nat in PRESETS if nat.filtering is ADF))
def test_what_one_host_may_receive_another_may_not(sockets: Sockets) -> None:
    sockets.send("a", (sockets.address("peer"), PORT), b"from a")
    sockets.send("b", (sockets.address("stranger"), PORT + 1), b"from b", port=PORT + 1)
    mine = sockets.arrives("peer", b"from a")
    others = sockets.arrives("stranger", b"from b", port=PORT + 1)
    sockets.send("peer", others, b"for b", port=7777)
    sockets.send("peer", mine, b"for a", port=7777)
    assert sockets.arrives("a", b"for a") == (sockets.address("peer"), 7777)
    assert sockets.silent("b", PORT + 1)


@requirement("RFC 4787 REQ-9a")
@behind(*(nat for nat in PRESETS if nat.hairpin is Hairpin.EXTERNAL))
def test_a_hairpinned_packet_shows_the_senders_external_endpoint_and_is_filtered_like_any_other(
    sockets: Sockets,
) -> None:
    nat = sockets.lab.network["router"].nat
    assert nat is not None
    external = {}
    for host, port in (("a", PORT), ("b", PORT + 1)):
        sockets.send(host, (sockets.address("peer"), PORT), host.encode(), port=port)
        external[host] = sockets.arrives("peer", host.encode())
    sockets.send("a", external["b"], b"from a")
    assert sockets.silent("b", PORT + 1) == (nat.filtering is not EIF), "b has not sent to a yet"
    sockets.send("b", external["a"], b"from b", port=PORT + 1)
    assert sockets.arrives("a", b"from b") == external["b"]
    sockets.send("a", external["b"], b"again")
    assert sockets.arrives("b", b"again", PORT + 1) == external["a"]


@behind(
    *(
        Nat(mapping.value, mapping, filtering, Ports.RANDOM, hairpin=Hairpin.OFF)
        for mapping, filtering in ((EIM, ADF), (ADM, APDF), (APDM, EIF))
    )
)
def test_a_tcp_mapping_is_used_again_as_a_udp_one_is(sockets: Sockets) -> None:
    nat = sockets.lab.network["router"].nat
    assert nat is not None
    seen = {}
    for node, port in (("peer", 80), ("peer", 81), ("stranger", 80)):
        with sockets.lab[node].socket() as server, sockets.lab["a"].socket() as client:
            server.bind(("0.0.0.0", port))
            server.listen()
            client.settimeout(2)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            client.bind(("0.0.0.0", PORT))
            client.connect((sockets.address(node), port))
            connection, seen[node, port] = server.accept()
            connection.close()
    by_port = seen["peer", 80] != seen["peer", 81]
    by_address = seen["peer", 80] != seen["stranger", 80]
    assert (by_port, by_address) == {EIM: (False, False), ADM: (False, True), APDM: (True, True)}[nat.mapping]


CROWDED = [
    Nat("random", ports=Ports.RANDOM),
    Nat("narrow", ports=Ports.RANDOM, parity=False, first_port=30_000, last_port=30_999),
    Nat("sequential", ports=Ports.SEQUENTIAL),
    Nat("preserving", first_port=30_000, last_port=33_000),
]


@requirement("RFC 4787 REQ-3")
@behind(*CROWDED)
def test_no_two_mappings_share_an_external_port_and_no_first_packet_is_lost(sockets: Sockets) -> None:
    """To different destinations: the kernel alone sees to it only where they are the same (RFC 4787 REQ-3)."""
    owners: dict[int, tuple[str, int]] = {}
    for host, receiver in (("a", "peer"), ("b", "stranger")):
        for port in range(40_000, 40_150):
            with sockets.lab[host].socket(type=socket.SOCK_DGRAM) as sender:
                sender.bind(("0.0.0.0", port))
                sender.sendto(b"x", (sockets.address(receiver), PORT))
            _, external = sockets.arrives(receiver, b"x")
            assert owners.setdefault(external, (host, port)) == (host, port)


@behind(Nat("full-up", ports=Ports.RANDOM, parity=False, first_port=30_000, last_port=30_007))
def test_a_nat_without_a_free_port_is_silent(sockets: Sockets) -> None:
    answered = 0
    for port in range(40_000, 40_012):
        with sockets.lab["a"].socket(type=socket.SOCK_DGRAM) as sender:
            sender.bind(("0.0.0.0", port))
            sender.sendto(b"x", (sockets.address("peer"), PORT))
        answered += not sockets.silent("peer")
    assert 6 <= answered <= 8


# -- labs of other shapes --------------------------------------------------------------------------------------


def double_nat(homes_behind: int) -> Topology:
    t = Topology("double")
    wan = t.switch("wan")
    carrier = t.router("carrier", wan, nat="carrier")
    for number in range(homes_behind):
        home = t.router(f"home{number}", carrier, nat="home")
        t.host(f"first{number}", home)
        t.host(f"second{number}", home)
    return t


def test_homes_behind_a_carrier_and_the_carrier_itself_are_measured_each_from_right_outside() -> None:
    with Lab(double_nat(2)) as lab:
        found = {each.router: each for each in measure_nats(lab)}
    assert set(found) == {"carrier", "home0", "home1"}
    for each in found.values():
        assert each.ok
        assert {finding.axis for finding in each.findings} >= {"mapping", "filtering", "hairpin", "overloading"}


def test_a_home_alone_behind_a_carrier_is_measured_from_the_carriers_end_of_the_cable() -> None:
    with Lab(double_nat(1)) as lab:
        home, carrier = measure_nat(lab, "home0"), measure_nat(lab, "carrier")
    assert home.ok
    assert home.findings
    assert carrier.ok
    assert not carrier.findings
    assert "no host is behind it" in carrier.notes[0]


@pytest.mark.parametrize("name", ["linux", "home", "symmetric"])
def test_one_host_on_a_cable_stands_for_two(name: str) -> None:
    t = Topology("alone")
    t.host("only", t.router("router", t.switch("wan"), nat=name))
    with Lab(t) as lab:
        found = measure_nat(lab, "router")
    assert found.ok
    assert found.neighbours is not None
    unknown = {finding.axis for finding in found.findings if finding.ok is None}
    assert unknown == (set() if name == "home" else {"hairpin"})


def test_a_host_with_two_uplinks_speaks_for_the_one_it_uses() -> None:
    t = Topology("roaming")
    wan = t.switch("wan")
    wifi, mobile = t.router("wifi", wan, nat="home"), t.router("mobile", wan, nat="symmetric")
    laptop = t.host("laptop", wifi)
    laptop.connect(mobile)
    t.host("tv", wifi)
    t.host("watch", mobile)
    with Lab(t) as lab:
        assert all(each.ok and each.findings for each in measure_nats(lab))


def test_a_nat_with_no_ipv4_to_translate_is_not_measured() -> None:
    t = Topology("without-ipv4")
    wan = t.switch("wan", "2a00:5::/64")
    t.host("laptop", t.router("home", wan, lan="fd00:1::/64"))
    t.host("server", wan)
    with Lab(t) as lab:
        found, report = measure_nat(lab, "home"), lab.verify()
    assert found.ok
    assert {finding.axis for finding in found.findings} == {"ipv6", "ipv6 filtering"}
    assert found.notes == ("not measured: no IPv4 at its uplink",)
    assert report.ok, report.failed
    assert "behaviour: home: not measured: no IPv4 at its uplink" in report.notes


def test_a_port_that_may_be_talked_to_is_named_once() -> None:
    for ports in ({"udp_ports": (53, 53)}, {"tcp_ports": (80, 443, 80)}):
        with pytest.raises(TopologyError, match="a port that may be talked to is there twice; name each once"):
            Nat(**ports)


def test_a_server_s_second_port_is_none_that_may_be_talked_to(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would be bound twice. Of so few ports every other measurement drew that one."""
    monkeypatch.setattr("wanlab.measure.nat._SERVER_PORTS", range(20_000, 20_002))
    monkeypatch.setattr("wanlab.measure.routed._PORTS", range(20_000, 20_005))
    t = Topology("one-port")
    wan = t.switch("wan", ["5.5.5.0/24", "2a00:5::/64"])
    t.host("server", wan)
    t.router("home", wan, lan=["192.168.1.0/24", "fd00:1::/64"], nat=Nat(udp_ports=(20_000,)))
    t.host("laptop", "home")
    with Lab(t) as lab:
        for _ in range(8):
            assert measure_nat(lab, "home").ok


def test_what_has_been_tampered_with_differs() -> None:
    with Lab(homes([NATS["article"] or Nat()])) as lab:
        flush = "nft flush chain inet wanlab wl_postrouting"
        lab["r0"].run(["sh", "-c", f"{flush}; nft add rule inet wanlab wl_postrouting masquerade"], check=True)
        found = measure_nat(lab, "r0")
        report = lab.verify()
    assert not found.ok
    assert {each.axis for each in found.findings if each.ok is False} >= {"mapping", "ports", "overloading"}
    assert {check.subject for check in report.failed if check.group == "behaviour"} >= {"r0: mapping", "r0: ports"}


def test_what_cannot_be_measured_is_refused() -> None:
    with Lab(homes([Nat()])) as lab:
        with pytest.raises(UsageError, match="translates and filters nothing"):
            measure_nat(lab, "server")
        with pytest.raises(NoSuchNode):
            measure_nat(lab, "nobody")


def test_a_measurement_can_be_told_in_json() -> None:
    with Lab(homes([Nat()])) as lab:
        told = json.loads(json.dumps(measure_nat(lab, "r0").to_json()))
    assert told["ok"] is True
    assert {"axis": "mapping", "declared": EIM.value, "measured": EIM.value, "ok": True} in told["axes"]


# -- what a measurement adds to a lab goes with it -------------------------------------------------------------


def state(lab: Lab) -> list[str]:
    """All links and addresses of all nodes."""
    found = []
    for node in lab:
        done = node.run(["ip", "-j", "address"], capture_output=True, text=True, check=True)
        for link in json.loads(done.stdout):
            addresses = sorted(f"{each['local']}/{each['prefixlen']}" for each in link["addr_info"])
            found.append(f"{node.name} {link['ifname']} {link['address']} {' '.join(addresses)}")
    listing = lab.shell(["ip", "netns", "list"], stdout=subprocess.PIPE, text=True)
    found.append("\n".join(sorted(listing.communicate()[0].splitlines())))
    return found


@pytest.mark.parametrize("hosts", [1, 2])
def test_measuring_leaves_the_lab_as_it_was(hosts: int) -> None:
    with Lab(homes([Nat(), LINUX], hosts)) as lab:
        before = state(lab)
        first, again = measure_nats(lab), lab.verify()
        assert state(lab) == before
    assert all(found.ok for found in first)
    assert again.ok, again.failed


def test_what_was_added_is_there_for_as_long_as_the_with_lasts() -> None:
    with Lab(homes([Nat()])) as lab:
        before = state(lab)
        steps: list[Step] = [AddNamespace("guest"), SetUp("guest", "lo"), AddAddress("server", "eth0", "5.0.9.9/16")]
        with lab.added(steps):
            assert "5.0.9.9/16" in "".join(state(lab))
            with lab.socket("guest", type=socket.SOCK_DGRAM) as guest:
                guest.bind(("127.0.0.1", 0))
        assert state(lab) == before
        with pytest.raises(NoSuchNode):
            lab.socket("guest")


def test_of_steps_that_are_refused_nothing_is_left_and_nothing_is_lost() -> None:
    with Lab(homes([Nat()])) as lab:
        before = state(lab)
        taken = f"{lab['server'].address}/16"
        with pytest.raises(KernelError), lab.added([AddNamespace("guest"), AddAddress("server", "eth0", taken)]):
            pass
        with pytest.raises(KernelError), lab.added([AddNamespace("server")]):
            pass
        with pytest.raises(KernelError), lab.added([AddNamespace("guest"), SetUp("guest", "eth7")]):
            pass
        assert state(lab) == before


ADDING = """
import time
from wanlab import Lab
from wanlab.plan.steps import *
lab = Lab.attach("adding-{pid}")
with lab.added([AddNamespace("guest"), AddAddress("server", "eth0", "5.0.9.9/16")]):
    print("added", flush=True)
    time.sleep(60)
"""


def test_what_a_program_added_goes_when_it_is_killed() -> None:
    with Lab(homes([Nat()]), name=f"adding-{os.getpid()}") as lab:
        before = state(lab)
        with program(ADDING.format(pid=os.getpid())) as adding:
            assert adding.line() == "added"
            assert state(lab) != before
            os.kill(adding.pid, signal.SIGKILL)
            eventually(lambda: state(lab) == before)
