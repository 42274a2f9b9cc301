"""The ready labs: files like those a user would write, some of them written for a size when asked for.

A sized lab is called `star` or `star:100`.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from wanlab.errors import TopologyError, did_you_mean
from wanlab.topology.catalogue.sized import chain, homes, star

# In the order in which one learns from them.
_FILES = (
    "cable",
    "switch",
    "two-lans",
    "double-nat",
    "carrier",
    "dual-stack",
    "ipv6-only",
    "roaming",
    "two-continents",
)


@dataclass(frozen=True, slots=True)
class _Sized:
    write: Callable[[int], str]
    default: int
    most: int
    why: str
    """Why there can be no more than `most`."""


_SIZED = {
    # A switch has fewer ports than that; that the lab has too many is found where every other lab's is.
    "homes": _Sized(homes, 1, 250, "a LAN's subnet has 254 addresses"),
    "star": _Sized(star, 4, 10_000, "a switch has 1023 ports"),
    "chain": _Sized(chain, 3, 63, "a packet starts with 64 hops to live and each router takes one"),
}


def names() -> tuple[str, ...]:
    """The labs' names, simple ones first."""
    return (*_FILES, *_SIZED)


def text(name: str) -> str:
    """The file of a lab: `two-lans`, `star`, `star:100`. Raises TopologyError."""
    name, colon, size = name.partition(":")
    if name not in names():
        raise TopologyError(f"no lab {name!r} in the catalogue", hint=did_you_mean(name, names()))
    sized = _SIZED.get(name)
    if sized is not None:
        return sized.write(_number(name, size, sized) if colon else sized.default)
    if colon:
        raise TopologyError(f"lab {name!r} takes no size", hint=f"labs with a size: {', '.join(_SIZED)}")
    return Path(__file__).with_name(f"{name}.toml").read_text("utf-8")


def about(name: str) -> str:
    """The title of a lab."""
    title: str = tomllib.loads(text(name))["title"]
    return title


def _number(name: str, size: str, sized: _Sized) -> int:
    if not (size.isascii() and size.isdigit()) or len(size) > 9 or int(size) == 0:
        raise TopologyError(f"{size!r} is no size for lab {name!r}", hint=f"use a whole number, like {name}:10")
    if int(size) > sized.most:
        raise TopologyError(f"{name}:{size} is too large: {sized.why}", hint=f"use {sized.most} at most")
    return int(size)
