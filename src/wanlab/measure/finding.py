"""A line of a measurement: what was declared beside what was seen."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Finding:
    """One axis of what a router does: what it was said to do, and what it was seen to do."""

    axis: str
    declared: str
    measured: str
    ok: bool | None
    """None: it could not be measured here."""
