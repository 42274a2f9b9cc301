"""Which lab a test asks for, and from which shelf it comes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from wanlab.matrix.variation import Cell
from wanlab.pytest_plugin.shelf import Shelf, Source, fixture_of
from wanlab.runtime.lab import Lab
from wanlab.topology.files import SUFFIXES
from wanlab.topology.topology import Topology

_SCOPES = ("function", "class", "module", "package", "session")


def lab_of_test(request: pytest.FixtureRequest, topology: Source | None, variation: Cell | None) -> Lab:
    """The lab for the fixture `lab`: the mark's, else the fixture's `topology`, else the setting's."""
    mark = request.node.get_closest_marker("lab")
    given, scope = _read(mark) if mark is not None else (None, "function")
    if given is None:
        given = topology if topology is not None else request.config.getini("wanlab_lab")
    source = _made(given, request.path.parent, request.config.rootpath)
    shelf: Shelf = request.getfixturevalue(fixture_of(scope))
    shelf.keeper.note(request.node, shelf)
    return shelf.make(source, variation) if scope == "function" else shelf.share(source, variation)


def _read(mark: pytest.Mark) -> tuple[Any, str]:
    """What a mark says: the lab (None: nothing about it) and the scope. Fails the test for what cannot be meant."""
    unknown = set(mark.kwargs) - {"scope", "lab"}
    scope = mark.kwargs.get("scope", "function")
    if len(mark.args) > 1 or unknown:
        more = ", ".join([*(repr(each) for each in mark.args[1:]), *sorted(unknown)])
        pytest.fail(f"wanlab: @pytest.mark.lab takes one lab, and a scope; not {more}", pytrace=False)
    if scope not in _SCOPES:
        known = ", ".join(_SCOPES)
        pytest.fail(f"wanlab: @pytest.mark.lab: there is no scope {scope!r}; there is {known}", pytrace=False)
    return (mark.args[0] if mark.args else mark.kwargs.get("lab")), scope


def _made(given: Any, near: Path, root: Path) -> Source:
    """A topology that was given or is made now, a name, or a file that is there: beside the test or in the rootdir."""
    if callable(given):
        given = given()
    if isinstance(given, Topology):
        return given
    if not isinstance(given, (str, Path)):
        pytest.fail(
            f"wanlab: {given!r} is no lab; give a name, a file, a Topology, or a function that returns one",
            pytrace=False,
        )
    if isinstance(given, Path) or "/" in given or given.lower().endswith(SUFFIXES):
        for directory in (near, root):
            if (directory / given).exists():
                return directory / given
        pytest.fail(f"wanlab: there is no file {str(given)!r}, neither in {near} nor in {root}", pytrace=False)
    return given
