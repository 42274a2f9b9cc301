"""From nothing to a lab that is up, and back."""

import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import TYPE_CHECKING

from benchmarks.contest import Contender, Contest, Goal, Missing, Samples, Unit, by_turns
from benchmarks.ours import new_lab, prove, star
from benchmarks.sandbox import HERE, compiled, held, require, run_json, sandboxed, script, settle

if TYPE_CHECKING:
    from wanlab import Topology

MOST_MININET_HOSTS = 100  # five seconds; a thousand would take minutes
MANY_HOSTS = 500  # from here on, fewer turns
AGAINST_FLOOR = Goal(at_most=1.5)
TEN_TIMES_FASTER = Goal(at_most=0.1)


@dataclass(frozen=True)
class UpDown:
    up_s: float
    down_s: float

    @property
    def total_s(self) -> float:
        return self.up_s + self.down_s


def two_lans(turns: int) -> Iterator[Contest]:
    contenders = [
        Contender("wanlab", partial(wanlab_up_down, lambda: "two-lans", "alice", "coordinator")),
        Contender("the article's commands", _article),
    ]
    wanlab, article = by_turns("two-lans", contenders, turns, before_each=settle)
    yield from _contests("two-lans", wanlab, article, TEN_TIMES_FASTER)


def stars(sizes: Sequence[int], turns: int) -> Iterator[Contest]:
    for hosts in sizes:
        what = f"star of {hosts}"
        topology = cache(partial(star, hosts))
        contenders = [
            Contender("wanlab", partial(wanlab_up_down, topology, "h0", f"h{hosts - 1}")),
            Contender("the floor", partial(_floor, hosts)),
        ]
        if hosts <= MOST_MININET_HOSTS:
            contenders.append(Contender("Mininet", partial(_mininet, hosts)))
        turns_here = turns if hosts < MANY_HOSTS else max(3, turns // 3)
        wanlab, floor, *mininet = by_turns(what, contenders, turns_here, before_each=settle)
        yield from _contests(what, wanlab, floor, AGAINST_FLOOR)
        for samples in mininet:
            yield from _contests(what, wanlab, samples, TEN_TIMES_FASTER)


def _contests(what: str, wanlab: Samples[UpDown], rival: Samples[UpDown], goal: Goal) -> Iterator[Contest]:
    """The goal is for up and down together; each alone is shown for the reader."""

    def contest(part: str, pick: Callable[[UpDown], float], goal: Goal | None) -> Contest:
        return Contest(f"{what}, {part}", Unit.SECONDS, wanlab.map(pick), rival.map(pick), goal)

    yield contest("up", lambda times: times.up_s, None)
    yield contest("down", lambda times: times.down_s, None)
    yield contest("up and down", lambda times: times.total_s, goal)


def wanlab_up_down(topology: "Callable[[], str | Topology]", sender: str, receiver: str) -> UpDown:
    given = topology()
    start = time.monotonic()
    with new_lab(given) as lab:
        up = time.monotonic()
        prove(lab, sender, receiver)
        stop = time.monotonic()
    return UpDown(up - start, time.monotonic() - stop)


def _article() -> UpDown:
    for program, package in (
        ("ip", "iproute2"),
        ("nft", "nftables"),
        ("sysctl", "procps"),
        ("ping", "iputils-ping"),
    ):
        require(program, package)
    return UpDown(**run_json(script("article.sh")))


def _floor(hosts: int) -> UpDown:
    """Timed from outside: from the start of the process until it has ended."""
    program = compiled("floor")
    start = time.monotonic()
    with held([program, str(hosts)]) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        up = time.monotonic()
    if process.returncode != 0 or not line:
        raise RuntimeError(f"floor {hosts}: exit status {process.returncode}")
    return UpDown(up - start, time.monotonic() - up)


def _mininet(hosts: int) -> UpDown:
    mount_proc = (
        "sh",
        "-c",
        'mount -t proc proc /proc && exec "$@"',
        "sh",
    )  # Mininet's mnexec looks pids up there
    return UpDown(**run_json(sandboxed(*mount_proc, _python_of_mininet(), str(HERE / "mininet_star.py"), str(hosts))))


@cache
def _python_of_mininet() -> str:
    """Debian's package belongs to Debian's Python, which need not be the one that runs this."""
    require("brctl", "bridge-utils")
    for python in "/usr/bin/python3", "python3":
        try:
            subprocess.run([python, "-c", "import mininet"], capture_output=True, check=True)
        except (OSError, subprocess.CalledProcessError):
            continue
        return python
    raise Missing("Mininet is not installed: apt install mininet bridge-utils")
