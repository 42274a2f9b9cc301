"""What a sequence diagram shows, whatever it is drawn as: who sent what to whom, in order of time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from wanlab.capture.headers import Header
from wanlab.trace.story import Crossing, Fate, Story

MOST_STEPS = 200
"""Of a diagram, if nothing else is said: longer ones nobody reads."""


@dataclass(frozen=True, slots=True)
class Step:
    """A packet on its way from one node to the next; or, where these are the same, what became of it there."""

    time_ns: int
    sender: str
    receiver: str
    text: str = ""
    """What the packet is, where that is news: first, and when it was translated."""
    translation: str = ""
    """What its sender has made of its addresses before it sent it on."""
    death: str = ""
    """Why it ended where this leads to; empty where it did not."""


@dataclass(frozen=True, slots=True)
class Diagram:
    """A diagram."""

    nodes: tuple[str, ...]
    """From left to right."""
    steps: tuple[Step, ...]
    left_out: int = 0
    """How many further steps there were."""

    @property
    def start_ns(self) -> int:
        """When the first step was."""
        return self.steps[0].time_ns if self.steps else 0

    def after_ms(self, step: Step) -> str:
        """When a step was, since the first."""
        return f"{(step.time_ns - self.start_ns) / 1e6:.3f} ms"


def sequence(stories: Iterable[Story], *, most: int = MOST_STEPS) -> Diagram:
    """The diagram of these packets, of their first steps if they are more than *most*."""
    steps = sorted((step for story in stories for step in _steps(story)), key=lambda step: step.time_ns)
    shown = steps[:most]
    return Diagram(_order(shown), tuple(shown), len(steps) - len(shown))


def _steps(story: Story) -> Iterator[Step]:
    death = "" if story.fate is Fate.DELIVERED else _death(story)
    crossings = story.crossings
    for number, (here, there) in enumerate(pairwise(crossings)):
        last = number == len(crossings) - 2
        ends_there = last and not (there.after is not None and there.went_out)
        sent = here.after or here.before
        news = number == 0 or here.translated
        yield Step(
            here.left_ns or here.time_ns,
            here.node,
            there.node,
            _text(sent) if news else "",
            here.translation if number else "",
            death if ends_there else "",
        )
    last_crossing = crossings[-1]
    if death and (len(crossings) == 1 or (last_crossing.after is not None and last_crossing.went_out)):
        yield _stub(last_crossing, death)


def _stub(crossing: Crossing, death: str) -> Step:
    """A packet that left a node, or not even that, and was not seen again."""
    text = _text(crossing.after or crossing.before)
    return Step(crossing.left_ns or crossing.time_ns, crossing.node, crossing.node, text, crossing.translation, death)


def _death(story: Story) -> str:
    if story.fate is Fate.REFUSED:
        return ""
    return f"{story.fate.value}: {story.why}" if story.why else story.fate.value


def _text(header: Header) -> str:
    return f"{header}" + (f" {header.info}" if header.info else "")


def _order(steps: Sequence[Step]) -> tuple[str, ...]:
    """The nodes so that arrows are short: each put in where that is best, then neighbours swapped while it helps."""
    weights: dict[tuple[str, str], int] = {}
    names: dict[str, None] = {}
    for step in steps:
        names |= {step.sender: None, step.receiver: None}
        if step.sender != step.receiver:
            pair = (min(step.sender, step.receiver), max(step.sender, step.receiver))
            weights[pair] = weights.get(pair, 0) + 1

    def length(order: Sequence[str]) -> int:
        places = {name: place for place, name in enumerate(order)}
        return sum(
            weight * abs(places[a] - places[b]) for (a, b), weight in weights.items() if a in places and b in places
        )

    order: list[str] = []
    for name in names:
        choices = [[*order[:place], name, *order[place:]] for place in range(len(order), -1, -1)]
        order = min(choices, key=length)
    for _ in names:
        better = [
            [*order[:place], order[place + 1], order[place], *order[place + 2 :]] for place in range(len(order) - 1)
        ]
        best = min(better, key=length, default=order)
        if length(best) >= length(order):
            break
        order = best
    if order and list(names).index(order[0]) > list(names).index(order[-1]):
        order.reverse()  # who began stands at the left
    return tuple(order)
