"""`exec` and `shell` on a terminal: as if the program ran right there."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.cli.command import WANLAB, OnTerminal, must
from tests.support.labs import eventually

pytestmark = pytest.mark.usefixtures("two_lans")

BASH = ("bash", "--norc", "--noprofile", "-i")


def environment(**more: str) -> dict[str, str]:
    return {**os.environ, "PS1": "READY> ", "TERM": "xterm", **more}


def test_the_program_has_a_controlling_terminal_of_its_own() -> None:
    with OnTerminal(
        *WANLAB, "exec", "alice", "sh", "-c", "tty && tty </dev/tty && test -t 0 -a -t 1 -a -t 2"
    ) as terminal:
        assert terminal.end() == 0
    assert terminal.seen.count("/dev/") == 2


def test_what_is_typed_arrives_and_what_is_printed_is_seen() -> None:
    with OnTerminal(*WANLAB, "exec", "alice", "cat") as terminal:
        time.sleep(0.3)
        terminal.type("hello\n")
        terminal.until("hello\r\nhello\r\n")
        terminal.type("\x04")
        assert terminal.end() == 0


def test_ctrl_c_reaches_the_program_and_its_status_is_ours() -> None:
    with OnTerminal(
        *WANLAB, "exec", "alice", "sh", "-c", "trap 'exit 7' INT; echo on; while :; do sleep 0.1; done"
    ) as t:
        t.until("on")
        t.type("\x03")
        assert t.end() == 7
        assert t.is_as_before
    with OnTerminal(*WANLAB, "exec", "alice", "sleep", "1000") as t:
        time.sleep(0.4)
        t.type("\x03")
        assert t.end() == 130


def test_ctrl_backslash_ends_the_program() -> None:
    with OnTerminal(*WANLAB, "exec", "alice", "sh", "-c", "ulimit -c 0; echo on; exec sleep 1000") as terminal:
        terminal.until("on")
        time.sleep(0.1)
        terminal.type("\x1c")
        assert terminal.end() == 128 + signal.SIGQUIT


def test_the_terminal_is_raw_meanwhile_and_restored_after() -> None:
    with OnTerminal(*WANLAB, "exec", "alice", "sh", "-c", "echo on; cat") as terminal:
        terminal.until("on")
        assert not terminal.is_as_before
        terminal.type("\x04")
        terminal.end()
        assert terminal.is_as_before


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_the_terminal_is_restored_when_a_signal_ends_us(number: signal.Signals) -> None:
    with OnTerminal(*WANLAB, "exec", "alice", "sh", "-c", "echo on; exec sleep 1000") as terminal:
        terminal.until("on")
        time.sleep(0.1)
        os.kill(terminal.child(), number)
        assert terminal.end() == 128 + number
        assert terminal.is_as_before


def test_the_terminal_is_restored_when_the_lab_goes_down() -> None:
    with OnTerminal(*WANLAB, "exec", "alice", "sh", "-c", "echo on; exec sleep 1000") as terminal:
        terminal.until("on")
        must("down")
        assert terminal.end() == 128 + signal.SIGKILL
        assert terminal.is_as_before


def test_the_terminal_is_restored_when_there_is_no_such_program() -> None:
    with OnTerminal(*WANLAB, "exec", "alice", "nosuchprogram") as terminal:
        assert terminal.end() == 127
        assert terminal.is_as_before
    assert terminal.seen == "wanlab: nosuchprogram: command not found\r\n"


def test_the_window_size_is_the_programs_too_and_follows() -> None:
    script = "trap 'stty size' WINCH; stty size; while :; do sleep 0.05; done"
    with OnTerminal(*WANLAB, "exec", "alice", "sh", "-c", script, rows=30, columns=100) as terminal:
        terminal.until("30 100")
        terminal.resize(40, 120)
        terminal.until("40 120")
        terminal.type("\x03")
        terminal.end()


def test_jobs_are_controlled_inside() -> None:
    with OnTerminal(*WANLAB, "exec", "alice", "--", *BASH, env=environment()) as terminal:
        terminal.until("READY> ")
        terminal.type("sleep 1000\n")
        time.sleep(0.3)
        terminal.type("\x1a")
        terminal.until("Stopped")
        terminal.until("READY> ")
        terminal.type("fg\n")
        terminal.until("sleep 1000\r\n")
        time.sleep(0.2)
        terminal.type("\x03")
        terminal.until("READY> ")
        terminal.type("echo $?; exit 5\n")
        terminal.until("130")
        assert terminal.end() == 5
    assert "no job control" not in terminal.seen


def test_it_is_a_job_of_the_shell_outside() -> None:
    with OnTerminal(*BASH, env=environment()) as terminal:
        terminal.until("READY> ")
        command = " ".join([*WANLAB, "exec", "alice", "sh", "-c", "'echo on; read x; echo got-$x'"])
        terminal.type(f"{command}\n")
        terminal.until("on\r\n")
        for _ in range(2):
            os.kill(eventually(lambda: _exec_below(terminal)), signal.SIGTSTP)
            terminal.until("Stopped")
            terminal.until("READY> ")
            terminal.type("echo ech''oed\n")  # the shell's terminal works while we are stopped
            terminal.until("echoed")
            terminal.until("READY> ")
            terminal.type("fg\n")
            terminal.until("'\r\n")
            time.sleep(0.3)
        terminal.type("this\n")
        terminal.until("got-this")
        terminal.until("READY> ")
        terminal.type("exit\n")
        terminal.end()


def test_all_of_a_programs_last_words_are_seen() -> None:
    with OnTerminal(*WANLAB, "exec", "alice", "sh", "-c", "seq 1 20000") as terminal:
        terminal.until("20000\r\n")
        assert terminal.end() == 0


def test_a_long_paste_into_a_program_that_prints_a_lot_does_not_hang() -> None:
    with OnTerminal(
        *WANLAB, "exec", "alice", "sh", "-c", "stty raw -echo; echo on; head -c 300000 | wc -c"
    ) as terminal:
        terminal.until("on")
        os.set_blocking(terminal._ours, False)
        left = 300000
        while left:
            try:
                left -= os.write(terminal._ours, b"x" * min(left, 4096))
            except BlockingIOError:
                time.sleep(0.001)
        terminal.until("300000")


def test_a_program_that_lets_go_of_its_terminal_may_end_in_its_own_time() -> None:
    with OnTerminal(*WANLAB, "exec", "alice", "sh", "-c", "exec <&- >&- 2>&-; sleep 0.5; exit 4") as terminal:
        assert terminal.end() == 4


def test_a_daemon_that_keeps_the_terminal_open_does_not_keep_us() -> None:
    with OnTerminal(*WANLAB, "exec", "alice", "sh", "-c", "setsid sleep 5 & echo over") as terminal:
        started = time.monotonic()
        assert terminal.end() == 0
        assert time.monotonic() - started < 4
    assert "over" in terminal.seen


def test_the_program_is_hung_up_on_when_the_window_closes() -> None:
    with OnTerminal(*WANLAB, "exec", "alice", "sh", "-c", "echo on; exec sleep 1000") as terminal:
        terminal.until("on")
        terminal.hang_up()
        terminal.process.wait(10)
    eventually(lambda: '"programs": 0' in must("ls", "--json"))


def test_stderr_that_is_no_terminal_stays_apart() -> None:
    command = [*WANLAB, "exec", "alice", "sh", "-c", "echo out; echo err >&2"]
    with OnTerminal(*command, stderr=subprocess.PIPE) as terminal:
        assert terminal.process.stderr is not None
        assert terminal.process.stderr.read() == b"err\n"
        assert terminal.end() == 0
        terminal.process.stderr.close()
    assert terminal.seen == "out\r\n"


def test_with_stdin_from_a_pipe_nothing_comes_between() -> None:
    with OnTerminal("sh", "-c", f"echo piped | {' '.join(WANLAB)} exec alice sh -c 'cat; tty <&1'") as terminal:
        assert terminal.end() == 0
        assert os.ttyname(terminal._theirs) in terminal.seen
        assert "piped" in terminal.seen


@pytest.mark.parametrize("more", [{}, {"PROMPT_COMMAND": "echo 'it'\\''s mine'"}])
def test_shell_opens_the_users_shell_in_the_node_and_says_so_in_its_prompt(
    tmp_path: Path, more: dict[str, str]
) -> None:
    (tmp_path / ".bashrc").write_text("PS1='> '\n")
    env = environment(SHELL="/bin/bash", HOME=str(tmp_path), **more)
    with OnTerminal(*WANLAB, "shell", "alice", env=env) as terminal:
        if more:
            terminal.until("it's mine")
        terminal.until("(alice) ")
        terminal.type("hostname; exit 3\n")
        terminal.until("alice\r\n")
        assert terminal.end() == 3


def test_a_plain_shell_tells_its_node_as_well() -> None:
    with OnTerminal(*WANLAB, "shell", "alice", env=environment(SHELL="/bin/sh", HOME="/nowhere")) as terminal:
        terminal.until("alice")
        terminal.type("exit\n")
        assert terminal.end() == 0


def test_in_a_shell_of_no_node_the_articles_commands_work_as_typed() -> None:
    with OnTerminal(*WANLAB, "shell", env=environment(SHELL="/bin/bash", HOME="/nowhere")) as terminal:
        terminal.until("two-lans")
        terminal.type("ip netns exec alice ping -c1 172.16.0.100\n")
        terminal.until("1 received")
        terminal.type("ip netns exec bob hostname -I; exit\n")
        terminal.until("10.2.0.1")
        assert terminal.end() == 0


def test_shell_reads_commands_from_a_pipe() -> None:
    shell = {**os.environ, "SHELL": "/bin/sh"}
    assert must("shell", "alice", input="hostname\n", env=shell) == "alice\n"
    assert "10.2.0.1" in must("shell", input="ip -n bob address\n", env=shell)


def _exec_below(terminal: OnTerminal) -> int:
    """The PID of the `wanlab exec` that the shell in *terminal* has started."""
    from tests.support.labs import descendants

    return next((p.pid for p in descendants(terminal.process.pid) if p.name.startswith("python")), 0)
