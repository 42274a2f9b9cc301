"""`up`, `down`, and what happens when they are interrupted."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.cli.command import WANLAB, OnTerminal, complaint, must, nothing_left, wanlab
from tests.support.labs import eventually

FILE = """\
[switch.wire]
[host.left]
link = "wire"
"""


def names() -> list[str]:
    return [lab["name"] for lab in json.loads(must("ls", "--json"))]


def test_up_says_how_to_go_on_and_what_it_says_works() -> None:
    printed = must("up", "two-lans").splitlines()
    assert printed[0].startswith("lab two-lans is up: 6 nodes in ")
    commands = [line.split("  ")[1] for line in printed[1:]]
    assert commands == ["wanlab exec coordinator COMMAND", "wanlab shell", "wanlab down"]
    assert must("exec", "coordinator", "hostname") == "coordinator\n"
    assert must("down") == "lab two-lans is down\n"
    assert names() == []


def test_nothing_is_left_when_down_returns(runtime: Path) -> None:
    must("up", "two-lans")
    assert not nothing_left(runtime)
    must("down")
    assert nothing_left(runtime)


def test_down_ends_the_programs_of_the_lab(two_lans: None) -> None:
    with subprocess.Popen([*WANLAB, "exec", "alice", "sleep", "1000"], stdin=subprocess.DEVNULL) as process:
        eventually(lambda: json.loads(must("ls", "--json"))[0]["programs"] == 1)
        must("down")
        assert process.wait(10) == 128 + signal.SIGKILL


def test_a_second_up_of_the_same_lab_fails_and_leaves_the_first_alone(two_lans: None) -> None:
    second = wanlab("up", "two-lans")
    assert second.returncode == 3
    assert "lab 'two-lans' is up already" in complaint(second)
    assert must("exec", "alice", "hostname") == "alice\n"


def test_labs_of_other_names_stand_side_by_side_and_lab_says_which() -> None:
    must("up", "two-lans", "--name", "first")
    assert "wanlab down --lab second" in must("up", "two-lans", "--name", "second")
    assert names() == ["first", "second"]
    ambiguous = wanlab("exec", "alice", "true")
    assert ambiguous.returncode == 125
    assert "2 labs are up: first, second; say which: --lab NAME" in complaint(ambiguous)
    assert wanlab("down").returncode == 3
    assert must("exec", "--lab", "second", "alice", "printenv", "WANLAB_LAB", "WANLAB_NODE") == "second\nalice\n"
    assert must("exec", "--lab=first", "alice", "printenv", "WANLAB_LAB") == "first\n"
    must("down", "--lab", "first")
    assert names() == ["second"]


def test_down_all_takes_every_lab_down_and_minds_not_if_there_is_none() -> None:
    must("up", "cable")
    must("up", "switch")
    assert must("down", "--all") == "lab cable is down\nlab switch is down\n"
    assert must("down", "--all") == "no lab is up\n"


def test_up_takes_the_lab_file_of_this_directory(tmp_path: Path) -> None:
    (tmp_path / "wanlab.toml").write_text(FILE)
    must("up")
    assert must("exec", "left", "hostname") == "left\n"


def test_up_takes_a_file_by_its_name(tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "pair.toml").write_text(FILE)
    must("up", "below/pair.toml")
    assert names() == ["pair"]


def test_up_verify_proves_the_lab() -> None:
    printed = must("up", "two-lans", "--verify")
    assert "coordinator sees alice over UDP as" in printed
    assert "checks hold" in printed


def test_a_dry_run_says_what_would_be_done_and_does_nothing(runtime: Path) -> None:
    printed = must("up", "two-lans", "--dry-run")
    assert "alice: eth0 has address 10.1.0.1/24" in printed
    assert "cable: home-a lan -- alice eth0" in printed or "cable: alice eth0 -- home-a lan" in printed
    assert "nothing was built" in printed.splitlines()[-1]
    assert not runtime.exists()


def test_up_lets_go_of_the_pipes_that_it_was_given() -> None:
    # The lab stays up; a shell's $(wanlab up ...) must end all the same.
    assert (
        subprocess.check_output(["sh", "-c", 'printed=$("$@"); echo done', "sh", *WANLAB, "up", "cable"]) == b"done\n"
    )


def test_ctrl_c_during_up_leaves_nothing(runtime: Path) -> None:
    with OnTerminal(*WANLAB, "up", "star:1000") as terminal:
        eventually(lambda: runtime.is_dir() and any(path.is_dir() for path in runtime.iterdir()))
        time.sleep(0.1)
        terminal.type("\x03")
        assert terminal.end() == 130
        assert "Traceback" not in terminal.seen
    eventually(lambda: nothing_left(runtime))


def test_ctrl_c_at_any_moment_of_up_prints_no_traceback(runtime: Path) -> None:
    started = "import sys; from wanlab.cli import main; print('on', flush=True); sys.exit(main())"
    for moment in range(0, 400, 15):
        with OnTerminal(sys.executable, "-c", started, "up", "two-lans") as terminal:
            terminal.until("on\r\n")
            time.sleep(moment / 1000)
            terminal.type("\x03")
            status = terminal.end()
            assert "Traceback" not in terminal.seen
            assert ("is up" in terminal.seen) == (status == 0), (moment, status, terminal.seen)
            if status == 0:
                must("down")
            else:
                assert status in (130, 128 + signal.SIGINT)
        eventually(lambda: nothing_left(runtime), f"a Ctrl-C after {moment} ms")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP])
def test_up_that_is_killed_half_way_leaves_nothing(runtime: Path, number: signal.Signals) -> None:
    with subprocess.Popen([*WANLAB, "up", "star:1000"], stdout=subprocess.DEVNULL) as process:
        eventually(lambda: runtime.is_dir() and any(path.is_dir() for path in runtime.iterdir()))
        time.sleep(0.1)
        process.send_signal(number)
        assert process.wait(10) == -number
    eventually(lambda: nothing_left(runtime))


def test_up_shows_its_progress_on_a_terminal_only_when_it_takes_long() -> None:
    with OnTerminal(*WANLAB, "up", "cable") as terminal:
        terminal.until("is up")
        terminal.end()
    assert "building" not in terminal.seen
    with OnTerminal(*WANLAB, "up", "star:1000", env={**os.environ, "TERM": "xterm"}) as terminal:
        seen = terminal.until("lab star-1000 is up", 60)
        assert terminal.end() == 0
    seconds = float(terminal.seen.split(" s")[0].rsplit(" ", 1)[-1])
    assert ("building star-1000" in seen) == (seconds > 1.1) or 1.0 < seconds < 1.5


def test_a_ctrl_c_leaves_labs_that_are_up_alone(two_lans: None) -> None:
    with OnTerminal(*WANLAB, "exec", "alice", "sleep", "1000") as terminal:
        time.sleep(0.3)
        terminal.type("\x03")
        assert terminal.end() == 130
    assert names() == ["two-lans"]


def test_ctrl_c_where_no_exception_gets_out_is_not_lost() -> None:
    code = """if True:
        import os, signal, time, weakref
        from wanlab.cli import repeat_lost_interrupts
        repeat_lost_interrupts()
        class Thing: pass
        thing = Thing()
        about = weakref.ref(thing, lambda _: (os.kill(os.getpid(), signal.SIGINT), time.sleep(0)))
        try:
            del thing
            time.sleep(20)
        except KeyboardInterrupt:
            print("interrupted")
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("interrupted\n", "")
