"""`wanlab new-address` and `redial`: another address, as a provider gives it out."""

from __future__ import annotations

from typing import Annotated

import typer

from wanlab.cli.apply import DryRun, carry_out
from wanlab.cli.link import Place
from wanlab.cli.options import UpLab

Addresses = Annotated[
    list[str] | None,
    typer.Argument(metavar="ADDRESS...", help="The new one, or one for each family; left out: the next free ones."),
]


def new_address(place: Place, address: Addresses = None, lab: UpLab = None, dry_run: DryRun = False) -> None:
    """Give a router another external address, as a DHCP lease does.

    Or a host. The link stays up; a NAT forgets its mappings and connections.
    """
    from wanlab.topology.edits import NewAddress

    carry_out(NewAddress(place, address or None), lab, dry_run)


def redial(
    place: Place,
    address: Addresses = None,
    lab: UpLab = None,
    down: Annotated[float, typer.Option("--down", metavar="SECONDS", min=0, help="How long it is down.")] = 0.0,
) -> None:
    """Take a link down and up with another address, as a PPP line.

    A NAT forgets its mappings and connections as the link goes down.
    """
    from wanlab.cli.target import attach
    from wanlab.cli.until import ending_well

    attached = attach(lab)
    with ending_well():
        attached.redial(place, address or None, down_s=down)
    node, _, interface = place.partition(":")
    has = attached.network[node].interface(interface) if interface else attached.network[node].primary
    print(f"{place} is up again: {', '.join(map(str, has.addresses))}")
