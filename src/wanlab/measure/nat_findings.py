"""What a NAT was declared to do beside what it was measured to."""

from __future__ import annotations

from collections.abc import Iterator

from wanlab.measure.behaviour import Behaviour, Neighbours, Outcome
from wanlab.measure.finding import Finding
from wanlab.measure.lifetime import Lifetime
from wanlab.measure.nat_sites import Site
from wanlab.topology.nat import Filtering, Hairpin, Mapping, Pooling, Ports, Unsolicited


def compared(
    site: Site,
    behaviour: Behaviour,
    neighbours: Neighbours | None,
    lifetime: Lifetime | None,
    unsolicited: Unsolicited | None,
) -> Iterator[Finding]:
    """Axis by axis; only those that can be told of it."""
    nat = site.nat
    # Where nothing gets through, it may be the host's own fault.
    udp = f"udp from {site.inside[0].node}"
    if nat.udp_ports == ():
        blocked = behaviour.outcome is Outcome.BLOCKED
        yield Finding(udp, "blocked", "blocked" if blocked else "let out", blocked)
        return
    if behaviour.outcome is not Outcome.MEASURED:
        yield Finding(udp, "let out", behaviour.outcome.value, False)
        return
    yield _finding("mapping", nat.mapping, behaviour.mapping)
    yield _finding("filtering", nat.filtering, behaviour.filtering)
    yield _finding("ports", nat.ports, behaviour.ports)
    yield from _port_findings(site, behaviour)
    if neighbours is not None:
        yield _yes_or_no("overloading", nat.overloading, neighbours.overloading)
    yield _hairpin(site, neighbours)
    if site.router.firewall and unsolicited is not None:
        yield _finding("unsolicited", nat.unsolicited, unsolicited)
    if lifetime is not None:
        most = "?" if lifetime.at_most_s is None else f"{lifetime.at_most_s:.3g}"
        fits = lifetime.at_least_s <= nat.udp_timeout_s <= (lifetime.at_most_s or 0)
        yield Finding("udp lifetime", f"{nat.udp_timeout_s} s", f"{lifetime.at_least_s:.3g} to {most} s", fits)
        yield _yes_or_no("outbound refresh", True, lifetime.outbound_refresh)
        yield _yes_or_no("inbound refresh", nat.inbound_refresh, lifetime.inbound_refresh)


def _port_findings(site: Site, behaviour: Behaviour) -> Iterator[Finding]:
    nat = site.nat
    seen = [external for _, external in behaviour.seen]
    ports = sorted(port for _, port in seen)
    if behaviour.ports is not Ports.PRESERVE and nat.ports is not Ports.PRESERVE:
        yield _yes_or_no("parity", nat.parity, behaviour.parity)
    span = f"{ports[0]}-{ports[-1]}"
    yield Finding(
        "port range",
        f"{nat.first_port}-{nat.last_port}",
        span,
        nat.first_port <= ports[0] <= ports[-1] <= nat.last_port,
    )
    if nat.block is not None and not site.guests:
        begin = (ports[0] - nat.first_port) // nat.block
        whole = begin == (ports[-1] - nat.first_port) // nat.block
        yield Finding("port block", f"{nat.block} ports for each host", span, whole)
    addresses = {address for address, _ in seen}
    strange = addresses - set(site.external)
    yield Finding("external address", ", ".join(site.external), ", ".join(sorted(addresses)), not strange)
    if nat.addresses > 1:
        yield _finding("pooling", nat.pooling, Pooling.PAIRED if len(addresses) == 1 else Pooling.ARBITRARY)


def _hairpin(site: Site, neighbours: Neighbours | None) -> Finding:
    declared = site.nat.hairpin
    seen = None if neighbours is None else neighbours.hairpin
    if seen is None or (site.one_host and seen is Hairpin.OFF and declared is not Hairpin.EXTERNAL):
        # Linux takes no packet from outside that bears an address of its own.
        return Finding("hairpin", declared.value, "not measured: one host", None)
    return _finding("hairpin", declared, seen)


def _finding(
    axis: str,
    declared: Mapping | Filtering | Ports | Hairpin | Unsolicited | Pooling,
    seen: Mapping | Filtering | Ports | Hairpin | Unsolicited | Pooling | None,
) -> Finding:
    if seen is None:
        return Finding(axis, declared.value, "not to be told from here", None)
    return Finding(axis, declared.value, seen.value, seen is declared)


def _yes_or_no(axis: str, declared: bool, seen: bool | None) -> Finding:
    words = {True: "yes", False: "no", None: "not to be told from here"}
    return Finding(axis, words[declared], words[seen], None if seen is None else seen == declared)
