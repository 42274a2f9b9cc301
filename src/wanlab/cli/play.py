"""`wanlab play`: a scenario, played in a lab that is up."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from wanlab.cli.options import UpLab

if TYPE_CHECKING:
    from wanlab.runtime.play import Happened

Scenario = Annotated[
    str | None,
    typer.Argument(
        metavar="SCENARIO",
        help="A file with [[event]] tables; left out: the timeline of the lab's own file.",
        show_default=False,
    ),
]


def play(
    scenario: Scenario = None,
    lab: UpLab = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would happen and when.")] = False,
) -> int | None:
    """Play a scenario: what happens to a lab, each at its time.

    Says what happens as it happens. An event that cannot be is refused before the first one. Ctrl-C ends it, and
    leaves the lab as it is then.
    """
    from wanlab.cli.target import lab_name

    if dry_run:
        _rehearse(lab_name(lab), scenario)
        return None
    return play_in(lab_name(lab), scenario)


def play_in(lab: str, scenario: str | None) -> int | None:
    """Play it in the lab of that name; 130 where it was interrupted."""
    import select

    from wanlab.cli.text import count
    from wanlab.cli.until import Stop
    from wanlab.runtime.lab import Lab

    attached = Lab.attach(lab)
    with Stop() as stop:
        playing = attached.start_play(scenario, _tell)
        with playing:
            while playing.goes_on and not stop.asked:
                select.select([stop.fileno(), playing.fileno()], [], [])
        happened = playing.happened
    if stop.asked and playing.cut_off:
        print(f"interrupted after {count(len(happened), 'event')}")
        return 130
    print(f"{count(len(happened), 'event')} played")
    return None


def _tell(happened: Happened) -> None:
    print(happened, flush=True)


def _rehearse(lab: str, scenario: str | None) -> None:
    from wanlab.cli.text import count
    from wanlab.plan.rehearsal import rehearse
    from wanlab.runtime.lab import Lab
    from wanlab.runtime.play import scenario_for

    attached = Lab.attach(lab)
    score = rehearse(scenario_for(attached, scenario), attached.topology, attached.network)
    for cue, following in score:
        steps = "" if following is None else f"  ({count(len(following.steps), 'step')})"
        print(f"{cue.at_s:9.3f} s  {cue.action}{steps}")
    print("nothing was changed")
