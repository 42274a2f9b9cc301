"""The examples do what they say."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from wanlab import Topology
from wanlab.matrix import Axis, Matrix, State, run_matrix

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def test_real_programs_run_in_labs(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", str(tmp_path),
               "-c", "/dev/null", "--wanlab-require", str(EXAMPLES / "pytest")]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=100)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "passed" in done.stdout
    assert "skipped" not in done.stdout


def test_holes_are_punched_where_theory_says_so(tmp_path: Path) -> None:
    nats = ("home", "port-restricted", "symmetric", "hotel")
    axes = (Axis.of("home-a.nat", nats), Axis.of("home-b.nat", nats))
    matrix = Matrix(Topology.load("two-lans"), axes, (str(EXAMPLES / "hole_punch" / "punch.sh"),))
    results = run_matrix(matrix, tmp_path / "out", jobs=4)
    passed = {result.cell.name: result.state is State.PASSED for result in results.results}
    direct = {cell.name: theory.udp.says == "direct" for cell, theory in matrix.theories.items()}
    assert passed == direct
    assert 0 < sum(passed.values()) < len(passed)
