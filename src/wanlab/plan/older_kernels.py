"""A NAT's rules for kernels that can only ask a set whether it has an element, and not a map: Linux 6.1 is one.

Newer ones take a map for the set of its keys. Where they do not, a set of the same elements stands beside the map,
which costs each new flow the time for an element more.
"""

from __future__ import annotations

import re

_ASKED = re.compile(r"!= @(wl_\w+)")


def with_sets_beside_maps(rules: str) -> str | None:
    """The same rules without a question to a map; None where there is none."""
    maps = {name for name in _ASKED.findall(rules) if f"\tmap {name} {{" in rules}
    if not maps:
        return None
    for name in sorted(maps):
        beside = f"{name}_keys"
        rules = re.sub(rf"!= @{name}\b", f"!= @{beside}", rules)
        rules = re.sub(rf"^\tmap {name} \{{\n.*?^\t\}}\n", lambda found: found[0] + _set(found[0]), rules, flags=_BLOCK)
        rules = re.sub(
            rf"^(.* update @){name}( \{{ [^:}}]+?) : [^}}]+ \}}\n",
            lambda found, beside=beside: f"{found[0]}{found[1]}{beside}{found[2]} }}\n",  # type: ignore[misc]
            rules,
            flags=re.MULTILINE,
        )
    return rules


_BLOCK = re.MULTILINE | re.DOTALL


def _set(block: str) -> str:
    """The set for the keys of a map, which is declared by *block*."""
    block = re.sub(r"^\tmap (\w+)", r"\tset \1_keys", block)
    return re.sub(r"(\btype [^:\n]+?) : [^\n;]+", r"\1", block)
