"""An impairment as the `tc` commands that a person would type: three queues, each inside the one before.

`kernel/netem.py` says what each is for, and makes the same without commands.
"""

from __future__ import annotations

from collections.abc import Iterator

from wanlab.plan.steps import SetImpairment
from wanlab.topology.impairment import Distribution, Impairment
from wanlab.topology.impairment_text import plain, rate_text

_PRIO = ("root", "handle", "1:", "prio", "bands", "2", "priomap", *["1"] * 16)
_HEADERS = 18  # bytes: Ethernet, and a VLAN's tag
_ICMPV6 = ("match", "ip6", "protocol", "58", "0xff")
# Neighbour discovery: types 133; 134 and 135; 136 and 137.
_DISCOVERY = (("0x85", "0xff"), ("0x86", "0xfe"), ("0x88", "0xfe"))


def impair_commands(step: SetImpairment) -> Iterator[tuple[str, ...]]:
    """The commands, in order, as they are typed in the node."""
    it = step.impairment
    burst = str(step.mtu + _HEADERS)
    segments = ("parent", "1:2", "handle", "2:", "tbf", "rate", "32gbit", "burst", burst, "limit", burst)
    yield _tc(step, "qdisc", "replace", *_PRIO)
    yield _tc(step, "qdisc", "replace", *segments)
    yield _tc(step, "qdisc", "replace", "parent", "2:1", "handle", "3:", "netem", *_netem(it, step.mtu))
    if it.hit_arp:
        return
    spare = ("parent", "1:", "protocol")
    yield _tc(step, "filter", "add", *spare, "arp", "prio", "1", "u32", "match", "u32", "0", "0", "flowid", "1:1")
    for value, mask in _DISCOVERY:
        kind = ("match", "u8", value, mask, "at", "40")
        yield _tc(step, "filter", "add", *spare, "ipv6", "prio", "2", "u32", *_ICMPV6, *kind, "flowid", "1:1")


def clear_command(interface: str) -> tuple[str, ...]:
    """The command that takes all of it away."""
    return ("tc", "qdisc", "del", "dev", interface, "root")


def _tc(step: SetImpairment, what: str, verb: str, *words: str) -> tuple[str, ...]:
    return ("tc", what, verb, "dev", step.interface, *words)


def _netem(it: Impairment, mtu: int) -> Iterator[str]:
    yield from ("limit", str(it.limit(mtu)))
    if it.delay_ms:
        yield from ("delay", f"{plain(it.delay_ms)}ms")
        if it.jitter_ms:
            yield f"{plain(it.jitter_ms)}ms"
        if it.distribution is not Distribution.UNIFORM:  # which is what netem does where it has no table
            yield from ("distribution", it.distribution.value)
    if it.bursts is not None:
        yield from ("loss", "gemodel", *(f"{plain(percent)}%" for percent in it.bursts))
    elif it.loss_percent:
        yield from ("loss", f"{plain(it.loss_percent)}%")
    for name, percent in (
        ("duplicate", it.duplicate_percent),
        ("corrupt", it.corrupt_percent),
        ("reorder", it.reorder_percent),
    ):
        if percent:
            yield from (name, f"{plain(percent)}%")
    if it.rate_bps:
        yield from ("rate", rate_text(it.rate_bps))
    if it.seed is not None:
        yield from ("seed", str(it.seed))
