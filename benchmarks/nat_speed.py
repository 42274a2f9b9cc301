"""What each NAT costs beside plain masquerade: a packet of a flow that stands, a new flow, a router's up."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cache, partial
from typing import TYPE_CHECKING

from benchmarks.contest import Contender, Contest, Goal, Samples, Unit, by_turns
from benchmarks.ours import new_lab, prove
from benchmarks.path import COORDINATOR, load, popen_in, udp_packet_rate
from benchmarks.sandbox import settle
from benchmarks.startup import wanlab_up_down

if TYPE_CHECKING:
    from wanlab import Lab, Topology

PLAIN = "linux"  # nftables' masquerade, and nothing else
LEARNED = Goal(at_least=0.9)
LOADS_A_TURN = 3


@dataclass(frozen=True)
class Crowd:
    """So many new flows at once, through NATs that have ports for them."""

    flows: int
    nats: Sequence[str]
    loads_a_turn: int


# A sequential NAT's rules list its ports, about a thousand; a carrier's subscriber has 512 flows at most.
CROWDS = (
    Crowd(20_000, ("home", "full", "symmetric"), LOADS_A_TURN),
    Crowd(500, ("symmetric-sequential", "carrier"), 10 * LOADS_A_TURN),
)
LEARNING = tuple(nat for crowd in CROWDS for nat in crowd.nats)


def nats(turns: int) -> Iterator[Contest]:
    with ExitStack() as stack:
        labs = {nat: cache(partial(_up, stack, nat)) for nat in (PLAIN, *LEARNING)}
        rates = [Contender(nat, partial(_packet_rate, lab)) for nat, lab in labs.items()]
        samples = by_turns("packets through NATs", rates, turns * LOADS_A_TURN)
        yield from _against_plain("one flow, 18-byte payload", Unit.PACKETS_PER_SECOND, samples, LEARNED)
        for crowd in CROWDS:
            new = [Contender(nat, partial(_new_flows, labs[nat], crowd.flows)) for nat in (PLAIN, *crowd.nats)]
            samples = by_turns(f"{crowd.flows} new flows through NATs", new, turns * crowd.loads_a_turn)
            yield from _against_plain(f"{crowd.flows} new flows", Unit.FLOWS_PER_SECOND, samples, LEARNED)
    ups = [Contender(nat, partial(_up_s, nat)) for nat in (PLAIN, *LEARNING)]
    yield from _against_plain("up", Unit.SECONDS, by_turns("labs with NATs", ups, turns, before_each=settle), None)


def _against_plain(what: str, unit: Unit, samples: Sequence[Samples[float]], goal: Goal | None) -> Iterator[Contest]:
    plain, *learning = samples
    rival = Samples("plain masquerade", plain.values, plain.missing)
    for nat in learning:
        yield Contest(f"NAT {nat.name}, {what}", unit, nat, rival, goal)


def _behind(nat: str) -> "Topology":
    from wanlab import Topology

    topology = Topology("behind-nat")
    wan = topology.switch("wan", "172.16.0.0/24")
    topology.host("coordinator", wan, address=COORDINATOR)
    topology.host("alice", topology.router("router", wan, nat=nat))
    return topology


def _up(stack: ExitStack, nat: str) -> "Lab":
    return stack.enter_context(new_lab(_behind(nat)))


def _packet_rate(lab: "Callable[[], Lab]") -> float:
    return udp_packet_rate(lambda: popen_in(lab()))


def _new_flows(lab: "Callable[[], Lab]", flows: int) -> float:
    lab().reboot("router")  # it forgets the flows of the load before
    prove(lab(), "alice", "coordinator")
    ends = load(popen_in(lab()), "flows", flows)
    if ends["packets"] < 0.99 * flows:
        raise RuntimeError(f"{lab().name}: {ends['packets']} of {flows} new flows have arrived")
    return ends["packets"] / (ends["last"] - ends["start"])


def _up_s(nat: str) -> float:
    return wanlab_up_down(lambda: _behind(nat), "alice", "coordinator").up_s
