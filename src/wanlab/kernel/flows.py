"""What this namespace's kernel knows of routes, addresses and connections, read by netlink, as lines for a person.

Run inside a node, by somebody who may ask (CAP_NET_ADMIN for connections). Numbers: include/uapi/linux/{netlink,
rtnetlink,if_addr}.h, netfilter/{nfnetlink,nfnetlink_conntrack,nf_conntrack_common}.h.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

from wanlab.kernel.messages import Attributes, attributes

_NLM_REQUEST, _NLM_DUMP = 0x1, 0x300
_NLMSG_ERROR, _NLMSG_DONE = 2, 3
_NETLINK_NETFILTER = 12
_RTM_GETLINK, _RTM_GETADDR, _RTM_GETROUTE, _RT_TABLE_MAIN, _RTN_UNICAST, _RT_SCOPE_LINK = 18, 22, 26, 254, 1, 253
_IFLA_IFNAME, _IFF_UP, _ARPHRD_LOOPBACK = 3, 1, 772
_RTA_DST, _RTA_OIF, _RTA_GATEWAY, _RTA_PRIORITY = 1, 4, 5, 6
_IFA_ADDRESS, _IFA_LOCAL = 1, 2
_CT_GET = 1 << 8 | 1  # NFNL_SUBSYS_CTNETLINK, IPCTNL_MSG_CT_GET
_CTA_ORIGINAL, _CTA_REPLY, _CTA_STATUS, _CTA_TIMEOUT = 1, 2, 3, 7
_IPS_SEEN_REPLY, _IPS_ASSURED = 1 << 1, 1 << 3
_PROTOCOLS = {1: "icmp", 6: "tcp", 17: "udp", 58: "icmpv6", 132: "sctp"}


def addresses() -> list[str]:
    """`eth0 10.1.0.1/24`, each interface's addresses, but those of `lo`."""
    return [
        f"{socket.if_indextoname(index)} {ip_address(found.get(_IFA_LOCAL) or found[_IFA_ADDRESS])}/{length}"
        for (_, length, _, _, index), found in _dump(socket.NETLINK_ROUTE, _RTM_GETADDR, "=BBBBI")
        if index != 1
    ]


@dataclass(frozen=True, slots=True)
class FoundInterface:
    """An interface as the kernel has it."""

    name: str
    up: bool
    """Whether somebody has switched it on; its cable may be without life all the same."""
    addresses: tuple[str, ...]
    """With prefix lengths; without those that IPv6 gives to every link (fe80::/10)."""


def interfaces(link: socket.socket) -> list[FoundInterface]:
    """The interfaces but `lo` of the namespace that *link*, a route socket (NETLINK_ROUTE), lives in.

    Anybody may ask, from anywhere. Raises OSError.
    """
    addresses: dict[int, list[str]] = {}
    for (_, length, _, scope, index), found in _answers(link, _RTM_GETADDR, "=BBBBI"):
        if scope != _RT_SCOPE_LINK:
            address = ip_address(found.get(_IFA_LOCAL) or found[_IFA_ADDRESS])
            addresses.setdefault(index, []).append(f"{address}/{length}")
    return [
        FoundInterface(_name(found[_IFLA_IFNAME]), bool(flags & _IFF_UP), tuple(addresses.get(index, ())))
        for (_, _, kind, index, flags, _), found in _answers(link, _RTM_GETLINK, "=BBHiII")
        if kind != _ARPHRD_LOOPBACK
    ]


def routes() -> list[str]:
    """`default via 10.1.0.254 dev eth0`: those of the main table."""
    return list(_routes())


def _routes() -> Iterator[str]:
    for header, found in _dump(socket.NETLINK_ROUTE, _RTM_GETROUTE, "=BBBBBBBBI"):
        family, length, _, _, table, _, _, kind, _ = header
        if table != _RT_TABLE_MAIN or kind != _RTN_UNICAST or family not in (socket.AF_INET, socket.AF_INET6):
            continue
        words = [f"{ip_address(found[_RTA_DST])}/{length}" if length else "default"]
        if family == socket.AF_INET6 and not length:
            words = ["default (IPv6)"]
        if _RTA_GATEWAY in found:
            words.append(f"via {ip_address(found[_RTA_GATEWAY])}")
        if _RTA_OIF in found:
            words.append(f"dev {socket.if_indextoname(_number(found[_RTA_OIF]))}")
        if _RTA_PRIORITY in found:
            words.append(f"metric {_number(found[_RTA_PRIORITY])}")
        yield " ".join(words)


def connections() -> list[str]:
    """What connection tracking follows, in the form of /proc/net/nf_conntrack. Raises OSError where it may not ask."""
    table = Path("/proc/net/nf_conntrack")
    if table.exists():
        return table.read_text().splitlines()
    return connections_by_netlink()


def connections_by_netlink() -> list[str]:
    """The same, where the kernel has no such file (CONFIG_NF_CONNTRACK_PROCFS). Raises OSError."""
    return [
        f"{_PROTOCOLS.get(_protocol(found[_CTA_ORIGINAL]), 'ip')} {_seconds(found)} {_tuple(found[_CTA_ORIGINAL])}"
        f"{_unreplied(found)} {_tuple(found[_CTA_REPLY])}"
        for _, found in _dump(_NETLINK_NETFILTER, _CT_GET, "=BBH")
    ]


@dataclass(frozen=True, slots=True)
class Flow:
    """One direction of a connection: who sends to whom. Of what has no ports, the ports are its identifier, or 0."""

    source: str
    source_port: int
    destination: str
    destination_port: int


@dataclass(frozen=True, slots=True)
class Connection:
    """A connection as connection tracking has it."""

    protocol: str
    original: Flow
    """As its first packet was before it was translated."""
    reply: Flow
    """As answers are before they are translated back."""
    seconds: int
    """How long it is remembered, where nothing comes any more."""


def tracked() -> list[Connection]:
    """What connection tracking follows in this namespace. Raises OSError where it may not ask."""
    return [
        Connection(
            _PROTOCOLS.get(_protocol(found[_CTA_ORIGINAL]), str(_protocol(found[_CTA_ORIGINAL]))),
            _flow(found[_CTA_ORIGINAL]),
            _flow(found[_CTA_REPLY]),
            _seconds(found),
        )
        for _, found in _dump(_NETLINK_NETFILTER, _CT_GET, "=BBH")
    ]


def _seconds(found: Attributes) -> int:
    return int(struct.unpack("!I", found[_CTA_TIMEOUT])[0]) if _CTA_TIMEOUT in found else 0


def _unreplied(found: Attributes) -> str:
    status = struct.unpack("!I", found[_CTA_STATUS])[0] if _CTA_STATUS in found else _IPS_SEEN_REPLY
    words = "" if status & _IPS_SEEN_REPLY else " [UNREPLIED]"
    return words + (" [ASSURED]" if status & _IPS_ASSURED else "")


def _tuple(data: bytes) -> str:
    flow, ports = _flow(data), attributes(attributes(data)[2])
    words = f"src={flow.source} dst={flow.destination}"
    if 2 in ports and 3 in ports:
        words += f" sport={flow.source_port} dport={flow.destination_port}"
    elif 4 in ports or 7 in ports:
        words += f" id={flow.source_port}"
    return words


def _flow(data: bytes) -> Flow:
    parts = attributes(data)
    addresses, ports = attributes(parts[1]), attributes(parts[2])
    source, destination = (addresses[1], addresses[2]) if 1 in addresses else (addresses[3], addresses[4])
    identifier = ports.get(4, ports.get(7, b""))
    return Flow(
        str(ip_address(source)),
        int.from_bytes(ports.get(2, identifier), "big"),
        str(ip_address(destination)),
        int.from_bytes(ports.get(3, identifier), "big"),
    )


def _protocol(data: bytes) -> int:
    return attributes(attributes(data)[2])[1][0]


def _dump(protocol: int, kind: int, header: str) -> Iterator[tuple[tuple[int, ...], Attributes]]:
    """All answers to a dump request: the fixed part of each, and its attributes. Raises OSError."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol) as netlink:
        yield from _answers(netlink, kind, header)


def _answers(netlink: socket.socket, kind: int, header: str) -> Iterator[tuple[tuple[int, ...], Attributes]]:
    size = struct.calcsize(header)
    netlink.send(struct.pack("=IHHII", 16 + size, kind, _NLM_REQUEST | _NLM_DUMP, 1, 0) + bytes(size))
    while True:
        data = netlink.recv(1 << 18)
        offset = 0
        while offset < len(data):
            length, what = struct.unpack_from("=IH", data, offset)
            body = data[offset + 16 : offset + length]
            if what == _NLMSG_DONE:
                return
            if what == _NLMSG_ERROR:
                number = -struct.unpack_from("=i", body)[0]
                raise OSError(number, os.strerror(number))
            yield struct.unpack_from(header, body), attributes(body[size:])
            offset += (length + 3) & ~3


def _name(data: bytes) -> str:
    return data.rstrip(b"\0").decode()


def _number(data: bytes) -> int:
    return int(struct.unpack("=I", data)[0])
