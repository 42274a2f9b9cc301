"""A suite of tests, each with a lab of its own by the pytest plugin: what a test costs, first and last."""

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
from benchmarks.sandbox import TIMEOUT_S, require, settle

TESTS = 200
PART = 50
LIMIT_S = 0.04
FLAT = Goal(at_most=1.25)
CLOSE_TO_HALF = Goal(at_most=0.6)

_SUITE = f"""
import pytest

@pytest.mark.parametrize("number", range({TESTS}))
def test_has_a_lab_of_its_own(lab, number):
    assert "alice" in lab
"""
# All of a test: fixtures made, the test itself, fixtures taken down.
_STOPWATCH = """
import time

import pytest

@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item, nextitem):
    start = time.monotonic()
    result = yield
    with open(item.config.rootpath / "times", "a") as times:
        print(time.monotonic() - start, file=times)
    return result
"""


@dataclass(frozen=True)
class Run:
    whole_s: float
    """pytest's own start and end included."""
    tests_s: tuple[float, ...]


def suite(turns: int) -> Iterator[Contest]:
    turns = max(1, turns // 3)  # a run takes seconds
    contenders = [
        Contender("wanlab", lambda: _run("taskset", "--cpu-list", _one_core())),
        Contender("-n 2", lambda: _run(options=("-n", "2"))),
    ]
    alone, two = by_turns("a suite of tests", contenders, turns, before_each=settle)
    each = alone.map(lambda run: statistics.median(run.tests_s))
    yield Contest(
        f"a test with a two-lans of its own, of {TESTS}, one core",
        Unit.SECONDS,
        each,
        limit(LIMIT_S, len(each.values)),
        Goal(at_most=1),
    )
    last = alone.map(lambda run: statistics.median(run.tests_s[-PART:]))
    first = Samples(
        f"the first {PART}", alone.map(lambda run: statistics.median(run.tests_s[:PART])).values, alone.missing
    )
    yield Contest(f"the last {PART} of these", Unit.SECONDS, last, first, FLAT)
    yield Contest(
        f"{TESTS} such tests, -n 2, a whole process",
        Unit.SECONDS,
        two.map(lambda run: run.whole_s),
        Samples("one process on one core", alone.map(lambda run: run.whole_s).values, alone.missing),
        CLOSE_TO_HALF,
    )


def _one_core() -> str:
    return str(min(os.sched_getaffinity(0)))


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
        command = [
            *before,
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            "--wanlab-require",
            *options,
        ]
        start = time.monotonic()
        done = subprocess.run(
            command,
            cwd=directory,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )
        whole_s = time.monotonic() - start
        if done.returncode != 0:
            raise RuntimeError(f"{' '.join(command)}: exit status {done.returncode}\n{done.stdout}{done.stderr}")
        times = tuple(float(line) for line in (directory / "times").read_text().splitlines())
    if len(times) != TESTS:
        raise RuntimeError(f"{len(times)} of {TESTS} tests have run")
    return Run(whole_s, times)
