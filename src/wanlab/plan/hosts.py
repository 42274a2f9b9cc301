"""The /etc/hosts that all nodes of a lab share."""

from __future__ import annotations

from wanlab.topology.network import Network

_LOOPBACK = "127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n"


def hosts_file(network: Network) -> str:
    """Every node's name for its own address, and `interface.node` for each of its interfaces.

    A line for each interface and address, also where LANs overlap: the first name of a line is the canonical one.
    """
    lines = []
    for node in network:
        for interface in (interface for interface in node.interfaces if interface.addresses):
            name = f"{node.name} " if interface is node.primary else ""
            lines += [f"{address.ip} {name}{interface.name}.{node.name}\n" for address in interface.addresses]
    return _LOOPBACK + "".join(lines)
