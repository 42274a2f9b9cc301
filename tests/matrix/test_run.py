"""Matrices that are run: each cell in a lab of its own, and what is kept of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from tests.matrix.made import of_nats, of_sizes
from tests.support.labs import PATH, eventually, machine, marked
from wanlab.errors import CommandNotFound, NoSuchNode, TopologyError, UsageError
from wanlab.matrix.matrix import Matrix
from wanlab.matrix.results import Attempt, Results, State
from wanlab.matrix.run import Progress, read_results, run_matrix
from wanlab.matrix.variation import Axis, Cell
from wanlab.runtime.directory import labs, runtime_directory


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "out"


def sh(script: str) -> tuple[str, ...]:
    return ("sh", "-c", script)


def output(found: Results, name: str, attempt: int = 1) -> str:
    return (found.directory / found[name].attempts[attempt - 1].directory / "output.log").read_text()


def no_lab_is_up() -> bool:
    return not labs(runtime_directory())


def test_the_command_runs_in_a_fresh_lab_for_each_cell(place: Path) -> None:
    script = sh("ip netns exec left ip -o link show eth0; ip netns exec left ip link del eth0")
    found = run_matrix(of_sizes(1400, 1500, command=script), place)
    assert found.ok
    assert "mtu 1400" in output(found, "mtu=1400")
    assert "mtu 1500" in output(found, "mtu=1500")
    assert no_lab_is_up()


def test_the_environment_names_lab_nodes_addresses_and_what_was_chosen(place: Path) -> None:
    matrix = of_nats("linux", "symmetric", command=sh("env; touch $WANLAB_RUN/mine"))
    found = run_matrix(matrix, place)
    said = dict(line.split("=", 1) for line in output(found, "linux+symmetric").splitlines() if "=" in line)
    where = place.absolute() / "cells" / "linux+symmetric" / "attempt-1"
    assert said["WANLAB_LAB"].startswith("two-lans.")
    assert said["WANLAB_CELL"] == "linux+symmetric"
    assert said["WANLAB_ATTEMPT"] == "1"
    assert said["WANLAB_RUN"] == str(where)
    assert set(said["WANLAB_NODES"].split()) == {"home-a", "home-b", "alice", "bob", "coordinator"}
    assert said["WANLAB_ADDRESS_ALICE"] == "10.1.0.1"
    assert said["WANLAB_ADDRESS_HOME_A"] == "172.16.0.1"
    assert said["WANLAB_VARY_HOME_B_NAT"] == "symmetric"
    assert said["WANLAB_THEORY"] == "luck"
    assert "WANLAB_NODE" not in said
    assert found["linux+symmetric"].attempts[0].files == ("mine", "output.log")


def test_programs_of_wanlab_find_their_lab_from_within(place: Path) -> None:
    python = "from wanlab import Lab; lab = Lab.attach(); print(lab['left'].run(['hostname']).returncode, lab.name)"
    script = sh(f'{sys.executable} -c "{python}"; {sys.executable} -m wanlab exec right hostname; echo $WANLAB_LAB')
    found = run_matrix(of_sizes(1400, 1500, command=script), place)
    for name in ("mtu=1400", "mtu=1500"):
        host, attached, other, lab = output(found, name).splitlines()
        assert (host, attached, other) == ("left", f"0 {lab}", "right")


def test_cells_at_once_do_not_meet_on_the_loopback(place: Path) -> None:
    """Each of these serves on the same port of 127.0.0.1 until all have had the time to."""
    script = sh(
        "python3 -m http.server --bind 127.0.0.1 8000 & sleep 1; kill -0 $! && "
        "python3 -c 'import urllib.request as r; r.urlopen(\"http://127.0.0.1:8000\")'"
    )
    assert run_matrix(of_sizes(1400, 1450, 1500, command=script), place, jobs=3).ok


def test_the_command_can_run_inside_a_node(place: Path) -> None:
    found = run_matrix(of_sizes(1400, command=sh("hostname; echo $WANLAB_NODE"), node="right"), place)
    assert output(found, "mtu=1400") == "right\nright\n"


def test_a_command_that_fails_is_told_with_its_status_and_all_that_is_known_of_its_lab(place: Path) -> None:
    ping = "ip netns exec left ping -c1 right; echo last words; exit 3"
    found = run_matrix(of_sizes(1400, command=sh(ping)), place)
    (attempt,) = found["mtu=1400"].attempts
    assert (attempt.state, attempt.exit_status, attempt.problem) == (State.FAILED, 3, "exit status 3")
    assert not found.ok
    where = place / attempt.directory
    assert {"output.log", "packets.pcapng", "run.json", "topology.txt", "nodes/left/routes.txt"} <= set(attempt.files)
    told = json.loads((where / "processes.json").read_text())
    assert [(each["node"], each["returncode"], each["log"]) for each in told] == [(None, 3, "output.log")]
    tcpdump = ["tcpdump", "-n", "-r", str(where / "packets.pcapng"), "icmp"]
    packets = subprocess.run(tcpdump, capture_output=True, text=True, check=True, env={"PATH": PATH}).stdout
    assert packets.count("echo request") == 4, "at both ends of both cables"


def test_what_is_kept_can_be_chosen(place: Path) -> None:
    found = run_matrix(of_sizes(1400, command=sh("exit 3")), place, capture="never")
    assert found["mtu=1400"].attempts[0].files == ("output.log",)
    found = run_matrix(of_sizes(1400), place, capture="always")
    assert "packets.pcapng" in found["mtu=1400"].attempts[0].files


def test_a_command_that_passes_when_it_is_run_again_is_flaky(place: Path) -> None:
    found = run_matrix(
        of_sizes(1400, command=sh("echo now $WANLAB_ATTEMPT; test $WANLAB_ATTEMPT = 2")), place, retries=3
    )
    result = found["mtu=1400"]
    assert [attempt.state for attempt in result.attempts] == [State.FAILED, State.PASSED]
    assert result.state is State.FLAKY
    assert found.ok
    assert output(found, "mtu=1400", 1) == "now 1\n"
    assert output(found, "mtu=1400", 2) == "now 2\n"


def test_a_command_that_never_passes_is_broken(place: Path) -> None:
    found = run_matrix(of_sizes(1400, command=sh("exit 3")), place, retries=2)
    assert [attempt.state for attempt in found["mtu=1400"].attempts] == [State.FAILED] * 3
    assert found["mtu=1400"].state is State.FAILED


def test_a_command_that_hangs_is_asked_to_end_after_it_was_looked_at(place: Path) -> None:
    script = sh("trap 'echo asked; exit' TERM; echo on; while :; do sleep 0.05; done")
    began = time.monotonic()
    found = run_matrix(of_sizes(1400, command=script), place, timeout_s=1)
    (attempt,) = found["mtu=1400"].attempts
    assert (attempt.state, attempt.exit_status) == (State.TIMED_OUT, None)
    assert attempt.problem == "did not end within 1 s"
    assert output(found, "mtu=1400").startswith("on\n")
    assert output(found, "mtu=1400").endswith("asked\n")
    (process,) = json.loads((place / attempt.directory / "processes.json").read_text())
    assert process["returncode"] is None, "it ran when its lab was looked at"
    assert time.monotonic() - began < 30


def test_a_command_that_will_not_end_is_ended_with_all_that_it_has_started(place: Path) -> None:
    marker = f"{os.getpid()}.25"
    # Two sessions, and nobody listens to SIGTERM.
    script = sh(f"trap '' TERM; setsid sleep {marker} & echo on; while :; do sleep 0.1; done")
    seen: list[int] = []

    class Watch(Progress):
        def started(self, cell: object, attempt: int) -> None:
            seen.extend(eventually(lambda: marked(f"sleep\0{marker}"), "the command's child"))

    found = run_matrix(of_sizes(1400, command=script), place, timeout_s=3, progress=Watch())
    assert found["mtu=1400"].state is State.TIMED_OUT
    assert seen
    assert not marked(f"sleep\0{marker}")
    assert no_lab_is_up()


def test_as_many_cells_as_are_asked_for_run_at_once(place: Path) -> None:
    """Each waits for the other: with one at a time both would time out."""
    meeting = place.parent / "meeting"
    meeting.mkdir()
    script = sh(f"touch {meeting}/$WANLAB_CELL; until [ $(ls {meeting} | wc -l) = 2 ]; do sleep 0.02; done")
    assert run_matrix(of_sizes(1400, 1500, command=script), place, jobs=2, timeout_s=30).ok
    for file in meeting.iterdir():
        file.unlink()
    found = run_matrix(of_sizes(1400, 1500, command=script), place, jobs=1, timeout_s=0.5)
    assert [result.state for result in found.results] == [State.TIMED_OUT, State.PASSED]


def test_a_lab_that_somebody_ends_fails_its_cell_and_no_other(place: Path) -> None:
    script = sh(f"test $WANLAB_CELL = mtu=1500 || {{ {sys.executable} -m wanlab down; sleep 1000; }}")
    found = run_matrix(of_sizes(1400, 1500, command=script), place, timeout_s=60)
    assert found["mtu=1400"].attempts[0].problem == "its lab was ended by somebody else"
    assert found["mtu=1500"].state is State.PASSED


# -- going on ---------------------------------------------------------------------------------------------------------


def test_a_run_goes_on_where_another_was_interrupted(place: Path) -> None:
    log = place.parent / "log"
    script = sh(f"echo $WANLAB_CELL >> {log}; test $WANLAB_CELL != mtu=1400 || test -e {log}.b || sleep 1000")
    matrix = of_sizes(1300, 1400, 1500, command=script)

    class Interrupt(Progress):
        def started(self, cell: Cell, attempt: int) -> None:
            if cell.name == "mtu=1400":
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_matrix(matrix, place, jobs=1, progress=Interrupt())
    assert no_lab_is_up()
    assert [result.state for result in read_results(matrix, place).results] == [
        State.PASSED,
        State.NOT_RUN,
        State.NOT_RUN,
    ]
    log.rename(f"{log}.b")
    assert run_matrix(matrix, place, resume=True).ok
    assert sorted(log.read_text().split()) == ["mtu=1400", "mtu=1500"]


def test_a_run_that_goes_on_may_have_further_values(place: Path) -> None:
    log = place.parent / "log"
    script = sh(f"echo $WANLAB_CELL >> {log}")
    run_matrix(of_sizes(1400, command=script), place)
    assert run_matrix(of_sizes(1400, 1500, command=script), place, resume=True).ok
    assert log.read_text().split() == ["mtu=1400", "mtu=1500"]


def test_without_resume_a_run_starts_anew(place: Path) -> None:
    assert not run_matrix(of_sizes(1400, command=sh("exit 3")), place).ok
    assert run_matrix(of_sizes(1500), place).ok
    assert [path.name for path in (place / "cells").iterdir()] == ["mtu=1500"]


def test_results_of_something_else_are_not_gone_on_with(place: Path) -> None:
    run_matrix(of_sizes(1400), place)
    with pytest.raises(UsageError, match="holds the results of another command"):
        run_matrix(of_sizes(1400, command=("false",)), place, resume=True)
    with pytest.raises(UsageError, match="a command in another node"):
        run_matrix(of_sizes(1400, node="left"), place, resume=True)
    with pytest.raises(UsageError, match="another lab"):
        run_matrix(of_nats("linux"), place, resume=True)


def test_a_directory_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(UsageError, match="holds something else than a matrix"):
        run_matrix(of_sizes(1400), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_two_runs_do_not_share_a_directory(place: Path) -> None:
    script = sh(f"touch {place.parent}/on; until [ -e {place.parent}/off ]; do sleep 0.02; done")
    first = threading.Thread(target=run_matrix, args=(of_sizes(1400, command=script), place))
    first.start()
    try:
        eventually((place.parent / "on").exists)
        with pytest.raises(UsageError, match="another matrix is running"):
            run_matrix(of_sizes(1400, command=script), place)
    finally:
        (place.parent / "off").touch()
        first.join()
    assert read_results(of_sizes(1400, command=script), place).ok


# -- what cannot be ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("axis", "node", "error"),
    [
        (("left.mtu", (1400, 10)), None, TopologyError),
        (("left.mut", (1400,)), None, TopologyError),
        (("nobody.mtu", (1400,)), None, UsageError),
        (("left.mtu", (1400,)), "nobody", NoSuchNode),
    ],
)
def test_all_cells_are_checked_before_any_runs(
    place: Path, axis: tuple[str, tuple[int, ...]], node: str | None, error: type[Exception]
) -> None:
    from tests.support.labs import pair

    with pytest.raises(error):
        run_matrix(Matrix(pair(), (Axis.of(*axis),), ("true",), node), place)
    assert not place.exists()


def test_a_program_that_is_not_there_ends_the_run(place: Path) -> None:
    with pytest.raises(CommandNotFound, match="nosuchprogram: command not found"):
        run_matrix(of_sizes(1400, 1500, command=("nosuchprogram",)), place)
    assert no_lab_is_up()


def test_a_cell_that_cannot_be_built_does_not_keep_the_others_from_running(place: Path) -> None:
    """The router of one cell needs a program that this machine seems not to have."""
    code = """
import sys
from tests.support.shapes import two_lans
from wanlab.matrix.matrix import Matrix
from wanlab.matrix.run import run_matrix
from wanlab.matrix.variation import Axis
nats = ["home", {"preset": "home", "port_mapping": "all"}]
for result in run_matrix(Matrix(two_lans(), (Axis.of("home-a.nat", nats),), ("true",)), sys.argv[1], retries=1).results:
    print(result.state.value, len(result.attempts), result.problem)
"""
    hide = "for f in /usr/sbin/miniupnpd /usr/local/sbin/miniupnpd; do [ ! -e $f ] || mount --bind /dev/null $f; done"
    done = subprocess.run(
        [*machine(hide), sys.executable, "-c", code, place], capture_output=True, text=True, check=True
    )
    passed, not_built = done.stdout.splitlines()
    assert passed == "passed 1 "
    assert not_built.startswith("not-built 2 ")
    assert "miniupnpd" in not_built


def test_a_disk_that_is_full_ends_the_run_and_earlier_results_are_kept(tmp_path: Path) -> None:
    code = """
import sys
from tests.matrix.made import of_sizes
from wanlab.errors import KernelError
from wanlab.matrix.run import read_results, run_matrix
script = "test $WANLAB_CELL != mtu=1400 || cat /dev/zero > $WANLAB_RUN/all-of-it; true"
matrix = of_sizes(1300, 1400, 1500, command=("sh", "-c", script))
try:
    run_matrix(matrix, sys.argv[1], jobs=1)
except KernelError as error:
    print(error)
print(*(result.state.value for result in read_results(matrix, sys.argv[1]).results))
"""
    disk = f"mount -t tmpfs -o size=1m tmpfs {tmp_path}"
    done = subprocess.run(
        [*machine(disk), sys.executable, "-c", code, tmp_path], capture_output=True, text=True, check=True
    )
    said, states = done.stdout.splitlines()
    assert "cannot be written: No space left on device; the results so far are kept" in said
    assert states.split()[0] == "passed"
    assert states.split()[2] == "not-run"


def test_a_disk_that_is_full_takes_captures_from_a_cell_and_not_its_result(tmp_path: Path) -> None:
    code = """
import sys
from tests.matrix.made import of_sizes
from wanlab.matrix.run import run_matrix
script = "ip netns exec left ping -c3 -s1400 -i0.01 right >/dev/null; exit 3"
for result in run_matrix(of_sizes(1500, command=("sh", "-c", script)), sys.argv[1]).results:
    print(result.state.value, result.problem)
"""
    disk = f"mount -t tmpfs -o size=16k tmpfs {tmp_path}"
    done = subprocess.run(
        [*machine(disk), sys.executable, "-c", code, tmp_path], capture_output=True, text=True, check=False
    )
    assert "No space left on device" in done.stdout + done.stderr


def test_no_settings_make_no_sense_in_silence(place: Path) -> None:
    wrongs: tuple[dict[str, Any], ...] = ({"jobs": 0}, {"timeout_s": 0}, {"retries": -1}, {"capture": "sometimes"})
    for wrong in wrongs:
        with pytest.raises(UsageError):
            run_matrix(of_sizes(1400), place, **wrong)
    with pytest.raises(UsageError, match="no command"):
        run_matrix(of_sizes(1400, command=()), place)
    assert not place.exists()


def test_results_survive_a_journey_as_json() -> None:
    attempt = Attempt(State.TIMED_OUT, 1.5, None, "did not end", "cells/x/attempt-1", ("output.log",))
    assert Attempt.from_json(json.loads(json.dumps(attempt.to_json()))) == attempt
