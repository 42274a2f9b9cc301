"""The command line. One verb, one file; `app` puts them together, and `main` turns what they raise into exit codes.

What a verb needs it imports when it runs: `wanlab -h` and `wanlab exec` are waited for by a person.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Sequence

from wanlab.errors import CommandNotFound, KernelError, WanlabError

_OWN_FAILURE = 125  # of verbs whose exit status is a program's: as docker, timeout and env have it
_INTERRUPTED = 130  # 128 + SIGINT
_BROKEN_PIPE = 141  # 128 + SIGPIPE
_VERBS_OF_PROGRAMS = ("exec", "shell")


def main() -> int:
    """Run the command line of this process; the exit status. `docs/reference/exit-codes.md` lists them all."""
    arguments = sys.argv[1:]
    try:
        repeat_lost_interrupts()
        _open_closed_stdio()
        status = _run(arguments)
        sys.stdout.flush()
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # all is done: Python's own end is not to be interrupted
        return status
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        return _INTERRUPTED
    except BrokenPipeError:
        # Whoever read this has seen enough. What is left in Python's buffer must not raise once more at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return _BROKEN_PIPE
    except (WanlabError, OSError) as error:
        _complain(error)
        return _exit_code(error, arguments)


def repeat_lost_interrupts() -> None:
    """A Ctrl-C that falls where no exception gets out is repeated a moment later.

    That is where Python is called from C: by weak references while modules are imported, and by pydantic. Python would
    print that it ignored a KeyboardInterrupt, and go on.
    """
    signal.signal(signal.SIGALRM, signal.default_int_handler)
    sys.unraisablehook = _unraisable


def _unraisable(what: sys.UnraisableHookArgs) -> None:
    if issubclass(what.exc_type, KeyboardInterrupt):
        signal.setitimer(signal.ITIMER_REAL, 0.001)  # raised here and now, it would be lost again
    else:
        sys.__unraisablehook__(what)


def _run(arguments: Sequence[str]) -> int:
    if arguments[:1] == ["exec"]:
        plain = _plain_exec(arguments[1:])
        if plain is not None:
            from wanlab.cli.program import run_program

            return run_program(*plain)
    from wanlab.cli.app import run

    return run(arguments)


def _plain_exec(arguments: Sequence[str]) -> tuple[str | None, str, list[str]] | None:
    """`[--lab LAB] NODE [--] COMMAND...` without Typer, which would take longer than the rest of `exec`.

    None for anything else: that is for Typer to explain.
    """
    lab = None
    rest = list(arguments)
    if len(rest) > 1 and rest[0] == "--lab":
        lab = rest[1]
        del rest[:2]
    if not rest or rest[0].startswith("-"):
        return None
    node, *command = rest
    if command[:1] == ["--"]:
        del command[0]
    return (lab, node, command) if command else None


def _complain(error: Exception) -> None:
    text = str(error)
    if isinstance(error, OSError) and not isinstance(error, WanlabError):
        text = ": ".join(str(part) for part in (error.filename, error.strerror or error) if part)
    with contextlib.suppress(OSError):  # nobody may read that either
        print("wanlab:", " ".join(text.split()), file=sys.stderr)


def _exit_code(error: Exception, arguments: Sequence[str]) -> int:
    if arguments[:1] and arguments[0] in _VERBS_OF_PROGRAMS and not isinstance(error, CommandNotFound):
        return _OWN_FAILURE
    return error.exit_code if isinstance(error, WanlabError) else KernelError.exit_code


def _open_closed_stdio() -> None:
    """Where the caller has closed one of 0, 1, 2, our next descriptor would get its number, and be passed on as it."""
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest free number: this one
    # Python has left these None where they were closed.
    sys.stdout = sys.stdout or os.fdopen(1, "w")
    sys.stderr = sys.stderr or os.fdopen(2, "w")
