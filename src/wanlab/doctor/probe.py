"""One thing to try on a machine, and what is found."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that this machine can or cannot do."""

    group: str
    """What it belongs to."""
    name: str
    """What was tried."""
    ok: bool | None
    """Whether it works; None: not needed here, or not known."""
    found: str
    """What happened, in the kernel's own words where it refused."""
    use: str
    """What wanlab uses it for."""
    cure: str | None
    """Commands to copy; None where nothing is wrong, or where no command would help."""
    needed: bool
    """Whether labs do not work without it."""


Cure = Callable[[int], str | None]
"""The cure for a refusal with that errno. Raises Lacking where there is none, and it knows why."""


@dataclass(frozen=True, slots=True)
class Probe:
    """One thing to try."""

    name: str
    use: str
    attempt: Callable[[], str]
    """Tries, and says what was found. Raises OSError with the kernel's words, or Lacking."""
    cure: Cure = lambda number: None
    needed: bool = False
    after: str | None = "network namespaces"
    """The probe without whose success this one cannot be tried; None: this one is tried outside of all namespaces."""


class Lacking(Exception):
    """A probe's own verdict, where it knows more than an errno."""

    def __init__(self, found: str, cure: str | None = None, *, ok: bool | None = False, needed: bool | None = None):
        super().__init__(found)
        self.found, self.cure, self.ok, self.needed = found, cure, ok, needed
