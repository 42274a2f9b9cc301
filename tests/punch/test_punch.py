"""Punching for real: what a lab does must be what theory says, cell by cell."""

from __future__ import annotations

import json
import re
import socket
import struct
import subprocess
import sys
import xml.etree.ElementTree as ET
from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from tests.compliance.requirement import requirement
from wanlab import Lab, Topology
from wanlab.punch import grid as punch_grid
from wanlab.punch.attempt import punch
from wanlab.punch.birthday import Birthday, attack
from wanlab.punch.grid import Cell, Grid, Kinds
from wanlab.punch.machine import Transport
from wanlab.punch.page import html, svg, tell
from wanlab.punch.theory import Prediction, predict
from wanlab.topology.nat import NATS, Filtering, Hairpin, Mapping, Nat, Ports, Unsolicited

EIM, ADM, APDM = Mapping
EIF, ADF, APDF = Filtering
BOTH = tuple(Transport)


def two_homes(a: Nat | None, b: Nat | None) -> Topology:
    lab = Topology("two-homes")
    wan = lab.switch("wan")
    lab.host("rendezvous", wan)
    for side, nat in (("a", a), ("b", b)):
        lab.host(side, wan if nat is None else lab.router(f"home-{side}", wan, nat=nat))
    return lab


def assert_as_predicted(grid: Grid) -> None:
    assert grid.ok, "\n".join(tell(cell) for cell in grid.differing)


# -- the grid --------------------------------------------------------------------------------------------------------


@requirement("RFC 5382 REQ-2")
def test_every_pair_of_presets_does_what_theory_says_over_udp_and_tcp() -> None:
    grid = punch_grid.measure(punch_grid.presets(), BOTH)
    assert_as_predicted(grid)
    assert len(grid.cells) == 2 * len(NATS) ** 2
    assert 0 < sum(cell.connected for cell in grid.cells) < len(grid.cells)


def test_every_combination_of_mapping_filtering_and_ports_does_what_theory_says_in_under_a_minute() -> None:
    kinds = punch_grid.combinations()
    assert len(kinds) == 21  # preserved ports go with endpoint-independent mapping only
    grid = punch_grid.measure(kinds, BOTH)
    assert_as_predicted(grid)
    assert grid.seconds < 60


def test_routers_that_reject_or_answer_do_what_theory_says() -> None:
    kinds: dict[str, Nat | None] = {"none": None, "port-restricted": NATS["port-restricted"], "full": NATS["full"]}
    for mapping, filtering, ports in ((EIM, ADF, Ports.PRESERVE), (EIM, APDF, Ports.RANDOM), (APDM, ADF, Ports.RANDOM)):
        for unsolicited in (Unsolicited.REJECT, Unsolicited.ACCEPT):
            name = f"{mapping.name} {filtering.name} {ports.name} {unsolicited.name}"
            kinds[name] = Nat(
                "x", mapping, filtering, ports, parity=False, hairpin=Hairpin.OFF, unsolicited=unsolicited
            )
    assert_as_predicted(punch_grid.measure(kinds, BOTH))


def test_a_nat_that_is_not_what_it_says_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = punch_grid.topology

    def lying(kinds: Kinds) -> Topology:
        return honest(dict(kinds) | {"port-restricted": NATS["symmetric"]})

    monkeypatch.setattr(punch_grid, "topology", lying)
    kinds = {name: NATS[name] for name in ("none", "port-restricted")}
    grid = punch_grid.measure(kinds)
    assert [(cell.row, cell.column) for cell in grid.differing] == [("port-restricted", "port-restricted")]
    assert grid.differing[0].attempts == 2, "it was measured once more before it was believed"
    assert "differs" in svg(grid)


def cell(predicted: float, connected: bool) -> Cell:
    return Cell("a", "b", Transport.UDP, Prediction(predicted == 1, predicted, "so"), connected, 1)


@pytest.mark.parametrize(
    ("odds", "connected", "agrees"),
    [(1, True, True), (1, False, False), (0, False, True), (0, True, False), (1e-5, True, False), (0.5, True, True)],
)
def test_a_cell_agrees_when_measured_and_predicted_are_equal_or_it_is_a_toss(
    odds: float, connected: bool, agrees: bool
) -> None:
    assert cell(odds, connected).agrees is agrees


# -- single pairs ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("transport", Transport)
def test_a_pair_of_homes_gets_through_and_says_where_each_was_seen(transport: Transport) -> None:
    with Lab(two_homes(NATS["home"], NATS["linux"])) as lab:
        result = punch(lab, "a", "b", "rendezvous", transport)
        assert result.connected
        assert result.a_seen is not None
        assert result.a_seen[0] == str(lab["home-a"].wan.addresses[0].ip)


def test_who_cannot_reach_the_rendezvous_has_not_met() -> None:
    cut_off = replace(NATS["hotel"] or Nat(), udp_ports=(5000,))
    with Lab(two_homes(cut_off, None)) as lab:
        result = punch(lab, "a", "b", "rendezvous")
        assert not result.met
        assert not result.connected
        assert result.a_seen is None


@requirement("RFC 5382 REQ-2")
def test_a_rejected_tcp_connection_gets_through_later() -> None:
    """By the kernel's own window check the second SYN's sequence number would make the session invalid."""
    rejecting = Nat("rejecting", unsolicited=Unsolicited.REJECT)
    with Lab(two_homes(NATS["home"], rejecting)) as lab:
        assert predict(NATS["home"], rejecting, Transport.TCP).connects
        assert punch(lab, "a", "b", "rendezvous", Transport.TCP).connected


def test_a_packet_that_belongs_to_nothing_does_not_leave_with_its_private_address() -> None:
    with (
        Lab(two_homes(NATS["home"], None)) as lab,
        lab["a"].socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_TCP) as sender,
        lab["rendezvous"].socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_TCP) as receiver,
    ):
        target = str(lab["rendezvous"].address)
        receiver.settimeout(0.5)
        syn, syn_ack = 0x02, 0x12
        for flags in (syn_ack, syn):  # the first begins nothing: connection tracking calls it invalid
            sender.sendto(tcp_segment(IPv4Address(str(lab["a"].address)), IPv4Address(target), flags), (target, 0))
        packet = receiver.recv(1024)
        source, flags = str(IPv4Address(packet[12:16])), packet[20 + 13]
        assert (source, flags) == (str(lab["home-a"].wan.addresses[0].ip), syn)


def tcp_segment(source: IPv4Address, destination: IPv4Address, flags: int) -> bytes:
    segment = struct.pack("!HHIIBBHHH", 4000, 4001, 1, 1, 5 << 4, flags, 1024, 0, 0)
    pseudo = source.packed + destination.packed + struct.pack("!HH", socket.IPPROTO_TCP, len(segment))
    total = sum(struct.unpack(f"!{(len(pseudo) + len(segment)) // 2}H", pseudo + segment))
    total = (total & 0xFFFF) + (total >> 16)
    return segment[:16] + struct.pack("!H", ~(total + (total >> 16)) & 0xFFFF) + segment[18:]


# -- the birthday attack ---------------------------------------------------------------------------------------------

HARD = Nat("hard", APDM, APDF, Ports.RANDOM, parity=False, first_port=20_000, last_port=21_023, hairpin=Hairpin.OFF)


def test_the_birthday_attack_succeeds_at_its_predicted_rate() -> None:
    """Fails once in a million runs of a lab that is as it should be: `punch_birthday.FALSE_ALARM`."""
    topology = two_homes(None, NATS["port-restricted"])
    hard = [topology.host(f"hard-{n}", topology.router(f"home-{n}", "wan", nat=HARD)).name for n in range(8)]
    with Lab(topology) as lab:
        found = attack(lab, hard, "b", "rendezvous", range(20_000, 21_024), sockets=16, probes=64, tries=200)
        assert found.as_predicted, f"{found.successes} of {found.tries}, not {found.predicted:.0%}"


def test_a_rate_that_is_another_one_is_told_apart() -> None:
    assert Birthday(16, 64, 1024, 200, 130).as_predicted  # 65%, where 64% are due
    assert not Birthday(16, 64, 1024, 200, 90).as_predicted  # 45%
    assert not Birthday(16, 64, 1024, 200, 170).as_predicted  # 85%


# -- pictures and the command ----------------------------------------------------------------------------------------


def test_the_pictures_need_nothing_from_elsewhere_and_tell_every_cell() -> None:
    kinds: Kinds = {"none": None, '<odd> & "name"': NATS["home"]}
    cells = tuple(
        replace(cell(1.0, True), row=row, column=column, transport=transport)
        for transport in Transport
        for row in kinds
        for column in kinds
    )
    grid = Grid(kinds, cells, 1.0)
    picture = ET.fromstring(svg(grid))
    titles = [title.text for title in picture.iter("{http://www.w3.org/2000/svg}title")]
    assert titles == [tell(each) for each in cells]
    page = html(grid)
    assert "&lt;odd&gt;" in page
    assert not re.search(r"(src|href)=|@import|url\(", page)
    assert "all 8 cells are as predicted" in page


def wanlab(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "wanlab", *arguments], capture_output=True, text=True, timeout=60, check=False
    )


def test_the_command_prints_the_grid_and_writes_the_pictures(tmp_path: Path) -> None:
    page, picture = tmp_path / "grid.html", tmp_path / "grid.svg"
    done = wanlab("punch-grid", "--html", str(page), "--svg", str(picture))
    assert (done.returncode, done.stderr) == (0, "")
    assert " 4 home" in done.stdout
    assert "1 in 64,512" in done.stdout
    assert f"all {len(NATS) ** 2} cells are as predicted" in done.stdout
    assert page.read_text().startswith("<!doctype html>")
    assert ET.fromstring(picture.read_text()).tag.endswith("svg")


def test_the_command_prints_json() -> None:
    done = wanlab("punch-grid", "--json")
    found = json.loads(done.stdout)
    assert found["ok"]
    assert set(found["kinds"]) == set(NATS)
    assert {"row", "column", "transport", "predicted", "odds", "why", "measured", "agrees"} <= set(found["cells"][0])


@pytest.mark.parametrize("arguments", [("--presets", "--all"), ("--html", "/no/such/directory/grid.html")])
def test_the_command_refuses_what_makes_no_sense_before_it_measures(arguments: tuple[str, ...]) -> None:
    done = wanlab("punch-grid", *arguments)
    assert done.returncode == 2
    assert done.stderr.startswith("wanlab: ")
