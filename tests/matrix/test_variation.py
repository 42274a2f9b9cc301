"""What is varied: places of a lab, values, and cells."""

from __future__ import annotations

import pytest

from tests.support.labs import pair
from tests.support.shapes import two_lans
from wanlab.errors import TopologyError, UsageError
from wanlab.matrix.variation import Axis, cells
from wanlab.topology.nat import NATS, Filtering, Mapping


def test_the_last_axis_is_the_fastest() -> None:
    found = cells([Axis.of("left.mtu", [1400, 1500]), Axis.of("right.mtu", [1280, 1300])])
    assert [cell.name for cell in found] == [
        "mtu=1400+mtu=1280",
        "mtu=1400+mtu=1300",
        "mtu=1500+mtu=1280",
        "mtu=1500+mtu=1300",
    ]


def test_a_router_s_nats_are_all_that_have_names() -> None:
    assert {choice.label for choice in Axis.of("home-a.nat").choices} == set(NATS) - {"none"}


def test_a_cell_leaves_the_lab_that_it_is_made_of_alone() -> None:
    lab = two_lans()
    before = lab.to_document()
    (cell,) = cells([Axis.of("home-a.nat", ["symmetric"])])
    assert cell.apply(lab).resolve()["home-a"].nat == NATS["symmetric"]
    assert lab.to_document() == before


def test_a_part_of_a_nat_that_has_a_name_can_be_varied() -> None:
    (cell,) = cells([Axis.of("home-a.nat", ["symmetric"]), Axis.of("home-a.nat.filtering", ["endpoint-independent"])])
    nat = cell.apply(two_lans()).resolve()["home-a"].nat
    assert nat is not None
    assert nat.filtering is Filtering.ENDPOINT_INDEPENDENT
    assert nat.mapping is Mapping.ADDRESS_AND_PORT_DEPENDENT, "as the named one has it"


def test_a_part_of_a_link_s_quality_can_be_varied() -> None:
    (cell,) = cells([Axis.of("left.impairment", ["4g"]), Axis.of("left.impairment.delay", ["77ms"])])
    table = cell.apply(pair()).to_document()["host"]["left"]["impairment"]
    assert table["delay"] == "77ms"
    assert table["jitter"], "as the profile has it"


def test_what_cannot_be_is_told_with_the_cell() -> None:
    (cell,) = cells([Axis.of("left.mtu", [3])])
    with pytest.raises(TopologyError, match=r"\(with left.mtu = 3\)"):
        cell.apply(pair())


@pytest.mark.parametrize(
    ("place", "values"), [("left", [1]), (".mtu", [1]), ("left.mtu", []), ("left.mtu", None), ("left.mtu", [1, 1])]
)
def test_an_axis_that_cannot_be_meant_is_refused(place: str, values: list[int] | None) -> None:
    with pytest.raises(UsageError):
        Axis.of(place, values)


def test_one_place_is_not_varied_twice() -> None:
    with pytest.raises(UsageError, match=r"left.mtu is varied twice"):
        cells([Axis.of("left.mtu", [1400]), Axis.of("left.mtu", [1500])])
