"""The same thing in many labs: what varies, running a command in each, and what became of it.

>>> from wanlab import Topology
>>> from wanlab.matrix import Axis, Matrix, run_matrix, write_reports
>>> axes = (Axis.of("home-a.nat", ["linux", "symmetric"]), Axis.of("home-b.nat", ["linux", "symmetric"]))
>>> results = run_matrix(Matrix(Topology.load("two-lans"), axes, ("sh", "punch.sh")), "wanlab-matrix")
>>> write_reports(results)

Names are imported when they are first used: tests that only want cells need not pay for the rest.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from wanlab.matrix.matrix import Matrix
    from wanlab.matrix.report import write_reports
    from wanlab.matrix.results import Attempt, Result, Results, State
    from wanlab.matrix.run import Progress, read_results, run_matrix
    from wanlab.matrix.variation import Axis, Cell, Choice

_HOMES = {
    "Attempt": "results",
    "Axis": "variation",
    "Cell": "variation",
    "Choice": "variation",
    "Matrix": "matrix",
    "Progress": "run",
    "Result": "results",
    "Results": "results",
    "State": "results",
    "read_results": "run",
    "run_matrix": "run",
    "write_reports": "report",
}

__all__ = [
    "Attempt",
    "Axis",
    "Cell",
    "Choice",
    "Matrix",
    "Progress",
    "Result",
    "Results",
    "State",
    "read_results",
    "run_matrix",
    "write_reports",
]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'wanlab.matrix' has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f"wanlab.matrix.{home}"), name)
    return value
