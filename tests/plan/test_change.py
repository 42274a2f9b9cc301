"""The steps from one network to another: as few as can be, and every lab can become every other."""

from __future__ import annotations

import re
from collections.abc import Mapping

import pytest

from tests.support.inventory import differences, inventory
from tests.support.shapes import SHAPES
from wanlab import Lab, Topology
from wanlab.plan.change import change, way_back
from wanlab.plan.steps import (
    AddBridge,
    AddCable,
    AddNamespace,
    AddRoute,
    ForgetConnections,
    LoadRuleset,
    MoveLink,
    RemoveAddress,
    RemoveLink,
    RemoveNamespace,
    Step,
)
from wanlab.topology import catalogue
from wanlab.topology.edits import Plug
from wanlab.topology.kept import Kept
from wanlab.topology.nat import NATS

NAMES = list(SHAPES)
# Each with two that come before it: every shape is left and reached in several ways.
PAIRS = [(one, NAMES[number - back]) for number, one in enumerate(NAMES) for back in (1, 3)]


def of(lab: Lab) -> dict[str, object]:
    def run(node: str, argv: list[str]) -> str:
        printed: str = lab[node].run(argv, capture_output=True, text=True, check=True).stdout
        return printed

    return dict(inventory(run, lab.network.nodes))


def changed(topology: Topology, **tables: Mapping[str, object]) -> tuple[Step, ...]:
    """What has to be done where nodes of *topology* get other keys."""
    lab = Lab(topology)
    after = topology
    for node, keys in tables.items():
        after = lab.with_changes(node, keys)
    after.kept = Kept.of(lab.network)
    return change(lab.network, after.resolve())


@pytest.mark.parametrize("shape", SHAPES)
def test_nothing_is_done_where_nothing_changes(shape: str) -> None:
    assert change(SHAPES[shape]().resolve(), SHAPES[shape]().resolve()) == ()


@pytest.mark.parametrize("name", catalogue.names())
def test_a_lab_written_down_and_read_again_needs_no_change(name: str) -> None:
    lab = Lab(name)
    assert change(lab.network, lab.changed_to(name).resolve()) == ()


@pytest.mark.parametrize(("one", "other"), PAIRS)
def test_a_lab_that_became_another_is_like_one_that_was_built(one: str, other: str) -> None:
    with Lab(SHAPES[one]()) as lab:
        lab.apply(SHAPES[other]())
        with Lab(lab.topology) as fresh:
            found = differences(of(fresh), of(lab))
    # A bridge numbers its ports in the order in which they were plugged in.
    assert [line for line in found if not re.search(r"/(id|no|designated_port): ", line)] == []


def test_a_change_of_one_router_touches_no_other_node() -> None:
    steps = changed(Topology.load("two-lans"), **{"home-a": {"nat": "symmetric"}})
    assert {getattr(step, "node", "home-a") for step in steps} == {"home-a"}
    assert not any(isinstance(step, AddCable | RemoveLink | AddRoute | RemoveAddress) for step in steps)


def test_a_nat_with_more_addresses_takes_none_away_from_others() -> None:
    lab = Lab("two-lans")
    after = lab.changed_to(lab.with_changes("home-a", {"nat": "carrier"})).resolve()
    for node in ("home-b", "coordinator", "alice", "bob"):
        assert after[node].interfaces == lab.network[node].interfaces
    assert len(after["home-a"].interface("wan").addresses) == 2


@pytest.mark.parametrize("name", [name for name in NATS if name not in ("linux", "none")])
def test_a_router_forgets_while_nothing_can_pass_it(name: str) -> None:
    topology = Topology("one")
    outside = topology.switch("outside", "5.5.5.0/24")
    topology.host("inside", topology.router("router", outside, nat="linux"))
    steps = changed(topology, router={"nat": name})
    at = next(number for number, step in enumerate(steps) if isinstance(step, ForgetConnections))
    closed, opened = steps[at - 1], steps[at + 1]
    assert isinstance(closed, LoadRuleset)
    assert isinstance(opened, LoadRuleset)
    assert "policy drop" in closed.text
    assert "postrouting" not in closed.text
    assert "postrouting" in opened.text


def test_of_a_change_that_got_half_way_only_that_half_is_taken_back() -> None:
    """`lan` is a cable before and a bridge after: a way back that took `lan` away would take away the wrong one."""
    topology = Topology("moving")
    wan = topology.switch("wan")
    for home in ("here", "there"):
        topology.host(f"of-{home}", topology.router(home, wan))
    lab = topology.resolve()
    moved = Plug("of-here", "there").applied(topology, lab).resolve()
    steps, back = change(lab, moved), change(moved, lab)
    touched = (AddCable, AddBridge, AddNamespace, RemoveLink, RemoveNamespace, MoveLink, LoadRuleset)
    assert not any(isinstance(step, touched) for step in way_back(back, ()))
    assert way_back(back, steps) == list(back)
    first = next(number for number, step in enumerate(steps) if isinstance(step, MoveLink))
    undone = [type(step) for step in way_back(back, steps[: first + 1]) if isinstance(step, touched)]
    done = [type(step) for step in steps[: first + 1] if isinstance(step, touched)]
    assert undone == done == [MoveLink]
