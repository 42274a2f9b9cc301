"""A suite of tests, each with a lab of its own by the pytest plugin: what a test costs, by one worker and by two.

Two workers gain what the kernel lets them gain: one lock (rtnl) stands before all network configuration. How much that
is, is measured by the floor: stars of the size of a `two-lans`, made and freed by C programs one after another, then in
two rows side by side.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from benchmarks.contest import Contender, Contest, Goal, Missing, Samples, Unit, by_turns, limit
from benchmarks.sandbox import TIMEOUT_S, compiled, require, settle

TESTS = 200
PART = 50
LIMIT_S = 0.04
FLAT = Goal(at_most=1.25)
CHEAP = Goal(at_most=1.15)
CLOSE_TO_HALF = Goal(at_most=0.6)
AS_THE_FLOOR = Goal(at_most=1.25)

_STAR = "5"  # hosts: as many namespaces and cables, and the one bridge, of a two-lans
_SUITE = f"""
import pytest

@pytest.mark.parametrize("number", range({TESTS}))
def test_has_a_lab_of_its_own(lab, number):
    assert "alice" in lab
"""
# All of a test: fixtures made, the test itself, fixtures taken down. The clock is the machine's, for all workers alike.
_STOPWATCH = """
import time

import pytest

@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item, nextitem):
    start = time.monotonic()
    result = yield
    with open(item.config.rootpath / "times", "a") as times:
        print(start, time.monotonic(), file=times)
    return result
"""


@dataclass(frozen=True)
class Run:
    span_s: float
    """From the first test's start to the last one's end."""
    tests_s: tuple[float, ...]


def suite(turns: int) -> Iterator[Contest]:
    turns = max(1, turns // 3)  # a run takes seconds
    core = ("taskset", "--cpu-list", _one_core())
    contenders = [
        Contender("one core", lambda: _run(*core)),
        Contender("nothing captured", lambda: _run(*core, options=("--wanlab-capture=never",))),
        Contender("one process", _run),
        Contender("-n 2", lambda: _run(options=("-n", "2"))),
        Contender("the floor, one row", lambda: _stars(1)),
        Contender("the floor, two rows", lambda: _stars(2)),
    ]
    core_alone, bare, one, two, row, rows = by_turns("a suite of tests", contenders, turns, before_each=settle)
    each = core_alone.map(lambda run: statistics.median(run.tests_s))
    yield Contest(
        f"a test with a two-lans of its own, of {TESTS}, one core",
        Unit.SECONDS,
        each,
        limit(LIMIT_S, len(each.values)),
        Goal(at_most=1),
    )
    yield Contest("the same, packets kept for a failure", Unit.SECONDS, each, _medians(bare), CHEAP)
    last = core_alone.map(lambda run: statistics.median(run.tests_s[-PART:]))
    first = core_alone.map(lambda run: statistics.median(run.tests_s[:PART]))
    yield Contest(
        f"the last {PART} of these", Unit.SECONDS, last, Samples(f"the first {PART}", first.values, first.missing), FLAT
    )
    yield Contest(
        f"{TESTS} such tests, -n 2",
        Unit.SECONDS,
        two.map(_span),
        _renamed(one.map(_span), "one process"),
        CLOSE_TO_HALF,
    )
    yield Contest(
        "-n 2 as a part of one process",
        Unit.RATIO,
        _quotients(two.map(_span), one.map(_span)),
        _renamed(_quotients(rows.map(_span), row.map(_span)), "the floor, two rows of one"),
        AS_THE_FLOOR,
    )


def _span(run: Run) -> float:
    return run.span_s


def _medians(runs: Samples[Run]) -> Samples[float]:
    return runs.map(lambda run: statistics.median(run.tests_s))


def _renamed(samples: Samples[float], name: str) -> Samples[float]:
    return Samples(name, samples.values, samples.missing)


def _quotients(above: Samples[float], below: Samples[float]) -> Samples[float]:
    values = tuple(a / b for a, b in zip(above.values, below.values, strict=False))
    return Samples(above.name, values, above.missing or below.missing)


def _one_core() -> str:
    return str(min(os.sched_getaffinity(0)))


def _stars(rows: int) -> Run:
    """The same number of stars as there are tests, made and freed by so many shells side by side."""
    loop = f"for star in $(seq {TESTS // rows}); do {compiled('floor')} {_STAR} </dev/null >/dev/null || exit 1; done"
    start = time.monotonic()
    shells = [subprocess.Popen(["bash", "-c", loop], stdin=subprocess.DEVNULL) for _ in range(rows)]
    if sum(abs(shell.wait(TIMEOUT_S)) for shell in shells):  # all are waited for
        raise RuntimeError("the floor has failed")
    return Run(time.monotonic() - start, ())


def _run(*before: str, options: tuple[str, ...] = ()) -> Run:
    for module in ("pytest", "xdist"):
        if find_spec(module) is None:
            raise Missing(f"{module} is not installed: make setup")
    require("taskset", "util-linux")
    with tempfile.TemporaryDirectory(prefix="wanlab-bench-") as name:
        directory = Path(name)
        (directory / "pytest.ini").write_text("[pytest]\n")
        (directory / "conftest.py").write_text(_STOPWATCH)
        (directory / "test_labs.py").write_text(_SUITE)
        pytest = (sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--wanlab-require")
        command = [*before, *pytest, *options]
        done = subprocess.run(
            command,
            cwd=directory,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )
        if done.returncode != 0:
            raise RuntimeError(f"{' '.join(command)}: exit status {done.returncode}\n{done.stdout}{done.stderr}")
        lines = [line.split() for line in (directory / "times").read_text().splitlines()]
    times = [(float(start), float(end)) for start, end in lines]
    if len(times) != TESTS:
        raise RuntimeError(f"{len(times)} of {TESTS} tests have run")
    span = max(end for _, end in times) - min(start for start, _ in times)
    return Run(span, tuple(end - start for start, end in times))
