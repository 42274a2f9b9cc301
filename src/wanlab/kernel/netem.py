"""Impairment by the kernel's own queues: what an interface sends passes three of them, each inside the one before.

    1: prio    lets ARP and neighbour discovery out by its first band, all else by its second
    2: tbf     takes apart what TCP hands down in pieces of up to 64 KiB, so that what follows deals with packets
    3: netem   delay, loss, rate and the rest

`plan/script.py` writes the same as commands. include/uapi/linux/{pkt_sched,pkt_cls}.h define every number.
"""

from __future__ import annotations

import struct

from wanlab.kernel import delays
from wanlab.kernel.netlink import Netlink, attribute
from wanlab.plan.steps import SetImpairment
from wanlab.topology.impairment import Bursts, Impairment

# prio: two bands; every priority goes to the second.
_PRIO = struct.pack("=i16B", 2, *[1] * 16)

_FASTEST = 4_000_000_000  # bytes a second: the most that fits, and no obstacle
_HEADERS = 18  # Ethernet, and a VLAN's tag

_ETH_P_ARP, _ETH_P_IPV6 = 0x0806, 0x86DD
_EVERYTHING = ((0, 0, 0),)
_ICMPV6 = (0x0000FF00, 0x00003A00, 4)  # the next header
# Router solicitation to redirect, types 133 to 137, by mask and value: 133; 134 and 135; 136 and 137.
_DISCOVERY = (0xFF, 0x85), (0xFE, 0x86), (0xFE, 0x88)
_TYPE = 40  # bytes into an IPv6 packet without extensions, as discovery must be (RFC 6980)

_CORR, _DELAY_DIST, _REORDER, _CORRUPT, _LOSS, _RATE, _RATE64 = 1, 2, 3, 4, 5, 6, 8
_LATENCY64, _JITTER64, _PRNG_SEED, _LOSS_GE = 10, 11, 14, 2


def impair(netlink: Netlink, index: int, step: SetImpairment) -> int:
    """Queue the messages that impair an interface, anew or otherwise than before; returns how many."""
    it = step.impairment
    netlink.replace_qdisc(index, "prio", _PRIO, handle=0x10000)
    netlink.delete_filters(index, 0x10000)
    netlink.replace_qdisc(index, "tbf", _segmenter(step.mtu), handle=0x20000, parent=0x10002)
    netlink.replace_qdisc(index, "netem", _netem(it, it.limit(step.mtu)), handle=0x30000, parent=0x20001)
    if it.hit_arp:
        return 4
    netlink.add_filter(index, 0x10000, "u32", _u32(_EVERYTHING), priority=1, protocol=_ETH_P_ARP)
    for mask, value in _DISCOVERY:
        keys = (_ICMPV6, (mask << 24, value << 24, _TYPE))
        netlink.add_filter(index, 0x10000, "u32", _u32(keys), priority=2, protocol=_ETH_P_IPV6)
    return 5 + len(_DISCOVERY)


def clear(netlink: Netlink, index: int) -> None:
    """Queue the message that takes all of this away."""
    netlink.delete_qdisc(index)


def _segmenter(mtu: int) -> bytes:
    """TCA_TBF_PARMS: two tc_ratespec, the first with linklayer Ethernet; limit, buffer, mtu. TCA_TBF_BURST."""
    burst = mtu + _HEADERS
    parms = struct.pack("=BBHhHI12xIII", 0, 1, 0, 0, 0, _FASTEST, burst, 0, 0)
    return attribute(1, parms) + attribute(6, struct.pack("=I", burst))


def _netem(it: Impairment, limit: int) -> bytes:
    """struct tc_netem_qopt, and all attributes: what is left out when a queue is changed stays as it was."""
    gap = 1 if it.reorder_percent else 0
    loss, duplicate = _share(it.loss_percent), _share(it.duplicate_percent)
    rate = (it.rate_bps or 0) // 8
    options = struct.pack("=6I", 0, min(limit, 2**31 - 1), loss, gap, duplicate, 0)
    options += attribute(_CORR, struct.pack("=3I", 0, 0, 0))
    options += attribute(_REORDER, struct.pack("=2I", _share(it.reorder_percent), 0))
    options += attribute(_CORRUPT, struct.pack("=2I", _share(it.corrupt_percent), 0))
    if rate >= 1 << 32:
        options += attribute(_RATE64, struct.pack("=Q", rate))
    options += attribute(_RATE, struct.pack("=IiIi", min(rate, (1 << 32) - 1), 0, 0, 0))
    options += attribute(_LATENCY64, struct.pack("=q", round(it.delay_ms * 1e6)))
    options += attribute(_JITTER64, struct.pack("=q", round(it.jitter_ms * 1e6)))
    if it.jitter_ms:
        options += attribute(_DELAY_DIST, delays.packed(it.distribution))
    if it.bursts is not None:
        options += attribute(_LOSS, attribute(_LOSS_GE, _gemodel(it.bursts)))
    if it.seed is not None:
        options += attribute(_PRNG_SEED, struct.pack("=Q", it.seed))
    return options


def _gemodel(bursts: Bursts) -> bytes:
    kept_when_bad = 100 - bursts.lost_when_bad  # the kernel takes h and 1-k
    return struct.pack("=4I", *map(_share, (bursts.p, bursts.r, kept_when_bad, bursts.lost_when_good)))


def _share(percent: float) -> int:
    return round(percent / 100 * (2**32 - 1))


def _u32(keys: tuple[tuple[int, int, int], ...]) -> bytes:
    """TCA_U32_CLASSID, the first band; TCA_U32_SEL: terminal, with keys of mask, value and offset."""
    selector = struct.pack("=BBBxHHhhI", 1, 0, len(keys), 0, 0, 0, 0, 0)
    selector += b"".join(
        struct.pack(">II", mask, value) + struct.pack("=ii", offset, 0) for mask, value, offset in keys
    )
    return attribute(1, struct.pack("=I", 0x10001)) + attribute(5, selector)
