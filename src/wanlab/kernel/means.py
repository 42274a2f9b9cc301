"""What impairs links: the kernel's netem, or a process of ours in its place; and what this kernel's netem can do."""

from __future__ import annotations

import contextlib
import os
import struct
from enum import Enum

from wanlab.errors import UsageError
from wanlab.kernel import netem
from wanlab.kernel.netlink import Netlink
from wanlab.kernel.queues import attributes, queues
from wanlab.plan.steps import SetImpairment
from wanlab.topology.impairment import Bursts, Distribution, Impairment

VARIABLE = "WANLAB_IMPAIRMENT"


class Means(Enum):
    """What impairs links."""

    NETEM = "netem"
    WIRE = "wire"


def means_wanted(said: str | None) -> str | None:
    """The means that was asked for, by word or by the environment; None: whichever works. Raises UsageError."""
    asked = said or os.environ.get(VARIABLE) or None
    known = [means.value for means in Means]
    if asked is not None and asked not in known:
        where = "" if said else f" ({VARIABLE})"
        raise UsageError(f"impairment by {asked!r}{where} is not known", hint=f"there is {', '.join(known)}")
    return asked


# Something of everything that a lab may ask for.
_ALL = Impairment(20, 5, Distribution.NORMAL, 0, Bursts(1, 10), 10**6, None, reorder_percent=1, seed=1)
_LO = 1  # the index of `lo` in every namespace


def try_netem() -> bool:
    """Impair this namespace's `lo` by netem, and take it back. Whether netem knows seeds.

    Raises OSError with the kernel's words where it cannot be done.
    """
    netlink = Netlink()
    try:
        netem.impair(netlink, _LO, SetImpairment("", "lo", _ALL, 65536))
        try:
            netlink.flush(_refused)
            return any(queue.kind == "netem" and _has_seed(queue.options) for queue in queues())
        finally:
            netem.clear(netlink, _LO)
            with contextlib.suppress(OSError):  # there is nothing to clear where the first queue was refused
                netlink.flush(_refused)
    finally:
        netlink.close()


def _refused(which: int, number: int, words: str) -> OSError:
    return OSError(number, words)


_OPTIONS = struct.calcsize("=6I")  # struct tc_netem_qopt, before the attributes
_PRNG_SEED = 14


def _has_seed(options: bytes) -> bool:
    return any(kind == _PRNG_SEED for kind, _ in attributes(options[_OPTIONS:]))


def wire_tap(index: int) -> str:
    """The tap beside the interface of that index, into which the wire's packets are turned."""
    return f"wire{index}"


def is_wire_tap(name: str) -> bool:
    """Whether an interface that is not of the topology is such a tap."""
    return name.startswith("wire") and name[4:].isdecimal()
