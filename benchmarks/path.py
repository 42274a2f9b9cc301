"""What a path carries: alice, her NAT router, the WAN's switch, coordinator."""

import json
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import cache, partial
from typing import IO, TYPE_CHECKING, Protocol

from benchmarks.contest import Contender, Contest, Goal, Unit, by_turns
from benchmarks.ours import new_lab
from benchmarks.sandbox import compiled, held, popen_inside, require, script

if TYPE_CHECKING:
    from wanlab import Lab

COORDINATOR = "172.16.0.100"
PORT = "7000"
LOAD_S = 0.3
LOADS_A_TURN = 5  # one load varies by a tenth from the next, even on the same path: many short ones even it out
PATIENCE_S = 30
AS_GOOD_AS_BY_HAND = Goal(at_least=0.97)


class Process(Protocol):
    """What `subprocess.Popen` and wanlab's own process have in common."""

    stdout: IO[str] | None

    def communicate(self, input: None = None, timeout: float | None = None) -> tuple[str, str]: ...
    def kill(self) -> None: ...
    def wait(self, timeout: float | None = None) -> int: ...


Popen = Callable[[str, list[str]], Process]
"""Starts a command in a node, by name."""


def path(turns: int) -> Iterator[Contest]:
    with ExitStack() as stack:
        ours = cache(partial(_wanlab, stack))
        by_hand = cache(partial(_by_hand, stack))
        for what, unit, measure in (
            ("TCP throughput", Unit.BITS_PER_SECOND, _tcp_throughput),
            ("UDP, 18-byte payload", Unit.PACKETS_PER_SECOND, udp_packet_rate),
        ):
            contenders = [
                Contender("wanlab", partial(measure, ours)),
                Contender("the same path by hand", partial(measure, by_hand)),
            ]
            wanlab, rival = by_turns(what, contenders, turns * LOADS_A_TURN)
            yield Contest(f"{what}, alice to coordinator", unit, wanlab, rival, AS_GOOD_AS_BY_HAND)


def _tcp_throughput(path: Callable[[], Popen]) -> float:
    arrived = load(path(), "tcp")
    return 8 * arrived["bytes"] / arrived["seconds"]


def udp_packet_rate(path: Callable[[], Popen]) -> float:
    arrived = load(path(), "udp")
    return arrived["packets"] / arrived["seconds"]


def load(popen: Popen, protocol: str, amount: float = LOAD_S) -> dict[str, float]:
    """What both ends of one load from alice to coordinator have to say: tcp and udp for seconds, or so many flows."""
    blast = compiled("blast")
    sink = popen("coordinator", [blast, "sink", "tcp" if protocol == "tcp" else "udp", PORT])
    try:
        assert sink.stdout is not None
        sink.stdout.readline()
        source = popen("alice", [blast, "source", protocol, COORDINATOR, PORT, str(amount)])
        left: dict[str, float] = json.loads(source.communicate(timeout=PATIENCE_S)[0] or "{}")
        arrived: dict[str, float] = json.loads(sink.communicate(timeout=PATIENCE_S)[0])
    except BaseException:
        sink.kill()
        sink.wait()
        raise
    return left | arrived


def _wanlab(stack: ExitStack) -> Popen:
    return popen_in(stack.enter_context(new_lab("two-lans")))


def popen_in(lab: "Lab") -> Popen:
    def popen(node: str, command: list[str]) -> Process:
        return lab[node].popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)

    return popen


def _by_hand(stack: ExitStack) -> Popen:
    require("ip", "iproute2")
    require("nft", "nftables")
    sandbox = stack.enter_context(held(script("path_by_hand.sh")))
    assert sandbox.stdout is not None
    if sandbox.stdout.readline() != "ready\n":
        raise RuntimeError("path_by_hand.sh has failed: see above")
    return partial(popen_inside, sandbox)
