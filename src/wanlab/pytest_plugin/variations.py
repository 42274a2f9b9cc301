"""Marks that run a test in many labs, as pytest's parameters."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import pytest

from wanlab.errors import WanlabError
from wanlab.matrix.variation import Axis, Cell, cells


def parametrize(metafunc: pytest.Metafunc) -> None:
    """Run a test once for each cell of its marks; several marks multiply. Ends the session for what makes no sense."""
    where = f"{metafunc.definition.nodeid}: "
    if "variation" not in metafunc.fixturenames:
        raise pytest.UsageError(f"{where}a test that is varied takes the fixture 'lab', or 'variation'")
    found: list[Cell] = [Cell(())]
    # pytest has the mark nearest to the function first; a reader begins at the top.
    for mark in reversed([mark for mark in metafunc.definition.iter_markers() if mark.name in _KINDS]):
        more = _cells_of(mark, where)
        found = [Cell((*cell.choices, *other.choices)) for cell in found for other in more]
    metafunc.parametrize("variation", found, ids=[cell.name for cell in found])


def _cells_of(mark: pytest.Mark, where: str) -> list[Cell]:
    kind = _KINDS[mark.name]
    try:
        return kind(*mark.args, **mark.kwargs)
    except WanlabError as error:
        raise pytest.UsageError(f"{where}@pytest.mark.{mark.name}: {error}") from None
    except TypeError:
        raise pytest.UsageError(f"{where}@pytest.mark.{mark.name} takes {inspect.signature(kind)}") from None


def _nat_matrix(*routers: str, nats: Any = None, ordered: bool = True) -> list[Cell]:
    return cells([Axis.of(f"{router}.nat", nats) for router in routers], ordered=ordered)


def _vary(place: str, values: Any) -> list[Cell]:
    return cells([Axis.of(place, values)])


_KINDS: dict[str, Callable[..., list[Cell]]] = {"nat_matrix": _nat_matrix, "vary": _vary}
