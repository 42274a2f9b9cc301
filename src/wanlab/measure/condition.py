"""Which links of a lab are down, and which addresses are other than its topology says, as its kernels have them."""

from __future__ import annotations

import socket
from ipaddress import ip_interface
from typing import TYPE_CHECKING

from wanlab.drawing.scene import Condition
from wanlab.kernel.flows import interfaces

if TYPE_CHECKING:
    from wanlab.runtime.lab import Lab
    from wanlab.topology.network import IPInterface

_ROUTE = 0  # NETLINK_ROUTE


def _of_ipv6(addresses: tuple[IPInterface, ...]) -> tuple[IPInterface, ...]:
    return tuple(address for address in addresses if address.version == 6)


def condition(lab: Lab) -> Condition:
    """Ask the kernel of every node, by a socket in each: no program is started. Raises LabEnded, OSError."""
    names = [node.name for node in lab.network]
    down: set[tuple[str, str]] = set()
    changed = {}
    sockets = lab.sockets(names, socket.AF_NETLINK, socket.SOCK_RAW, _ROUTE)
    try:
        for name, link in zip(names, sockets, strict=True):
            found = {each.name: each for each in interfaces(link)}
            for declared in lab.network[name].interfaces:
                end = (name, declared.name)
                there = found.get(declared.name)
                if there is None or not there.up:
                    down.add(end)
                addresses = tuple(map(ip_interface, there.addresses)) if there is not None else ()
                # An interface that is down keeps no IPv6 address: that is no change of it.
                kept = addresses if there is not None and there.up else (*addresses, *_of_ipv6(declared.addresses))
                if set(kept) != set(declared.addresses):
                    changed[end] = addresses
    finally:
        for link in sockets:
            link.close()
    return Condition(frozenset(down), changed)
