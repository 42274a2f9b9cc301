"""The ready labs with NATs do what they are there for."""

from __future__ import annotations

import pytest

from wanlab import Lab
from wanlab.measure.nat import measure_nats
from wanlab.punch.attempt import punch
from wanlab.punch.machine import Transport


@pytest.mark.parametrize("name", ["double-nat", "carrier", "homes", "homes:30", "ipv6-only"])
def test_every_check_holds_and_every_nat_is_what_it_says(name: str) -> None:
    with Lab(name) as lab:
        report = lab.verify()
        measured = measure_nats(lab)
    assert report.ok, report.failed
    assert measured
    assert all(found.ok for found in measured)


@pytest.mark.parametrize("transport", Transport)
def test_neighbours_behind_one_carrier_find_each_other_through_it(transport: Transport) -> None:
    with Lab("carrier") as lab:
        found = punch(lab, "alice", "bob", "coordinator", transport)
        public = {str(address.ip) for address in lab["carrier"].wan.addresses}
    assert found.connected
    assert found.a_seen is not None
    assert found.b_seen is not None
    assert {found.a_seen[0], found.b_seen[0]} <= public


@pytest.mark.parametrize("transport", Transport)
def test_two_homes_of_several_hosts_find_each_other_host_by_host(transport: Transport) -> None:
    with Lab("homes:3") as lab:
        for number in (1, 2, 3):
            assert punch(lab, f"a{number}", f"b{number}", "coordinator", transport).connected


def test_whoever_is_behind_two_nats_is_seen_with_the_outer_ones_address() -> None:
    with Lab("double-nat") as lab:
        behaviour = measure_nats(lab, ["home"])[0].behaviour
        assert behaviour is not None
        assert behaviour.external is not None
        assert behaviour.external[0] == str(lab["home"].wan.addresses[0].ip)
        report = lab.verify()
        seen = {check.subject: check.seen for check in report.checks if check.group == "nat"}
        public = {str(address.ip) for address in lab["carrier"].wan.addresses}
    assert seen["bob sees alice over UDP as"].split(":")[0] in public
