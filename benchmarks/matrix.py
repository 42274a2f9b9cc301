"""A matrix of all pairs of NATs, a UDP client and a server in each cell, as one command on two cores."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.contest import Contender, Contest, Goal, Missing, Samples, Unit, by_turns, limit
from benchmarks.sandbox import TIMEOUT_S, require, settle

LIMIT_S = 60
CELLS = 144
JOBS = 2

_EXAMPLE = Path(__file__).resolve().parents[1] / "examples" / "udp_hello"
# Port 53, since one of the NATs lets out to no other. A server that says that it listens, then the client.
_SERVE = f'{sys.executable} {_EXAMPLE}/server.py "$port" >"$log" & until grep -q listening "$log"; do sleep 0.01; done'
_ASK = f'{sys.executable} {_EXAMPLE}/client.py "$server" "$port"'
_CELL = (
    "port=53 server=$WANLAB_ADDRESS_COORDINATOR log=$WANLAB_RUN/server; "
    f"ip netns exec coordinator {_SERVE}; ip netns exec alice {_ASK}"
)
_ALONE = f"port=$((20000 + $1)) server=127.0.0.1 log=$1; {_SERVE}; {_ASK}; status=$?; kill $!; exit $status"


def matrix(turns: int) -> Iterator[Contest]:
    turns = max(1, turns // 3)  # a run takes many seconds
    contenders = [Contender("wanlab", _matrix), Contender("the same programs without labs, by xargs", _alone)]
    wanlab, alone = by_turns("a matrix", contenders, turns, before_each=settle)
    what = f"wanlab matrix, {CELLS} labs with a UDP server and client in each, two cores"
    yield Contest(what, Unit.SECONDS, wanlab, limit(LIMIT_S, len(wanlab.values)), Goal(at_most=1))
    yield Contest(what, Unit.SECONDS, wanlab, Samples(alone.name, alone.values, alone.missing))


def _matrix() -> float:
    require("ip", "iproute2")
    varied = ("--vary", "home-a.nat", "--vary", "home-b.nat")
    command = [sys.executable, "-m", "wanlab", "matrix", "two-lans", *varied, "-j", str(JOBS), "--", "sh", "-c", _CELL]
    return _timed(command)


def _alone() -> float:
    numbers = "\n".join(map(str, range(CELLS)))
    return _timed(["xargs", "-n1", "-P", str(JOBS), "sh", "-c", _ALONE, "sh"], numbers)


def _timed(command: list[str], given: str = "") -> float:
    cores = sorted(os.sched_getaffinity(0))[:JOBS]
    if len(cores) < JOBS:
        raise Missing(f"this machine has not {JOBS} cores")
    require("taskset", "util-linux")
    with tempfile.TemporaryDirectory(prefix="wanlab-bench-") as directory:
        start = time.monotonic()
        done = subprocess.run(
            ["taskset", "--cpu-list", ",".join(map(str, cores)), *command],
            cwd=directory,
            input=given,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )
        seconds = time.monotonic() - start
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}: exit status {done.returncode}\n{done.stdout}{done.stderr}")
    return seconds
