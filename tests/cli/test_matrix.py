"""`wanlab matrix`: a command in many labs, by the command line."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree as xml

import pytest

from tests.cli.command import WANLAB, OnTerminal, complaint, nothing_left, wanlab
from tests.support.labs import eventually, machine, marked

PAIR = """
name = "pair"
[switch.wire]
subnet = "5.5.5.0/24"
[host.left]
link = "wire"
[host.right]
link = "wire"
"""
OUT = Path("wanlab-matrix")


@pytest.fixture(autouse=True)
def pair(clean: None) -> None:
    Path("pair.toml").write_text(PAIR)


def sh(script: str) -> tuple[str, ...]:
    return ("--", "sh", "-c", script)


def states() -> dict[str, str]:
    return {cell["name"]: cell["state"] for cell in json.loads((OUT / "results.json").read_text())["cells"]}


def test_a_grid_is_printed_and_reports_are_written() -> None:
    script = 'ip netns exec alice ping -c1 coordinator && test "$WANLAB_THEORY" = direct'
    nats = "linux,full,hotel"
    done = wanlab("matrix", "two-lans", "--vary", f"home-a.nat={nats}", "--vary", f"home-b.nat={nats}", *sh(script))
    assert done.returncode == 1
    lines = [re.sub(r"\d+[.]\d+", "N", line) for line in done.stdout.splitlines()]
    assert lines[:6] == [
        "home-a.nat down, home-b.nat across",
        "          1     2     3",
        " 1 linux  +N +N xN",
        " 2 full   +N +N xN",
        " 3 hotel  xN xN xN",
        "",
    ]
    assert lines[6] == "+ passed   x failed"
    assert lines[7] == (
        "x linux+hotel: failed (exit status 1), N s; theory: not; wanlab-matrix/cells/linux+hotel/attempt-1"
    )
    assert lines[-2:] == ["9 cells: 4 passed, 5 failed; N s", "wanlab-matrix/index.html"]
    assert sorted(line.split()[0] for line in done.stderr.splitlines()) == [f"[{n}/9]" for n in range(1, 10)]
    assert len(xml.parse(OUT / "junit.xml").findall(".//failure")) == 5
    assert states()["linux+hotel"] == "failed"
    assert "linux+hotel" in (OUT / "index.html").read_text()


def test_all_cells_that_pass_are_status_0_and_json_is_all_that_is_printed() -> None:
    done = wanlab("matrix", "pair.toml", "--vary", "left.mtu=1400,1500", "--json", "--", "true")
    assert done.returncode == 0
    assert json.loads(done.stdout) == json.loads((OUT / "results.json").read_text())
    assert states() == {"mtu=1400": "passed", "mtu=1500": "passed"}


def test_without_values_all_nats_that_have_names_are_meant(tmp_path: Path) -> None:
    done = wanlab("matrix", "two-lans", "--vary", "home-a.nat", "--", "true")
    assert "\n 1 linux" in done.stdout
    assert "12 cells: 12 passed" in done.stdout


def test_values_are_those_of_a_lab_file() -> None:
    values = 'home-a.nat=linux,{preset = "home", filtering = "endpoint-independent"}'
    done = wanlab("matrix", "two-lans", "--vary", values, *sh("ip netns exec home-a nft list ruleset | head -3"))
    assert done.returncode == 0, done
    assert set(states()) == {"linux", "preset=home,filtering=endpoint-independent"}


def test_unordered_pairs_are_run_once() -> None:
    vary = ("--vary", "home-a.nat=linux,full", "--vary", "home-b.nat=linux,full")
    assert wanlab("matrix", "two-lans", *vary, "--unordered", "--", "true").returncode == 0
    assert list(states()) == ["linux+linux", "linux+full", "full+full"]


def test_the_command_runs_in_a_node_where_that_is_asked_for() -> None:
    done = wanlab("matrix", "pair.toml", "--vary", "left.mtu=1400", "--in", "left", "--", "ip", "link", "show", "eth0")
    assert done.returncode == 0
    assert "mtu 1400" in next(OUT.glob("cells/*/attempt-1/output.log")).read_text()


def test_flaky_is_told_from_broken_and_hanging() -> None:
    script = """case $WANLAB_CELL$WANLAB_ATTEMPT in
        mtu=14001) exit 3;; mtu=1400*) ;; mtu=1500*) exit 4;; *) sleep 1000;; esac"""
    options = ("--vary", "left.mtu=1300,1400,1500", "--retries", "1", "--timeout", "1")
    done = wanlab("matrix", "pair.toml", *options, *sh(script))
    assert done.returncode == 1
    assert states() == {"mtu=1300": "timed-out", "mtu=1400": "flaky", "mtu=1500": "failed"}
    for told in (
        "t mtu=1300: timed out (did not end within 1 s, at attempt 2 of 2), ",
        "~ mtu=1400: flaky: passed at attempt 2, before that exit status 3, ",
        "x mtu=1500: failed (exit status 4, at attempt 2 of 2), ",
    ):
        assert told in done.stdout


def test_flaky_cells_are_no_failure() -> None:
    done = wanlab("matrix", "pair.toml", "--vary", "left.mtu=1400", "--retries", "1", *sh("test $WANLAB_ATTEMPT = 2"))
    assert done.returncode == 0
    assert "1 flaky" in done.stdout


# -- cut off ----------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def one_done_and_one_hanging() -> Iterator[subprocess.Popen[str]]:
    """A matrix of which one cell has a result, and another one hangs."""
    script = f"test $WANLAB_CELL = mtu=1400 || {{ sleep {os.getpid()}.5; exit 1; }}"
    command = [*WANLAB, "matrix", "pair.toml", "-j", "1", "--vary", "left.mtu=1400,1450,1500", *sh(script)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        eventually(lambda: marked(f"sleep\0{os.getpid()}.5"), "a cell hangs")
        yield process
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_run_that_is_cut_off_leaves_nothing_and_keeps_what_it_has(runtime: Path, number: signal.Signals) -> None:
    with one_done_and_one_hanging() as process:
        process.send_signal(number)
        out, errors = process.communicate(timeout=20)
    assert process.returncode == 128 + number
    assert "Traceback" not in errors
    assert not marked(f"sleep\0{os.getpid()}.5")
    eventually(lambda: nothing_left(runtime))
    assert states() == {"mtu=1400": "passed", "mtu=1450": "not-run", "mtu=1500": "not-run"}
    assert "cut off: go on with --resume" in out
    assert len(xml.parse(OUT / "junit.xml").findall(".//skipped")) == 2


def test_ctrl_c_in_a_terminal_ends_it_at_once(runtime: Path) -> None:
    command = ["matrix", "pair.toml", "--vary", "left.mtu=1400,1500", "-j2", *sh(f"sleep {os.getpid()}.75")]
    with OnTerminal(*WANLAB, *command, columns=120) as terminal:
        terminal.until("0/2")
        eventually(lambda: len(marked(f"sleep\0{os.getpid()}.75")) >= 2)
        terminal.type("\x03")
        assert terminal.end() == 130
        assert "Traceback" not in terminal.seen
        assert "2 not run" in terminal.seen
        assert terminal.is_as_before
    eventually(lambda: nothing_left(runtime))


def test_a_run_that_is_killed_goes_on(runtime: Path) -> None:
    with one_done_and_one_hanging() as process:
        process.kill()
    eventually(lambda: not marked(f"sleep\0{os.getpid()}.5"), "the command has ended")
    eventually(lambda: nothing_left(runtime))
    command = json.loads((OUT / "matrix.json").read_text())["command"]
    options = ("--vary", "left.mtu=1400,1450,1500", "--timeout", "0.5", "--resume")
    done = wanlab("matrix", "pair.toml", *options, "--", *command)
    assert "1 of 3 cells have a result already" in done.stderr
    assert states() == {"mtu=1400": "passed", "mtu=1450": "timed-out", "mtu=1500": "timed-out"}


def test_a_person_sees_a_bar_and_what_does_not_pass() -> None:
    command = [
        "matrix",
        "pair.toml",
        "--vary",
        "left.mtu=1400,1500",
        "-j1",
        *sh("sleep 0.3; test $WANLAB_CELL = mtu=1500"),
    ]
    with OnTerminal(*WANLAB, *command, columns=120) as terminal:
        terminal.until("mtu=1400: failed (exit status 1)")
        terminal.until("1 did not pass")
        assert terminal.end() == 1
    assert "2 cells: 1 passed, 1 failed" in terminal.seen


# -- what cannot be meant ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (("pair.toml", "--", "true"), 2, "nothing is varied; say what: --vary home-a.nat"),
        (("pair.toml", "--vary", "left.mtu=1400"), 2, "missing argument 'COMMAND"),
        (("pair.toml", "--vary", "left", "--", "true"), 2, "'left' is no place of a lab"),
        (("pair.toml", "--vary", "left.mtu", "--", "true"), 2, "no values for left.mtu"),
        (("pair.toml", "--vary", "left.mtu=", "--", "true"), 2, "no values for left.mtu"),
        (("pair.toml", "--vary", "left.mtu=9,1500", "--", "true"), 2, "mtu"),
        (("pair.toml", "--vary", "lift.mtu=1400", "--", "true"), 2, "did you mean 'left'?"),
        (("two-lans", "--vary", "home-a.nat=linus", "--", "true"), 2, "did you mean 'linux'?"),
        (("pair.toml", "--vary", "left.mtu=1400", "--in", "lift", "--", "true"), 3, "did you mean 'left'?"),
        (("pair.toml", "--vary", "left.mtu=1400", "--", "nosuchprogram"), 127, "nosuchprogram: command not found"),
        (("pair.toml", "--vary", "left.mtu=1400", "--", "/etc/passwd"), 126, "/etc/passwd: Permission denied"),
        (("pair.toml", "--vary", "left.mtu=1400", "--timeout", "0", "--", "true"), 2, "cannot end within 0 s"),
        (("pair.toml", "--vary", "left.mtu=1400", "--dir", "pair.toml", "--", "true"), 2, "pair.toml: File exists"),
        (("pair.toml", "--vary", "left.mtu=1400", "--dir", ".", "--", "true"), 2, "holds something else"),
        (("pair.toml", "--vary", "left.mtu=1,2", "--unordered", "--", "true"), 2, "unordered pairs need two places"),
    ],
)
def test_what_cannot_be_meant_is_one_line(arguments: tuple[str, ...], status: int, said: str) -> None:
    done = wanlab("matrix", *arguments)
    assert done.returncode == status
    assert said in complaint(done)


def test_a_machine_that_can_make_no_lab_is_told_once() -> None:
    no_labs = machine("echo 0 > /proc/sys/user/max_user_namespaces; echo 0 > /proc/sys/user/max_pid_namespaces",
                      user_namespace=True)  # fmt: skip
    mtus = ",".join(str(mtu) for mtu in range(1400, 1430))
    command = [
        *no_labs,
        sys.executable,
        "-m",
        "wanlab",
        "matrix",
        "pair.toml",
        "--vary",
        f"left.mtu={mtus}",
        "--",
        "true",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 4
    assert "not one of 8 labs could be made: " in done.stderr.splitlines()[-1]


def test_a_full_disk_is_told_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "small").mkdir()
    script = "test $WANLAB_CELL = mtu=1400 || cat /dev/zero > $WANLAB_RUN/all; true"
    disk = machine(f"mount -t tmpfs -o size=1m tmpfs {tmp_path}/small")
    command = [sys.executable, "-m", "wanlab", "matrix", "pair.toml", "-j1", "--dir", f"{tmp_path}/small"]
    options = ["--vary", "left.mtu=1400,1450,1500", *sh(script)]
    done = subprocess.run([*disk, *command, *options], capture_output=True, text=True, check=False)
    assert done.returncode == 5
    assert "No space left on device; the results so far are kept: make room, and go on with --resume" in done.stderr
    assert "Traceback" not in done.stderr


def test_too_few_open_files_for_so_many_labs_are_told() -> None:
    mtus = ",".join(str(mtu) for mtu in range(1400, 1412))
    command = f"ulimit -Sn 48; exec {sys.executable} -m wanlab matrix pair.toml -j 12 --vary left.mtu={mtus} -- sleep 3"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 2, done
    assert "need more open files" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
