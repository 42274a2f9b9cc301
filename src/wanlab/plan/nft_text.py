"""What nftables' text is made of: blocks, chains with hooks, and the names that several parts of a ruleset share.

Chains bear a prefix, since nft reserves words (`fwd`, ...).
"""

from __future__ import annotations

from collections.abc import Sequence

PROTOCOLS = ("udp", "tcp")
"""What has ports."""
MAPPED_CHAINS = MAPPED_FORWARD, MAPPED_IN, MAPPED_OUT = "wl_mapped_forward", "wl_mapped_in", "wl_mapped_out"
"""The chains that a port mapping server fills: what it lets in, where that goes, where from its answers leave."""


def block(head: str, lines: Sequence[str]) -> str:
    """A chain, a map or a set."""
    return f"\t{head} {{\n" + "".join(f"\t\t{line}\n" for line in lines) + "\t}\n"


def hook(name: str, kind: str, where: str, priority: str, lines: Sequence[str], *, policy: str = "accept") -> str:
    """A chain that packets meet by themselves."""
    return block(f"chain wl_{name}", [f"type {kind} hook {where} priority {priority}; policy {policy};", *lines])


def duration(milliseconds: int) -> str:
    """A time, in days and what is left: nft (1.0.6) takes no number in it of more than eight digits."""
    days, rest = divmod(milliseconds, 86_400_000)
    seconds, rest = divmod(rest, 1000)
    parts = [f"{number}{unit}" for number, unit in ((days, "d"), (seconds, "s"), (rest, "ms")) if number]
    return "".join(parts) or "0s"


def into_mapped(wan: str) -> str:
    """The rule by which what comes from the WAN goes where a port mapping leads."""
    return f'iifname "{wan}" jump {MAPPED_IN}'
