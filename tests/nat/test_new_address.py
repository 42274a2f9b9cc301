"""A router with a new external address, by lease or by redial: what its links, its NAT and those behind it notice."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path

import pytest

from tests.nat.test_changes import PORT, Flow, home
from tests.support.inventory import differences, inventory
from tests.support.labs import eventually
from tests.support.traffic import Traffic
from wanlab import Event, Lab, LabNode, NoSuchNode, Scenario, Topology, TopologyError, UsageError
from wanlab.topology.edits import NewAddress
from wanlab.topology.scenario import Redial


def addresses(node: LabNode, interface: str = "wan") -> list[str]:
    """The global addresses that the kernel has."""
    words = ["ip", "-j", "address", "show", "dev", interface, "scope", "global"]
    (found,) = json.loads(node.run(words, capture_output=True, check=True, text=True).stdout)
    return [f"{a['local']}/{a['prefixlen']}" for a in found["addr_info"] if a]


def carrier_changes(node: LabNode, interface: str = "wan") -> int:
    """How often the link has gone or come, as the kernel counts it."""
    path = f"/sys/class/net/{interface}/carrier_changes"
    return int(node.run(["cat", path], capture_output=True, check=True, text=True).stdout)


@pytest.mark.parametrize("nat", ["home", "linux", "symmetric", "carrier"])
def test_a_new_lease_leaves_the_link_up_and_nothing_of_the_old_address(nat: str) -> None:
    with Lab(home(nat)) as lab, Flow(lab) as flow:
        router = lab["router"]
        old = addresses(router)
        changes, before = carrier_changes(router), flow.seen()
        assert flow.reached(before)
        lab.new_address("router")
        router = lab["router"]
        new = addresses(router)
        assert new == [str(address) for address in router.wan.addresses]
        assert len(new) == len(old)
        assert not set(new) & set(old)
        assert router.mappings() == ()
        assert carrier_changes(router) == changes
        assert not flow.reached(before)
        after = flow.seen()
        assert after[0] in [each.partition("/")[0] for each in new]
        assert flow.reached(after)
        assert lab.verify().ok


def test_a_lease_never_gives_what_is_taken_and_comes_round() -> None:
    topology = Topology("small")
    internet = topology.switch("internet", "5.5.5.0/29")
    topology.host("server", internet, address="5.5.5.3")
    topology.host("laptop", topology.router("router", internet, address="5.5.5.2", lan="192.168.1.0/24"))
    with Lab(topology) as lab:
        seen = []
        for _ in range(5):
            lab.new_address("router")
            seen.append(str(lab["router"].address))
        assert seen == [f"5.5.5.{last}" for last in (4, 5, 6, 1, 2)]


def test_a_redial_takes_the_link_down_for_its_time_and_all_mappings_with_it() -> None:
    with Lab(home("full")) as lab, Flow(lab) as flow, Traffic(lab, "inside", "server", PORT + 1) as traffic:
        changes, before, old = carrier_changes(lab["router"]), flow.seen(), addresses(lab["router"])
        assert flow.reached(before)
        other = Lab.attach(lab.name)
        redialing = threading.Thread(target=other.redial, args=("router",), kwargs={"down_s": 2.0})
        began = time.monotonic()
        redialing.start()
        try:
            assert eventually(lambda: carrier_changes(lab["router"]) > changes, seconds=1.5)
            assert lab["router"].mappings() == ()
            assert traffic.stands_still(0.5)
            assert not flow.reached(before)
            lab.update()
            assert lab.topology.to_document()["router"]["router"]["state"] == "down"
            assert redialing.is_alive()
        finally:
            redialing.join()
        assert time.monotonic() - began >= 2.0
        assert traffic.passes()
        lab.update()
        new = addresses(lab["router"])
        assert not set(new) & set(old)
        assert not flow.reached(before)
        assert flow.seen()[0] == new[0].partition("/")[0]
        assert traffic.arrived[-1][1] == new[0].partition("/")[0]
        assert [event.what for event in lab.events] == ["router: redials", "router: new address"]
        assert lab.verify().ok


def test_a_redial_that_gets_the_old_address_again_has_forgotten_all_the_same() -> None:
    with Lab(home("full")) as lab, Flow(lab) as flow:

        def of() -> dict[str, object]:
            def run(node: str, argv: list[str]) -> str:
                printed: str = lab[node].run(argv, capture_output=True, text=True, check=True).stdout
                return printed

            return dict(inventory(run, lab.network.nodes))

        whole = of()
        before = flow.seen()
        assert flow.reached(before)
        lab.redial("router", str(lab["router"].address))
        assert lab["router"].mappings() == ()
        assert differences(whole, of()) == []
        assert not flow.reached(before)
        assert flow.reached(flow.seen())


def test_a_server_for_port_mapping_serves_again() -> None:
    with Lab(home()) as lab:
        lab.change("router", nat={"preset": "home", "port_mapping": "nat-pmp"})
        for address in ("5.5.5.9", "5.5.5.9", "5.5.5.10"):
            lab.redial("router", address)
            assert lab.verify().ok


def test_both_families_have_new_addresses_and_prefixes_inside_stay() -> None:
    with Lab("dual-stack") as lab:
        old, inside = addresses(lab["home-a"]), lab["home-a"].lan.addresses
        lab.new_address("home-a")
        new = addresses(lab["home-a"])
        assert len(new) == len(old) == 2
        assert not set(new) & set(old)
        assert lab["home-a"].lan.addresses == inside
        four = next(each for each in new if ":" not in each)
        lab.redial("home-a", four)
        assert lab["home-a"].lan.addresses == inside
        assert set(addresses(lab["home-a"])) == set(new)
        assert lab.verify().ok


def test_a_host_has_a_new_lease_too() -> None:
    with Lab(home()) as lab:
        old = lab["inside"].address
        lab.new_address("inside")
        assert lab["inside"].address != old
        assert addresses(lab["inside"], "eth0") == [f"{lab['inside'].address}/24"]
        assert lab.verify().ok


@pytest.mark.parametrize(
    ("place", "address", "kind", "said"),
    [
        ("nobody", None, NoSuchNode, "no node 'nobody'"),
        ("router", "9.9.9.9", TopologyError, "is not in 5.5.5.0/24"),
        ("router", "ninety", TopologyError, "'ninety'"),
        ("router", "5.5.5.1", TopologyError, "is that of"),
        ("router:lan", None, UsageError, "is no end of a cable"),
        ("elsewhere:lan", None, UsageError, "is a port, whose address is not by a lease; name other:eth0"),
        ("internet", None, UsageError, "links"),
    ],
)
def test_what_cannot_be_is_refused_before_the_link_goes(
    place: str, address: str | None, kind: type[Exception], said: str
) -> None:
    topology = home()
    topology.host("first", "internet", address="5.5.5.1")
    with Lab(topology) as lab:
        changes = carrier_changes(lab["router"])
        for change in (lab.new_address, lab.redial):
            with pytest.raises(kind, match=said):
                change(place, address)
        assert carrier_changes(lab["router"]) == changes
        assert lab.events == ()


def test_a_timeline_has_both(tmp_path: Path) -> None:
    file = tmp_path / "night.toml"
    file.write_text(
        '[[event]]\nat = 0\nnew_address = "router"\n'
        '[[event]]\nat = "200ms"\nredial = "router"\noff = "300ms"\naddress = "5.5.5.77"\n'
    )
    with Lab(home()) as lab:
        happened = lab.play(file)
        assert [each.cue.action for each in happened] == [NewAddress("router"), Redial("router", "5.5.5.77", 0.3)]
        assert happened[1].took_s >= 0.3
        assert addresses(lab["router"]) == ["5.5.5.77/24"]
        again = Scenario((Event(0, (Redial("router", "9.9.9.9"),)),))
        with pytest.raises(TopologyError, match="event 1, at 0 s"):
            lab.play(again)
