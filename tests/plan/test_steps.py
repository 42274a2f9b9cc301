"""Steps travel as JSON to the process that takes them, and arrive as they were."""

from __future__ import annotations

import dataclasses
import json
import typing

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.impairments import WAYS
from tests.support.shapes import SHAPES
from wanlab.plan.compile import compile_network
from wanlab.plan.steps import AddNamespace, AddRoute, Plan, SetUp, Stage, Step, decode, encode
from wanlab.topology.impairment import Impairment

st.register_type_strategy(Impairment, WAYS)  # not every one that could be made can be

KINDS = typing.get_args(Step)
patiently = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # on busy machines, too


@patiently
@given(st.lists(st.one_of([st.from_type(kind) for kind in KINDS])))
def test_steps_survive_a_journey_as_json(steps: list[Step]) -> None:
    assert decode(json.loads(json.dumps(encode(steps)))) == steps


@pytest.mark.parametrize("kind", KINDS)
@patiently
@given(data=st.data())
def test_every_kind_of_step_survives_a_journey_as_json(kind: type[Step], data: st.DataObject) -> None:
    step = data.draw(st.from_type(kind))
    assert decode(json.loads(json.dumps(encode([step])))) == [step]


@pytest.mark.parametrize("shape", SHAPES)
def test_whole_plans_survive_a_journey_as_json(shape: str) -> None:
    steps = compile_network(SHAPES[shape]().resolve()).steps
    assert tuple(decode(json.loads(json.dumps(encode(steps))))) == steps


def test_a_row_begins_with_the_name_of_its_kind() -> None:
    assert encode([AddRoute("a", "0.0.0.0/0", "10.0.0.1", "eth0")]) == [
        ["AddRoute", "a", "0.0.0.0/0", "10.0.0.1", "eth0", 0]
    ]


def test_a_kind_that_nobody_knows_is_refused() -> None:
    with pytest.raises(KeyError):
        decode([["Explode", "a"]])


@pytest.mark.parametrize("kind", KINDS)
def test_a_step_cannot_be_changed(kind: type[Step]) -> None:
    step = AddNamespace("a")
    with pytest.raises(dataclasses.FrozenInstanceError):
        step.node = "b"  # type: ignore[misc]
    assert kind.__dataclass_params__.frozen  # type: ignore[union-attr]


def test_a_plan_has_the_steps_of_its_stages_in_order() -> None:
    plan = Plan("x", (Stage("one", (AddNamespace("a"),)), Stage("none", ()), Stage("two", (SetUp("a", "lo"),))), "")
    assert plan.steps == (AddNamespace("a"), SetUp("a", "lo"))
