"""From one network to another: the steps that change a lab that is up, and leave alone what stays as it is.

Both networks are compiled, and the two plans compared step by step. What is in both and hangs on nothing that changes
is not touched: programs and sockets there notice nothing. Pure, as all plans are.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from wanlab.plan.compile import compile_network
from wanlab.plan.partitions import without
from wanlab.plan.ruleset import TABLE
from wanlab.plan.steps import (
    AddAddress,
    AddBridge,
    AddCable,
    AddNamespace,
    AddRoute,
    AwaitAddress,
    ClearImpairment,
    End,
    Enslave,
    ForgetConnections,
    LoadRuleset,
    LoseFrames,
    MoveLink,
    RemoveAddress,
    RemoveLink,
    RemoveNamespace,
    RemoveRoute,
    SetDown,
    SetImpairment,
    SetMtu,
    SetSysctl,
    SetUp,
    StartService,
    Step,
    StopService,
)
from wanlab.plan.timers import KERNEL_DEFAULTS
from wanlab.topology.network import Network

_NO_RULES = f"table inet {TABLE}\ndelete table inet {TABLE}\n"  # the first line makes the second one sure to work

# While a router forgets, nothing may pass it: a packet of an old connection would be learned by new rules.
_CLOSED = (
    f"{_NO_RULES}table inet {TABLE} {{\n"
    "\tchain wl_closed_in {\n\t\ttype filter hook prerouting priority raw; policy drop;\n\t}\n"
    "\tchain wl_closed_out {\n\t\ttype filter hook output priority raw; policy drop;\n\t}\n"
    "}\n"
)

_NO_IPV6 = "net.ipv6.conf.default.disable_ipv6"

_FORWARDING = ("net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding")

# What a namespace begins with, of all that a plan may set. rp_filter and redirects it has from the machine; off, they
# never harm.
_UNSET = (
    KERNEL_DEFAULTS
    | dict.fromkeys(_FORWARDING, "0")
    | {
        _NO_IPV6: "0",
        "net.ipv6.conf.default.accept_dad": "1",
        "net.ipv4.conf.all.rp_filter": "0",
        "net.ipv4.conf.default.rp_filter": "0",
        "net.ipv4.conf.all.send_redirects": "0",
        "net.ipv4.conf.default.send_redirects": "0",
        "net.bridge.bridge-nf-call-iptables": "0",
        "net.bridge.bridge-nf-call-ip6tables": "0",
    }
)


# The same for a single interface: its settings for router advertisements.
_UNSET_OF_INTERFACE = {
    "accept_ra": "1",
    "autoconf": "1",
    "addr_gen_mode": "0",
    "use_tempaddr": "0",
    "ra_defrtr_metric": "1024",
}


def change(old: Network, new: Network) -> tuple[Step, ...]:
    """The steps that make *new* of a lab that is *old*.

    A NAT whose rules change forgets its mappings, and so does one whose external address does, as in life.
    """
    return tuple(_Change(old, new).steps())


def reboot(network: Network, node: str) -> tuple[tuple[Step, ...], tuple[Step, ...]]:
    """The steps that turn a node off, and those that turn it on again; its programs run on and are not told.

    Off, its cables have no carrier. On again it remembers nothing: no connection, no mapping, no permitted peer. Both
    may be taken of a node that is partly so already.
    """
    mine = [step for step in compile_network(network).steps if not isinstance(step, AddCable) and step.node == node]
    links = [step for step in mine if isinstance(step, SetUp) and step.interface != "lo"]
    off: list[Step] = [StopService(node, step.name) for step in mine if isinstance(step, StartService)]
    off += [_removal(step) for step in reversed(mine) if isinstance(step, AddRoute | AddAddress)]
    off += [SetDown(node, step.interface) for step in reversed(links)]
    off += [SetSysctl(node, step.key, "0") for step in mine if isinstance(step, SetSysctl) and step.key in _FORWARDING]
    off += [LoadRuleset(node, _NO_RULES) for step in mine if isinstance(step, LoadRuleset)]
    off.append(ForgetConnections(node))
    on: list[Step] = [StopService(node, step.name) for step in mine if isinstance(step, StartService)]
    for step in mine:
        match step:
            case LoseFrames():
                on.append(replace(step, text=without(step.text) + step.text))
            case LoadRuleset():
                on.append(replace(step, text=_NO_RULES + step.text))
            case AddNamespace() | AddBridge() | Enslave() | SetUp(interface="lo"):
                pass
            case _:
                on.append(step)
    return tuple(off), tuple(on)


def way_back(back: Iterable[Step], done: Iterable[Step]) -> list[Step]:
    """Of the steps that would take back a whole change, those for what was done of it.

    A name may stand for one interface before a change and for another one after it, and what was not touched is not to
    be made anew. What is left over (an address that is there already) is refused by the kernel and does no harm.
    """
    taken = list(done)
    made, removed, moved = _links(taken), set(), set()
    for step in taken:
        if isinstance(step, RemoveLink):
            removed.add((step.node, step.interface))
        elif isinstance(step, MoveLink):
            moved.add((step.to, step.name))
    new_nodes = _nodes(taken)
    gone_nodes = {step.node for step in taken if isinstance(step, RemoveNamespace)}
    ruled = {step.node for step in taken if isinstance(step, LoadRuleset | ForgetConnections)}
    served = {(step.node, step.name) for step in taken if isinstance(step, StartService | StopService)}

    def concerns(step: Step) -> bool:
        if _nodes_of(step) & gone_nodes:
            return True
        match step:
            case RemoveNamespace(node):
                return node in new_nodes
            case AddNamespace(node):
                return node in gone_nodes
            case RemoveLink(node, interface):
                return (node, interface) in made
            case AddCable(a, b):
                return bool({(a.node, a.interface), (b.node, b.interface)} & removed)
            case AddBridge(node, interface):
                return (node, interface) in removed
            case MoveLink(node, interface):
                return (node, interface) in moved
            case LoadRuleset(node) | ForgetConnections(node):
                return node in ruled
            case StartService(node, name) | StopService(node, name):
                return (node, name) in served
            case _:
                return True

    return [step for step in back if concerns(step)]


def forget(network: Network, node: str) -> tuple[Step, ...]:
    """The steps that have a router forget every connection and mapping, and ports that were asked for; rules stay."""
    mine = [step for step in compile_network(network).steps if not isinstance(step, AddCable) and step.node == node]
    running = [step for step in mine if isinstance(step, StartService)]
    return (
        *(StopService(node, step.name) for step in running),
        *(new for step in mine if isinstance(step, LoadRuleset) for new in _replace_rules(node, step.text)),
        *running,
    )


_Interface = tuple[str, str]


@dataclass(frozen=True, slots=True)
class _Move:
    """A cable whose one end is moved from one node to another."""

    was: AddCable
    old: End
    stays: End
    new: End
    cable: AddCable


class _Change:
    def __init__(self, old: Network, new: Network) -> None:
        self.nodes = new.nodes
        self.new = compile_network(new).steps
        self.old, self.mtus = _resized(compile_network(old).steps, self.new)
        """The old steps, with the MTUs that links which stay are to have, and what gives them these."""
        self.before = set(self.old)
        self.after = set(self.new)
        self.gone_nodes = _nodes(self.before - self.after)
        self.new_nodes = _nodes(self.after - self.before)
        self.gone_links = _links(self.before - self.after)
        self.new_links = _links(self.after - self.before)
        self.moves = self._moves()
        self.moved = {move.cable for move in self.moves} | {move.was for move in self.moves}
        """Cables of which one end stays what it is, before and after."""
        self.kept_ends = {(move.stays.node, move.stays.interface) for move in self.moves}
        self.gone_links -= self.kept_ends
        self.new_links -= self.kept_ends
        self.renumbered = {
            (step.node, step.interface, _family(step.address))
            for step in self.before ^ self.after
            if isinstance(step, AddAddress)
        }
        """Interfaces that get other addresses of a family: their routes of that family go with the addresses."""
        self.forgetful = self._forgetful(old, new)

    def _moves(self) -> list[_Move]:
        """The cables of which only one end is another one: who is plugged in elsewhere keeps the interface."""
        gone = [step for step in self.old if isinstance(step, AddCable) and step not in self.after]
        were = {end: (step, far) for step in gone for end, far in _ways(step)}
        moves = [
            _Move(*were[end], end, far, step)
            for step in self.new
            if isinstance(step, AddCable) and step not in self.before
            for end, far in _ways(step)
            if end in were and not {end.node, far.node} & (self.new_nodes | self.gone_nodes)
        ]
        moves = list({move.was: move for move in {move.cable: move for move in moves}.values()}.values())
        # Where one would go to where another one is yet, they do not move: they are made anew.
        taken = {(move.old.node, move.old.interface) for move in moves}
        return [move for move in moves if (move.new.node, move.new.interface) not in taken]

    @staticmethod
    def _forgetful(old: Network, new: Network) -> set[str]:
        """The routers whose NAT is another one, or has another address."""
        found = set()
        for node in new:
            known = old.nodes.get(node.name)
            if known is not None and node.uplink is not None and known.uplink is not None:
                addresses = [n.interface(n.uplink or "").addresses for n in (known, node)]
                if known.nat != node.nat or (node.nat is not None and addresses[0] != addresses[1]):
                    found.add(node.name)
        return found

    def steps(self) -> Iterator[Step]:
        yield from self._stop_services()
        yield from self._take_away()
        yield from self.mtus
        yield from self._put_in_place()
        # Last of all: whatever is refused before, programs in such a node find it as it was.
        yield from (
            RemoveNamespace(s.node) for s in reversed(self.old) if isinstance(s, AddNamespace) and s not in self.after
        )

    # -- away ----------------------------------------------------------------------------------------------------

    def _stop_services(self) -> Iterator[Step]:
        for step in self.old:
            if isinstance(step, StartService) and not self._serves_on(step):
                yield StopService(step.node, step.name)

    def _serves_on(self, step: StartService) -> bool:
        """Whether a service notices nothing: what it put into its router's rules goes with them."""
        return step in self.after and step.node not in self.reloaded

    @property
    def reloaded(self) -> set[str]:
        """The nodes that get other rules, or none."""
        rules = {step.node for step in self.before ^ self.after if isinstance(step, LoadRuleset)}
        return rules | self.forgetful

    def _join(self) -> Iterator[Step]:
        """Nothing is lost any more at nodes that no partition concerns."""
        still = {step.node for step in self.new if isinstance(step, LoseFrames)}
        for step in self.old:
            if isinstance(step, LoseFrames) and step.node not in still | self.gone_nodes:
                yield LoseFrames(step.node, (), without(step.text))

    def _take_away(self) -> Iterator[Step]:
        yield from self._join()
        gone = [step for step in reversed(self.old) if not self._stays(step)]
        there = [step for step in gone if not self._goes_with_another(step)]
        yield from self._let_go_clean(gone)
        yield from (_removal(step) for step in there if isinstance(step, AddRoute))
        addresses = (s for s in there if isinstance(s, AddAddress) or (isinstance(s, AwaitAddress) and self._loses(s)))
        yield from map(_removal, addresses)
        yield from (SetDown(step.node, step.interface) for step in there if isinstance(step, SetUp))
        for node, interface in self._ends(there):
            yield RemoveLink(node, interface)
        for move in self.moves:
            old, new = move.old, move.new
            yield MoveLink(old.node, old.interface, new.node, new.interface, new.mac, new.mtu)
        still = {(step.node, step.key) for step in self.new if isinstance(step, SetSysctl)}
        for step in gone:
            if isinstance(step, SetSysctl) and (step.node, step.key) not in still and not self._goes_with_another(step):
                yield SetSysctl(step.node, step.key, _unset(step.key))
        yield from self._speak_ipv6()
        ruled = {step.node for step in self.new if isinstance(step, LoadRuleset)}
        for step in gone:
            if isinstance(step, LoadRuleset) and step.node not in self.gone_nodes | ruled:
                yield from _replace_rules(step.node, "")

    def _let_go_clean(self, gone: Iterable[Step]) -> Iterator[Step]:
        """What holds an impaired link has to let go of it, even where its interface goes."""
        still = {(step.node, step.interface) for step in self.new if isinstance(step, SetImpairment)}
        for step in gone:
            if isinstance(step, SetImpairment):
                place = step.node, step.interface
                if place not in still or self._fresh(*place) or step.node in self.gone_nodes:
                    yield ClearImpairment(*place)

    def _loses(self, step: AwaitAddress) -> bool:
        """Whether an address that the kernel gave itself goes: not where only the carrier did."""
        interfaces = self.nodes[step.node].interfaces
        return not any(
            i.name == step.interface and i.slaac and i.up and any(str(a.ip) == step.address for a in i.addresses)
            for i in interfaces
        )

    def _speak_ipv6(self) -> Iterator[Step]:
        """Interfaces that stay take no notice of what is the default for new ones."""
        for step in self.before ^ self.after:
            if isinstance(step, SetSysctl) and step.key == _NO_IPV6 and step.node not in self.gone_nodes:
                for node, interface in sorted(_links(self.before & self.after) | self.kept_ends):
                    if node == step.node and node not in self.new_nodes:
                        value = "1" if step in self.after else "0"
                        yield SetSysctl(node, f"net.ipv6.conf.{interface.replace('.', '/')}.disable_ipv6", value)

    def _ends(self, gone: Iterable[Step]) -> Iterator[_Interface]:
        for step in gone:
            match step:
                case AddCable() if step in self.moved:
                    pass
                case AddCable(a, b):
                    # By an end whose node stays: of a node that goes too, programs may hold the namespace.
                    end = a if a.node not in self.gone_nodes else b
                    yield end.node, end.interface
                case AddBridge(node, interface):
                    yield node, interface

    def _goes_with_another(self, step: Step) -> bool:
        """Whether the kernel takes it away by itself, with the node or the interface that it belongs to."""
        if isinstance(step, AddCable | AddNamespace):
            return False
        node = _node(step)
        if node in self.gone_nodes:
            return True
        interface = _interface_of(step.key) if isinstance(step, SetSysctl) else getattr(step, "interface", None)
        return not isinstance(step, AddBridge) and (node, interface) in self.gone_links

    # -- into place ----------------------------------------------------------------------------------------------

    def _stays(self, step: Step) -> bool:
        """Whether a step was taken already and stands."""
        if isinstance(step, AddCable) and step in self.moved and step in self.after:
            return True
        if step not in self.before or step not in self.after:
            return False
        node = _node(step)
        match step:
            case AddCable() | AddBridge():
                return True
            case Enslave(_, interface, bridge):
                return not self._fresh(node, interface) and not self._fresh(node, bridge)
            case AddAddress(_, interface, address):
                return not self._fresh(node, interface) and (node, interface, _family(address)) not in self.renumbered
            case AddRoute(_, destination, _, interface):
                family = _family(destination)
                return not self._fresh(node, interface) and (node, interface, family) not in self.renumbered
            case SetUp(_, interface) | SetImpairment(_, interface):
                return not self._fresh(node, interface)
            case AwaitAddress(_, interface, _):
                return not self._fresh(node, interface)
            case SetSysctl(_, key):
                return not self._fresh(node, _interface_of(key) or "")
            case LoseFrames(_, interfaces):
                return not any(self._fresh(node, interface) for interface in interfaces)
            case LoadRuleset():
                return node not in self.forgetful
            case StartService():
                return self._serves_on(step)
            case _:
                return True

    def _fresh(self, node: str, interface: str) -> bool:
        return (node, interface) in self.new_links or (node, interface) in self.gone_links

    def _put_in_place(self) -> Iterator[Step]:
        ruled = {step.node for step in self.old if isinstance(step, LoadRuleset)} - self.new_nodes
        lost = {s.node: s.text for s in self.old if isinstance(s, LoseFrames) and s.node not in self.new_nodes}
        for step in self.new:
            if self._stays(step):
                continue
            if isinstance(step, LoseFrames) and step.node in lost:
                yield replace(step, text=without(lost[step.node]) + step.text)
                continue
            if isinstance(step, LoadRuleset) and step.node in ruled:
                yield from _replace_rules(step.node, step.text)
            else:
                yield step


_LEAST_MTU_OF_IPV6 = (
    1280  # RFC 8200; below it the kernel takes an interface's IPv6 away, and above does not give it back
)


def _resized(old: Sequence[Step], new: Iterable[Step]) -> tuple[tuple[Step, ...], list[SetMtu]]:
    """*old*, where links are made that *new* makes with other MTUs: with those, and the steps that set them."""
    wanted = {_without_mtu(step): step for step in new if isinstance(step, AddCable | AddBridge)}
    steps, changes = list(old), list[SetMtu]()
    for place, step in enumerate(old):
        if isinstance(step, AddCable | AddBridge) and wanted.get(_without_mtu(step), step) != step:
            now = wanted[_without_mtu(step)]
            before, after = _mtus(step), _mtus(now)
            if min(*before.values(), *after.values()) >= _LEAST_MTU_OF_IPV6:
                steps[place] = now
                changes += [SetMtu(*where, mtu) for where, mtu in after.items() if before[where] != mtu]
    return tuple(steps), changes


def _without_mtu(step: AddCable | AddBridge) -> AddCable | AddBridge:
    if isinstance(step, AddCable):
        return AddCable(replace(step.a, mtu=0), replace(step.b, mtu=0))
    return replace(step, mtu=0)


def _mtus(step: AddCable | AddBridge) -> dict[_Interface, int]:
    ends = (step.a, step.b) if isinstance(step, AddCable) else (step,)
    return {(end.node, end.interface): end.mtu for end in ends}


def _ways(cable: AddCable) -> tuple[tuple[End, End], tuple[End, End]]:
    """Both ends of a cable, each with the other one."""
    return (cable.a, cable.b), (cable.b, cable.a)


def _nodes(steps: Iterable[Step]) -> set[str]:
    return {step.node for step in steps if isinstance(step, AddNamespace)}


def _links(steps: Iterable[Step]) -> set[_Interface]:
    """The interfaces that these steps make."""
    found: set[_Interface] = set()
    for step in steps:
        match step:
            case AddCable(a, b):
                found |= {(a.node, a.interface), (b.node, b.interface)}
            case AddBridge(node, interface):
                found.add((node, interface))
    return found


def _node(step: Step) -> str:
    """The node that a step is taken in; of a cable, that of its first end."""
    return step.a.node if isinstance(step, AddCable) else step.node


def _nodes_of(step: Step) -> set[str]:
    return {step.a.node, step.b.node} if isinstance(step, AddCable) else {step.node}


def _family(address: str) -> int:
    return 6 if ":" in address else 4


def _replace_rules(node: str, text: str) -> Iterator[Step]:
    yield LoadRuleset(node, _CLOSED)
    yield ForgetConnections(node)
    yield LoadRuleset(node, _NO_RULES + text)  # one transaction: from closed to the new rules


def _interface_of(key: str) -> str | None:
    """The interface that a sysctl is for, by its name; None for one of the whole namespace."""
    net, _, conf, *rest = f"{key}...".split(".")[:4]
    interface = rest[0].replace("/", ".")
    return interface if (net, conf) == ("net", "conf") and interface not in ("all", "default") else None


def _unset(key: str) -> str:
    return _UNSET[key] if _interface_of(key) is None else _UNSET_OF_INTERFACE[key.rpartition(".")[2]]


def _removal(step: AddRoute | AddAddress | AwaitAddress) -> Step:
    if isinstance(step, AwaitAddress):
        return RemoveAddress(step.node, step.interface, f"{step.address}/64")  # RFC 4862: what they are made of
    if isinstance(step, AddAddress):
        return RemoveAddress(step.node, step.interface, step.address)
    return RemoveRoute(step.node, step.destination, step.via, step.interface, step.metric)
