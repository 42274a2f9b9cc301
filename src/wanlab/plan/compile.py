"""From a network to the plan that builds it. Pure: no Linux, no privileges."""

from __future__ import annotations

from collections.abc import Iterator

from wanlab.plan.hosts import hosts_file
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
    SetSysctl,
    SetUp,
    Stage,
    Step,
)
from wanlab.plan.timers import timers
from wanlab.topology.network import Kind, Network, Node


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


def _cables(network: Network) -> Iterator[Step]:
    ends = {(i.node, i.name): End(i.node, i.name, i.mac, i.mtu) for node in network for i in node.interfaces}
    for link in network.links:
        yield AddCable(ends[link.a], ends[link.b])


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
            yield SetUp(node.name, port.name)
    for interface in node.interfaces:
        if interface.master is None:
            for address in interface.addresses:
                yield AddAddress(node.name, interface.name, str(address))
            yield SetUp(node.name, interface.name)
    for route in node.routes:
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
            if node.nat is not None:
                # Only now: the kernel shows these once a rule of the namespace has asked for connection tracking.
                yield from (SetSysctl(node.name, key, str(seconds)) for key, seconds in timers(node.nat))
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
    if node.nat:
        does.append(f"hides its LAN behind its own address (NAT {node.nat.name!r})")
    return f"{node.name}: a router {', '.join(does)}"


def _speaks(node: Node, version: int) -> bool:
    return any(address.version == version for interface in node.interfaces for address in interface.addresses)
