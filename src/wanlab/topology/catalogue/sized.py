"""The labs that take a size, written as a person would write them."""

from __future__ import annotations


def star(size: int) -> str:
    """So many hosts on one switch."""
    return _STAR.format(count=_count(size, "host")) + "".join(_SPOKE.format(number=n) for n in range(1, size + 1))


def chain(size: int) -> str:
    """A host, so many routers in a row, and a host."""
    routers = "".join(_ROUTER.format(number=n, uplink="start" if n == 1 else f"r{n - 1}") for n in range(1, size + 1))
    return _CHAIN.format(count=_count(size, "router")) + routers + _FAR_HOST.format(last=size)


def homes(size: int) -> str:
    """Two homes on the internet with so many hosts each, and a coordinator."""
    members = "".join(
        _MEMBER.format(name=f"{side}{number}", side=side) for side in "ab" for number in range(1, size + 1)
    )
    return _HOMES.format(count=_count(size, "host")) + members


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


_STAR = """\
# One switch and everybody on it. No addresses are given: wanlab chooses a subnet with room for all,
# and the hosts' addresses in the order of this file. It always chooses the same ones.
title = "A switch with {count}"

[switch.hub]
"""

_SPOKE = """
[host.h{number}]
link = "hub"
"""

_CHAIN = """\
# Two hosts with routers in a row between them, which do nothing but forward: no NAT, no firewall.
# So every host and router knows the way to every subnet, and a packet from alice to bob has one hop
# less to live after each router.
title = "Two hosts with {count} in a row between them"

[switch.start]

[host.alice]
link = "start"
"""

_ROUTER = """
[router.r{number}]
uplink = "{uplink}"
nat = "none"
firewall = false
"""

_FAR_HOST = """
[host.bob]
link = "r{last}"
"""

_HOMES = """\
# Two homes, {count} in each, behind routers that do all that RFC 4787 asks: one port outside for one
# inside, whomever it talks to, never one port for two hosts, and a way back for whom was sent to.
title = "Two homes with {count} each, behind NATs as the RFCs want them"

[switch.internet]

[host.coordinator]
link = "internet"

[router.home-a]
uplink = "internet"
nat = "home"

[router.home-b]
uplink = "internet"
nat = "home"
"""

_MEMBER = """
[host.{name}]
link = "home-{side}"
"""
