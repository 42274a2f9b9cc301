"""The /etc/hosts that all nodes of a lab share."""

from __future__ import annotations

from wanlab.topology.network import IPAddress, Network

_LOOPBACK = "127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n"


def hosts_file(network: Network) -> str:
    """Every node's name for its own address, and `interface.node` for each of its interfaces."""
    names: dict[IPAddress, list[str]] = {}
    for node in network:
        addressed = [interface for interface in node.interfaces if interface.addresses]
        for interface in addressed:
            for address in interface.addresses:
                known = names.setdefault(address.ip, [])
                if interface is node.primary:
                    known.append(node.name)
                known.append(f"{interface.name}.{node.name}")
    return _LOOPBACK + "".join(f"{address} {' '.join(known)}\n" for address, known in names.items())
