"""Playing a scenario in a lab that is up: each event at its time, by a thread of this program."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from wanlab.errors import UsageError, WanlabError
from wanlab.plan.rehearsal import Next, rehearse
from wanlab.topology.scenario import Cue, Reboot, Redial, Say, Scenario

if TYPE_CHECKING:
    from wanlab.runtime.changes import Changing

LATE_S = 0.05
"""An event that begins later than this after its time is said to be late."""


@dataclass(frozen=True, slots=True)
class Happened:
    """An event that has happened."""

    cue: Cue
    time: float
    """When it began, in seconds since 1970."""
    late_s: float
    """How much later than it should have: the one before took long, or the machine was busy."""
    took_s: float
    """How long the change took."""

    def __str__(self) -> str:
        late = f"  ({self.late_s:.2f} s late)" if self.late_s > LATE_S else ""
        return f"{self.cue.at_s:9.3f} s  {self.cue.action}{late}"


class Play:
    """A scenario that is being played. Begins when it is made.

    Times are counted from the beginning, so that what is late once makes nothing else late.
    """

    def __init__(self, lab: Changing, scenario: Scenario, tell: Callable[[Happened], None]) -> None:
        self._lab = lab
        self._tell = tell
        self._score = rehearse(scenario, lab.topology, lab.network)
        self._stop = threading.Event()
        self._ended, self._end = os.pipe2(os.O_CLOEXEC)
        self._error: BaseException | None = None
        self._happened: list[Happened] = []
        self._began = time.monotonic()
        self._thread = threading.Thread(target=self._run, name="wanlab-play", daemon=True)
        self._thread.start()

    @property
    def happened(self) -> tuple[Happened, ...]:
        """What has happened so far."""
        return tuple(self._happened)

    @property
    def goes_on(self) -> bool:
        """Whether there is more to come."""
        return self._thread.is_alive()

    @property
    def cut_off(self) -> bool:
        """Whether it ended before its last event."""
        return len(self._happened) < len(self._score)

    def fileno(self) -> int:
        """A descriptor that can be read when it has ended."""
        return self._ended

    def wait(self, timeout_s: float | None = None) -> tuple[Happened, ...]:
        """Wait for its end, and return what happened. Raises what ended it; TimeoutError after *timeout_s*."""
        self._thread.join(timeout_s)
        if self._thread.is_alive():
            raise TimeoutError(f"the scenario plays on after {timeout_s} s")
        if self._error is not None:
            raise self._error
        return self.happened

    def stop(self) -> None:
        """Have no further event happen. Returns when the present one has."""
        self._stop.set()
        self._thread.join()

    def __enter__(self) -> Play:
        return self

    def __exit__(self, kind: object, *exception: object) -> None:
        self.stop()
        os.close(self._ended)
        if self._error is not None and kind is None:
            raise self._error

    def _run(self) -> None:
        try:
            for cue, following in self._score:
                if self._stop.wait(max(0.0, self._began + cue.at_s - time.monotonic())):
                    return
                began, clock = time.monotonic(), time.time()
                self._perform(cue, following)
                late = began - self._began - cue.at_s
                self._happened.append(Happened(cue, clock, late, time.monotonic() - began))
                self._tell(self._happened[-1])
        except (WanlabError, OSError) as error:
            self._error = error
        finally:
            os.close(self._end)

    def _perform(self, cue: Cue, following: Next | None) -> None:
        action = cue.action
        if isinstance(action, Reboot):
            self._lab.reboot(action.node, down_s=action.off_s)
        elif isinstance(action, Redial):
            self._lab.redial(action.place, action.address, down_s=action.off_s)
        elif not isinstance(action, Say):
            assert following is not None
            self._lab.follow(following, action)


def scenario_for(lab: Changing, asked: Scenario | str | Path | None) -> Scenario:
    """What is to be played: a scenario, the one of a file, or the timeline of the lab itself. Raises UsageError."""
    if isinstance(asked, Scenario):
        return asked
    if asked is not None:
        from wanlab.topology.scenario_file import load_scenario

        return load_scenario(asked)
    if not lab.topology.events:
        raise UsageError(
            f"lab {lab.topology.name!r} has no timeline of its own",
            hint="name a scenario file, or write [[event]] tables into the lab's file",
        )
    return Scenario(lab.topology.events)
