"""Just enough rtnetlink to build networks: messages are pipelined, and what became of them is read together.

pyroute2 costs several times what the kernel does for a message (docs/performance.md has the figures), so building is
done here; include/uapi/linux/{netlink,rtnetlink,if_link,if_addr,veth,pkt_sched}.h define every number.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Callable
from ipaddress import ip_address

_RTM_NEWLINK, _RTM_DELLINK, _RTM_GETLINK, _RTM_NEWADDR, _RTM_DELADDR = 16, 17, 18, 20, 21
_RTM_NEWROUTE, _RTM_DELROUTE, _RTM_NEWQDISC, _RTM_DELQDISC = 24, 25, 36, 37
_RTM_NEWTFILTER, _RTM_DELTFILTER = 44, 45
_NLM_REQUEST, _NLM_ACK, _NLM_REPLACE, _NLM_EXCL, _NLM_CREATE = 0x1, 0x4, 0x100, 0x200, 0x400
_NLM_ACK_TLVS = 0x200
_FLAGS, _FLAGS_AT = struct.Struct("=H"), 6  # of a message's header
_NLMSG_ERROR = 2
_NLMSGERR_ATTR_MSG = 1
_SOL_NETLINK, _NETLINK_CAP_ACK, _NETLINK_EXT_ACK = 270, 10, 11

_IFLA_ADDRESS, _IFLA_IFNAME, _IFLA_MTU, _IFLA_LINK, _IFLA_MASTER, _IFLA_LINKINFO = 1, 3, 4, 5, 10, 18
_IFLA_TXQLEN, _IFLA_NET_NS_FD, _IFLA_EXT_MASK, _RTEXT_FILTER_SKIP_STATS = 13, 28, 29, 1 << 3
_IFLA_INFO_KIND, _IFLA_INFO_DATA, _VETH_INFO_PEER = 1, 2, 1
_IFF_UP = 0x1
_IFA_ADDRESS, _IFA_LOCAL, _IFA_BROADCAST, _IFA_FLAGS, _IFA_F_NODAD = 1, 2, 4, 8, 0x02
_RTA_DST, _RTA_OIF, _RTA_GATEWAY, _RTA_PRIORITY = 1, 4, 5, 6
_TCA_KIND, _TCA_OPTIONS, _TC_H_ROOT = 1, 2, 0xFFFFFFFF
_RT_TABLE_MAIN, _RTPROT_BOOT, _RT_SCOPE_UNIVERSE, _RTN_UNICAST = 254, 3, 0, 1  # boot: what `ip route add` says as well

# A refusal takes under 1 KiB of the socket's buffer (212,992 bytes by default): 100 never overrun it.
_MOST_IN_FLIGHT = 100
_MOST_BYTES = 1 << 16  # and what is sent at once has to fit there as well
MOST_ANSWERS = 25  # an interface as the kernel describes it takes about 3 KiB of it

Refused = Callable[[int, int, str], Exception]
"""Makes an exception from: which message (as counted from the last flush), errno, the kernel's own words."""


class Netlink:
    """A route socket of the namespace that its maker is in. Requests wait until :meth:`flush`."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE)
        self._socket.setsockopt(_SOL_NETLINK, _NETLINK_CAP_ACK, 1)
        self._socket.setsockopt(_SOL_NETLINK, _NETLINK_EXT_ACK, 1)
        self._waiting: list[bytes] = []
        self._bytes = 0
        self._number = 0

    def close(self) -> None:
        """Give the socket back; what was not flushed is not sent."""
        self._socket.close()

    def __len__(self) -> int:
        """How many messages wait."""
        return len(self._waiting)

    @property
    def full(self) -> bool:
        """Whether it is time to flush."""
        return len(self._waiting) >= _MOST_IN_FLIGHT or self._bytes >= _MOST_BYTES

    def add_veth(
        self,
        a: tuple[str, int, int, str | None, int],
        b: tuple[str, int, int, str | None, int],
    ) -> None:
        """Make a veth pair. Each end: name, ifindex, descriptor of its namespace, MAC or None, MTU."""
        peer = attribute(_VETH_INFO_PEER, _ifinfo(b[1]) + _end(b))
        info = _text(_IFLA_INFO_KIND, "veth") + attribute(_IFLA_INFO_DATA, peer)
        self._add(_RTM_NEWLINK, _NLM_CREATE | _NLM_EXCL, _ifinfo(a[1]) + _end(a) + attribute(_IFLA_LINKINFO, info))

    def add_bridge(self, name: str, index: int, mac: str | None, mtu: int) -> None:
        """Make a bridge."""
        info = attribute(_IFLA_LINKINFO, _text(_IFLA_INFO_KIND, "bridge"))
        body = _ifinfo(index) + _text(_IFLA_IFNAME, name) + _number(_IFLA_MTU, mtu) + _mac(mac) + info
        self._add(_RTM_NEWLINK, _NLM_CREATE | _NLM_EXCL, body)

    def add_link(self, kind: str, name: str, index: int, data: bytes = b"", lower: int | None = None) -> None:
        """Make an interface of any other kind: *data* has that kind's attributes, *lower* is the interface below it."""
        info = _text(_IFLA_INFO_KIND, kind) + attribute(_IFLA_INFO_DATA, data)
        body = _ifinfo(index) + _text(_IFLA_IFNAME, name) + attribute(_IFLA_LINKINFO, info)
        if lower is not None:
            body += _number(_IFLA_LINK, lower)
        self._add(_RTM_NEWLINK, _NLM_CREATE | _NLM_EXCL, body)

    def add_qdisc(self, index: int, kind: str, options: bytes) -> None:
        """Make *kind* the root queue of an interface; *options* as pkt_sched.h lays them out for that kind."""
        body = _traffic(index, _TC_H_ROOT) + _text(_TCA_KIND, kind) + attribute(_TCA_OPTIONS, options)
        self._add(_RTM_NEWQDISC, _NLM_CREATE | _NLM_EXCL, body)

    def replace_qdisc(self, index: int, kind: str, options: bytes, *, handle: int, parent: int = _TC_H_ROOT) -> None:
        """Make *kind* the queue at *parent*, a class of another queue, or change the one of that *handle* there."""
        body = _traffic(index, parent, handle) + _text(_TCA_KIND, kind) + attribute(_TCA_OPTIONS, options)
        self._add(_RTM_NEWQDISC, _NLM_CREATE | _NLM_REPLACE, body)

    def delete_qdisc(self, index: int) -> None:
        """Take away the root queue of an interface, and those inside it."""
        self._add(_RTM_DELQDISC, 0, _traffic(index, _TC_H_ROOT))

    def add_filter(self, index: int, parent: int, kind: str, options: bytes, *, priority: int, protocol: int) -> None:
        """Have a queue sort packets of an Ethernet *protocol*; *options* as pkt_cls.h lays them out for that kind."""
        header = _traffic(index, parent, info=priority << 16 | socket.htons(protocol))
        body = header + _text(_TCA_KIND, kind) + attribute(_TCA_OPTIONS, options)
        self._add(_RTM_NEWTFILTER, _NLM_CREATE | _NLM_EXCL, body)

    def delete_filters(self, index: int, parent: int) -> None:
        """Take away all filters of a queue, if it has any."""
        self._add(_RTM_DELTFILTER, 0, _traffic(index, parent))

    def enslave(self, index: int, master: int) -> None:
        """Make an interface a port of a bridge."""
        self._add(_RTM_NEWLINK, 0, _ifinfo(index) + _number(_IFLA_MASTER, master))

    def set_up(self, index: int) -> None:
        """Bring an interface up."""
        self._add(_RTM_NEWLINK, 0, _ifinfo(index, up=True))

    def prepare_tap(self, index: int, queue: int) -> None:
        """Bring a tap up, with room for *queue* packets that nobody has read yet."""
        self._add(_RTM_NEWLINK, 0, _ifinfo(index) + _number(_IFLA_TXQLEN, queue))
        self.set_up(index)

    def set_down(self, index: int) -> None:
        """Take an interface down."""
        self._add(_RTM_NEWLINK, 0, _ifinfo(index, up=False))

    def set_mtu(self, index: int, mtu: int) -> None:
        """Give an interface another MTU."""
        self._add(_RTM_NEWLINK, 0, _ifinfo(index) + _number(_IFLA_MTU, mtu))

    def settle(self, index: int) -> None:
        """Have the kernel act at once on what an interface's carrier did last, as asking for the interface makes it do.

        Else it acts when it comes to it (net/core/link_watch.c: some hundred interfaces a second), and until then the
        interface sends nothing. Its answers are long: flush after :data:`MOST_ANSWERS` of these.
        """
        self._add(_RTM_GETLINK, 0, _ifinfo(index) + _number(_IFLA_EXT_MASK, _RTEXT_FILTER_SKIP_STATS))

    def move_link(self, index: int, namespace: int, name: str, mac: str | None, mtu: int) -> None:
        """Move an interface to another namespace, by a descriptor of that; there it is called *name* and is down."""
        body = _text(_IFLA_IFNAME, name) + _number(_IFLA_NET_NS_FD, namespace) + _number(_IFLA_MTU, mtu) + _mac(mac)
        self._add(_RTM_NEWLINK, 0, _ifinfo(index) + body)

    def delete_link(self, index: int) -> None:
        """Remove an interface; of a veth pair, both ends."""
        self._add(_RTM_DELLINK, 0, _ifinfo(index))

    def add_address(self, index: int, address: str) -> None:
        """Give an interface an address with prefix length; IPv6 ones without duplicate address detection."""
        text, _, length = address.partition("/")
        ip = ip_address(text)
        family = socket.AF_INET if ip.version == 4 else socket.AF_INET6
        header = struct.pack("=BBBBI", family, int(length), 0, 0, index)
        body = attribute(_IFA_LOCAL, ip.packed) + attribute(_IFA_ADDRESS, ip.packed)
        if ip.version == 6:
            body += _number(_IFA_FLAGS, _IFA_F_NODAD)  # as `ip address add ... nodad`: usable at once
        elif int(length) < 31:
            wildcard = (1 << (32 - int(length))) - 1
            body += attribute(_IFA_BROADCAST, (int(ip) | wildcard).to_bytes(4, "big"))
        self._add(_RTM_NEWADDR, _NLM_CREATE | _NLM_EXCL, header + body)

    def delete_address(self, index: int, address: str) -> None:
        """Take an address with its prefix length from an interface."""
        text, _, length = address.partition("/")
        ip = ip_address(text)
        family = socket.AF_INET if ip.version == 4 else socket.AF_INET6
        header = struct.pack("=BBBBI", family, int(length), 0, 0, index)
        self._add(_RTM_DELADDR, 0, header + attribute(_IFA_LOCAL, ip.packed) + attribute(_IFA_ADDRESS, ip.packed))

    def add_route(self, destination: str, via: str, index: int, metric: int) -> None:
        """Route to *destination* by the neighbour *via*."""
        self._add(_RTM_NEWROUTE, _NLM_CREATE | _NLM_EXCL, _route(destination, via, index, metric))

    def delete_route(self, destination: str, via: str, index: int, metric: int) -> None:
        """Take away the route to *destination* by *via*."""
        self._add(_RTM_DELROUTE, 0, _route(destination, via, index, metric))

    def flush(self, refused: Refused) -> None:
        """Send what waits and read every answer. *refused* is told of each refusal; the first one is raised."""
        if not self._waiting:
            return
        first, last = self._number - len(self._waiting), self._number - 1
        # Refusals are always told. One acknowledgement, of the last message, tells that all were dealt with.
        flags = _FLAGS.unpack_from(self._waiting[-1], _FLAGS_AT)[0] | _NLM_ACK
        self._waiting[-1] = self._waiting[-1][:_FLAGS_AT] + _FLAGS.pack(flags) + self._waiting[-1][_FLAGS_AT + 2 :]
        self._socket.send(b"".join(self._waiting))
        self._waiting.clear()
        self._bytes = 0
        failure: Exception | None = None
        done = False
        while not done:
            data = self._socket.recv(1 << 16)
            offset = 0
            while offset < len(data):
                length, kind, flags, sequence, _ = struct.unpack_from("=IHHII", data, offset)
                if kind == _NLMSG_ERROR:
                    done = done or sequence == last
                    number = -struct.unpack_from("=i", data, offset + 16)[0]
                    if number:
                        words = _words(data[offset : offset + length]) if flags & _NLM_ACK_TLVS else ""
                        refusal = refused(sequence - first, number, words or os.strerror(number))
                        failure = failure or refusal
                offset += (length + 3) & ~3
        if failure is not None:
            raise failure

    def _add(self, kind: int, flags: int, body: bytes) -> None:
        header = struct.pack("=IHHII", 16 + len(body), kind, _NLM_REQUEST | flags, self._number, 0)
        self._bytes += 16 + len(body)
        self._waiting.append(header + body)  # bodies are made of padded attributes: lengths are multiples of 4
        self._number += 1


def attribute(kind: int, payload: bytes) -> bytes:
    """A netlink attribute, padded; nested ones are payloads made of these."""
    return struct.pack("=HH", 4 + len(payload), kind) + payload + b"\0" * (-len(payload) % 4)


def _number(kind: int, value: int) -> bytes:
    return struct.pack("=HHI", 8, kind, value)


def _text(kind: int, value: str) -> bytes:
    return attribute(kind, value.encode() + b"\0")


def _mac(mac: str | None) -> bytes:
    return attribute(_IFLA_ADDRESS, bytes.fromhex(mac.replace(":", ""))) if mac else b""


def _ifinfo(index: int, *, up: bool | None = None) -> bytes:
    """*up*: what the interface shall be; None: what it is."""
    flags, changed = (_IFF_UP if up else 0), (0 if up is None else _IFF_UP)
    return struct.pack("=BBHiII", socket.AF_UNSPEC, 0, 0, index, flags, changed)


def _traffic(index: int, parent: int, handle: int = 0, info: int = 0) -> bytes:
    """struct tcmsg."""
    return struct.pack("=BBHiIII", socket.AF_UNSPEC, 0, 0, index, handle, parent, info)


def _route(destination: str, via: str, index: int, metric: int) -> bytes:
    text, _, length = destination.partition("/")
    ip = ip_address(text)
    family = socket.AF_INET if ip.version == 4 else socket.AF_INET6
    header = struct.pack(
        "=BBBBBBBBI",
        family,
        int(length),
        0,
        0,
        _RT_TABLE_MAIN,
        _RTPROT_BOOT,
        _RT_SCOPE_UNIVERSE,
        _RTN_UNICAST,
        0,
    )
    body = attribute(_RTA_GATEWAY, ip_address(via).packed) + _number(_RTA_OIF, index)
    if int(length):
        body = attribute(_RTA_DST, ip.packed) + body
    if metric:
        body += _number(_RTA_PRIORITY, metric)
    return header + body


def _end(end: tuple[str, int, int, str | None, int]) -> bytes:
    name, _, namespace, mac, mtu = end
    return _text(_IFLA_IFNAME, name) + _number(_IFLA_NET_NS_FD, namespace) + _number(_IFLA_MTU, mtu) + _mac(mac)


def _words(message: bytes) -> str:
    """The kernel's sentence in an error message's extended acknowledgement."""
    offset = 16 + 4 + 16  # nlmsghdr, errno, and the header of the message that failed (NETLINK_CAP_ACK: no more of it)
    while offset + 4 <= len(message):
        length, kind = struct.unpack_from("=HH", message, offset)
        if kind == _NLMSGERR_ATTR_MSG:
            return message[offset + 4 : offset + length].rstrip(b"\0").decode(errors="replace")
        offset += max(4, (length + 3) & ~3)
    return ""
