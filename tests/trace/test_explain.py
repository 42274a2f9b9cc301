"""Explanations, held against theory over the whole grid of presets: the true cause of each failure, each path."""

from __future__ import annotations

import re
from ipaddress import ip_address

import pytest

from wanlab import Lab, NoSuchNode, Topology, UsageError
from wanlab.punch import grid as punch_grid
from wanlab.punch.machine import Transport
from wanlab.topology.nat import NATS, Filtering, Mapping, Unsolicited
from wanlab.trace.explain import Explanation, explain, explain_many, meeting_place

_THEORY = (  # how `punch.theory` names what stands in the way, and what an explanation calls that
    (r"(?<![\w'])([ab])'s port for its peer cannot be known", "mapping"),
    (r"(?<![\w'])([ab])'s filtering", "filtering"),
    (r"(?<![\w'])([ab])'s router lets it talk to few ports only", "ports"),
    (r"(?<![\w'])([ab])'s router answered", "unsolicited"),
)


def causes_by_theory(why: str, routers: dict[str, str]) -> set[tuple[str, str]]:
    return {(routers[side], axis) for pattern, axis in _THEORY for side in re.findall(pattern, why)}


def assert_possible(explanation: Explanation, names: dict[str, str]) -> None:
    """No cause that such a NAT cannot be."""
    for obstacle in explanation.obstacles:
        nat = NATS[names[obstacle.router]]
        assert nat is not None, obstacle
        restricted = nat.udp_ports if explanation.transport is Transport.UDP else nat.tcp_ports
        assert {
            "mapping": nat.mapping is not Mapping.ENDPOINT_INDEPENDENT,
            "filtering": nat.filtering is not Filtering.ENDPOINT_INDEPENDENT,
            "ports": restricted is not None,
            "unsolicited": nat.unsolicited is Unsolicited.ACCEPT,
        }[obstacle.axis], obstacle


@pytest.mark.parametrize("transport", list(Transport))
@pytest.mark.timeout(300)
def test_every_failing_pair_of_presets_has_its_true_cause_and_every_other_its_path(transport: Transport) -> None:
    kinds = punch_grid.presets()
    names = list(kinds)
    cells = [(row, column) for row in range(len(names)) for column in range(len(names))]
    with Lab(punch_grid.topology(kinds)) as lab:
        pairs = [(f"peer-{r}a", f"peer-{c}b") for r, c in cells]
        explanations = explain_many(lab, pairs, transport, "rendezvous")
        # As in the grid: what differs is tried once more, since a busy machine may be late for a punch.
        again = [number for number, one in enumerate(explanations) if one.as_predicted is False]
        assert len(again) < 10
        for number, one in zip(
            again, explain_many(lab, [pairs[n] for n in again], transport, "rendezvous"), strict=True
        ):
            explanations[number] = one
    failing = 0
    for (row, column), explanation in zip(cells, explanations, strict=True):
        where = f"{names[row]} x {names[column]}: {explanation.obstacles}"
        assert explanation.prediction is not None, where
        if explanation.prediction.luck and explanation.connected:
            continue
        assert explanation.connected == explanation.prediction.connects, where
        routers = {"a": f"home-{row}a", "b": f"home-{column}b"}
        ways = [[routers[side]] if kinds[names[n]] else [] for side, n in (("a", row), ("b", column))]
        if explanation.connected:
            assert not explanation.obstacles, where
            isps = ([f"isp-{row}"], [f"isp-{column}"])
            wanted = [explanation.a, *ways[0], *isps[0], "core", *isps[1], *ways[1], explanation.b]
            if row == column:
                wanted = [explanation.a, *ways[0], f"isp-{row}", *ways[1], explanation.b]
            assert list(explanation.path) == wanted, where
        else:
            failing += 1
            found = {(obstacle.router, obstacle.axis) for obstacle in explanation.obstacles}
            wanted_causes = causes_by_theory(explanation.prediction.why, routers)
            assert wanted_causes, explanation.prediction.why
            assert wanted_causes <= found, f"{where} lacks {wanted_causes - found}"
            assert_possible(explanation, {routers["a"]: names[row], routers["b"]: names[column]})
            assert explanation.helps[-1].startswith("a relay")
    assert 30 < failing < 120


def two_homes(a: str, b: str) -> Topology:
    lab = Topology("two-homes")
    wan = lab.switch("wan")
    lab.host("server", wan)
    for side, nat in (("a", a), ("b", b)):
        lab.host(side, lab.router(f"home-{side}", wan, nat=nat))
    return lab


def test_it_is_said_what_would_help_with_its_odds() -> None:
    with Lab(two_homes("symmetric", "port-restricted")) as lab:
        explanation = explain(lab, "a", "b")
    assert explanation.rendezvous == "server"
    assert explanation.helps == (
        "a port mapping for a at home-a (NAT-PMP, PCP or UPnP)",
        "a birthday attack: 256 sockets of a, 1024 probes from the other side, 98% to get through",
        "a port mapping for b at home-b (NAT-PMP, PCP or UPnP)",
        "a relay (TURN) that both reach, over UDP",
    )


def test_two_behind_one_nat_without_hairpinning_are_told_so() -> None:
    topology = Topology("one-home")
    wan = topology.switch("wan")
    topology.host("server", wan)
    home = topology.router("home", wan, nat="port-restricted")
    topology.host("a", home)
    topology.host("b", home)
    topology.router("other", wan, nat="symmetric")
    with Lab(topology) as lab:
        assert explain(lab, "a", "b").connected  # this NAT hairpins
        lab.change("home", nat="linux")
        explanation = explain(lab, "a", "b")
    assert not explanation.connected
    assert explanation.prediction is None
    assert {(obstacle.router, obstacle.axis) for obstacle in explanation.obstacles} == {("home", "hairpin")}
    assert explanation.helps[0].startswith("hairpinning at home")


def test_who_cannot_meet_is_refused() -> None:
    with Lab("cable") as lab:
        first, second = (node.name for node in lab.nodes)
        with pytest.raises(UsageError, match="so they cannot meet"):
            explain(lab, first, second)
    with Lab("two-lans") as lab:
        assert meeting_place(lab.network, "alice", "bob") == "coordinator"
        for pair, error in (
            (("alice", "bbo"), NoSuchNode),
            (("alice", "home-a"), UsageError),
            (("bob", "bob"), UsageError),
        ):
            with pytest.raises(error):
                explain(lab, *pair)


def nested(homes: tuple[str, str], carriers: tuple[str, ...]) -> Topology:
    """Two homes, each behind a carrier, or both behind the one; a host behind the first carrier, too."""
    topology = Topology("nested")
    wan = topology.switch("wan")
    topology.host("server", wan)
    behind = [topology.router(f"carrier-{side}", wan, nat=nat) for side, nat in zip("ab", carriers, strict=False)]
    topology.host("inner", behind[0])
    for side, nat, carrier in zip("ab", homes, (behind[0], behind[-1]), strict=True):
        topology.host(side, topology.router(f"home-{side}", carrier, nat=nat))
    return topology


@pytest.mark.parametrize(
    ("homes", "carriers", "mapping", "filtering"),
    [
        (("symmetric", "full"), ("full", "port-restricted"), "home-a", "carrier-b"),
        (("full", "port-restricted"), ("symmetric", "full"), "carrier-a", "home-b"),
    ],
)
def test_of_two_nats_in_a_row_the_one_that_stands_in_the_way_is_named(
    homes: tuple[str, str], carriers: tuple[str, str], mapping: str, filtering: str
) -> None:
    with Lab(nested(homes, carriers)) as lab:
        explanation = explain(lab, "a", "b", rendezvous="server")
        networks = [address.network for i in lab.network[mapping].interfaces for address in i.addresses]
        for router in (mapping, filtering):  # each alone is enough: then there is nothing in the way
            lab.change(router, nat="full")
            assert explain(lab, "a", "b", rendezvous="server").connected
            lab.change(
                router,
                nat=dict(zip(("home-a", "home-b", "carrier-a", "carrier-b"), homes + carriers, strict=True))[router],
            )
    assert not explanation.connected
    assert explanation.prediction is None
    found = {obstacle.axis: obstacle for obstacle in explanation.obstacles}
    assert {axis: obstacle.router for axis, obstacle in found.items()} == {"mapping": mapping, "filtering": filtering}
    told = re.findall(r"(\d+\.\d+\.\d+\.\d+):\d+", found["mapping"].words)
    assert len(told) == 2
    assert all(any(ip_address(each) in network for network in networks) for each in told)
    assert explanation.helps == ("a relay (TURN) that both reach, over UDP",)


def test_two_homes_behind_one_carrier_are_told_what_would_be_enough() -> None:
    with Lab(nested(("linux", "linux"), ("linux",))) as lab:
        explanation = explain(lab, "a", "b", rendezvous="server")
        assert not explanation.connected
        assert {(each.router, each.axis) for each in explanation.obstacles} == {("carrier-a", "hairpin")}
        assert explanation.helps[:2] == ("hairpinning at carrier-a", "a rendezvous behind carrier-a, as both are")
        assert explain(lab, "a", "b", rendezvous="inner").connected
        lab.change("carrier-a", nat="port-restricted")  # which hairpins
        assert explain(lab, "a", "b", rendezvous="server").connected
        lab.change("home-a", nat="symmetric")
        lab.change("carrier-a", nat="linux")
        explanation = explain(lab, "a", "b", rendezvous="server")
        assert explanation.helps == ("a relay (TURN) that both reach, over UDP",)
        assert not explain(lab, "a", "b", rendezvous="inner").connected
        lab.change("carrier-a", nat="hotel")
        explanation = explain(lab, "a", "b", rendezvous="server")
        assert explanation.helps == (
            "a relay (TURN) that both reach, over TCP port 443, which guest networks leave open",
        )
