"""The examples do what their READMEs say: those that are test suites pass, each by itself."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from wanlab import Topology
from wanlab.matrix import Axis, Matrix, State, run_matrix

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
SUITES = sorted({file.parent.name for file in EXAMPLES.glob("*/test_*.py")})


def test_there_are_examples_of_real_programs() -> None:
    assert {"dns", "ice", "iperf3", "wireguard"} <= set(SUITES)


@pytest.mark.timeout(400)
@pytest.mark.parametrize("name", SUITES)
def test_an_example_passes(name: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", str(tmp_path),
               "-c", "/dev/null", "--wanlab-require", str(EXAMPLES / name)]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=380)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"^\d+ passed in ", done.stdout, re.MULTILINE), done.stdout  # and none was skipped


@pytest.mark.parametrize(
    "directory", sorted(each for each in EXAMPLES.iterdir() if each.is_dir()), ids=lambda d: d.name
)
def test_an_example_says_what_it_shows_and_how_to_run_it(directory: Path) -> None:
    text = (directory / "README.md").read_text()
    for link in re.findall(r"\]\(([^)#:]+)\)", text):
        assert (directory / link).exists(), link
    programs = [name for name in re.findall(r"examples/[\w/.]+", text) if not (EXAMPLES.parent / name).exists()]
    assert not programs
    assert all(f"({file.name})" in text for file in directory.glob("*.py"))


def test_holes_are_punched_where_theory_says_so(tmp_path: Path) -> None:
    nats = ("home", "port-restricted", "symmetric", "hotel")
    axes = (Axis.of("home-a.nat", nats), Axis.of("home-b.nat", nats))
    matrix = Matrix(Topology.load("two-lans"), axes, (str(EXAMPLES / "hole_punch" / "punch.sh"),))
    results = run_matrix(matrix, tmp_path / "out", jobs=4)
    passed = {result.cell.name: result.state is State.PASSED for result in results.results}
    direct = {cell.name: theory.udp.says == "direct" for cell, theory in matrix.theories.items()}
    assert passed == direct
    assert 0 < sum(passed.values()) < len(passed)
