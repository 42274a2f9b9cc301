"""Reboots and redials: what becomes of a node that is off for a while, whatever happens meanwhile."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from tests.support.labs import eventually
from wanlab import Lab, Topology, TopologyError, UsageError
from wanlab.plan.change import reboot
from wanlab.plan.steps import LoadRuleset

Meanwhile = Callable[[Lab], object]


@contextmanager
def turned_off(lab: Lab, verb: Callable[[Lab], object], said: str) -> Iterator[list[Exception]]:
    """While another program turns something of the lab off and on: in the `with`, it is off. How that failed."""
    other, failed = Lab.attach(lab.name), list[Exception]()

    def turn() -> None:
        try:
            verb(other)
        except Exception as error:
            failed.append(error)

    turning = threading.Thread(target=turn)
    turning.start()
    assert eventually(lambda: any(event.what == said for event in lab.events))
    yield failed
    turning.join()
    lab.update()


def test_a_node_that_was_left_off_is_on_after_a_reboot() -> None:
    with Lab("two-lans") as lab:
        off, _ = reboot(lab.network, "home-a")
        # As a program does that is killed before it turns the router on again.
        lab._take(off, (), lab.topology, lab.network, "home-a: off")
        assert lab["alice"].run(["ping", "-c1", "-W1", "coordinator"], capture_output=True).returncode == 1
        lab.reboot("home-a")
        assert lab.verify().ok


@pytest.mark.parametrize(
    "meanwhile",
    [
        lambda lab: lab["alice"].plug("home-b"),
        lambda lab: lab.change("home-a", nat="full"),
        lambda lab: lab["home-a"].link_down(),
        lambda lab: lab.reboot("home-a"),
    ],
    ids=["who was plugged in goes", "another NAT", "its link is switched off", "it is rebooted"],
)
def test_what_others_change_while_a_node_is_off_is_so_when_it_is_on_again(meanwhile: Meanwhile) -> None:
    with Lab("two-lans") as lab:
        with turned_off(lab, lambda other: other.reboot("home-a", down_s=1.0), "home-a: off") as failed:
            meanwhile(lab)
        assert failed == []
        assert lab.verify().ok
        rules = next(step.text for step in reboot(lab.network, "home-a")[1] if isinstance(step, LoadRuleset))
        loaded = lab["home-a"].run(["nft", "list", "ruleset"], capture_output=True, text=True).stdout
        assert loaded.count("iifname") == rules.count("iifname")  # none is there twice


def test_a_node_that_is_taken_away_while_it_is_off_stays_away() -> None:
    with Lab("star:3") as lab:
        with turned_off(lab, lambda other: other.reboot("h2", down_s=0.5), "h2: off") as failed:
            smaller = Topology("smaller")
            wire = smaller.switch("lan", "10.0.0.0/16")
            for name in ("h0", "h1"):
                smaller.host(name, wire)
            lab.apply(smaller)
        assert failed == []
        assert "h2" not in lab.network.nodes
        assert lab.verify().ok


def test_a_line_whose_new_address_is_taken_meanwhile_comes_up_with_its_old_one() -> None:
    with Lab("two-lans") as lab:
        redial = "home-a: redials"
        with turned_off(lab, lambda other: other.redial("home-a", "172.16.0.50", down_s=1.0), redial) as failed:
            lab.new_address("home-b", "172.16.0.50")
        assert [type(error) for error in failed] == [TopologyError]
        assert "address 172.16.0.50" in str(failed[0])
        assert (str(lab["home-a"].address), str(lab["home-b"].address)) == ("172.16.0.1", "172.16.0.50")
        assert lab.verify().ok


@pytest.mark.parametrize("verb", [Lab.reboot, Lab.redial], ids=["reboot", "redial"])
def test_no_time_is_refused_before_anything_happens(verb: Callable[..., object]) -> None:
    with Lab("two-lans") as lab:
        with pytest.raises(UsageError, match="down_s = -1"):
            verb(lab, "home-a", down_s=-1)
        assert lab.events == ()
