"""Nothing outlives a lab, however it ends: processes, namespaces, mounts, sockets."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from tests.support.labs import (
    PAIR,
    descendants,
    eventually,
    machine,
    marked,
    none_left,
    pair,
    program,
    run_program,
    running,
)
from wanlab import Lab, LabEnded, NoSuchLab
from wanlab.runtime.directory import labs, runtime_directory

# Programs that do what they can to stay: deaf to signals, in sessions of their own, orphaned twice, behind another
# PID namespace, and forking on.
STUBBORN = """
trap '' HUP INT TERM QUIT PIPE USR1
sleep {marker} &
setsid sleep {marker} &
(setsid sh -c "trap '' HUP TERM INT; (sleep {marker} &) ; sleep {marker}" &)
(unshare --pid --fork setsid sleep {marker} &)
nohup sleep {marker} > /dev/null 2>&1 &
while :; do sleep 0.01{marker}; done
"""

OWNER = (
    PAIR
    + """
import os, signal, sys, time
directory = sys.argv[1]
lab = Lab(pair()).up()
for node in (lab["left"], lab["right"]):
    node.popen(["sh", "-c", open(directory + "/stubborn").read()])
shell = lab.shell(["sh", "-c", open(directory + "/stubborn").read()])
print(lab.pid, flush=True)
"""
)


def stubborn(tmp_path: Path) -> str:
    """Write the programs down for OWNER; what marks their processes."""
    marker = f"5000.{uuid.uuid4().int}"
    (tmp_path / "stubborn").write_text(STUBBORN.format(marker=marker))
    return marker


def nothing_is_left(runtime: Path, marker: str) -> bool:
    return not marked(marker) and labs(runtime_directory()) == []


def forge_of(pid: int) -> int:
    return next(p.pid for p in descendants(pid) if p.name == "wanlab-forge")


def guardian_of(pid: int) -> int:
    return running()[pid].parent


@pytest.mark.parametrize("victim", ["client", "holder", "guardian", "everything but the holder"])
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_lab_full_of_stubborn_programs_ends_with_any_of_its_processes(
    runtime: Path, tmp_path: Path, victim: str, number: signal.Signals
) -> None:
    marker = stubborn(tmp_path)
    with program(OWNER + "time.sleep(1000)", str(tmp_path)) as owner:
        holder = int(owner.line())
        eventually(lambda: len(marked(marker)) >= 3 * 6)
        family = descendants(owner.pid) | descendants(guardian_of(holder))
        pids = {
            "client": [owner.pid],
            "holder": [holder],
            "guardian": [guardian_of(holder)],
            "everything but the holder": [owner.pid, forge_of(owner.pid), guardian_of(holder)],
        }[victim]
        lab_family = {p for p in family if p.name != "wanlab-forge"} if owner.pid not in pids else family
        for pid in pids:
            os.kill(pid, number)
        eventually(lambda: none_left(lab_family), "the lab's processes end")
        eventually(lambda: nothing_is_left(runtime, marker))


def test_a_lab_stays_though_the_forge_is_killed_and_the_next_one_comes_up_all_the_same() -> None:
    with program(PAIR + """
import os
with Lab(pair()) as lab:
    print(lab.pid, flush=True)
    input()
    assert lab["left"].run(["ping", "-c1", "-W5", "5.5.5.2"], stdout=-3).returncode == 0
    with Lab(pair()) as other:
        assert other["left"].run(["true"]).returncode == 0
    assert lab["left"].run(["true"]).returncode == 0
print("fine", flush=True)
""") as owner:  # fmt: skip
        holder = int(owner.line())
        os.kill(forge_of(owner.pid), signal.SIGKILL)
        assert holder in running()
        owner.tell()
        assert owner.line() == "fine"


def test_a_guardian_that_waits_for_the_next_lab_may_be_killed() -> None:
    with program(PAIR + """
for n in range(3):
    with Lab(pair()) as lab:
        assert lab["left"].run(["true"]).returncode == 0
    print("down", flush=True)
    input()
""") as owner:  # fmt: skip
        for _ in range(3):
            assert owner.line() == "down"
            waiting = [p for p in descendants(owner.pid) if p.name == "wanlab-guard"]
            for process in waiting:
                with suppress(ProcessLookupError):  # the guardian of the lab that went down may be on its way out
                    os.kill(process.pid, signal.SIGKILL)
            eventually(lambda waiting=waiting: none_left(set(waiting)))  # type: ignore[misc]
            owner.tell()
        assert owner.process.wait(20) == 0


def test_down_ends_stubborn_programs(tmp_path: Path, runtime: Path) -> None:
    marker = stubborn(tmp_path)
    lab = Lab(pair()).up()
    process = lab["left"].popen(["sh", "-c", (tmp_path / "stubborn").read_text()])
    eventually(lambda: len(marked(marker)) >= 6)
    family = descendants(guardian_of(lab.pid))
    lab.down()
    assert none_left(family)
    assert marked(marker) == []
    assert process.returncode == -signal.SIGKILL
    assert os.listdir(runtime) in ([], [".turn"])
    lab.down()  # a second time does nothing


ENDINGS: dict[str, tuple[str, int]] = {
    "an exception": ("raise RuntimeError('on purpose')", 1),
    "sys.exit": ("sys.exit(3)", 3),
    "os._exit": ("os._exit(4)", 4),
    "the end of the program": ("", 0),
    "an interrupt": ("os.kill(os.getpid(), signal.SIGINT); time.sleep(1000)", -signal.SIGINT),
    "SIGTERM": ("os.kill(os.getpid(), signal.SIGTERM); time.sleep(1000)", -signal.SIGTERM),
    "SIGHUP": ("os.kill(os.getpid(), signal.SIGHUP); time.sleep(1000)", -signal.SIGHUP),
    "exec of something else": ("os.execvp('sleep', ['sleep', '0.2'])", 0),
    "an abort": ("import resource; resource.setrlimit(resource.RLIMIT_CORE, (0, 0)); os.abort()", -signal.SIGABRT),
}


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_lab_ends_with_its_program_without_down(runtime: Path, tmp_path: Path, ending: str) -> None:
    marker = stubborn(tmp_path)
    code, status = ENDINGS[ending]
    with program(OWNER + "input()\n" + code, str(tmp_path)) as owner:
        holder = int(owner.line())
        eventually(lambda: len(marked(marker)) >= 3 * 6)
        family = descendants(owner.pid) | descendants(guardian_of(holder))
        owner.tell()
        assert owner.process.wait(20) == status
        eventually(lambda: none_left(family))
        eventually(lambda: nothing_is_left(runtime, marker))


def test_an_exception_inside_the_with_takes_the_lab_down_and_goes_on(runtime: Path) -> None:
    lab = Lab(pair())

    def fail() -> None:
        with lab:
            holders.append(lab.pid)
            raise ZeroDivisionError

    holders: list[int] = []
    with pytest.raises(ZeroDivisionError):
        fail()
    assert holders
    assert holders[0] not in running()
    assert labs(runtime) == []


BUILDING = """
import sys
from tests.support.shapes import star
from wanlab import Lab
lab = Lab(star(300))
print("building", flush=True)
lab.up()
print("up", flush=True)
input()
"""


@pytest.mark.parametrize("victim", ["client", "holder", "guardian", "forge and client"])
@pytest.mark.parametrize("moment", [0.02, 0.15])
def test_a_lab_that_is_being_built_ends_with_any_of_its_processes(
    runtime: Path, monkeypatch: pytest.MonkeyPatch, victim: str, moment: float
) -> None:
    monkeypatch.setenv("PYTHONPATH", os.getcwd())
    with program(BUILDING) as owner:
        assert owner.line() == "building"
        holder = eventually(lambda: [p for p in descendants(owner.pid) if p.name == "wanlab-holder"])[0]
        _let_build(moment)
        family = descendants(owner.pid)
        pids = {
            "client": [owner.pid],
            "holder": [holder.pid],
            "guardian": [holder.parent],
            "forge and client": [forge_of(owner.pid), owner.pid],
        }[victim]
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        if owner.pid not in pids:
            assert owner.process.wait(30) != 0
            assert owner.process.stderr is not None
            assert "LabEnded" in owner.process.stderr.read()
        eventually(lambda: none_left(family))
        eventually(lambda: labs(runtime_directory()) == [])


def _let_build(seconds: float) -> None:
    # No wait for anything: it only spreads the kills over different moments of the building.
    subprocess.run(["sleep", str(seconds)], check=True)


def test_a_detached_lab_outlives_its_program_and_can_be_taken_down(runtime: Path) -> None:
    holder = int(
        run_program(
            PAIR
            + """
lab = Lab(pair(), name="stays").up(detach=True)
print(lab.pid)
"""
        )
    )
    try:
        assert running()[holder].name == "wanlab-holder"
        assert labs(runtime) == ["stays"]
        lab = Lab.attach("stays")
        assert lab["left"].run(["ping", "-c1", "-W5", "5.5.5.2"], stdout=subprocess.DEVNULL).returncode == 0
        lab.down()
        assert holder not in running()
        assert labs(runtime) == []
        assert not (runtime / "stays").exists()
    finally:
        if holder in running():
            os.kill(holder, signal.SIGKILL)


def test_a_program_started_in_a_detached_lab_ends_with_who_started_it(runtime: Path) -> None:
    marker = f"5000.{uuid.uuid4().int}"
    lab = Lab(pair(), name="stays").up(detach=True)
    try:
        with program(
            "import sys; from wanlab import Lab; process = Lab.attach('stays')['left'].popen(['sleep', sys.argv[1]]);"
            "print(1, flush=True); input()",
            marker,
        ) as user:
            user.line()
            eventually(lambda: marked(marker) and len(marked(marker)) == 2)
            os.kill(user.pid, signal.SIGKILL)
            user.process.wait()
            eventually(lambda: not marked(marker))
        assert lab["left"].run(["true"]).returncode == 0
    finally:
        lab.down()


@pytest.mark.parametrize("victim", ["holder", "guardian"])
def test_the_name_of_a_lab_that_was_killed_is_free_again(runtime: Path, victim: str) -> None:
    for _ in range(5):
        lab = Lab(pair(), name="again").up()
        pid = lab.pid if victim == "holder" else guardian_of(lab.pid)
        family = {running()[lab.pid], running()[guardian_of(lab.pid)]}
        os.kill(pid, signal.SIGKILL)
        eventually(lambda family=family: none_left(family))  # type: ignore[misc]
        with pytest.raises((NoSuchLab, LabEnded)):
            lab["left"].run(["true"])
        with Lab(pair(), name="again") as other:
            assert other["left"].run(["true"]).returncode == 0
        lab.down()


def test_a_holder_that_is_killed_ends_what_waits_for_it() -> None:
    with Lab(pair()) as lab:
        process = lab["left"].popen(["sleep", "300"])
        os.kill(lab.pid, signal.SIGKILL)
        assert process.wait(15) == -signal.SIGKILL
        with pytest.raises((NoSuchLab, LabEnded)):
            lab["left"].popen(["sleep", "300"])


@pytest.mark.parametrize("down", ["down", "kill -9", "kill -9 of the guardian", "failing build"])
def test_every_namespace_and_mount_is_given_back(down: str) -> None:
    # A machine of few namespaces: whoever keeps any runs out of them. The kernel frees them a moment later.
    few = "; ".join(
        f"echo {number} > /proc/sys/user/max_{kind}_namespaces"
        for kind, number in (("net", 14), ("mnt", 26), ("pid", 4), ("user", 4), ("uts", 20))
    )
    run_program(PAIR + """
import os, signal, sys, time
from pathlib import Path
from wanlab import KernelError, WanlabError
import wanlab.runtime.lab as module
from wanlab.plan.steps import AddAddress, Plan, Stage
real = module.compile_network
def failing(network):
    plan = real(network)
    return Plan(plan.lab, (*plan.stages, Stage("no", (AddAddress("left", "eth0", "5.5.5.1/24"),))), plan.hosts)
how = sys.argv[1]
if how == "failing build":
    module.compile_network = failing
deadline = time.monotonic() + 50
refused = 0
for n in range(8):
    while True:
        try:
            lab = Lab(pair()).up()
        except KernelError as error:
            if how == "failing build" and "assigned" in str(error):
                break
            assert time.monotonic() < deadline, error
            refused += 1
            time.sleep(0.02)
            continue
        except WanlabError as error:
            assert time.monotonic() < deadline, error
            time.sleep(0.02)
            continue
        if how == "kill -9":
            os.kill(lab.pid, signal.SIGKILL)
        elif how == "kill -9 of the guardian":
            os.kill(int(Path(f"/proc/{lab.pid}/stat").read_text().rpartition(")")[2].split()[1]), signal.SIGKILL)
        else:
            lab["left"].run(["true"]) if n % 5 == 0 else None
        lab.down()
        break
""", down, before=machine(few, user_namespace=True))  # fmt: skip


def test_a_program_that_makes_labs_ends_quickly() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PAIR + "for n in range(3):\n with Lab(pair()): pass\n"], timeout=20, check=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    assert done.stdout == ""


def test_nothing_is_said_on_standard_error_when_all_is_well_with_warnings_on() -> None:
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", "-c", PAIR + """
import os
for n in range(3):
    with Lab(pair()) as lab:
        lab["left"].run(["true"], check=True, capture_output=True)
        try:
            lab["left"].run(["no-such-program"])
        except OSError:
            pass
        pid = os.fork()
        if pid == 0:
            with Lab(pair()) as own:
                own["left"].run(["true"])
            raise SystemExit(0)
        os.waitpid(pid, 0)
"""], timeout=60, check=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    assert done.stdout == ""


def test_a_forge_holds_no_pipe_of_its_program_open_once_that_has_ended() -> None:
    # `$(wanlab up ...)` must return though the lab stays up.
    out: Callable[[str], str] = run_program
    assert out(PAIR + "print(Lab(pair(), name='stays').up(detach=True).name)") == "stays\n"
    Lab.attach("stays").down()
