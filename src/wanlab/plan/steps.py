"""The steps that a lab is built by: pure data, each a thing that one command or one kernel message does.

Names of nodes stand for network namespaces. A plan's order is the order to take the steps in; `kernel` executes them
and `script` writes them down as commands.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

from wanlab.topology.impairment import Impairment


@dataclass(frozen=True, slots=True)
class AddNamespace:
    """Make a node: an empty network namespace, with nothing but `lo`, which is down."""

    node: str


@dataclass(frozen=True, slots=True)
class SetSysctl:
    """Set a sysctl inside a node; `key` as sysctl(8) takes it: with dots (`net.ipv4.ip_forward`) or with slashes."""

    node: str
    key: str
    value: str


@dataclass(frozen=True, slots=True)
class End:
    """One end of a cable: where it is, what it is called. `mac` None: the kernel chooses."""

    node: str
    interface: str
    mac: str | None
    mtu: int


@dataclass(frozen=True, slots=True)
class AddCable:
    """Make a veth pair with each end directly in its node."""

    a: End
    b: End


@dataclass(frozen=True, slots=True)
class AddBridge:
    """Make a bridge inside a node."""

    node: str
    interface: str
    mac: str | None
    mtu: int


@dataclass(frozen=True, slots=True)
class Enslave:
    """Make an interface a port of a bridge of the same node."""

    node: str
    interface: str
    bridge: str


@dataclass(frozen=True, slots=True)
class AddAddress:
    """Give an interface an address with its prefix length (`10.1.0.1/24`)."""

    node: str
    interface: str
    address: str


@dataclass(frozen=True, slots=True)
class SetUp:
    """Bring an interface up."""

    node: str
    interface: str


@dataclass(frozen=True, slots=True)
class AddRoute:
    """Send what goes to `destination` by the neighbour `via`, out of `interface`. `metric` 0: the family's default."""

    node: str
    destination: str
    via: str
    interface: str
    metric: int = 0


@dataclass(frozen=True, slots=True)
class LoadRuleset:
    """Load nftables rules, as `nft -f` would."""

    node: str
    text: str


@dataclass(frozen=True, slots=True)
class AwaitAddress:
    """Wait until an interface has an address that the node's kernel gives itself."""

    node: str
    interface: str
    address: str


@dataclass(frozen=True, slots=True)
class StartService:
    """Start a program that is a part of the lab: it runs in its node until it is stopped or the lab ends.

    `{files}` in its words and in the texts of its files is the directory that the files are in.
    """

    node: str
    name: str
    argv: tuple[str, ...]
    files: tuple[tuple[str, str], ...]
    """Its files: the name and the text of each."""
    package: str
    """Debian's package that brings the program, for who has it not."""
    udp_port: int | None = None
    """It is ready as soon as it listens there; None: as soon as it runs."""


@dataclass(frozen=True, slots=True)
class StopService:
    """End a program that was started as a part of the lab; forced where it does not."""

    node: str
    name: str


@dataclass(frozen=True, slots=True)
class ForgetConnections:
    """Forget every connection that a node tracks, and with them their translations."""

    node: str


@dataclass(frozen=True, slots=True)
class SetImpairment:
    """Have packets that an interface sends impaired; in place of what was said before."""

    node: str
    interface: str
    impairment: Impairment
    mtu: int
    """The interface's, by which queues are counted."""


@dataclass(frozen=True, slots=True)
class ClearImpairment:
    """Let packets that an interface sends go as they are; those that are being delayed are lost."""

    node: str
    interface: str


@dataclass(frozen=True, slots=True)
class LoseFrames:
    """Load nftables rules that lose frames at interfaces of a node, in place of those that are there; or none."""

    node: str
    interfaces: tuple[str, ...]
    """Those that the rules are for."""
    text: str


@dataclass(frozen=True, slots=True)
class SetMtu:
    """Give an interface that is there another MTU; it stays as it is otherwise."""

    node: str
    interface: str
    mtu: int


@dataclass(frozen=True, slots=True)
class SetDown:
    """Take an interface down: the other end of its cable loses its carrier."""

    node: str
    interface: str


@dataclass(frozen=True, slots=True)
class RemoveNamespace:
    """Take a node away, with all its interfaces but those that a program still holds a socket to."""

    node: str


@dataclass(frozen=True, slots=True)
class RemoveLink:
    """Take an interface away; of a cable, both ends."""

    node: str
    interface: str


@dataclass(frozen=True, slots=True)
class MoveLink:
    """Move one end of a cable to another node or another place of its own; the other end stays what it is.

    It comes without addresses, is no port of a bridge, and is down.
    """

    node: str
    interface: str
    to: str
    name: str
    mac: str | None
    mtu: int


@dataclass(frozen=True, slots=True)
class RemoveAddress:
    """Take an address from an interface."""

    node: str
    interface: str
    address: str


@dataclass(frozen=True, slots=True)
class RemoveRoute:
    """Take a route away: one that was added with the same fields."""

    node: str
    destination: str
    via: str
    interface: str
    metric: int = 0


Step = (
    AddNamespace
    | SetSysctl
    | AddCable
    | AddBridge
    | Enslave
    | AddAddress
    | SetUp
    | AddRoute
    | LoadRuleset
    | AwaitAddress
    | StartService
    | StopService
    | ForgetConnections
    | SetImpairment
    | ClearImpairment
    | LoseFrames
    | SetMtu
    | SetDown
    | RemoveNamespace
    | RemoveLink
    | MoveLink
    | RemoveAddress
    | RemoveRoute
)

_KINDS: dict[str, type[Any]] = {
    kind.__name__: kind
    for kind in (
        AddNamespace,
        SetSysctl,
        AddCable,
        AddBridge,
        Enslave,
        AddAddress,
        SetUp,
        AddRoute,
        LoadRuleset,
        AwaitAddress,
        StartService,
        StopService,
        ForgetConnections,
        SetImpairment,
        ClearImpairment,
        LoseFrames,
        SetMtu,
        SetDown,
        RemoveNamespace,
        RemoveLink,
        MoveLink,
        RemoveAddress,
        RemoveRoute,
    )
}


@dataclass(frozen=True, slots=True)
class Stage:
    """Steps that belong together, and the sentence that a reader of the script needs before them."""

    title: str
    steps: tuple[Step, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that turns nothing into a lab. `hosts` is the text of every node's /etc/hosts."""

    lab: str
    stages: tuple[Stage, ...]
    hosts: str

    @property
    def steps(self) -> tuple[Step, ...]:
        """All steps, in order."""
        return tuple(step for stage in self.stages for step in stage.steps)


def undo(steps: Sequence[Step]) -> list[Step]:
    """The steps that take away again what *steps* made: nodes, cables, bridges, addresses, services, last one first.

    What goes with these needs none, and what was only set (sysctls, rules, a route of a node that stays) stays set.
    """
    return [taken for step in reversed(steps) for taken in _undo(step)]


def _undo(step: Step) -> tuple[Step, ...]:
    match step:
        case AddNamespace(node):
            return (RemoveNamespace(node),)
        case AddCable(a, _):
            return (RemoveLink(a.node, a.interface),)
        case AddBridge(node, interface):
            return (RemoveLink(node, interface),)
        case AddAddress(node, interface, address):
            return (RemoveAddress(node, interface, address),)
        case StartService(node, name):
            return (StopService(node, name),)
        case SetImpairment(node, interface):
            return (ClearImpairment(node, interface),)
        case _:
            return ()


def encode(steps: Sequence[Step]) -> list[list[Any]]:
    """The steps as what JSON can hold: a list `[kind, field, field, ...]` each."""
    return [_encode(step) for step in steps]


def decode(rows: Sequence[Sequence[Any]]) -> list[Step]:
    """The inverse of :func:`encode`."""
    return [_decode(row) for row in rows]


def _encode(step: Step) -> list[Any]:
    if isinstance(step, AddCable):
        a, b = step.a, step.b
        return ["AddCable", a.node, a.interface, a.mac, a.mtu, b.node, b.interface, b.mac, b.mtu]
    if isinstance(step, SetImpairment):
        return ["SetImpairment", step.node, step.interface, step.impairment.to_row(), step.mtu]
    return [type(step).__name__, *(getattr(step, name) for name in _FIELDS[type(step)])]


def _decode(row: Sequence[Any]) -> Step:
    kind, *values = map(_frozen, row)
    if kind == "AddCable":
        return AddCable(End(*values[:4]), End(*values[4:]))
    if kind == "SetImpairment":
        node, interface, impairment, mtu = values
        return SetImpairment(node, interface, Impairment.from_row(impairment), mtu)
    step: Step = _KINDS[kind](*values)
    return step


def _frozen(value: Any) -> Any:
    """JSON knows lists only."""
    return tuple(map(_frozen, value)) if isinstance(value, list) else value


_FIELDS = {kind: tuple(field.name for field in fields(kind)) for kind in _KINDS.values()}
