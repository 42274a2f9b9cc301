"""The pytest plugin: `def test_x(lab)` is all it takes.

Installed with wanlab, found by its entry point. Nothing of wanlab but this file is imported until a test asks for a
lab: other tests do not pay for it.

- `lab`: a lab that is up, fresh for each test: `two-lans`, or what `@pytest.mark.lab(...)` says, or what the fixture
  `topology` returns where a test module has one of its own.
- `make_lab`: makes labs of what a test gives it; `make_module_lab` and the like for fixtures of a wider scope.
- `@pytest.mark.nat_matrix(...)` and `@pytest.mark.vary(...)`: the same test in many labs (`variation` says in which).
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from wanlab.matrix.variation import Cell
    from wanlab.pytest_plugin.shelf import Keeper, Shelf
    from wanlab.runtime.lab import Lab
    from wanlab.topology.topology import Topology

_MARKS = (
    "lab(lab, scope='function'): the lab of this test: a name of the catalogue, a file (relative to the test's), a "
    "Topology, or lab=FUNCTION that returns one; scope: with which tests it is shared "
    "(function, class, module, package, session)",
    "nat_matrix(*routers, nats=None, ordered=True): run this test with every NAT at every one of these routers; nats: "
    "names of NATs, or Nats, all that have names if left out; ordered=False: each pair once",
    "vary(place, values): run this test with each of these values at this place of the lab, as a file has it: "
    "'alice.mtu', 'home-a.nat', 'home-a.firewall'",
)

_keeper = pytest.StashKey["Keeper"]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Options, and settings of an ini file."""
    group = parser.getgroup("wanlab", "labs of network namespaces (wanlab)")
    group.addoption(
        "--wanlab-keep",
        action="store_true",
        help="leave the labs of tests that fail up: `wanlab shell --lab NAME` goes in, `wanlab down --lab NAME` ends",
    )
    group.addoption(
        "--wanlab-capture",
        choices=("failed", "always", "never"),
        help="whose packets to keep: of tests that fail (the default), of all, of none",
    )
    group.addoption("--wanlab-dir", metavar="DIR", help="where to keep what was recorded (default: wanlab-runs)")
    group.addoption(
        "--wanlab-require",
        action="store_true",
        help="fail tests that this machine can make no lab for, where they would be skipped: for CI",
    )
    parser.addini("wanlab_lab", "the lab of tests that name none", default="two-lans")
    parser.addini("wanlab_capture", "as --wanlab-capture", default="failed")
    parser.addini("wanlab_dir", "as --wanlab-dir, relative to the rootdir", default="wanlab-runs")
    parser.addini("wanlab_require", "as --wanlab-require", type="bool", default=False)


def pytest_configure(config: pytest.Config) -> None:
    """Marks have descriptions, and misspelt ones are refused under --strict-markers."""
    for mark in _MARKS:
        config.addinivalue_line("markers", mark)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One test for each cell of a matrix."""
    if any(metafunc.definition.iter_markers("nat_matrix")) or any(metafunc.definition.iter_markers("vary")):
        from wanlab.pytest_plugin.variations import parametrize

        parametrize(metafunc)


# -- fixtures --------------------------------------------------------------------------------------------------------


@pytest.fixture
def topology() -> Topology | str | None:
    """What the fixture `lab` is made of: for test modules to override; None: what the mark says, or the setting."""
    return None


@pytest.fixture
def variation() -> Cell | None:
    """Which cell of its matrix a test runs in; None where it has none."""
    return None


@pytest.fixture
def lab(request: pytest.FixtureRequest, topology: Topology | str | Path | None, variation: Cell | None) -> Lab:
    """A lab that is up. It is taken down after the test, or after the last test of its mark's scope."""
    from wanlab.pytest_plugin.sources import lab_of_test

    return lab_of_test(request, topology, variation)


@pytest.fixture
def make_lab(request: pytest.FixtureRequest) -> Iterator[Shelf]:
    """Makes labs that are up until the test ends: `make_lab("two-lans")`, `make_lab(topology, name="mine")`."""
    yield from _shelf(request, "function")


@pytest.fixture(scope="class")
def make_class_lab(request: pytest.FixtureRequest) -> Iterator[Shelf]:
    """Makes labs that are up until the last test of the class."""
    yield from _shelf(request, "class")


@pytest.fixture(scope="module")
def make_module_lab(request: pytest.FixtureRequest) -> Iterator[Shelf]:
    """Makes labs that are up until the last test of the module."""
    yield from _shelf(request, "module")


@pytest.fixture(scope="package")
def make_package_lab(request: pytest.FixtureRequest) -> Iterator[Shelf]:
    """Makes labs that are up until the last test of the package."""
    yield from _shelf(request, "package")


@pytest.fixture(scope="session")
def make_session_lab(request: pytest.FixtureRequest) -> Iterator[Shelf]:
    """Makes labs that are up until the last test."""
    yield from _shelf(request, "session")


def _shelf(request: pytest.FixtureRequest, scope: str) -> Iterator[Shelf]:
    shelf = _keeper_of(request.config).open(scope)
    yield shelf
    shelf.close()


def _keeper_of(config: pytest.Config) -> Keeper:
    from wanlab.pytest_plugin.shelf import Keeper

    if _keeper not in config.stash:
        config.stash[_keeper] = Keeper.of(config)
    return config.stash[_keeper]


# -- a test's course -------------------------------------------------------------------------------------------------


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """What was recorded of one test is not the next one's."""
    if _keeper in item.config.stash:
        item.config.stash[_keeper].begin()
    return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """A server that dies while a test runs fails it at once."""
    if _keeper not in item.config.stash:
        return (yield)
    with item.config.stash[_keeper].watch.failing():
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[Any]) -> Generator[None, Any, Any]:
    """A test that fails tells what is known of its labs, which are still up."""
    report: pytest.TestReport = yield
    if _keeper in item.config.stash:
        item.config.stash[_keeper].report(item, report)
    return report


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Tests that were skipped since there could be no lab are counted, with the cure, whatever -r says."""
    skipped = [report for report in terminalreporter.stats.get("skipped", ()) if _NO_LAB in str(report.longrepr)]
    if skipped:
        reasons = {str(report.longrepr[2]).partition(_NO_LAB)[2] for report in skipped}
        terminalreporter.section("wanlab", yellow=True, bold=True)
        for reason in sorted(reasons):
            terminalreporter.line(f"{len(skipped)} skipped: no lab can be made here: {reason}")
        terminalreporter.line("`wanlab doctor` tells more; --wanlab-require makes such tests fail")


_NO_LAB = "no lab can be made here: "
