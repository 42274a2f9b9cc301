"""`wanlab explain`: whether two hosts can connect directly, what stands in the way, and what would help."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from wanlab.cli import complete
from wanlab.cli.options import Json, UpLab
from wanlab.errors import UsageError

if TYPE_CHECKING:
    from wanlab.trace.explain import Explanation


def explain(
    a: Annotated[str, typer.Argument(metavar="A", help="A host.", autocompletion=complete.nodes)],
    b: Annotated[str, typer.Argument(metavar="B", help="Another one.", autocompletion=complete.nodes)],
    *,
    udp: Annotated[
        int | None,
        typer.Option(
            "--udp",
            min=1,
            max=65535,
            metavar="PORT",
            help="By UDP, from this port.",
            show_default=False,
        ),
    ] = None,
    tcp: Annotated[bool, typer.Option("--tcp", help="By TCP; without this by UDP.")] = False,
    rendezvous: Annotated[
        str | None,
        typer.Option(
            "--via",
            metavar="HOST",
            help="Where they meet; chosen if left out.",
            show_default=False,
            autocompletion=complete.nodes,
        ),
    ] = None,
    verbose: Annotated[bool, typer.Option("-v", "--verbose", help="Every packet between the two.")] = False,
    lab: UpLab = None,
    json: Json = False,
) -> int:
    """Let two hosts try to connect directly, and explain it.

    Exits with 1 where they do not get through to each other.
    """
    from wanlab.cli.target import attach
    from wanlab.cli.text import print_json
    from wanlab.punch.machine import Transport
    from wanlab.trace.explain import explain as explain_in

    if tcp and udp is not None:
        raise UsageError("either --udp or --tcp", hint="explain one after the other")
    transport = Transport.TCP if tcp else Transport.UDP
    explanation = explain_in(attach(lab), a, b, transport, rendezvous=rendezvous, udp_port=udp)
    if json:
        print_json(explanation.to_json())
    else:
        _print(explanation, verbose)
    return 0 if explanation.connected else 1


def _print(explanation: Explanation, verbose: bool) -> None:
    ends = f"{explanation.a} and {explanation.b}"
    how = explanation.transport.value.upper()
    if explanation.connected:
        print(f"{ends} connect directly by {how}: {' -> '.join(explanation.path)}")
    else:
        print(f"{ends} do not connect directly by {how}; they met at {explanation.rendezvous}")
    prediction = explanation.prediction
    if prediction is None:
        print("theory: says nothing of several NATs in a row, or of one that both are behind")
    else:
        said = "they should" if prediction.connects else "they should not"
        print(f"theory: {said} ({prediction.why})")
    for title, lines in (
        ("what stood in the way:", [obstacle.words for obstacle in explanation.obstacles]),
        ("what would help:", explanation.helps),
        ("packets:", [str(story) for story in explanation.stories] if verbose else []),
    ):
        if lines:
            print(title)
            for line in lines:
                print(f"  {line}")
