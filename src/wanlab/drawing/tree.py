"""A network as a tree that a person reads in a terminal: what hangs below what, with names and addresses.

A network is no tree, so every node is drawn in full in one place (below its uplink, its switch or its router) and by
name in the others. Long runs of like hosts, or of like routers with all behind them, are drawn once and counted.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from wanlab.drawing.forest import End, homes, peers
from wanlab.drawing.words import hidings
from wanlab.topology.network import DEFAULT_MTU, Interface, IPAddress, Kind, LinkState, Network, Node

_SHOWN, _RUN = 3, 8  # of a run longer than _RUN, the first _SHOWN are drawn and the rest counted
_DEEPEST = 8  # nodes below one another, before the drawing begins anew at the left


def draw_tree(network: Network) -> str:
    """The drawing, as lines of text without a newline at the end."""
    return "\n".join(_Drawing(network).lines())


@dataclass(slots=True)
class _Entry:
    """A line, and what hangs below it."""

    text: str
    below: list[_Entry] = field(default_factory=list)
    name: str = ""
    """The node's, where it is drawn in full here; only such entries are counted together."""
    kind: Kind | None = None
    addresses: tuple[IPAddress, ...] = ()
    about: str = ""
    """What is said besides name and address."""
    unique: bool = True
    """False where this or something below it is drawn elsewhere as well."""


class _Drawing:
    def __init__(self, network: Network) -> None:
        self.network = network
        self.peer = peers(network)
        self.above = homes(network, self.peer)
        self.drawn: set[str] = set()
        self.later: list[str] = []
        """Nodes too deep in the tree, to be drawn at the left."""

    def lines(self) -> Iterator[str]:
        for node in self.network:
            if node.name not in self.above:
                yield from _render(self._node(node, None, 0))
                while self.later:
                    yield from _render(self._node(self.network[self.later.pop(0)], None, 0))

    # -- nodes ---------------------------------------------------------------------------------------------------

    def _node(self, node: Node, at: Interface | None, depth: int) -> _Entry:
        """*node* in full, as plugged in by its interface *at*; at the left of the drawing where that is None."""
        if depth >= _DEEPEST and self._leads_on(node):
            self.later.append(node.name)
            entry = self._mention(node, at)
            entry.text += " (continued below)"
            return entry
        self.drawn.add(node.name)
        about = self._about(node)
        shown = at or self._first(node)
        addresses = tuple(address.ip for address in shown.addresses) if shown else ()
        interface = shown.name if shown and node.kind is Kind.HOST and len(node.interfaces) > 1 else ""
        below = self._below(node, at, depth)
        if shown is not None and shown.state is not LinkState.UP:
            about = ", ".join(filter(None, (about, shown.state.value)))
        return _Entry(
            _line(node.name, _kind(node, shown), interface, ", ".join(map(str, addresses)), about),
            below,
            node.name,
            node.kind,
            addresses,
            about,
            # A cable that is no branch of the tree is drawn at both of its ends.
            unique=all(self._is_branch(*plug) for plug in self._plugs(node)) and all(child.unique for child in below),
        )

    def _mention(self, node: Node, at: Interface | None) -> _Entry:
        """*node* where it is not at home: by name, interface and address."""
        addresses = tuple(address.ip for address in at.addresses) if at else ()
        interface = at.name if at and node.kind is not Kind.SWITCH else ""
        state = at.state.value if at and at.state is not LinkState.UP else ""
        text = _line(node.name, _kind(node, at), interface, ", ".join(map(str, addresses)), state)
        return _Entry(text, unique=False)

    def _leads_on(self, node: Node) -> bool:
        return any(self.above.get(far[0]) == end for end, far in self._plugs(node))

    def _is_branch(self, end: End, far: End) -> bool:
        return self.above.get(far[0]) == end or self.above.get(end[0]) == far

    def _plugs(self, node: Node) -> list[tuple[End, End]]:
        """Where its cables are: (its end, the other end)."""
        ends = ((node.name, interface.name) for interface in node.interfaces)
        return [(end, self.peer[end]) for end in ends if end in self.peer]

    @staticmethod
    def _first(node: Node) -> Interface | None:
        """The interface whose address stands beside a node at the left: its uplink, or its only one."""
        if node.uplink is not None:
            return node.interface(node.uplink)
        return node.interfaces[0] if node.kind is Kind.HOST and len(node.interfaces) == 1 else None

    def _about(self, node: Node) -> str:
        if node.kind is Kind.SWITCH:
            segment = self.network.segments[node.interfaces[0].segment]
            trunk = node.name in self.above and self.network[self.above[node.name][0]].kind is Kind.SWITCH
            mtu = [f"mtu {segment.mtu}"] if segment.mtu != DEFAULT_MTU and not trunk else []
            return ", ".join([*([] if trunk else map(str, segment.subnets)), *mtu])
        return ", ".join(hidings(node))

    # -- what hangs below a node -----------------------------------------------------------------------------------

    def _below(self, node: Node, at: Interface | None, depth: int) -> list[_Entry]:
        """What is plugged into its ports, or behind each of its interfaces but the one it hangs by."""
        if node.kind is Kind.SWITCH:
            return _counted(self._plugged(node, "br0", at, depth))
        if at is None and node.kind is Kind.HOST and len(node.interfaces) == 1:
            return [self._far(node.interfaces[0], depth)]
        return [
            entry
            for interface in node.interfaces
            if interface.master is None and interface != at
            for entry in self._behind(node, interface, depth)
        ]

    def _plugged(self, node: Node, bridge: str, at: Interface | None, depth: int) -> list[_Entry]:
        ports = [interface for interface in node.interfaces if interface.master == bridge and interface != at]
        return [self._far(port, depth) for port in ports]

    def _behind(self, node: Node, interface: Interface, depth: int) -> Iterator[_Entry]:
        text = f"{interface.name} {', '.join(map(str, interface.addresses))}"
        if interface.bridge:
            plugged = self._plugged(node, interface.name, None, depth)
            yield _Entry(text, _counted(plugged), unique=all(entry.unique for entry in plugged))
            return
        end = (node.name, interface.name)
        if end not in self.peer:
            return
        far = self.network[self.peer[end][0]]
        if self.above.get(far.name) == end:
            child = self._far(interface, depth)
            if far.kind is Kind.SWITCH or interface.name == "lan":
                yield _Entry(text, [child], unique=child.unique)
            else:
                child.text = f"{text} ── {child.text}"
                child.name = ""
                yield child
        elif self.above.get(node.name) != end and far.kind is not Kind.SWITCH and not self._in_a_lan(far, end):
            child = self._far(interface, depth)
            yield _Entry(f"{text} ── {child.text}", unique=False)

    def _in_a_lan(self, far: Node, end: End) -> bool:
        """Whether *end* is plugged into a router's LAN, where the node is drawn anyway."""
        return far.kind is Kind.ROUTER and (far.interface(self.peer[end][1]).master or self.peer[end][1]) == "lan"

    def _far(self, interface: Interface, depth: int) -> _Entry:
        """What is at the other end of its cable."""
        end = (interface.node, interface.name)
        name, far = self.peer[end]
        node = self.network[name]
        if self.above.get(name) == end and name not in self.drawn:
            return self._node(node, node.interface(far), depth + 1)
        return self._mention(node, node.interface(far))


def _kind(node: Node, shown: Interface | None) -> str:
    if node.kind is not Kind.HOST:
        return str(node.kind.value)
    if not node.interfaces:
        return "host, no link"
    return "" if shown else "host"


def _line(name: str, kind: str, interface: str, addresses: str, about: str) -> str:
    what = " ".join(part for part in (kind, interface, addresses) if part)
    if about:
        what += f", {about}" if addresses else f" {about}"
    return f"{name}  {what}".rstrip()


# -- counting ------------------------------------------------------------------------------------------------------


def _counted(entries: Sequence[_Entry]) -> list[_Entry]:
    """The entries, with runs of like ones (h4, h5, ... h99) drawn once."""
    kept: list[_Entry] = []
    run: list[_Entry] = []
    for entry in (*entries, _Entry("", unique=False)):
        if run and not _follows(run[-1], entry):
            kept += _fold(run)
            run = []
        run.append(entry)
    return kept


def _fold(run: list[_Entry]) -> list[_Entry]:
    if len(run) <= _RUN:
        return run
    rest = run[_SHOWN:]
    first, last = rest[0], rest[-1]
    noun = f"({len(rest)} {first.kind.value}s)" if first.kind else ""
    spans = ", ".join(f"{a} - {b}" for a, b in zip(first.addresses, last.addresses, strict=True))
    text = _line(f"{first.name} ... {last.name}", noun, "", spans, first.about)
    if first.below:
        text += f", each like {run[_SHOWN - 1].name}"
    return [*run[:_SHOWN], _Entry(text, about=f"{len(rest)} more")]


def _follows(one: _Entry, other: _Entry) -> bool:
    """Whether *other* is *one* with the next number: in its name, and with the same kinds of things below."""
    if not (one.unique and other.unique and one.name and other.name):
        return False
    a, b = _numbered(one.name), _numbered(other.name)
    return a is not None and b is not None and a[0] == b[0] and a[1] + 1 == b[1] and _shape(one) == _shape(other)


def _numbered(name: str) -> tuple[str, int] | None:
    found = re.fullmatch(r"(.*?)(\d+)", name)
    return (found[1], int(found[2])) if found else None


def _shape(entry: _Entry) -> object:
    """What two entries have in common that differ in names and addresses only."""
    label = "" if entry.name or entry.about else entry.text.split(" ")[0]
    versions = tuple(address.version for address in entry.addresses)
    return entry.kind, entry.about, versions, label, tuple(_shape(child) for child in entry.below)


# -- lines ---------------------------------------------------------------------------------------------------------


def _render(entry: _Entry) -> Iterator[str]:
    yield entry.text
    yield from _render_below(entry.below, "")


def _render_below(entries: Sequence[_Entry], indent: str) -> Iterator[str]:
    for entry in entries:
        last = entry is entries[-1]
        yield f"{indent}{'└── ' if last else '├── '}{entry.text}"
        yield from _render_below(entry.below, indent + ("    " if last else "│   "))
