"""Captures to a file beside tcpdump's, while alice sends to coordinator all that the path carries; and what a trace
leaves behind."""

import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.contest import Contender, Contest, Goal, Unit, by_turns
from benchmarks.ours import new_lab
from benchmarks.path import load, popen_in, udp_packet_rate
from benchmarks.sandbox import require

if TYPE_CHECKING:
    from wanlab import Lab

LOAD_S = 1.0
NODES = ("alice", "home-a", "wan", "coordinator")
PATIENCE_S = 60
AS_MANY_AS_TCPDUMP = Goal(at_least=1.0)
AS_BEFORE = Goal(at_least=0.97)


def captures(turns: int) -> Iterator[Contest]:
    with ExitStack() as stack:
        lab = cache(partial(_up, stack, "captured"))
        files = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="wanlab-bench-")))
        for what, nodes in (("one end", ("coordinator",)), ("every end of the path", NODES)):
            contenders = [
                Contender("wanlab capture", partial(_ours, lab, nodes, files)),
                Contender("tcpdump in each node", partial(_tcpdump, lab, nodes, files)),
            ]
            wanlab, rival = by_turns(f"captures at {what}", contenders, turns)
            yield Contest(f"capture to a file, {what}", Unit.PACKETS_PER_SECOND, wanlab, rival, AS_MANY_AS_TCPDUMP)
        fresh, traced = cache(partial(_up, stack, "fresh")), cache(partial(_traced, stack))
        contenders = [
            Contender("after a trace", partial(_rate, traced)),
            Contender("never traced", partial(_rate, fresh)),
        ]
        wanlab, rival = by_turns("what a trace leaves", contenders, 3 * turns)
        yield Contest("UDP, after a trace", Unit.PACKETS_PER_SECOND, wanlab, rival, AS_BEFORE)


def _up(stack: ExitStack, name: str) -> "Lab":
    lab = new_lab("two-lans")
    lab._name = f"{name}-{id(lab)}"  # the command line has to be told which
    return stack.enter_context(lab)


def _traced(stack: ExitStack) -> "Lab":
    from wanlab.trace.trace import Trace

    lab = _up(stack, "traced")
    with Trace(lab):
        load(popen_in(lab), "udp", 0.1)
    return lab


def _rate(lab: "Callable[[], Lab]") -> float:
    return udp_packet_rate(lambda: popen_in(lab()))


def _ours(lab: "Callable[[], Lab]", nodes: tuple[str, ...], files: Path) -> float:
    command = [sys.executable, "-m", "wanlab", "capture", "--lab", lab().name, "-w", str(files / "ours"), *nodes, "udp"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as capture:
        assert capture.stderr is not None
        capture.stderr.readline()  # it listens
        seconds = load(popen_in(lab()), "udp", LOAD_S)["seconds"]
        capture.send_signal(signal.SIGINT)
        _, said = capture.communicate(timeout=PATIENCE_S)
    return _count(r"(\d+) packets? in", said) / seconds


def _tcpdump(lab: "Callable[[], Lab]", nodes: tuple[str, ...], files: Path) -> float:
    require("tcpdump", "tcpdump")
    command = ["tcpdump", "-Z", "root", "-n", "-i", "any", "-w"]
    with ExitStack() as stack:
        running = []
        for node in nodes:
            line = [*command, str(files / node), "udp"]
            one = stack.enter_context(lab()[node].popen(line, stderr=subprocess.PIPE, text=True))
            assert one.stderr is not None
            while "listening on" not in one.stderr.readline():
                pass
            running.append(one)
        seconds = load(popen_in(lab()), "udp", LOAD_S)["seconds"]
        captured = 0
        for one in running:
            one.send_signal(signal.SIGINT)
            _, said = one.communicate(timeout=PATIENCE_S)
            captured += _count(r"(\d+) packets? captured", said)
    return captured / seconds


def _count(pattern: str, said: str) -> int:
    found = re.search(pattern, said)
    if found is None:
        raise RuntimeError(f"no count in {said!r}")
    return int(found[1])
