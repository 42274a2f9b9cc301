"""What is written of results: grids, JSON, JUnit XML, the page, and what theory says beside them."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree as xml

import pytest

from tests.matrix.made import of_nats, of_sizes, results_of
from tests.support.shapes import two_lans
from wanlab.matrix.grid import grids
from wanlab.matrix.junit import junit
from wanlab.matrix.matrix import Matrix
from wanlab.matrix.page import page
from wanlab.matrix.report import write_reports
from wanlab.matrix.results import State
from wanlab.matrix.variation import Axis
from wanlab.punch.theory import predict
from wanlab.topology.nat import NATS, nat_named
from wanlab.topology.topology import Topology

ALL = (State.PASSED, State.FLAKY, State.FAILED, State.TIMED_OUT, State.NOT_BUILT)


# -- grids ------------------------------------------------------------------------------------------------------------


def test_two_places_are_the_rows_and_columns_of_one_grid(tmp_path: Path) -> None:
    (grid,) = grids(results_of(of_nats("linux", "home", "full"), tmp_path))
    assert (grid.title, grid.rows, grid.columns) == ("", ("linux", "home", "full"), ("linux", "home", "full"))
    assert [result and result.cell.name for result in grid.row("home")] == ["home+linux", "home+home", "home+full"]


def test_one_place_is_a_column(tmp_path: Path) -> None:
    (grid,) = grids(results_of(of_sizes(1400, 1500), tmp_path))
    assert (grid.rows, grid.columns) == (("1400", "1500"), ("",))
    assert [len(grid.row(label)) for label in grid.rows] == [1, 1]


def test_more_places_are_more_grids(tmp_path: Path) -> None:
    axes = (Axis.of("alice.mtu", [1400, 1500]), *of_nats("linux", "home").axes)
    found = list(grids(results_of(Matrix(two_lans(), axes, ("true",)), tmp_path)))
    assert [grid.title for grid in found] == ["alice.mtu = 1400", "alice.mtu = 1500"]
    assert [result and result.cell.name for result in found[1].row("home")] == [
        "mtu=1500+home+linux",
        "mtu=1500+home+home",
    ]


def test_unordered_pairs_leave_one_half_empty(tmp_path: Path) -> None:
    matrix = Matrix(two_lans(), of_nats("linux", "home").axes, ("true",), ordered=False)
    (grid,) = grids(results_of(matrix, tmp_path))
    assert [[result is not None for result in grid.row(label)] for label in grid.rows] == [[True, True], [False, True]]


# -- theory -----------------------------------------------------------------------------------------------------------


def test_theory_is_that_of_the_punch_grid_whoever_begins() -> None:
    nats = tuple(name for name in NATS if name != "none")
    matrix = of_nats(*nats)
    assert len(matrix.theories) == 144
    for cell, theory in matrix.theories.items():
        a, b = (nat_named(cell[f"home-{side}.nat"]) for side in "ab")
        connects = {predict(a, b).connects, predict(b, a).connects}
        assert (theory.udp.says == "direct") == (connects == {True}), cell
        if len(connects) == 2:
            assert theory.udp.says == "luck"
            assert re.match(r"only where home-[ab]'s side is the first to send; else ", theory.udp.why)


def test_theory_speaks_of_router_s_nats_only() -> None:
    assert not of_sizes(1400, 1500).theories
    assert not of_nats("none").theories
    double = Topology.load("double-nat")
    routers = [name for name in double.resolve().nodes if double.resolve()[name].nat is not None]
    axes = tuple(Axis.of(f"{router}.nat", ["linux"]) for router in routers)
    assert len(axes) == 2
    assert not Matrix(double, axes, ("true",)).theories, "one is behind the other"


def test_a_part_of_a_nat_that_is_varied_has_a_theory_too() -> None:
    axes = (
        Axis.of("home-a.nat.filtering", ["endpoint-independent", "address-and-port-dependent"]),
        Axis.of("home-b.nat", ["symmetric"]),
    )
    lab = two_lans()
    found = [theory.udp.says for theory in Matrix(lab, axes, ("true",)).theories.values()]
    assert len(found) == 2


# -- files ------------------------------------------------------------------------------------------------------------


def write_output(directory: Path, name: str, text: bytes) -> None:
    where = directory / "cells" / name / "attempt-1"
    where.mkdir(parents=True)
    (where / "output.log").write_bytes(text)


def test_junit_has_a_case_for_each_cell_as_ci_systems_read_it(tmp_path: Path) -> None:
    found = results_of(of_nats("linux", "home", "full"), tmp_path, *ALL)
    write_output(tmp_path, "linux+full", b"<oops>\x1b[31m & \xff]]>\0\n")
    root = xml.fromstring(junit(found))
    assert root.tag == "testsuites"
    (suite,) = root
    for element in (root, suite):
        numbers = {name: element.get(name) for name in ("tests", "failures", "errors", "skipped")}
        assert numbers == {"tests": "9", "failures": "2", "errors": "1", "skipped": "4"}
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", suite.get("timestamp", ""))
    cases = suite.findall("testcase")
    assert len(cases) == 9
    assert [child.tag for case in cases[:6] for child in case] == [
        "system-out",
        "system-out",
        *("failure", "system-out"),
        *("failure", "system-out"),
        *("error", "system-out"),
        "skipped",
    ]
    assert all(case.get("classname") == "two-lans" and float(case.get("time", "")) >= 0 for case in cases)
    failed = cases[2]
    assert failed.get("name") == "linux+full"
    assert failed.find("failure[@type='failed'][@message='it failed']") is not None
    said = failed.findtext("system-out", "")
    assert "<oops>\N{REPLACEMENT CHARACTER}[31m & \N{REPLACEMENT CHARACTER}]]>\N{REPLACEMENT CHARACTER}" in said
    assert "theory, UDP: direct" in said


def test_junit_is_in_the_order_that_its_schema_asks_for(tmp_path: Path) -> None:
    """Jenkins' junit-10.xsd: a suite's properties come first; a case's verdict and output are all that it may hold."""
    (suite,) = xml.fromstring(junit(results_of(of_nats("linux", "home"), tmp_path, *ALL)))
    assert [child.tag for child in suite] == ["properties", *["testcase"] * 4]
    allowed = {"skipped", "error", "failure", "system-out", "system-err", "properties"}
    assert {child.tag for case in suite.iter("testcase") for child in case} <= allowed
    assert {"name", "tests", "failures", "errors", "skipped", "time", "timestamp", "hostname"} == set(suite.keys())


class Page(HTMLParser):
    """What a page asks for, and whether its elements are closed."""

    VOID = ("meta", "input", "br", "link", "img")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.links: list[str] = []
        self.loads: list[str] = []
        self.ids: list[str] = []
        self.texts: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag not in self.VOID:
            self.open.append(tag)
        if tag == "a":
            self.links.append(given["href"] or "")
        if given.get("id"):
            self.ids.append(str(given["id"]))
        self.loads += [f"{tag} {name}" for name in given if name in ("src", "srcset", "data", "poster", "action")]
        self.loads += [tag] if tag in ("link", "iframe", "object", "embed", "img", "base") else []

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def test_the_page_needs_nothing_from_anywhere_else(tmp_path: Path) -> None:
    text = page(results_of(of_nats("linux", "home", "full"), tmp_path, *ALL))
    read = Page(text)
    assert not read.open
    assert not read.loads
    assert not re.search(r"https?:|//[a-z]|@import|url\(", text)
    assert "default-src 'none'" in text
    assert all(link.startswith(("#", "cells/")) for link in read.links)


def test_every_cell_of_the_page_leads_to_what_is_known_of_it(tmp_path: Path) -> None:
    text = page(results_of(of_nats("linux", "home", "full"), tmp_path, *ALL))
    read = Page(text)
    targets = [link[1:] for link in read.links if link.startswith("#")]
    assert len(targets) == len(set(targets)) == 9
    assert set(targets) <= set(read.ids)
    assert len(read.ids) == len(set(read.ids))
    summaries = re.findall(r"</b>([^<]+)<span>([^<]+)</span></summary>", text)
    assert [name for name, _ in summaries[:4]] == ["linux+full", "home+linux", "home+home", "linux+home"], "bad first"


def test_the_page_has_the_output_of_a_cell_and_leads_to_its_files(tmp_path: Path) -> None:
    log = b"first\n" * 5000 + b"<script>alert(1)</script> last\n"
    write_output(tmp_path, "mtu=1400", log)
    found = results_of(of_sizes(1400), tmp_path, State.FAILED)
    (attempt,) = found.results[0].attempts
    object.__setattr__(attempt, "files", ("output.log", "nodes/left/routes.txt", "packets.pcapng", "a b#c.txt"))
    text = page(found)
    assert "&lt;script&gt;alert(1)&lt;/script&gt; last" in text
    assert len(text) < len(log)
    assert [link for link in Page(text).links if link.startswith("cells/")] == [
        "cells/mtu%3D1400/attempt-1/packets.pcapng",
        "cells/mtu%3D1400/attempt-1/a%20b%23c.txt",
        "cells/mtu%3D1400/attempt-1/output.log",
        "cells/mtu%3D1400/attempt-1/nodes/left/routes.txt",
    ]


@pytest.mark.parametrize("states", [(), ALL, (State.PASSED,) * 9], ids=["none", "all", "good"])
def test_reports_can_be_written_of_whatever_there_is(tmp_path: Path, states: tuple[State, ...]) -> None:
    files = write_reports(results_of(of_nats("linux", "home", "full"), tmp_path, *states))
    assert [file.name for file in files] == ["results.json", "junit.xml", "index.html"]
    assert all(file.stat().st_size > 1000 for file in files)
