"""Running a program in a lab for a person or a script: `exec` and `shell`.

Without a terminal the program gets the very descriptors that we were given, so that pipes and files are as fast as they
are without us; what is left to do is to hand on signals and the exit status.
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Unpack

from wanlab.cli.target import lab_name
from wanlab.errors import CommandNotFound
from wanlab.runtime.connection import connect
from wanlab.runtime.directory import INHERITED, runtime_directory
from wanlab.runtime.process import Process, ProcessOptions

if TYPE_CHECKING:
    from wanlab.cli.terminal import Terminal

# What a keyboard sends goes to all that the program runs, as a terminal would have it; the rest to the program itself.
_OF_THE_KEYBOARD = (signal.SIGINT, signal.SIGQUIT)
_OTHERS = (signal.SIGHUP, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2, signal.SIGALRM)


def run_program(lab: str | None, node: str | None, command: list[str], extra: dict[str, str] | None = None) -> int:
    """Run *command* in *node* (None: in the lab, in no node) to its end.

    Returns its exit status, 128 + n where signal n ended it. *extra* are variables to put into its environment. Raises
    NoSuchLab, NoSuchNode, CommandNotFound.
    """
    name = lab_name(lab)
    environment = {**os.environ, **(extra or {}), "WANLAB_LAB": name, INHERITED: str(runtime_directory())}
    if node is None:
        environment.pop("WANLAB_NODE", None)

    def start(**options: Unpack[ProcessOptions]) -> Process:
        options["env"] = environment
        return Process(connect(runtime_directory(), name), node, command, **options)

    try:
        status = _run_in_terminal(start) if os.isatty(0) and os.isatty(1) else _run_plainly(start)
    except CommandNotFound as error:
        if error.errno == errno.EACCES and not _is_somewhere(command[0]):
            # execvp(3) says so where it may not look into a directory of PATH; shells say: no such program.
            raise CommandNotFound(f"{command[0]}: command not found", errno=errno.ENOENT) from None
        raise
    return status if status >= 0 else 128 - status


def _is_somewhere(program: str) -> bool:
    return "/" in program or any(os.path.exists(f"{path}/{program}") for path in os.get_exec_path())  # noqa: PTH110


def _run_plainly(start: Callable[..., Process]) -> int:
    with _signals_held_back():
        process = start()
        _hand_on_signals(process)
        _handle(signal.SIGWINCH, lambda: process.send_signal(signal.SIGWINCH))
        _handle(signal.SIGTSTP, lambda: _stop(process))
    return process.wait()


def _run_in_terminal(start: Callable[..., Process]) -> int:
    from wanlab.cli.terminal import Terminal

    with Terminal() as terminal:
        theirs = terminal.theirs
        with _signals_held_back():
            process = start(stdin=theirs, stdout=theirs, stderr=theirs if os.isatty(2) else None, terminal=True)
            terminal.handed_over()
            _hand_on_signals(process)
            _handle(signal.SIGWINCH, terminal.follow_size)
            _handle(signal.SIGTSTP, lambda: _stop_in_terminal(process, terminal))
        terminal.follow_size()
        terminal.converse(process)
    return process.wait()


@contextlib.contextmanager
def _signals_held_back() -> Iterator[None]:
    """Signals that come now wait until we know what to do with them: the program may have begun already."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, (*_OF_THE_KEYBOARD, *_OTHERS, signal.SIGTSTP))
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _hand_on_signals(process: Process) -> None:
    for number in _OF_THE_KEYBOARD:
        _handle(number, lambda number=number: process.send_signal_to_group(number))  # type: ignore[misc]
    for number in _OTHERS:
        _handle(number, lambda number=number: process.send_signal(number))  # type: ignore[misc]


def _handle(number: signal.Signals, action: Callable[[], None]) -> None:
    if signal.getsignal(number) is not signal.SIG_IGN:  # `nohup wanlab exec ...` means the program, too
        signal.signal(number, lambda *_: action())


def _stop(process: Process) -> None:
    """Stop the program, then ourselves, until somebody continues us: a shell's Ctrl-Z, `fg` and `bg`."""
    process.send_signal_to_group(signal.SIGSTOP)  # no SIGTSTP: in a session of its own, the kernel would drop that
    os.kill(os.getpid(), signal.SIGSTOP)
    process.send_signal_to_group(signal.SIGCONT)


def _stop_in_terminal(process: Process, terminal: Terminal) -> None:
    with terminal.given_back():
        _stop(process)
