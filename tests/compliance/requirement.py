"""What the RFCs ask of NATs: each requirement as data, and the mark of a test that measures one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

import pytest

from wanlab.topology.nat import Nat


class State(Enum):
    """What wanlab has to do with a requirement."""

    MEASURED = "measured"
    IMPOSSIBLE = "cannot be met with stock nftables"
    NOT_OFFERED = "not offered"
    NO_PACKETS = "not a matter of packets"
    OUT_OF_SCOPE = "out of scope"


def always(_nat: Nat) -> bool:
    """Every preset does."""
    return True


@dataclass(frozen=True, slots=True)
class Requirement:
    """One of an RFC's, in our own words."""

    number: str
    """`REQ-1`; a part of one has its letter: `REQ-3a`; neighbours that one row tells of: `REC-38 to REC-42`."""
    asks: str
    obeyed: Callable[[Nat], bool] | None = always
    """Whether a preset obeys it; what the tests measure must be equal. None: no matter of presets."""
    state: State = State.MEASURED
    why: str = ""
    """Why it is not met, or not measured, or broken; with a capital letter and a full stop."""


@dataclass(frozen=True, slots=True)
class Document:
    """An RFC."""

    rfc: int
    title: str
    count: int
    """How many requirements it has, numbered from 1."""
    requirements: tuple[Requirement, ...]
    preface: str = ""

    def name(self, requirement: Requirement) -> str:
        """As the mark has it: `RFC 4787 REQ-1`."""
        return f"RFC {self.rfc} {requirement.number}"


def requirement(*names: str) -> pytest.MarkDecorator:
    """Mark a test that measures what those requirements ask: `@requirement("RFC 4787 REQ-1")`."""
    return pytest.mark.requirement(*names)
