"""All verbs, put together. Typer parses and explains; what goes wrong leaves as an exception."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from wanlab import __version__
from wanlab.cli.address import new_address, redial
from wanlab.cli.apply import apply
from wanlab.cli.capture import capture
from wanlab.cli.catalog import catalog
from wanlab.cli.change import change
from wanlab.cli.diagram import diagram
from wanlab.cli.doctor import doctor
from wanlab.cli.down import down
from wanlab.cli.exec import exec_
from wanlab.cli.explain import explain
from wanlab.cli.graph import graph
from wanlab.cli.inspect import inspect
from wanlab.cli.link import link, plug, unplug
from wanlab.cli.ls import ls
from wanlab.cli.matrix import matrix
from wanlab.cli.nat import nat
from wanlab.cli.partition import heal, partition
from wanlab.cli.ping import ping
from wanlab.cli.play import play
from wanlab.cli.punch_grid import punch_grid
from wanlab.cli.reboot import reboot
from wanlab.cli.record import record
from wanlab.cli.script import script
from wanlab.cli.shell import shell
from wanlab.cli.top import top
from wanlab.cli.trace import trace
from wanlab.cli.up import up
from wanlab.cli.verify import verify
from wanlab.errors import UsageError

# The class that all of Typer's complaints about a command line share has moved between its versions.
_Complaint: type[Exception] = typer.BadParameter.__mro__[1]


class _Verbs(TyperGroup):
    def invoke(self, ctx: Any) -> Any:
        try:
            status = super().invoke(ctx)
            sys.stdout.flush()
            return status
        except BrokenPipeError:
            raise _PipeBroke from None


class _PipeBroke(BaseException):
    """Carries a BrokenPipeError past Typer, which would end the process with 1: that means a finding."""


app = typer.Typer(
    cls=_Verbs,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode=None,  # rich takes longer to import than anything here takes to run
    pretty_exceptions_enable=False,
)


def run(arguments: Sequence[str]) -> int:
    """Parse the command line and run its verb; the exit status. Raises UsageError, and what verbs raise."""
    command = typer.main.get_command(app)
    try:
        status = command.main(args=list(arguments) or ["-h"], prog_name="wanlab", standalone_mode=False)
    except _PipeBroke:
        raise BrokenPipeError from None
    except _Complaint as error:
        raise _usage_error(error) from None
    return status if isinstance(status, int) else 0


def _usage_error(error: Any) -> UsageError:
    message = error.format_message().strip().rstrip(".").replace(". Did you mean", "; did you mean")
    path = error.ctx.command_path if error.ctx is not None else "wanlab"
    return UsageError(message[:1].lower() + message[1:], hint=None if message.endswith("?") else f"see {path} -h")


def _say(version: bool) -> None:
    if version:
        print("wanlab", __version__)
        raise typer.Exit


@app.callback()
def wanlab(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", is_eager=True, callback=_say)
    ] = False,
) -> None:
    """A small internet on one Linux machine: hosts, switches, routers and NAT, up in milliseconds, without root.

    Begin with `wanlab up two-lans`.
    """


_FIRST: tuple[Callable[..., int | None], ...] = (up, down, ls, inspect)
_THEN: tuple[Callable[..., int | None], ...] = (
    shell,
    ping,
    capture,
    trace,
    explain,
    top,
    verify,
    nat,
    punch_grid,
    matrix,
    change,
    link,
    unplug,
    plug,
    partition,
    heal,
    new_address,
    redial,
    reboot,
    apply,
    play,
    record,
    script,
    graph,
    diagram,
    catalog,
    doctor,
)
for _verb in _FIRST:
    app.command()(_verb)
# The program's own options are none of ours: everything after the node is left as it is.
app.command("exec", context_settings={"allow_interspersed_args": False}, options_metavar="[--lab NAME]")(exec_)
for _verb in _THEN:
    app.command()(_verb)
