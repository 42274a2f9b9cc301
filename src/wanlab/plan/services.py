"""The programs that run in a router as a part of it, and their files."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import NAMESPACE_DNS, uuid5

from wanlab.plan.nft_text import MAPPED_FORWARD, MAPPED_IN, MAPPED_OUT
from wanlab.plan.ruleset import TABLE
from wanlab.plan.steps import StartService
from wanlab.topology.nat import Nat, PortMapping
from wanlab.topology.network import Node

_PORT_MAPPING = 5351  # where NAT-PMP and PCP are served (RFC 6886, RFC 6887)
_SSDP = 1900  # where UPnP devices are looked for (UPnP Device Architecture)
_UPNP_HTTP = 5000  # where a device describes itself; UPnP leaves the choice to it


def services(router: Node) -> Iterator[StartService]:
    """The services of *router*."""
    if router.nat is not None and router.nat.port_mapping is not PortMapping.OFF:
        yield _port_mapping(router, router.nat)


def _port_mapping(router: Node, nat: Nat) -> StartService:
    """miniupnpd, which asks the kernel for its router's address and refuses behind another NAT, as in life."""
    inside = [interface for interface in router.interfaces if interface.name != router.uplink and interface.addresses]
    lans = [str(address.network) for interface in inside for address in interface.addresses if address.version == 4]
    pmp = nat.port_mapping is not PortMapping.UPNP
    upnp = nat.port_mapping is not PortMapping.NAT_PMP
    lines = [
        f"ext_ifname={router.uplink}",
        *(f"listening_ip={interface.name}" for interface in inside),
        f"http_port={_UPNP_HTTP}",
        f"enable_natpmp={_word(pmp)}",
        f"enable_upnp={_word(upnp)}",
        "secure_mode=yes",  # who asks gets ports that lead to itself, not to others
        f"uuid={uuid5(NAMESPACE_DNS, router.name)}",
        f"friendly_name={router.name}",
        f"upnp_table_name={TABLE}",
        f"upnp_nat_table_name={TABLE}",
        f"upnp_forward_chain={MAPPED_FORWARD}",
        f"upnp_nat_chain={MAPPED_IN}",
        f"upnp_nat_postrouting_chain={MAPPED_OUT}",
        *(f"allow {nat.first_port}-{nat.last_port} {lan} 0-65535" for lan in lans),
        "deny 0-65535 0.0.0.0/0 0-65535",
    ]
    return StartService(
        router.name,
        "miniupnpd",
        ("miniupnpd", "-d", "-f", "{files}/miniupnpd.conf", "-P", "{files}/miniupnpd.pid"),
        (("miniupnpd.conf", "".join(f"{line}\n" for line in lines)),),
        "miniupnpd-nftables",
        _PORT_MAPPING if pmp else _SSDP,
    )


def _word(on: bool) -> str:
    return "yes" if on else "no"
