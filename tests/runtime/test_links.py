"""Links that go down and up, cables that are pulled and plugged in elsewhere, with packets on their way meanwhile."""

from __future__ import annotations

import json
import re
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.support.inventory import differences, inventory
from tests.support.labs import eventually, pair
from tests.support.traffic import PORT, Traffic
from wanlab import Lab, LabNode, NoSuchNode, Topology, TopologyError, UsageError
from wanlab.plan.change import change
from wanlab.plan.steps import AddCable, MoveLink, RemoveLink, SetDown, SetMtu


def homes() -> Topology:
    topology = Topology("homes")
    internet = topology.switch("internet", "5.5.5.0/24")
    cafe = topology.switch("cafe", "5.6.6.0/24")
    topology.router("core").connect(internet)
    topology.node("core").connect(cafe)
    topology.host("server", internet)
    home = topology.router("home", internet, lan="192.168.1.0/24")
    topology.host("laptop", home)
    topology.router("elsewhere", internet, lan="192.168.2.0/24")
    topology.host("desk", "elsewhere")
    return topology


def link(node: LabNode, interface: str = "eth0") -> dict[str, Any]:
    """What the kernel says of an interface."""
    words = ["ip", "-j", "link", "show", "dev", interface]
    (found,) = json.loads(node.run(words, capture_output=True, check=True, text=True).stdout)
    return dict(found)


def of(lab: Lab) -> dict[str, object]:
    def run(node: str, argv: list[str]) -> str:
        printed: str = lab[node].run(argv, capture_output=True, text=True, check=True).stdout
        return printed

    return dict(inventory(run, lab.network.nodes))


Verb = Callable[[LabNode], object]


@pytest.mark.parametrize(
    ("breaks", "mends"),
    [
        (LabNode.link_down, LabNode.link_up),
        (LabNode.unplug, LabNode.plug),
        (LabNode.unplug, LabNode.link_up),
    ],
    ids=["down", "unplugged", "unplugged-up"],
)
@pytest.mark.parametrize("which", ["left", "right"])
def test_packets_stop_while_a_link_is_away_and_flow_again(which: str, breaks: Verb, mends: Verb) -> None:
    with Lab(pair()) as lab, Traffic(lab, "left", "right") as traffic:
        assert traffic.passes()
        breaks(lab[which])
        assert traffic.stands_still()
        mends(lab[which])
        assert traffic.passes()
        assert lab.verify().ok


def test_a_link_that_is_down_is_switched_off_and_one_that_is_unplugged_has_no_carrier() -> None:
    with Lab(pair()) as lab:
        lab["left"].link_down()
        assert "UP" not in link(lab["left"])["flags"]
        assert "NO-CARRIER" in link(lab["wire"], "left")["flags"]
        lab["left"].unplug()
        assert {"UP", "NO-CARRIER"} <= set(link(lab["left"])["flags"])
        assert "UP" not in link(lab["wire"], "left")["flags"]
        lab["left"].plug()
        assert eventually(lambda: link(lab["left"])["operstate"] == "UP")
        lab["wire"].link_down("left")  # at the switch, it is as if the cable were out
        assert {"UP", "NO-CARRIER"} <= set(link(lab["left"])["flags"])
        assert lab.topology.to_document()["host"]["left"]["state"] == "unplugged"


@pytest.mark.parametrize(
    ("place", "state"),
    [
        ("laptop", "down"),
        ("home", "unplugged"),
        ("home:wan", "down"),
        ("server", "unplugged"),
        ("internet:home", "down"),
        ("internet:home", "unplugged"),
    ],
)
def test_a_lab_with_a_link_that_is_away_is_verified_as_such_and_like_one_that_was_built(place: str, state: str) -> None:
    node, _, interface = place.partition(":")
    with Lab(homes()) as lab:
        whole = of(lab)
        if state == "down":
            lab[node].link_down(interface or None)
        else:
            lab[node].unplug(interface or None)
        report = lab.verify()
        assert report.ok, report.failed
        with Lab(lab.topology) as fresh:
            found = differences(of(fresh), of(lab))
        # What has never been up has another queue, and tells its state in another way.
        assert [line for line in found if not re.search(r"/(qdisc|operstate): ", line)] == []
        lab[node].link_up(interface or None)
        assert differences(whole, of(lab)) == []
        assert lab.verify().ok


def test_ipv6_comes_back_with_the_link() -> None:
    with Lab("dual-stack") as lab:
        whole = of(lab)
        for node in ("home-a", "coordinator", "bob"):
            for breaks in (LabNode.link_down, LabNode.unplug):
                breaks(lab[node])
                report = lab.verify()
                assert report.ok, report.failed
                lab[node].link_up()
        # The mappings are there that the packets have made.
        assert [line for line in differences(whole, of(lab)) if "/elem: " not in line] == []
        assert lab.verify().ok


def test_a_connection_outlives_a_cable_that_was_out_for_a_moment() -> None:
    with Lab(pair()) as lab, lab["right"].socket() as listening, lab["left"].socket() as client:
        listening.bind(("", PORT))
        listening.listen()
        client.settimeout(20)
        client.connect((str(lab["right"].address), PORT))
        connection, _ = listening.accept()
        with connection:
            connection.settimeout(20)
            lab["right"].unplug()
            client.sendall(b"under way")
            time.sleep(0.3)
            lab["right"].plug()
            assert connection.recv(64) == b"under way"


@contextmanager
def watching(node: LabNode) -> Iterator[socket.socket]:
    """A packet socket on a node's interface: it dies with the interface."""
    with node.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0003)) as found:
        found.bind(("eth0", 0))
        found.settimeout(5)
        yield found


def test_who_is_plugged_in_elsewhere_keeps_the_interface_and_talks_from_there() -> None:
    with Lab(homes()) as lab, Traffic(lab, "laptop", "server") as traffic, watching(lab["laptop"]) as packets:
        assert traffic.passes()
        assert traffic.arrived[-1][1] == str(lab["home"].address)
        before = link(lab["laptop"])
        steps = lab["laptop"].plug("elsewhere")
        assert not any(isinstance(step, RemoveLink) and step.node == "laptop" for step in steps)
        after = link(lab["laptop"])
        assert [after[key] for key in ("ifindex", "address", "mtu")] == [
            before[key] for key in ("ifindex", "address", "mtu")
        ]
        assert eventually(lambda: traffic.arrived[-1][1] == str(lab["elsewhere"].address))
        assert packets.recv(2048)  # the socket has outlived the move
        lab["laptop"].plug("cafe")
        address = lab["laptop"].address
        assert address in lab.network.segments["cafe"].subnets[0]
        assert eventually(lambda: traffic.arrived[-1][1] == str(address))
        assert lab.verify().ok


def test_who_stays_notices_nothing_of_a_guest_who_is_plugged_in_beside() -> None:
    """A router's LAN is a cable for one host and a bridge for two: the first one keeps its interface all the same."""
    with Lab(homes()) as lab, watching(lab["desk"]), Traffic(lab, "desk", "server") as traffic:
        before = link(lab["desk"])["ifindex"]
        lab["laptop"].plug("elsewhere")
        assert traffic.passes()
        lab["laptop"].plug("home")
        assert traffic.passes()
        assert link(lab["desk"])["ifindex"] == before
        assert lab.verify().ok


def test_core_routers_send_round_a_cable_that_is_out() -> None:
    topology = Topology("ring")
    routers = [topology.router(f"r{n}") for n in (1, 2, 3)]
    for n, router in enumerate(routers):
        router.connect(routers[(n + 1) % 3], name=f"to{(n + 1) % 3 + 1}")
        access = topology.switch(f"s{n + 1}")
        router.connect(access)
        topology.host(f"h{n + 1}", access)
    with Lab(topology) as lab, Traffic(lab, "h1", "h2") as traffic:
        assert traffic.passes()
        lab["r1"].unplug("to2")
        assert traffic.passes()
        report = lab.verify()
        assert report.ok, report.failed
        lab["r3"].link_down("to1")
        assert traffic.stands_still()
        lab["r1"].plug(interface="to2")
        assert traffic.passes()


def test_only_the_link_is_touched() -> None:
    lab = Lab(homes())
    after = lab.changed_to(lab.with_changes("server", {"state": "unplugged"})).resolve()
    assert change(lab.network, after) == (SetDown("internet", "server"),)
    moved = lab.changed_to(lab.with_changes("server", {"link": "cafe"})).resolve()
    assert any(isinstance(step, MoveLink) for step in change(lab.network, moved))


@pytest.mark.parametrize(
    ("verb", "kind", "said"),
    [
        (lambda lab: lab["laptop"].plug("nowhere"), TopologyError, "no node 'nowhere'"),
        (lambda lab: lab["laptop"].plug("server"), TopologyError, "is a cable"),
        (lambda lab: lab["laptop"].plug("cafe", address="9.9.9.9"), TopologyError, "is not in 5.6.6.0/24"),
        (lambda lab: lab["laptop"].link_down("eth7"), UsageError, "host 'laptop' has no interface 'eth7'"),
        (
            lambda lab: lab["core"].unplug(),
            UsageError,
            "'core' has 2 links; say which one: core:eth0, core:eth1",
        ),
        (lambda lab: lab["internet"].unplug("br0"), UsageError, "internet:br0 is no end of a cable"),
        (lambda lab: lab.change("laptop", state="sideways"), TopologyError, "use up, down, unplugged"),
        (lambda lab: lab.change("laptop:eth0", link="nowhere"), TopologyError, "no node 'nowhere'"),
        (lambda lab: lab.change("lapdog:eth0", link="cafe"), NoSuchNode, "did you mean 'laptop'"),
    ],
)
def test_what_cannot_be_is_refused_and_the_lab_is_what_it_was(
    verb: Callable[[Lab], object], kind: type[Exception], said: str
) -> None:
    with Lab(homes()) as lab:
        before, document = of(lab), lab.topology.to_document()
        with pytest.raises(kind, match=said):
            verb(lab)
        assert lab.topology.to_document() == document
        assert differences(before, of(lab)) == []


def test_a_cable_of_its_own_has_a_state_at_each_end() -> None:
    topology = Topology("cable")
    topology.host("alice")
    topology.host("bob").connect("alice", subnet="10.0.0.0/30")
    with Lab(topology) as lab, Traffic(lab, "alice", "bob") as traffic:
        lab["alice"].unplug()
        assert traffic.stands_still()
        assert "NO-CARRIER" in link(lab["alice"])["flags"]
        assert Topology.load("cable").to_document() != lab.topology.to_document()
        assert lab.topology.to_document()["link"][0]["ends"] == ["bob", {"node": "alice", "state": "unplugged"}]
        lab["alice"].plug()
        assert traffic.passes()
        with pytest.raises(UsageError, match="its other end stays where it is"):
            lab["alice"].plug("bob")


def test_a_cable_of_its_own_gets_other_keys_by_either_end() -> None:
    topology = Topology("cable")
    topology.host("alice")
    topology.host("bob").connect("alice", subnet="10.0.0.0/30")
    with Lab(topology) as lab:
        for place in ("alice", "alice:eth0", "bob:eth0"):
            lab.change(place, impairment={"delay": "20ms"})
            assert lab.topology.to_document()["link"][0]["impairment"] == {"delay": "20ms"}
            lab.change(place, impairment=None, mtu=1400)
            assert link(lab["alice"])["mtu"] == link(lab["bob"])["mtu"] == 1400
            lab.change(place, mtu=None)
        assert lab.topology.to_document() == topology.to_document()


def test_a_link_that_gets_another_mtu_is_the_same_link_and_a_nat_behind_it_forgets_nothing() -> None:
    with Lab("two-lans") as lab, lab["coordinator"].socket(type=socket.SOCK_DGRAM) as server:
        server.bind(("", 7000))
        server.settimeout(5)
        with lab["alice"].socket(type=socket.SOCK_DGRAM) as client:
            client.settimeout(5)
            client.sendto(b"before", (str(lab["coordinator"].address), 7000))
            before = server.recvfrom(100)[1]
            index = link(lab["home-a"], "wan")["ifindex"]
            steps = [*lab.change("home-a", mtu=1492), *lab.change("wan", mtu=9000), *lab.change("home-b", mtu=9000)]
            assert {type(step) for step in steps} == {SetMtu}
            assert (link(lab["home-a"], "wan")["ifindex"], link(lab["home-a"], "wan")["mtu"]) == (index, 1492)
            server.sendto(b"still there?", before)
            assert client.recv(100) == b"still there?"
            client.sendto(b"after", (str(lab["coordinator"].address), 7000))
            assert server.recvfrom(100)[1] == before
        assert lab.verify().ok


def test_a_link_too_small_for_ipv6_is_made_anew_as_is_one_that_is_so_no_more() -> None:
    with Lab("dual-stack") as lab:
        host = next(node.name for node in lab.network if node.name != "server" and len(node.interfaces) == 1)
        before = of(lab)
        with pytest.raises(TopologyError, match="1280"):
            lab.change(host, mtu=1000)
        assert differences(before, of(lab)) == []
    with Lab(pair()) as lab:
        for mtu in (1000, 1500):
            steps = lab.change("left", mtu=mtu)
            assert any(isinstance(step, AddCable) for step in steps)
            assert link(lab["left"])["mtu"] == mtu
        assert lab.verify().ok


def trunks(*, state: str | None = None, impairment: str | None = None) -> Topology:
    """Two switches that are one network, hosts and a home at each."""
    topology = Topology("trunks")
    internet = topology.switch("internet", "5.5.5.0/24")
    far = topology.switch("far")
    far.connect(internet, state=state, impairment=impairment)
    topology.host("server", internet)
    for name, at in (("near-home", internet), ("far-home", far)):
        topology.host(f"in-{name}", topology.router(name, at))
    topology.host("mirror", far)
    return topology


@pytest.mark.parametrize(("place", "state"), [("far:internet", "down"), ("far", "unplugged"), ("internet:far", "down")])
def test_a_link_between_switches_goes_and_comes_as_any_other(place: str, state: str) -> None:
    node, _, interface = place.partition(":")
    with Lab(trunks()) as lab, Traffic(lab, "in-far-home", "server") as across:
        if place == "far":
            with pytest.raises(UsageError, match="switch 'far' has 3 links; say which one: far:internet"):
                lab["far"].unplug()
            interface = "internet"
        whole = of(lab)
        assert across.passes()
        breaks = LabNode.link_down if state == "down" else LabNode.unplug
        assert [type(step) for step in breaks(lab[node], interface)] == [SetDown]
        assert across.stands_still()
        dead = lab["far"] if state == "down" and node == "far" else lab["internet"]
        assert "UP" not in link(dead, "far" if dead.name == "internet" else "internet")["flags"]
        report = lab.verify()
        assert report.ok, report.failed
        assert any(c.subject == "mirror -> server 5.5.5.3" and "nobody has" in c.expected for c in report.checks)
        table = lab.topology.to_document()["switch"]["far"]["link"]
        assert table == {"switch": "internet", "state": "down" if place == "far:internet" else "unplugged"}
        with Lab(lab.topology) as fresh:
            assert fresh["mirror"].run(["ping", "-c1", "-W1", "server"], capture_output=True).returncode != 0
        lab[node].link_up(interface)
        assert across.passes()
        assert lab.topology.to_document()["switch"]["far"]["link"] == "internet"
        assert [line for line in differences(whole, of(lab)) if not re.search(r"/elem: ", line)] == []


def test_a_link_between_switches_has_other_keys_under_a_running_program() -> None:
    with Lab(trunks()) as lab, Traffic(lab, "mirror", "server") as traffic:
        assert traffic.passes()
        lab.change("far:internet", impairment={"loss": "100%"})
        assert traffic.stands_still()
        lab.change("far:internet", impairment=None)
        assert traffic.passes()
        lab["far"].link_down("internet")
        with pytest.raises(UsageError, match="its other end stays where it is"):
            lab["far"].plug("internet", "internet")
        with pytest.raises(UsageError, match="far:internet has no address"):
            lab.new_address("far:internet")


def test_hosts_behind_a_trunk_that_is_out_have_no_advertisements() -> None:
    topology = Topology("apart")
    near, far = topology.switch("near", "fd00:1::/64"), topology.switch("far")
    far.connect(near, state="unplugged")
    topology.router("gateway", slaac=True).connect(near)
    topology.host("here", near)
    topology.host("there", far)
    with Lab(topology) as lab:
        assert lab["here"].run(["ping", "-c1", "-W2", "gateway"], capture_output=True).returncode == 0
        addresses = (
            lab["there"].run(["ip", "-6", "-j", "address", "show", "scope", "global"], capture_output=True).stdout
        )
        assert b"fd00" not in addresses
        lab["far"].plug(interface="near")
        assert lab["there"].run(["ping", "-c1", "-W2", "gateway"], capture_output=True).returncode == 0
