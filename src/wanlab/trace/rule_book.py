"""`RuleBook`: the rules of a lab's nodes by their handles, which is how the kernel's trace names them."""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Iterable
from contextlib import suppress
from typing import TYPE_CHECKING

from wanlab.errors import WanlabError
from wanlab.kernel.interpreter import own_process

if TYPE_CHECKING:
    from wanlab.runtime.lab import Lab

_LOOK = own_process("from wanlab.kernel.nftables import listing; print(listing(handles=True))")
_PATIENCE_S = 10.0
_FRESH_S = 2.0  # so long a node is not looked at again for a handle that was not there
_TABLE = re.compile(r"table (\S+ \S+) \{")
_CHAIN = re.compile(r"\tchain (\S+) \{")
_RULE = re.compile(r"\t\t(.*) # handle (\d+)$")


class RuleBook:
    """Looks rules up in their nodes, when one is asked for that is not known."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self._known: dict[str, dict[tuple[str, str, int], str]] = {}
        self._looked: dict[str, float] = {}

    def read(self, nodes: Iterable[str]) -> None:
        """Look at these nodes, all at the same time. What cannot be read is not known."""
        looks = {}
        with suppress(WanlabError, OSError):  # the lab has gone: its rules, too
            for node in nodes:
                self._looked[node] = time.monotonic()
                looks[node] = self._lab[node].popen(
                    _LOOK, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
                )
        for node, process in looks.items():
            with process, suppress(WanlabError, OSError, subprocess.TimeoutExpired):
                output, _ = process.communicate(timeout=_PATIENCE_S)
                self._known[node] = parse(output)

    def text(self, node: str, table: str, chain: str, handle: int) -> str:
        """The rule as nft prints it; empty where it is not there any more."""
        key = table, chain, handle
        found = self._known.get(node, {}).get(key)
        if found is None and time.monotonic() - self._looked.get(node, -_FRESH_S) >= _FRESH_S:
            self.read([node])
            found = self._known.get(node, {}).get(key)
        return found or ""


def parse(listing: str) -> dict[tuple[str, str, int], str]:
    """The rules in what `nft -a list ruleset` prints, by table, chain and handle."""
    rules = {}
    table = chain = ""
    for line in listing.splitlines():
        if found := _TABLE.match(line):
            table = found[1]
        elif found := _CHAIN.match(line):
            chain = found[1]
        elif found := _RULE.match(line):
            rules[table, chain, int(found[2])] = found[1]
    return rules
