"""`wanlab link`, `unplug` and `plug`: a link that goes down and up, a cable that is pulled and plugged in elsewhere."""

from __future__ import annotations

from enum import Enum
from typing import Annotated

import typer

from wanlab.cli import complete
from wanlab.cli.apply import DryRun, carry_out
from wanlab.cli.options import UpLab


class State(Enum):
    """What a link can be told to be."""

    DOWN = "down"
    UP = "up"
    UNPLUGGED = "unplugged"


Place = Annotated[
    str,
    typer.Argument(
        metavar="NODE[:INTERFACE]",
        help="Whose link; which one where there are several. A router's uplink where nothing is said.",
        autocompletion=complete.nodes,
    ),
]
Into = Annotated[
    str | None,
    typer.Argument(metavar="INTO", help="A switch or a router; left out: where it was.", autocompletion=complete.nodes),
]
Address = Annotated[
    str | None, typer.Option("--address", metavar="ADDRESS", help="Its address there; chosen where not given.")
]


def link(
    place: Place,
    state: Annotated[State, typer.Argument(metavar="down|up|unplugged", help="What it shall be.", show_choices=False)],
    lab: UpLab = None,
    dry_run: DryRun = False,
) -> None:
    """Switch a link off or on.

    Down, the interface is switched off in its node: its routes go, and the other end has no carrier. Unplugged, its
    cable is out: it has no carrier, and keeps its addresses and routes.
    """
    _set(place, state, lab, dry_run)


def unplug(place: Place, lab: UpLab = None, dry_run: DryRun = False) -> None:
    """Take a cable out. The interface has no carrier, and keeps its addresses and routes."""
    _set(place, State.UNPLUGGED, lab, dry_run)


def plug(place: Place, into: Into = None, lab: UpLab = None, address: Address = None, dry_run: DryRun = False) -> None:
    """Plug a cable in again, where it was or elsewhere.

    The interface is the same all along. Elsewhere it gets another address.
    """
    from wanlab.topology.edits import Plug

    carry_out(Plug(place, into, address), lab, dry_run)


def _set(place: str, state: State, lab: str | None, dry_run: bool) -> None:
    from wanlab.topology.edits import Link
    from wanlab.topology.network import LinkState

    carry_out(Link((place,), LinkState(state.value)), lab, dry_run)
