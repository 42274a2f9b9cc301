"""Router advertisements: by radvd in the router; what hosts make of them is their kernel's doing."""

from __future__ import annotations

from collections.abc import Iterator

from wanlab.plan.steps import AddRoute, AwaitAddress, SetSysctl, StartService, Step
from wanlab.topology.islands import islands
from wanlab.topology.network import Interface, Network, Node, Route

_AUTONOMOUS = {"accept_ra": 1, "autoconf": 1, "addr_gen_mode": 0, "use_tempaddr": 0}


def manner(node: Node, interface: Interface, network: Network) -> Iterator[Step]:
    """How an interface on a segment with advertisements is set before it comes up."""
    if not any(i.advertises for i in network.peers(interface.segment)):
        return
    if interface.slaac:
        yield from (_set(node, interface, key, value) for key, value in _AUTONOMOUS.items())
        defaults = [r for r in node.routes if r.is_default and r.via.version == 6 and r.interface == interface.name]
        if defaults and defaults[0].metric:
            yield _set(node, interface, "ra_defrtr_metric", defaults[0].metric)
    elif not interface.advertises:
        yield _set(node, interface, "accept_ra", 0)  # its addresses and routes were given


def waits(node: Node, route: Route) -> bool:
    """Whether a route of *node* waits for advertisements: its default route comes with them, others need them."""
    return route.via.version == 6 and node.interface(route.interface).slaac


def advertisements(network: Network) -> Iterator[Step]:
    """Start the advertising, last of all, so that the first advertisement meets everybody; then see that it did."""
    for node in network:
        sending = [interface for interface in node.interfaces if interface.advertises]
        if sending:
            yield _radvd(node, sending)
    cut_off = _cut_off(network)
    for node in network:
        for interface in node.interfaces:
            if interface.slaac and interface.carrier and (node.name, interface.name) not in cut_off:
                yield from (
                    AwaitAddress(node.name, interface.name, str(address.ip))
                    for address in interface.addresses
                    if address.version == 6
                )
        for route in node.routes:
            if waits(node, route) and not route.is_default:
                yield AddRoute(node.name, str(route.destination), str(route.via), route.interface, route.metric)


def _cut_off(network: Network) -> set[tuple[str, str]]:
    """The interfaces that no advertisement of their segment reaches, since cables between are away."""
    joined = islands(network)
    interfaces = [interface for node in network for interface in node.interfaces]
    senders = [(each.segment, joined[each.node, each.name]) for each in interfaces if each.advertises]
    segments = {segment for segment, _ in senders}
    return {
        (each.node, each.name)
        for each in interfaces
        if each.segment in segments and (each.segment, joined[each.node, each.name]) not in senders
    }


def _radvd(router: Node, sending: list[Interface]) -> StartService:
    # The default timing is one advertisement in 200 to 600 s and one at once; a host that comes later asks for one.
    lines = []
    for interface in sending:
        lines.append(f"interface {interface.name} {{ AdvSendAdvert on;")
        for address in interface.addresses:
            if address.version == 6:
                times = "AdvValidLifetime infinity; AdvPreferredLifetime infinity;"
                lines.append(f"  prefix {address.network} {{ AdvOnLink on; AdvAutonomous on; {times} }};")
        lines.append("};")
    return StartService(
        router.name,
        "radvd",
        ("radvd", "--nodaemon", "--config={files}/radvd.conf", "--pidfile={files}/radvd.pid", "--logmethod=stderr"),
        (("radvd.conf", "".join(f"{line}\n" for line in lines)),),
        "radvd",
    )


def _set(node: Node, interface: Interface, key: str, value: int) -> SetSysctl:
    # As sysctl(8) has it, a dot in an interface's name is written as a slash.
    return SetSysctl(node.name, f"net.ipv6.conf.{interface.name.replace('.', '/')}.{key}", str(value))
