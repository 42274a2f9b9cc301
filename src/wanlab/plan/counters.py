"""Counters on every rule that decides: which of a router's rules a packet met can then be read off."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace

from wanlab.plan.steps import LoadRuleset, Step

# `ct status dnat` is a question, no verdict.
_VERDICT = re.compile(r"(?<!status )\b(accept|drop|reject|masquerade|snat ip|dnat ip)\b")


def with_counters(steps: Sequence[Step]) -> tuple[Step, ...]:
    """The steps, with rules that count. They do the same."""
    return tuple(
        replace(step, text="".join(_counted(step.text))) if isinstance(step, LoadRuleset) else step for step in steps
    )


def _counted(ruleset: str) -> Iterator[str]:
    policy_drops = False
    for line in ruleset.splitlines(keepends=True):
        words = line.strip()
        if words.startswith("type "):
            policy_drops = "policy drop" in words
        elif words == "}" and policy_drops:
            policy_drops = False
            yield "\t\tcounter drop\n"  # as the policy would
        elif words.startswith("#"):
            pass
        else:
            line = _VERDICT.sub(r"counter \1", line, count=1)
        yield line
