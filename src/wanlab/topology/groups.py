"""Things that are joined two by two, and what is joined in all (a disjoint-set forest)."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from typing import Generic, TypeVar

Thing = TypeVar("Thing", bound=Hashable)


class Groups(Generic[Thing]):
    """At first each of *things* is a group by itself."""

    def __init__(self, things: Iterable[Thing]) -> None:
        self._above = {thing: thing for thing in things}

    def join(self, one: Thing, other: Thing) -> None:
        """Make one group of theirs; *other*'s name is the name of both."""
        self._above[self.name(one)] = self.name(other)

    def name(self, thing: Thing) -> Thing:
        """One of its group's things, the same for all of them."""
        above = self._above
        while above[thing] != thing:
            above[thing] = above[above[thing]]
            thing = above[thing]
        return thing

    def names(self) -> Mapping[Thing, Thing]:
        """That of each thing."""
        return {thing: self.name(thing) for thing in self._above}
