"""A command in a host, and wanlab's own commands as whole processes."""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import cache, partial
from pathlib import Path

from benchmarks.contest import Contender, Contest, Goal, Missing, Samples, Unit, by_turns, limit
from benchmarks.ours import new_lab
from benchmarks.sandbox import held, require, script, settle

RUNS_A_TURN = 10  # one run takes milliseconds
UP_LIMIT_S = 0.5
HELP_LIMIT_S = 0.15
LAB = "bench-two-lans"


def run_in_host(turns: int) -> Iterator[Contest]:
    with ExitStack() as stack:
        ours = cache(partial(_wanlab, stack))
        by_hand = cache(partial(_by_hand, stack))
        contenders = [
            Contender("wanlab", partial(_timed, ours)),
            Contender("ip netns exec NS true", partial(_timed, by_hand)),
        ]
        wanlab, rival = by_turns("a command in a host", contenders, turns * RUNS_A_TURN)
    yield Contest('host.run(["true"]), warm', Unit.SECONDS, wanlab, rival, Goal(at_most=1.5))


def _timed(runner: Callable[[], Callable[[], float]]) -> float:
    run = runner()
    return run()


def whole_processes(turns: int) -> Iterator[Contest]:
    up_down = [Contender("wanlab", _up_and_down)]
    (both,) = by_turns("wanlab up, wanlab down", up_down, turns, before_each=settle)
    yield _within(UP_LIMIT_S, "wanlab up two-lans, a whole process", both.map(lambda times: times[0]))
    yield _within(UP_LIMIT_S, "wanlab down, a whole process", both.map(lambda times: times[1]))
    (usage,) = by_turns("wanlab -h", [Contender("wanlab", lambda: _whole("-h"))], turns)
    yield _within(HELP_LIMIT_S, "wanlab -h, a whole process", usage)


def _within(limit_s: float, what: str, wanlab: Samples[float]) -> Contest:
    return Contest(what, Unit.SECONDS, wanlab, limit(limit_s, len(wanlab.values)), Goal(at_most=1))


def _wanlab(stack: ExitStack) -> Callable[[], float]:
    host = stack.enter_context(new_lab("two-lans"))["alice"]

    def run() -> float:
        start = time.monotonic()
        host.run(["true"], check=True)
        return time.monotonic() - start

    return run


def _by_hand(stack: ExitStack) -> Callable[[], float]:
    require("ip", "iproute2")
    shell = stack.enter_context(held(script("exec_by_hand.sh")))

    def run() -> float:
        assert shell.stdin is not None
        assert shell.stdout is not None
        shell.stdin.write("\n")
        shell.stdin.flush()
        return int(shell.stdout.readline()) / 1e6

    return run


def _up_and_down() -> tuple[float, float]:
    return _whole("up", "two-lans", "--name", LAB), _whole("down", "--lab", LAB)


def _whole(*arguments: str) -> float:
    command = Path(sys.executable).with_name("wanlab")
    if not command.exists():
        raise Missing("wanlab is not installed beside this Python: make setup")
    start = time.monotonic()
    subprocess.run([command, *arguments], stdin=subprocess.DEVNULL, capture_output=True, check=True)
    return time.monotonic() - start
