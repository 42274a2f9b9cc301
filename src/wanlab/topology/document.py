"""A topology as the plain dictionary that a lab file holds, both ways.

`schema.py` says which keys there are. A file may name nodes before it describes them, so all nodes are declared first
and plugged into one another after; within each kind the file's order is kept, since names and addresses that were not
given follow from it.

    python -m wanlab.topology.document > schema/wanlab.schema.json
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import PurePath
from typing import Any

from wanlab.errors import Source, TopologyError
from wanlab.topology.impairment import LinkImpairment
from wanlab.topology.impairment_text import impairment_table, parse_impairment
from wanlab.topology.ipv6 import Ipv6
from wanlab.topology.lines import Lines, Path
from wanlab.topology.names import check_interface_name, check_node_name
from wanlab.topology.nat import LINUX, to_table
from wanlab.topology.network import Kind, LinkState
from wanlab.topology.parse import (
    Address,
    check_metric,
    check_mtu,
    parse_addresses,
    parse_firewall,
    parse_ipv6,
    parse_ipv6_prefix,
    parse_lan,
    parse_state,
    parse_subnets,
)
from wanlab.topology.topology import Declared, Host, Port, Router, Switch, Topology

Document = Mapping[str, Any]


def from_document(data: object, lines: Lines | None = None, file: str = "lab") -> Topology:
    """The topology that a file's *data* declares. Raises TopologyError naming *file* and line."""
    from wanlab.topology.complaints import check_shape

    lines = lines or Lines()
    check_shape(data, lines, file)
    assert isinstance(data, Mapping)
    return _Reader(data, lines, file).topology


def rebuild(document: Document) -> Topology:
    """The topology that :func:`to_document` wrote down. Unlike a file's its shape is taken for granted."""
    return _Reader(document, Lines(), "lab").topology


def to_document(topology: Topology) -> dict[str, Any]:
    """What was declared, as JSON and TOML can hold it: `rebuild` makes an equal topology of it.

    Raises TopologyError for a NAT that no file can name.
    """
    document: dict[str, Any] = {"name": topology.name}
    if topology.title:
        document["title"] = topology.title
    if topology.overlapping_lans:
        document["overlapping_lans"] = True
    nodes = topology.nodes.values()
    sections: dict[str, Any] = {
        "switch": {node.name: _switch(node) for node in nodes if isinstance(node, Switch)},
        "router": {node.name: _router(node) for node in nodes if isinstance(node, Router)},
        "host": {node.name: _host(node) for node in nodes if isinstance(node, Host)},
        "link": [
            _said(
                ends=[
                    _end(node.name, port.name, port.addresses, port.state),
                    _end(port.to, port.peer_name, port.peer_addresses, port.peer_state),
                ],
                subnet=_one_or_more(port.subnets),
                mtu=port.mtu,
                impairment=impairment_table(port.impairment),
            )
            for node, port in sorted(
                ((node, port) for node in nodes for port in node.ports if port.cable), key=lambda cable: cable[1].order
            )
        ],
    }
    if topology.partitions:
        sections["partition"] = [{"groups": [list(group) for group in p.groups]} for p in topology.partitions]
    if topology.events:
        from wanlab.topology.scenario_file import write_events

        sections["event"] = write_events(topology.events)
    return document | _said(**sections)


def json_schema() -> dict[str, Any]:
    """The JSON schema of a lab file, for editors."""
    from wanlab.topology import schema

    return schema.json_schema()


class _Reader:
    def __init__(self, data: Document, lines: Lines, file: str) -> None:
        self.data = data
        self.lines = lines
        self.file = file
        self.topology = self._topology()
        self._declare()
        for kind in ("switch", "router", "host"):
            for name, table in self._nodes(kind):
                self._plug(kind, name, table)
        for index in range(len(data.get("link", ()))):
            self._cable(index)
        for index, partition in enumerate(data.get("partition", ())):
            self.topology.partition(*partition["groups"], source=self._at("partition", index, "groups"))
        if "event" in data:
            from wanlab.topology.scenario_file import read_events

            self.topology.events = read_events(data["event"], lines, file)

    def _topology(self) -> Topology:
        name = self.data.get("name")
        if name is None:
            name = _label(PurePath(self.file).stem)
        else:
            check_node_name(name, self._at("name"))
        title = self.data.get("title", "")
        if not title.isprintable():
            raise TopologyError("the title is not one line of text", where=self._at("title"), hint="leave out the rest")
        return Topology(name, title=title, overlapping_lans=self.data.get("overlapping_lans", False))

    # -- nodes ---------------------------------------------------------------------------------------------------

    def _declare(self) -> None:
        for name, table in self._nodes("switch"):
            path = ("switch", name)
            self._check(path, table, subnets=("subnet",))
            self.topology.switch(name, table.get("subnet"), mtu=table.get("mtu"), source=self._at(*path))
        for name, table in self._nodes("router"):
            path = ("router", name)
            self._check(path, table, addresses=("address",))
            parse_lan(name, table.get("lan"), self._at(*path, "lan"))
            self._check_guard(name, path, table)
            of_uplink = ("address", "nat", "firewall", "ipv6", "ipv6_prefix", "mtu", "state", "impairment")
            loose = {} if "uplink" in table else {key: table.get(key) for key in of_uplink}
            slaac = table.get("slaac", False)
            self.topology.router(name, lan=table.get("lan"), slaac=slaac, source=self._at(*path), **loose)
        for name, _ in self._nodes("host"):
            self.topology.host(name, source=self._at("host", name))

    def _plug(self, kind: str, name: str, table: Document) -> None:
        path = (kind, name)
        node = self.topology.nodes[name]
        if isinstance(node, Switch):
            links = table.get("link")
            one = isinstance(links, Mapping)
            several: list[Any] = [links] if one else _several(links)
            for index, link in enumerate(several):
                place: Path = (*path, "link") if one else (*path, "link", index)
                other: Document = {"switch": link} if isinstance(link, str) else link
                self._check(place, other)
                at = self._at(*place, "switch")
                self._refuse_unless(Kind.SWITCH, other["switch"], at, f"switch {name!r}")
                node.connect(other["switch"], impairment=other.get("impairment"), state=other.get("state"), source=at)
        elif isinstance(node, Router) and "uplink" in table:
            self.topology.node(table["uplink"], self._at(*path, "uplink"))
            at = self._at(*path, "nat" if "nat" in table else "uplink")
            node.plug_in(
                table["uplink"],
                nat=table.get("nat"),
                firewall=table.get("firewall"),
                ipv6=table.get("ipv6"),
                ipv6_prefix=table.get("ipv6_prefix"),
                source=at,
                mtu=table.get("mtu"),
                impairment=table.get("impairment"),
                state=table.get("state"),
                address=table.get("address"),
            )
            assert node.uplink is not None
            node.uplink.source = self._at(*path, "address" if "address" in table else "uplink")
        interfaces = table.get("interface", ())
        if isinstance(node, Host):
            self._plug_host(node, table)
            interfaces = () if isinstance(interfaces, str) else interfaces
        for index, interface in enumerate(interfaces):
            self._interface(node, (*path, "interface", index), interface)

    def _plug_host(self, host: Host, table: Document) -> None:
        named = table.get("interface")
        first = {key: table[key] for key in ("link", "address", "mtu", "state", "impairment") if key in table}
        if isinstance(named, str):
            first["name"] = named
        if "link" in first:
            self._interface(host, ("host", host.name), first, name_key="interface")
        elif first:
            key = next(iter(first))
            key = "interface" if key == "name" else key
            raise TopologyError(
                f"host {host.name!r} has an {key} and no link",
                where=self._at("host", host.name, key),
                hint="say what it is linked to",
            )

    def _interface(self, node: Declared, path: Path, table: Document, name_key: str = "name") -> None:
        self._check(path, table, addresses=("address",), name_key=name_key)
        at = self._at(*path, "link")
        other = self.topology.node(table["link"], at)
        if other is not node and (other.kind is Kind.HOST or (other.kind is node.kind)):
            raise TopologyError(
                f"{node.kind.value} {node.name!r}: a link to {other.kind.value} {other.name!r} is a cable",
                where=at,
                hint=f'write it as a [[link]] with ends = ["{node.name}", "{other.name}"]',
            )
        if other is not node and "address" in table:
            at = self._at(*path, "address")
        keys = ("name", "address", "mtu", "metric", "state", "impairment")
        node.connect(other, **{key: table.get(key) for key in keys}, source=at)

    # -- cables --------------------------------------------------------------------------------------------------

    def _cable(self, index: int) -> None:
        path: Path = ("link", index)
        table = self.data["link"][index]
        self._check(path, table, subnets=("subnet",))
        ends: list[dict[str, Any]] = []
        for number, end in enumerate(table["ends"]):
            end = {"node": end} if isinstance(end, str) else end
            at = (*path, "ends", number)
            self._check(at, end, addresses=("address",))
            self._refuse_unless(None, end["node"], self._at(*at, "node"), f"link {index + 1}")
            ends.append(end)
        near, far = ends
        impairment = self._impairment(path, table)
        if self.topology.nodes[near["node"]].kind is Kind.HOST and self.topology.nodes[far["node"]].kind is Kind.ROUTER:
            near, far = far, near  # from a host to a router would mean a place in its LAN
            impairment = impairment.turned if impairment else None
        self.topology.nodes[near["node"]].connect(
            far["node"],
            name=near.get("name"),
            address=near.get("address"),
            peer_name=far.get("name"),
            peer_address=far.get("address"),
            state=near.get("state"),
            peer_state=far.get("state"),
            subnet=table.get("subnet"),
            mtu=table.get("mtu"),
            impairment=impairment,
            source=self._at(*path),
        )

    # -- checks, each at the line of its key ---------------------------------------------------------------------

    def _check(
        self,
        path: Path,
        table: Document,
        *,
        addresses: tuple[str, ...] = (),
        subnets: tuple[str, ...] = (),
        name_key: str = "name",
    ) -> None:
        """Parse what `Topology` will parse again, so that an error names the key's own line."""
        for key in addresses:
            for index, text in enumerate(_several(table.get(key))):
                parse_addresses(text, self._at(*path, key, index))
        for key in subnets:
            parse_subnets(table.get(key), self._at(*path, key))
        check_mtu(table.get("mtu"), self._at(*path, "mtu"))
        self._impairment(path, table)
        check_metric(table.get("metric"), self._at(*path, "metric"))
        parse_state(table.get("state"), self._at(*path, "state"))
        name = table.get("name")
        if name is not None:
            check_interface_name(name, self._at(*path, name_key))

    def _impairment(self, path: Path, table: Document) -> LinkImpairment | None:
        kind, name, *_ = path
        who = f"{kind} {name + 1}" if isinstance(name, int) else f"{kind} {name!r}"
        return parse_impairment(table.get("impairment"), lambda *keys: self._at(*path, "impairment", *keys), who)

    def _check_guard(self, router: str, path: Path, table: Document) -> None:
        """The same for what is between a router's sides."""
        parse_firewall(router, table.get("firewall"), self._at(*path, "firewall"))
        ipv6 = parse_ipv6(router, table.get("ipv6"), self._at(*path, "ipv6"))
        parse_ipv6_prefix(router, table.get("ipv6_prefix"), ipv6, self._at(*path, "ipv6_prefix"))

    def _refuse_unless(self, kind: Kind | None, name: str, at: Source, who: str) -> None:
        """Refuse another kind of node than *kind*, or a switch where *kind* is None."""
        node = self.topology.node(name, at)
        if kind is None and node.kind is Kind.SWITCH:
            raise TopologyError(
                f"{who}: {name!r} is a switch",
                where=at,
                hint=f'a [[link]] joins hosts and routers; to plug a node into a switch, give it link = "{name}"',
            )
        if kind is not None and node.kind is not kind:
            raise TopologyError(
                f"{who}: {name!r} is a {node.kind.value}",
                where=at,
                hint=f"switches are linked to switches; give {name!r} a link to it instead",
            )

    def _nodes(self, kind: str) -> Iterator[tuple[str, Document]]:
        for name, table in self.data.get(kind, {}).items():
            yield name, table or {}  # `wan:` with nothing after it is how YAML writes an empty table

    def _at(self, *path: str | int) -> Source:
        return Source(self.file, self.lines.of(path))


def _switch(node: Switch) -> dict[str, Any]:
    links = [_switch_link(port) for port in node.ports]
    return _said(subnet=_one_or_more(node.subnets), mtu=node.mtu, link=links[0] if len(links) == 1 else links)


def _switch_link(port: Port) -> str | dict[str, Any]:
    said = _said(state=_state(port.state), impairment=impairment_table(port.impairment))
    return {"switch": port.to, **said} if said else port.to


def _router(node: Router) -> dict[str, Any]:
    given = {address.network for address in node.lan_addresses}
    lan = [*node.lan_addresses, *(subnet for subnet in node.lan_subnets if subnet not in given)]
    table = _said(lan=_one_or_more(lan), slaac=node.slaac or None)
    if node.uplink is not None:
        uplink = _interface(node.uplink)
        table = {"uplink": uplink.pop("link")} | {key: value for key, value in uplink.items() if key != "name"} | table
        if node.nat != LINUX:
            table["nat"] = to_table(node.nat) if node.nat else "none"
        if not node.firewall or node.filtering:
            table["firewall"] = node.filtering.value if node.filtering else False
        if node.ipv6 is not Ipv6.ROUTE:
            table["ipv6"] = node.ipv6.value
        if node.ipv6_prefix is not None:
            table["ipv6_prefix"] = str(node.ipv6_prefix)
    return table | _said(interface=[_interface(port) for port in node.ports if not port.cable])


def _host(node: Host) -> dict[str, Any]:
    interfaces = [_interface(port) for port in node.ports if not port.cable]
    if len(interfaces) == 1:
        only = interfaces[0]
        return {("interface" if key == "name" else key): value for key, value in only.items()}
    return _said(interface=interfaces)


def _interface(port: Port) -> dict[str, Any]:
    return _said(
        link=port.to,
        name=port.name,
        address=_one_or_more(port.addresses),
        mtu=port.mtu,
        metric=port.metric,
        state=_state(port.state),
        impairment=impairment_table(port.impairment),
    )


def _end(node: str, name: str | None, addresses: tuple[Address, ...], state: LinkState) -> str | dict[str, Any]:
    said = _said(name=name, address=_one_or_more(addresses), state=_state(state))
    return {"node": node, **said} if said else node


def _state(state: LinkState) -> str | None:
    return None if state is LinkState.UP else state.value


def _said(**values: Any) -> dict[str, Any]:
    """What was said: the values that are there."""
    return {key: value for key, value in values.items() if value not in (None, [], {})}


def _one_or_more(values: Any) -> str | list[str] | None:
    texts = [str(value) for value in values]
    return texts[0] if len(texts) == 1 else texts or None


def _several(texts: str | list[str] | None) -> list[str]:
    if texts is None:
        return []
    return [texts] if isinstance(texts, str) else texts


def _label(stem: str) -> str:
    """A file's name as a lab's: the hostname label closest to it."""
    label = re.sub(r"[^A-Za-z0-9-]+", "-", stem)[:63].strip("-")
    try:
        check_node_name(label, None)
    except TopologyError:
        return "lab"
    return label


if __name__ == "__main__":
    import json

    print(json.dumps(json_schema(), indent=2, ensure_ascii=False))
