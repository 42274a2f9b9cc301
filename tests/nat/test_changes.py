"""A NAT that changes while programs talk through it: what becomes of them is what becomes of them in life."""

from __future__ import annotations

import errno
import json
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from tests.support.inventory import differences, inventory
from tests.support.labs import eventually
from wanlab import KernelError, Lab, LabNode, NoSuchNode, Topology, TopologyError
from wanlab.measure.nat import measure_nats
from wanlab.plan.change import change
from wanlab.plan.steps import AddRoute, Step
from wanlab.topology.nat import NATS
from wanlab.topology.network import Network

PORT = 7000
Seen = tuple[str, int]


def home(nat: str = "home") -> Topology:
    topology = Topology("changing")
    internet = topology.switch("internet", "5.5.5.0/24")
    topology.host("server", internet)
    topology.host("other", topology.router("elsewhere", internet, lan="192.168.2.0/24"))
    router = topology.router("router", internet, lan="192.168.1.0/24", nat=nat)
    topology.host("inside", router)
    topology.host("beside", router)
    return topology


class Flow:
    """A UDP conversation between a host behind a router and the server."""

    def __init__(self, lab: Lab, host: str = "inside") -> None:
        self.inside = lab[host].socket(type=socket.SOCK_DGRAM)
        self.server = lab["server"].socket(type=socket.SOCK_DGRAM)
        self.server.bind(("", 0))
        self.inside.bind(("", 0))
        self.inside.settimeout(0.3)  # for what shall not arrive; what shall may take longer on a busy machine
        self.server.settimeout(1)
        self.to = (str(lab["server"].address), self.server.getsockname()[1])

    def __enter__(self) -> Flow:
        return self

    def __exit__(self, *exception: object) -> None:
        self.inside.close()
        self.server.close()

    def seen(self) -> Seen:
        """How the server sees the host now."""
        self.inside.sendto(b"here", self.to)
        source: Seen = self.server.recvfrom(64)[1]
        return source

    def reached(self, at: Seen) -> bool:
        """Whether what the server sends there reaches the host."""
        try:
            self.server.sendto(b"there", at)
            return self.inside.recvfrom(64)[0] == b"there"
        except OSError as error:
            if not isinstance(error, TimeoutError) and error.errno not in (errno.ECONNREFUSED, errno.EHOSTUNREACH):
                raise
            return False


@pytest.fixture(params=["home", "full", "linux", "symmetric", "carrier"])
def lab(request: pytest.FixtureRequest) -> Iterator[Lab]:
    with Lab(home(request.param)) as lab:
        yield lab


def test_a_router_becomes_each_nat_and_is_measured_as_such() -> None:
    with Lab(home()) as lab:
        for name, nat in NATS.items():
            lab.change("router", nat=name)
            if nat is not None:
                (measured,) = measure_nats(lab, ["router"])
                assert measured.nat == name
                assert measured.ok, measured.findings
            assert lab.verify().ok, name


def test_after_a_reboot_no_mapping_is_left(lab: Lab) -> None:
    with Flow(lab) as flow:
        before = flow.seen()
        assert flow.reached(before)
        lab.reboot("router")
        assert not flow.reached(before)
        after = flow.seen()
        assert flow.reached(after)


def test_after_a_change_of_behaviour_no_mapping_is_left() -> None:
    with Lab(home("full")) as lab, Flow(lab) as flow:
        before = flow.seen()
        lab.change("router", nat="symmetric")
        assert not flow.reached(before)
        assert flow.seen() != before
        lab.change("router", nat="full")
        assert not flow.reached(before)


def test_after_a_change_of_address_the_old_one_leads_nowhere_and_the_new_one_is_seen(lab: Lab) -> None:
    new = ["5.5.5.77", "5.5.5.78"][: len(lab["router"].wan.addresses)]
    with Flow(lab) as flow:
        before = flow.seen()
        lab.change("router", address=new)
        assert not flow.reached(before)
        after = flow.seen()
        assert after[0] in new
        assert flow.reached(after)


def test_what_passes_through_another_router_notices_nothing() -> None:
    with Lab(home()) as lab, Flow(lab, "other") as flow:
        before = flow.seen()
        lab.change("router", nat="symmetric")
        lab.reboot("router")
        lab.change("router", address="5.5.5.77")
        assert flow.reached(before)
        assert flow.seen() == before


def test_a_change_under_traffic_leaves_no_packet_with_an_old_translation() -> None:
    with Lab(home("full")) as lab, Flow(lab) as flow:
        stop = threading.Event()

        def talk() -> None:
            while not stop.is_set():
                flow.inside.sendto(b"here", flow.to)

        talking = threading.Thread(target=talk)
        talking.start()
        try:
            for last in range(60, 80):
                address = f"5.5.5.{last}"
                lab.change("router", address=address)
                flow.server.setblocking(False)
                try:
                    while True:
                        flow.server.recv(64)  # what was under way
                except BlockingIOError:
                    flow.server.settimeout(1)
                assert {flow.server.recvfrom(64)[1][0] for _ in range(20)} == {address}
        finally:
            stop.set()
            talking.join()


@pytest.mark.parametrize(("nat", "survives"), [("home", True), ("symmetric", False)])
def test_a_tcp_connection_survives_a_reboot_only_where_its_port_is_kept(nat: str, survives: bool) -> None:
    with Lab(home(nat)) as lab, lab["server"].socket() as listening, lab["inside"].socket() as client:
        listening.bind(("", PORT))
        listening.listen()
        client.settimeout(5)
        client.connect((str(lab["server"].address), PORT))
        connection, _ = listening.accept()
        with connection:
            connection.settimeout(5)
            lab.reboot("router")
            client.sendall(b"still here")
            if survives:
                assert connection.recv(64) == b"still here"
                connection.sendall(b"welcome back")
                assert client.recv(64) == b"welcome back"
            else:  # it comes from another port, where the server knows of no connection
                with pytest.raises(ConnectionResetError):
                    client.recv(64)


def carrier(node: LabNode) -> str:
    """What the kernel says of a host's cable."""
    words = ["ip", "-j", "link", "show", "eth0"]
    (link,) = json.loads(node.run(words, capture_output=True, check=True, text=True).stdout)
    return str(link["operstate"])


def test_a_router_that_is_off_has_no_carrier_and_passes_nothing() -> None:
    with Lab(home()) as lab, Flow(lab) as flow:
        flow.seen()
        rebooting = threading.Thread(target=lab.reboot, args=("router",), kwargs={"down_s": 2.0})
        rebooting.start()
        try:
            eventually(lambda: carrier(lab["inside"]) in ("DOWN", "LOWERLAYERDOWN"), seconds=1.5)
            with pytest.raises(TimeoutError):
                flow.seen()
        finally:
            rebooting.join()
        assert eventually(lambda: carrier(lab["inside"]) == "UP")
        assert flow.reached(flow.seen())
        assert lab.verify().ok


def test_a_rebooted_lab_is_the_lab_that_it_was() -> None:
    with Lab(home("carrier")) as lab:
        before = snapshot(lab)
        for node in lab.network.nodes:
            lab.reboot(node)
        assert differences(before, snapshot(lab)) == []


def snapshot(lab: Lab) -> dict[str, object]:
    def run(node: str, argv: list[str]) -> str:
        printed: str = lab[node].run(argv, capture_output=True, text=True, check=True).stdout
        return printed

    return dict(inventory(run, lab.network.nodes))


def test_a_change_that_is_refused_half_way_is_undone(monkeypatch: pytest.MonkeyPatch) -> None:
    def with_a_fault(old: Network, new: Network) -> tuple[Step, ...]:
        return (*change(old, new), AddRoute("inside", "9.9.9.0/24", "8.8.8.8", "eth0"))

    with Lab(home()) as lab:
        before = snapshot(lab)
        nat, address = lab.network["router"].nat, lab["router"].address
        monkeypatch.setattr("wanlab.plan.rehearsal.change", with_a_fault)
        with pytest.raises(KernelError, match=r"8\.8\.8\.8"):
            lab.change("router", nat="symmetric", address="5.5.5.77", lan="192.168.9.0/24")
        monkeypatch.undo()
        assert differences(before, snapshot(lab)) == []
        assert (lab.network["router"].nat, lab["router"].address) == (nat, address)
        assert lab.verify().ok
        assert lab.change("router", nat="symmetric")


def test_a_refused_change_of_something_else_keeps_the_mappings(monkeypatch: pytest.MonkeyPatch) -> None:
    with Lab(home()) as lab, Flow(lab) as flow:
        before = flow.seen()
        fault = AddRoute("inside", "9.9.9.0/24", "8.8.8.8", "eth0")
        monkeypatch.setattr("wanlab.plan.rehearsal.change", lambda old, new: (fault,))
        with pytest.raises(KernelError):
            lab.change("other", mtu=1400)
        assert flow.reached(before)


@pytest.mark.parametrize(
    ("node", "keys", "said"),
    [
        ("router", {"nat": "simetric"}, "did you mean 'symmetric'"),
        ("router", {"natt": "home"}, "did you mean 'nat'"),
        ("router", {"address": "9.9.9.9"}, "is not in 5.5.5.0/24"),
        ("router", {"uplink": "nowhere"}, "no node 'nowhere'"),
        ("router", {"uplink": "router"}, "its own uplink"),
        ("inside", {"link": "nowhere"}, "no node 'nowhere'"),
        ("inside", {"address": "5.5.5.5"}, "is not in 192.168.1.0/24"),
    ],
)
def test_what_cannot_be_is_refused_and_nothing_changes(node: str, keys: dict[str, str], said: str) -> None:
    with Lab(home()) as lab:
        document = lab.topology.to_document()
        with pytest.raises(TopologyError, match=said):
            lab.change(node, **keys)
        with pytest.raises(NoSuchNode):
            lab.change("nobody", nat="home")
        assert lab.topology.to_document() == document


def test_a_nat_for_a_router_without_ipv4_is_refused() -> None:
    with Lab("ipv6-only") as lab, pytest.raises(TopologyError, match="nat 'home', and it has no IPv4 at its uplink"):
        lab.change("home-a", nat="home")


def test_who_attaches_later_finds_the_lab_as_it_is_now() -> None:
    with Lab(home()) as lab:
        lab.change("router", nat="carrier")
        lab.change("inside", link="elsewhere")
        again = Lab.attach(lab.name)
        assert again.network == lab.network
        assert again.verify().ok


def test_names_lead_to_new_addresses_at_once() -> None:
    with Lab(home()) as lab:
        lab.change("router", address="5.5.5.77")
        found = lab["server"].run(["getent", "ahostsv4", "router"], capture_output=True, text=True, check=True).stdout
        assert found.split()[0] == "5.5.5.77"


def test_a_host_that_moves_to_another_router_talks_from_there() -> None:
    with Lab(home()) as lab, Flow(lab) as flow:
        assert flow.seen()[0] == str(lab["router"].address)
        lab.change("inside", link="elsewhere")
        deadline = time.monotonic() + 5
        while flow.seen()[0] != str(lab["elsewhere"].address):
            assert time.monotonic() < deadline
        assert lab.verify().ok
