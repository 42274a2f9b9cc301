"""Whether this machine makes links, sockets and queues as labs need them."""

from __future__ import annotations

import errno
import fcntl
import itertools
import os
import socket
import struct
from collections.abc import Callable

from wanlab.doctor.cures import line_of, module
from wanlab.doctor.kernel_calls import LO, netlink_socket, write_and_read
from wanlab.doctor.netfilter import egress, nft_cure
from wanlab.doctor.probe import Lacking, Probe
from wanlab.kernel.netlink import attribute

_indices = itertools.count(1000)  # of what probes make: removing it, one by one, would take most of the time

# include/uapi/linux/if_link.h: IFLA_VLAN_ID, IFLA_VXLAN_ID
_VLAN, _VXLAN = attribute(1, struct.pack("=H", 5)), attribute(1, struct.pack("=I", 5))


def _veth() -> str:
    here = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        a, b = next(_indices), next(_indices)
        with netlink_socket() as netlink:
            netlink.add_veth((f"probe{a}", a, here, None, 1500), (f"probe{b}", b, here, None, 1500))
    finally:
        os.close(here)
    return "made"


def _new_bridge() -> int:
    index = next(_indices)
    with netlink_socket() as netlink:
        netlink.add_bridge(f"probe{index}", index, None, 1500)
    return index


def _bridge() -> str:
    _new_bridge()
    return "made"


def _link(kind: str, data: bytes = b"", *, on_bridge: bool = False) -> Callable[[], str]:
    def attempt() -> str:
        lower = _new_bridge() if on_bridge else None
        index = next(_indices)
        with netlink_socket() as netlink:
            netlink.add_link(kind, f"probe{index}", index, data, lower)
        return "made"

    return attempt


def _ipv6() -> str:
    if "ipv6.disable=1" in (line_of("/proc/cmdline", "") or ""):
        raise Lacking("switched off by ipv6.disable=1 on the kernel's command line")
    write_and_read("net/ipv6/conf/default/disable_ipv6", "1")
    write_and_read("net/ipv6/conf/lo/disable_ipv6", "0")
    with netlink_socket() as netlink:
        netlink.add_address(LO, "fd00::1/64")
    return "address given"


def _tun() -> str:
    # include/uapi/linux/if_tun.h
    set_interface, tun, no_packet_information = 0x400454CA, 0x1, 0x1000
    device = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC)
    try:
        fcntl.ioctl(device, set_interface, struct.pack("=16sH22x", b"probe", tun | no_packet_information))
    finally:
        os.close(device)
    return "made"


def _tun_cure(number: int) -> str | None:
    if number in (errno.EPERM, errno.EACCES):
        return "sudo chmod 666 /dev/net/tun"
    if number == errno.ENOENT:
        return "sudo mkdir -p /dev/net && sudo mknod -m 666 /dev/net/tun c 10 200 && sudo modprobe tun"
    return module("tun")(number)


def _packet_socket() -> str:
    everything = 0x0003  # ETH_P_ALL
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(everything)) as made:
        made.bind(("lo", 0))
    return "opened"


def _ping_socket() -> str:
    write_and_read("net/ipv4/ping_group_range", "0\t0")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_ICMP):
        return "opened"


# -- link quality ----------------------------------------------------------------------------------------------------


def _qdisc(kind: str, options: bytes) -> Callable[[], str]:
    def attempt() -> str:
        index = _new_bridge()
        with netlink_socket() as netlink:
            netlink.add_qdisc(index, kind, options)
        return "made"

    return attempt


# include/uapi/linux/pkt_sched.h: struct tc_netem_qopt (latency, limit, loss, gap, duplicate, jitter)
_NETEM = struct.pack("=6I", 1000, 1000, 0, 0, 0, 0)
# TCA_TBF_PARMS: struct tc_tbf_qopt, two tc_ratespec of which the first is Ethernet (linklayer 1) at 125,000 bytes/s,
# then limit, buffer, mtu. TCA_TBF_BURST: in bytes.
_TBF = attribute(1, struct.pack("=BBHhHI12xIII", 0, 1, 0, 0, 0, 125_000, 10_000, 1000, 0)) + attribute(
    6, struct.pack("=I", 5000)
)
# struct tc_prio_qopt: bands, and which of them each priority goes to
_PRIO = struct.pack("=i16B", 2, *[1] * 16)
# TCA_HTB_INIT: struct tc_htb_glob (version 3, rate2quantum, defcls, debug, direct_pkts)
_HTB = attribute(2, struct.pack("=5I", 3, 10, 0, 0, 0))


LINKS = (
    Probe("veth", "cables", _veth, module("veth"), True),
    Probe("bridge", "switches", _bridge, module("bridge"), True),
    # Needed: in a node without IPv6 addresses it is switched off, which fails where there is nothing to switch.
    Probe("IPv6", "addresses, and silence where there are none", _ipv6, module("ipv6"), True),
    Probe("tun", "VPN software in a node", _tun, _tun_cure),
    Probe("wireguard", "WireGuard in a node", _link("wireguard"), module("wireguard")),
    Probe(
        "vlan",
        "VLANs in a node",
        _link("vlan", _VLAN, on_bridge=True),
        module("8021q", "VLAN_8021Q"),
        after="bridge",
    ),
    Probe("vxlan", "overlays in a node", _link("vxlan", _VXLAN), module("vxlan")),
    Probe("packet sockets", "captures", _packet_socket, module("af_packet", "PACKET")),
    Probe("ping sockets", "ping by programs that are not root", _ping_socket),
)


LINK_QUALITY = (
    Probe(
        "netem",
        "links that delay and lose packets, by the kernel; else by the wire",
        _qdisc("netem", _NETEM),
        module("sch_netem", "NET_SCH_NETEM"),
        after="bridge",
    ),
    Probe("prio", "netem that spares ARP", _qdisc("prio", _PRIO), module("sch_prio", "NET_SCH_PRIO"), after="bridge"),
    Probe(
        "egress",
        "the wire: links that delay and lose packets without netem",
        egress,
        nft_cure("nft_fwd_netdev"),
        after="nf_tables",
    ),
    Probe("tbf", "rates", _qdisc("tbf", _TBF), module("sch_tbf", "NET_SCH_TBF"), after="bridge"),
    Probe("htb", "rates by class", _qdisc("htb", _HTB), module("sch_htb", "NET_SCH_HTB"), after="bridge"),
    Probe("ifb", "shaping what arrives", _link("ifb"), module("ifb")),
)
