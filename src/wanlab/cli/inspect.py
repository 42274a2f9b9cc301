"""`wanlab inspect`: what a lab that is up consists of."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from wanlab.cli.options import Json, OptionalNode, UpLab

if TYPE_CHECKING:
    from wanlab.cli.ways import Way
    from wanlab.topology.network import Interface, Network, Node


def inspect(node: OptionalNode = None, lab: UpLab = None, json: Json = False) -> None:
    """Say what a lab, or a node of it, consists of.

    Its nodes with their interfaces, addresses, routes and NAT; of each link and direction packets, bytes, and drops by
    cause; the process that holds it.
    """
    import time

    from wanlab.cli.target import lab_name
    from wanlab.cli.text import duration, print_json
    from wanlab.cli.ways import ways
    from wanlab.runtime.changes import described
    from wanlab.runtime.connection import connect
    from wanlab.runtime.counters import Counters
    from wanlab.runtime.directory import runtime_directory
    from wanlab.runtime.faults import faults
    from wanlab.topology.as_json import node_to_json, nodes_to_json

    connection = connect(runtime_directory(), lab_name(lab))
    info, _ = connection.ask({"verb": "info"})
    network = described(info).resolve()
    nodes = list(network.nodes) if node is None else [network[node].name]
    counters, _ = connection.ask({"verb": "counters"})
    impaired, _ = connection.ask({"verb": "impaired"})
    connection.close()
    links = list(ways(network, (Counters(*row) for row in counters["counters"]), nodes))
    wrong = faults(network, impaired)
    if json:
        told: dict[str, Any] = {"links": [way.to_json() for way in links], "faults": _faults_json(wrong, nodes)}
        if node is not None:
            print_json(node_to_json(network, network[node]) | told)
            return
        print_json(
            {
                "name": info["name"],
                "topology": network.name,
                "title": network.title,
                "pid": info["pid"],
                "started": info["started"],
                "uptime_s": round(time.time() - info["started"], 3),
                "programs": info["programs"],
                "services": info["services"],
                "impairment": info["impairment"],
                "events": info["events"],
                "nodes": nodes_to_json(network),
            }
            | told
        )
        return
    if node is None:
        print(f"lab {info['name']}" + (f": {network.title}" if network.title else ""))
        print(f"up for {duration(time.time() - info['started'])}, held by process {info['pid']}")
        if info["impairment"]["means"] is not None:
            print(f"links are impaired by {info['impairment']['means']} ({info['impairment']['why']})")
        print()
    for name in nodes:
        print("\n".join((*_lines(network[name], network), *_services(network[name], info["services"]))))
        print("".join(f"{line}\n" for line in _fault_lines(name, wrong)))
    print(_table(links))


def _table(links: Sequence[Way]) -> str:
    from wanlab.cli.text import columns
    from wanlab.cli.ways import HEADINGS

    return columns([HEADINGS, *(way.cells() for way in links)])


def _faults_json(wrong: Mapping[tuple[str, str], str], nodes: Sequence[str]) -> list[dict[str, str]]:
    return [{"node": node, "interface": name, "what": what} for (node, name), what in wrong.items() if node in nodes]


def _fault_lines(node: str, wrong: Mapping[tuple[str, str], str]) -> Iterator[str]:
    from wanlab.runtime.faults import CURE

    mine = {name: what for (owner, name), what in wrong.items() if owner == node}
    yield from (f"  ! {name} {what}" for name, what in mine.items())
    if mine:
        yield f"    {CURE.format(node=node)}"


def _far_end(interface: Interface, network: Network) -> tuple[str, str] | None:
    """What the other end of its cable is plugged into, as (node, interface); a bridge has no cable."""
    here = (interface.node, interface.name)
    for link in network.links:
        if link.a == here:
            return link.b
        if link.b == here:
            return link.a
    return None


# -- for people --------------------------------------------------------------------------------------------------


def _lines(node: Node, network: Network) -> Iterator[str]:
    from wanlab.cli.text import columns
    from wanlab.topology.ipv6 import Ipv6

    about = [f"{node.kind.value} {node.name}"]
    if node.nat is not None:
        nat = node.nat
        about.append(f"NAT {nat.name} (mapping {nat.mapping.value}, filtering {nat.filtering.value})")
    about += (f"IPv6 {pair.inside} is {pair.outside} outside" for pair in node.prefixes)
    if node.ipv6 is Ipv6.MASQUERADE:
        about.append("hides IPv6 behind its own address")
    if node.filtering is not None:
        about.append(f"lets nobody in unasked (filtering {node.filtering.value})")
    elif node.firewall:
        about.append("lets nobody in unasked")
    yield ", ".join(about)
    rows = [_row(interface, network) for interface in node.interfaces]
    rows += [_route_row(node, number) for number in range(len(node.routes))]
    yield from (f"  {line}".rstrip() for line in columns(rows).splitlines())


def _services(node: Node, services: Sequence[dict[str, Any]]) -> Iterator[str]:
    for service in services:
        if service["node"] == node.name:
            ended = service["exit"] is not None
            yield f"  runs {service['name']}" + (f", which ended with status {service['exit']}" if ended else "")


def _row(interface: Interface, network: Network) -> tuple[str, str, str]:
    from wanlab.topology.impairment_text import impairment_words
    from wanlab.topology.network import LinkState

    what = [f"mtu {interface.mtu}"]
    if interface.state is not LinkState.UP:
        what.append(interface.state.value)
    elif not interface.carrier:
        what.append("no carrier" if interface.up else "down: the other end is unplugged")
    if interface.mac is not None:
        what.insert(0, interface.mac)
    if interface.slaac:
        what.append("IPv6 by router advertisements")
    if interface.advertises:
        what.append("sends router advertisements")
    if interface.bridge:
        what.append("bridge")
    far = _far_end(interface, network)
    if far is not None:
        what.append(f"cable to {far[0]} {far[1]}")
    if interface.master is not None:
        what.append(f"port of {interface.master}")
    if interface.egress is not None:
        what.append(f"sends with {impairment_words(interface.egress)}")
    return interface.name, " ".join(str(address) for address in interface.addresses) or "-", ", ".join(what)


def _route_row(node: Node, number: int) -> tuple[str, str, str]:
    route = node.routes[number]
    to = "default" if route.is_default else str(route.destination)
    metric = f", metric {route.metric}" if route.metric else ""
    return "route", to, f"via {route.via} dev {route.interface}{metric}"
