"""From a network to the plan that builds it. Pure: no Linux, no privileges."""

from __future__ import annotations

from collections.abc import Iterator

from wanlab.plan.advertisements import advertisements, manner, waits
from wanlab.plan.hosts import hosts_file
from wanlab.plan.partitions import lose_frames
from wanlab.plan.ruleset import ruleset
from wanlab.plan.services import services
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
    SetImpairment,
    SetSysctl,
    SetUp,
    Stage,
    Step,
)
from wanlab.plan.timers import timers
from wanlab.topology.ipv6 import Ipv6
from wanlab.topology.nat import Filtering
from wanlab.topology.network import Kind, Network, Node

_IPV6 = {
    Ipv6.PREFIX_TRANSLATION: "puts another IPv6 prefix in place of its LAN's",
    Ipv6.MASQUERADE: "hides its LAN's IPv6 addresses behind its own",
}
_FILTERS = {
    Filtering.ENDPOINT_INDEPENDENT: "by whether the host's port has sent at all",
    Filtering.ADDRESS_DEPENDENT: "by whether the host's port has sent to that address",
    Filtering.ADDRESS_AND_PORT_DEPENDENT: "by whether the host's port has sent to that address and port",
}


def compile_network(network: Network) -> Plan:
    """The plan that turns nothing into *network*."""
    stages = [
        Stage(
            "A network namespace for every node: interfaces, routes and rules of its own",
            tuple(step for node in network for step in _namespace(node)),
        ),
        Stage("The cables: veth pairs, each end placed in its node", tuple(_cables(network))),
        *(_stage(node, network) for node in network),
    ]
    impaired = tuple(_impairments(network))
    if impaired:
        stages.append(Stage("What links do to packets, each at the end that sends them", impaired))
    advertising = tuple(advertisements(network))
    if advertising:
        stages.append(Stage("Router advertisements, and the addresses that hosts make of them", advertising))
    apart = tuple(lose_frames(network))
    if apart:
        stages.append(Stage("Partitions: what they keep apart is lost, at the other end of each one's cable", apart))
    return Plan(network.name, tuple(stages), hosts_file(network))


def _namespace(node: Node) -> Iterator[Step]:
    yield AddNamespace(node.name)
    if sum(bool(interface.addresses) for interface in node.interfaces) > 1:
        # A new namespace inherits the machine's rp_filter, and with strict filtering a multi-homed node goes deaf.
        yield SetSysctl(node.name, "net.ipv4.conf.all.rp_filter", "0")
        yield SetSysctl(node.name, "net.ipv4.conf.default.rp_filter", "0")
    if node.kind is Kind.ROUTER:
        # What a NAT turns round leaves by the interface that it came in by. The kernel would make a redirect, drop it,
        # as it tells of the other inside address, and withhold its next error from the sender for a second. Set for
        # all routers: interfaces that are there already would take no notice when one is given such a NAT.
        yield SetSysctl(node.name, "net.ipv4.conf.all.send_redirects", "0")
        yield SetSysctl(node.name, "net.ipv4.conf.default.send_redirects", "0")
    if not _speaks(node, 6):
        # Without IPv6 addresses to give, keep link-local chatter (DAD, MLD, router solicitations) off the cables. `lo`
        # exists already and keeps ::1.
        yield SetSysctl(node.name, "net.ipv6.conf.default.disable_ipv6", "1")
    else:
        # For the addresses that the kernel gives itself. A router asks for its neighbours by its link-local one, so
        # that what it forwards would wait for that, a second or two.
        yield SetSysctl(node.name, "net.ipv6.conf.default.accept_dad", "0")


def _cables(network: Network) -> Iterator[Step]:
    ends = {(i.node, i.name): End(i.node, i.name, i.mac, i.mtu) for node in network for i in node.interfaces}
    for link in network.links:
        yield AddCable(ends[link.a], ends[link.b])


def _impairments(network: Network) -> Iterator[Step]:
    for node in network:
        for interface in node.interfaces:
            if interface.egress is not None:
                yield SetImpairment(node.name, interface.name, interface.egress, interface.mtu)


def _stage(node: Node, network: Network) -> Stage:
    return Stage(_title(node, network), tuple(_configure(node, network)))


def _configure(node: Node, network: Network) -> Iterator[Step]:
    yield SetUp(node.name, "lo")
    bridges = [interface for interface in node.interfaces if interface.bridge]
    for bridge in bridges:
        yield AddBridge(node.name, bridge.name, bridge.mac, bridge.mtu)
    for port in node.interfaces:
        if port.master is not None:
            yield Enslave(node.name, port.name, port.master)
            if port.up:
                yield SetUp(node.name, port.name)
    for interface in node.interfaces:
        if interface.master is None:
            yield from manner(node, interface, network)
            for address in interface.addresses:
                # Down, the kernel takes IPv6 addresses away, so an interface that is begins without.
                if address.version == 4 or (interface.up and not interface.slaac):
                    yield AddAddress(node.name, interface.name, str(address))
            if interface.up:
                yield SetUp(node.name, interface.name)
    for route in node.routes:
        if waits(node, route):
            continue
        yield AddRoute(node.name, str(route.destination), str(route.via), route.interface, route.metric)
    if node.kind is Kind.ROUTER:
        if bridges:
            # Where the kernel has br_netfilter (Docker loads it), what a bridge switches would pass the router's rules.
            yield SetSysctl(node.name, "net.bridge.bridge-nf-call-iptables", "0")
            yield SetSysctl(node.name, "net.bridge.bridge-nf-call-ip6tables", "0")
        # Rules before forwarding, as on a real router that boots: no packet passes unfiltered.
        rules = ruleset(node, network)
        if rules is not None:
            yield LoadRuleset(node.name, rules)
            # Only now: the kernel shows these once a rule of the namespace has asked for connection tracking.
            yield from (SetSysctl(node.name, key, str(seconds)) for key, seconds in timers(node))
        if _speaks(node, 4):
            yield SetSysctl(node.name, "net.ipv4.ip_forward", "1")
        if _speaks(node, 6):
            yield SetSysctl(node.name, "net.ipv6.conf.all.forwarding", "1")
        yield from services(node)


def _title(node: Node, network: Network) -> str:
    if node.kind is Kind.SWITCH:
        return f"{node.name}: a switch is a bridge, and every cable that is plugged in a port of it"
    if node.kind is Kind.HOST:
        return f"{node.name}: a host"
    if node.uplink is None:
        return f"{node.name}: a router forwards between its interfaces"
    does = ["forwards"]
    if node.firewall:
        does.append("lets its LAN open connections and nobody else in")
    if node.filtering:
        does.append(f"filters what it routes {_FILTERS[node.filtering]}")
    if node.nat:
        does.append(f"hides its LAN behind its own address (NAT {node.nat.name!r})")
    if node.ipv6 is not Ipv6.ROUTE:
        does.append(_IPV6[node.ipv6])
    return f"{node.name}: a router {', '.join(does)}"


def _speaks(node: Node, version: int) -> bool:
    return any(address.version == version for interface in node.interfaces for address in interface.addresses)
