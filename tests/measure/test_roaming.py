"""The labs `roaming` and `two-continents`: a laptop that changes networks, a core that sends round a broken cable."""

from __future__ import annotations

import re
import socket
import tomllib
from pathlib import Path

import pytest

from tests.support.labs import eventually
from tests.support.traffic import Traffic
from wanlab import Lab, Topology, TopologyError
from wanlab.topology import catalogue

REGIONS = Path(__file__).resolve().parents[2] / "docs" / "reference" / "regions.md"


def came_from(traffic: Traffic, lab: Lab, router: str) -> bool:
    """Whether what arrives now comes from one of that router's addresses."""
    mine = {str(address.ip) for address in lab[router].wan.addresses}
    seen = traffic.number
    eventually(lambda: any(number > seen for number, _ in list(traffic.arrived)))
    return eventually(lambda: traffic.arrived[-1][1] in mine)


def test_a_laptop_whose_wifi_is_gone_goes_on_by_mobile_and_comes_back() -> None:
    with Lab("roaming") as lab, Traffic(lab, "laptop", "server") as traffic:
        assert came_from(traffic, lab, "home")
        lab["laptop"].link_down("wifi")
        assert came_from(traffic, lab, "carrier")
        assert "wifi" not in {route.interface for route in lab["laptop"].routes}
        lab["laptop"].link_up("wifi")
        assert came_from(traffic, lab, "home")


def test_an_old_address_may_linger_while_all_else_goes_by_the_new_one() -> None:
    with Lab("roaming") as lab, lab["server"].socket(type=socket.SOCK_DGRAM) as server:
        server.bind(("", 9000))
        server.settimeout(10)
        with lab["laptop"].socket(type=socket.SOCK_DGRAM) as bound, Traffic(lab, "laptop", "server") as traffic:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"wifi")
            assert came_from(traffic, lab, "home")
            lab.change("laptop:wifi", metric=200)
            assert came_from(traffic, lab, "carrier")
            bound.sendto(b"still here", (str(lab["server"].address), 9000))
            assert server.recvfrom(64)[1][0] == str(lab["home"].address)


def test_a_laptop_on_the_stairs_gets_nothing_through_until_it_notices() -> None:
    with Lab("roaming") as lab, Traffic(lab, "laptop", "server") as traffic:
        assert traffic.passes()
        lab["laptop"].unplug("wifi")
        assert traffic.stands_still()
        lab["laptop"].link_down("wifi")
        assert came_from(traffic, lab, "carrier")


def test_two_default_routes_of_one_metric_are_refused() -> None:
    topology = Topology.load("roaming")
    lab = Lab(topology)
    with pytest.raises(TopologyError, match="'laptop' has two default routes of metric 100"):
        lab.with_changes("laptop:wifi", {"metric": 100}).resolve()
    with pytest.raises(TopologyError, match="metric -1 is out of range"):
        lab.with_changes("laptop:wifi", {"metric": -1})


def round_trip(lab: Lab, sender: str, receiver: str) -> float:
    words = ["ping", "-c5", "-i0.2", "-q", str(lab[receiver].address)]
    printed = lab[sender].run(words, capture_output=True, text=True, check=True).stdout
    found = re.search(r"= ([0-9.]+)/", printed)
    assert found is not None
    return float(found[1])


def test_continents_are_as_far_apart_as_the_table_says_and_a_cable_under_the_ocean_has_a_way_round() -> None:
    with Lab("two-continents") as lab, Traffic(lab, "bob", "coordinator") as traffic:
        assert traffic.passes()
        # The least of a few: what is late on a busy machine is no distance.
        assert 96 <= round_trip(lab, "archive", "coordinator") < 96 + 30
        assert 78 <= round_trip(lab, "london", "coordinator") < 78 + 30
        lab["london"].unplug("virginia")
        assert traffic.passes()
        assert 18 + 96 <= round_trip(lab, "london", "coordinator") < 18 + 96 + 30
        lab["frankfurt"].unplug("london")
        assert traffic.stands_still()
        lab["london"].plug(interface="virginia")
        assert traffic.passes()


def test_the_lab_has_the_delays_of_the_table() -> None:
    head, _, *rows = [line for line in REGIONS.read_text("utf-8").splitlines() if line.startswith("|")]
    places = [cell.strip().lower() for cell in head.split("|")[2:-1]]
    table = {
        (cells[1].strip().lower(), place): float(value)
        for cells in (row.split("|") for row in rows)
        for place, value in zip(places, cells[2:-1], strict=True)
        if value.strip()
    }
    for link in tomllib.loads(catalogue.text("two-continents"))["link"]:
        one, other = (end["node"] for end in link["ends"])
        mean = (table[one, other] + table[other, one]) / 2
        assert float(link["impairment"]["delay"].removesuffix("ms")) == mean / 2
