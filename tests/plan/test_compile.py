"""The order of a plan: what must be there before what."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest

from tests.support.shapes import SHAPES, chain, core, dual_stack, odd, star, two_lans
from wanlab.plan.compile import compile_network
from wanlab.plan.steps import (
    AddAddress,
    AddBridge,
    AddCable,
    AddNamespace,
    AddRoute,
    End,
    Enslave,
    LoadRuleset,
    Plan,
    SetSysctl,
    SetUp,
    Step,
)
from wanlab.topology.network import Kind, Network
from wanlab.topology.topology import Topology

FORWARDING = ("net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding")


def plan_of(topology: Topology) -> Plan:
    return compile_network(topology.resolve())


def where(plan: Plan, found: Callable[[Step], bool]) -> list[int]:
    return [place for place, step in enumerate(plan.steps) if found(step)]


def nodes_of(step: Step) -> list[str]:
    return [step.a.node, step.b.node] if isinstance(step, AddCable) else [step.node]


def ends(plan: Plan) -> list[End]:
    return [end for step in plan.steps if isinstance(step, AddCable) for end in (step.a, step.b)]


@pytest.fixture(params=SHAPES)
def network(request: pytest.FixtureRequest) -> Network:
    return SHAPES[request.param]().resolve()


@pytest.fixture
def plan(network: Network) -> Plan:
    return compile_network(network)


def test_the_same_topology_gives_the_same_plan(network: Network, plan: Plan) -> None:
    assert compile_network(network) == plan


def test_every_node_is_made_once_and_before_anything_is_done_in_it(network: Network, plan: Plan) -> None:
    made: set[str] = set()
    for step in plan.steps:
        if isinstance(step, AddNamespace):
            assert step.node not in made
            made.add(step.node)
        assert made.issuperset(nodes_of(step)), step
    assert made == set(network.nodes)


def test_an_interface_exists_before_it_is_used(plan: Plan) -> None:
    known: set[tuple[str, str]] = set()
    for step in plan.steps:
        match step:
            case AddNamespace(node):
                known.add((node, "lo"))
            case AddCable(a, b):
                for end in (a, b):
                    assert (end.node, end.interface) not in known, step
                    known.add((end.node, end.interface))
            case AddBridge(node, interface):
                assert (node, interface) not in known, step
                known.add((node, interface))
            case Enslave(node, interface, bridge):
                assert {(node, interface), (node, bridge)} <= known, step
            case AddAddress(node, interface) | SetUp(node, interface):
                assert (node, interface) in known, step
            case AddRoute(node=node, interface=interface):
                assert (node, interface) in known, step


def test_every_interface_is_made_and_brought_up_once(network: Network, plan: Plan) -> None:
    wanted = Counter((i.node, i.name) for node in network for i in node.interfaces)
    made = Counter((end.node, end.interface) for end in ends(plan))
    made += Counter((step.node, step.interface) for step in plan.steps if isinstance(step, AddBridge))
    assert made == wanted
    up = Counter((step.node, step.interface) for step in plan.steps if isinstance(step, SetUp))
    assert up == wanted + Counter((node, "lo") for node in network.nodes)


def test_every_address_and_route_of_the_network_is_given(network: Network, plan: Plan) -> None:
    assert Counter((s.node, s.interface, s.address) for s in plan.steps if isinstance(s, AddAddress)) == Counter(
        (i.node, i.name, str(address)) for node in network for i in node.interfaces for address in i.addresses
    )
    assert Counter((s.node, s.destination, s.via) for s in plan.steps if isinstance(s, AddRoute)) == Counter(
        (node.name, str(route.destination), str(route.via)) for node in network for route in node.routes
    )


def test_a_route_comes_after_its_interface_is_up_and_has_an_address(plan: Plan) -> None:
    for place in where(plan, lambda step: isinstance(step, AddRoute)):
        route = plan.steps[place]
        assert isinstance(route, AddRoute)
        before = plan.steps[:place]
        assert SetUp(route.node, route.interface) in before
        assert any(
            isinstance(s, AddAddress) and s.interface == route.interface for s in before if nodes_of(s) == [route.node]
        )


def test_ports_are_plugged_in_before_their_bridge_comes_up(plan: Plan) -> None:
    for place in where(plan, lambda step: isinstance(step, Enslave)):
        port = plan.steps[place]
        assert isinstance(port, Enslave)
        assert plan.steps.index(SetUp(port.node, port.bridge)) > place
        assert plan.steps.index(SetUp(port.node, port.interface)) > place


def test_rules_are_loaded_before_forwarding_is_switched_on(network: Network, plan: Plan) -> None:
    for router in network.of(Kind.ROUTER):
        own = [step for step in plan.steps if nodes_of(step) == [router.name]]
        rules = [n for n, step in enumerate(own) if isinstance(step, LoadRuleset)]
        forwarding = [n for n, step in enumerate(own) if isinstance(step, SetSysctl) and step.key in FORWARDING]
        assert forwarding, router.name
        assert bool(rules) == (router.firewall or router.translates(4) or router.translates(6))
        assert all(rule < switch for rule in rules for switch in forwarding)


def test_only_routers_forward(network: Network, plan: Plan) -> None:
    forwarding = {s.node for s in plan.steps if isinstance(s, SetSysctl) and s.key in FORWARDING}
    assert forwarding == {router.name for router in network.of(Kind.ROUTER)}


def test_what_new_interfaces_inherit_is_set_before_there_are_any(plan: Plan) -> None:
    inherited = where(plan, lambda s: isinstance(s, SetSysctl) and ".default." in s.key)
    interfaces = where(plan, lambda s: isinstance(s, AddCable | AddBridge))
    assert not inherited or not interfaces or max(inherited) < min(interfaces)


def test_ipv6_is_off_where_there_are_no_ipv6_addresses_and_on_where_there_are() -> None:
    off = SetSysctl("laptop", "net.ipv6.conf.default.disable_ipv6", "1")
    assert off not in plan_of(dual_stack()).steps
    assert all(SetSysctl(n, off.key, "1") in plan_of(two_lans()).steps for n in two_lans().resolve().nodes)


def test_reverse_path_filtering_is_off_in_every_node_with_several_addressed_interfaces() -> None:
    loose = {
        step.node
        for step in plan_of(odd()).steps
        if isinstance(step, SetSysctl) and (step.key, step.value) == ("net.ipv4.conf.all.rp_filter", "0")
    }
    assert loose == {"a", "twin", "small"}


def test_a_router_that_neither_guards_nor_translates_has_no_rules() -> None:
    assert not where(plan_of(chain()), lambda step: isinstance(step, LoadRuleset))


def test_a_core_router_has_no_rules_and_a_home_router_has() -> None:
    assert [s.node for s in plan_of(core()).steps if isinstance(s, LoadRuleset)] == ["home"]


def test_addressed_interfaces_have_macs_of_their_own_and_ports_leave_them_to_the_kernel(
    network: Network, plan: Plan
) -> None:
    addressed = {(i.node, i.name) for node in network for i in node.interfaces if i.addresses}
    given = {(end.node, end.interface): end.mac for end in ends(plan) if end.mac}
    given |= {(s.node, s.interface): s.mac for s in plan.steps if isinstance(s, AddBridge) and s.mac}
    assert set(given) == addressed
    assert len(set(given.values())) == len(given)


def test_both_ends_of_a_cable_have_the_smallest_mtu_that_was_asked_for_or_their_own() -> None:
    mtus = {(end.node, end.interface): end.mtu for end in ends(plan_of(odd()))}
    assert mtus["up", "eth0"] == 9000
    assert mtus["twin", "slow0"] == 1280
    assert mtus["small", "eth0"] == 1000


def test_the_last_stages_are_the_nodes_in_order_each_with_its_own_steps(network: Network, plan: Plan) -> None:
    own = plan.stages[2:]
    assert [stage.title.split(":")[0] for stage in own] == list(network.nodes)
    for stage, node in zip(own, network.nodes, strict=True):
        assert {name for step in stage.steps for name in nodes_of(step)} <= {node}


def test_a_plan_grows_in_step_with_its_network() -> None:
    small, large = len(plan_of(star(10)).steps), len(plan_of(star(100)).steps)
    assert (large - small) % 90 == 0


def test_the_hosts_file_knows_every_name_once(network: Network, plan: Plan) -> None:
    lines = [line.split() for line in plan.hosts.splitlines()]
    addresses = [line[0] for line in lines]
    assert len(set(addresses)) == len(addresses)
    names = {name for line in lines for name in line[1:]}
    assert names >= {node.name for node in network if any(i.addresses for i in node.interfaces)}
    for node in network:
        for version in (4, 6):
            mine = [str(a.ip) for i in node.interfaces for a in i.addresses if a.version == version]
            found = [line[0] for line in lines if node.name in line[1:] and (":" in line[0]) == (version == 6)]
            assert set(found) <= set(mine)
            assert len(found) <= 1
