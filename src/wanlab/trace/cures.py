"""What would help two hosts that do not connect: each cure is tried in theory before it is named."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from wanlab.punch.machine import Transport, candidates
from wanlab.punch.theory import birthday, describe_odds, predict
from wanlab.topology.nat import Filtering, Hairpin, Mapping, Nat, PortMapping, Ports, Unsolicited

_SOCKETS, _PROBES = 256, 1024  # of a birthday attack, as those who use it do


@dataclass(frozen=True, slots=True)
class Side:
    """A host, and the NAT that it is behind."""

    host: str
    router: str | None
    nat: Nat | None


def cures(a: Side, b: Side, transport: Transport) -> Iterator[str]:
    """What would let the two through to each other, *a* being the earlier one."""
    for side, other in ((a, b), (b, a)):
        nat = side.nat
        if nat is None:
            continue
        if _connects(a, b, side, _mapped(nat), transport):
            yield f"a port mapping for {side.host} at {side.router} (NAT-PMP, PCP or UPnP)"
        silent = replace(nat, unsolicited=Unsolicited.DROP)
        if silent != nat and _connects(a, b, side, silent, transport):
            yield f"silence of {side.router} towards what nobody asked for"
        yield from _luck(side, other, transport)


def relay(nats: Iterable[Nat | None], transport: Transport) -> str:
    """What always helps."""
    closed = any(nat is not None and nat.udp_ports is not None for nat in nats)
    way = "TCP port 443, which guest networks leave open" if closed else transport.value.upper()
    return f"a relay (TURN) that both reach, over {way}"


def _mapped(nat: Nat) -> Nat:
    """As it behaves towards one port that was mapped."""
    return replace(
        nat,
        mapping=Mapping.ENDPOINT_INDEPENDENT,
        filtering=Filtering.ENDPOINT_INDEPENDENT,
        unsolicited=Unsolicited.DROP,
        hairpin=Hairpin.OFF,
        overloading=False,
        port_mapping=PortMapping.OFF,
    )


def _connects(a: Side, b: Side, changed: Side, nat: Nat, transport: Transport) -> bool:
    return predict(nat if changed is a else a.nat, nat if changed is b else b.nat, transport).connects


def _luck(side: Side, other: Side, transport: Transport) -> Iterator[str]:
    """*side* has the ports that cannot be known, and the other's is known."""
    nat = side.nat
    if nat is None or nat.mapping is Mapping.ENDPOINT_INDEPENDENT or transport is Transport.TCP:
        return
    if other.nat is not None and other.nat.mapping is not Mapping.ENDPOINT_INDEPENDENT:
        return
    if any(each is not None and each.udp_ports is not None for each in (nat, other.nat)):
        return
    if nat.ports is Ports.SEQUENTIAL:
        yield f"guessing {side.host}'s next port: {side.router} gives them in order"
        return
    ports = candidates(nat)
    odds = birthday(min(_SOCKETS, ports), min(_PROBES, ports), ports)
    attack = f"{_SOCKETS} sockets of {side.host}, {_PROBES} probes from the other side"
    yield f"a birthday attack: {attack}, {describe_odds(odds)} to get through"
