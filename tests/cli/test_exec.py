"""`exec` with pipes and files: stdio, signals and exit status are the program's."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.command import WANLAB, complaint, must, wanlab
from tests.support.labs import eventually, running

pytestmark = pytest.mark.usefixtures("two_lans")

# Tells which signals it gets, and that it is there.
TRAPPER = """
for name in HUP INT QUIT USR1 USR2 TERM ALRM WINCH; do trap "echo $name" $name; done
echo ready
while :; do sleep 0.05; done
"""


def start(*arguments: str, **options: object) -> subprocess.Popen[str]:
    return subprocess.Popen(  # type: ignore[call-overload, no-any-return]
        [*WANLAB, "exec", *arguments],
        **{"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, **options},
    )


def test_it_passes_stdio_through() -> None:
    done = wanlab("exec", "alice", "--", "sh", "-c", "cat; echo err >&2", input="in\n")
    assert (done.stdout, done.stderr) == ("in\n", "err\n")


@pytest.mark.parametrize("way", [("exec", "alice", "--"), ("exec", "alice"), ("exec", "--lab", "two-lans", "alice")])
def test_the_programs_own_options_are_the_programs(way: tuple[str, ...]) -> None:
    assert must(*way, "echo", "-h", "--lab", "--", "-x") == "-h --lab -- -x\n"


def test_bytes_that_are_no_text_come_through() -> None:
    sent = bytes(range(256)) * 1000
    done = subprocess.run([*WANLAB, "exec", "alice", "cat"], input=sent, capture_output=True, check=True)
    assert done.stdout == sent


def test_the_program_has_the_very_files_it_was_given(tmp_path: Path) -> None:
    with (tmp_path / "file").open("wb") as file:
        command = [*WANLAB, "exec", "alice", "readlink", "/proc/self/fd/1"]
        subprocess.run(command, stdout=file, stdin=subprocess.DEVNULL, check=True)
    assert (tmp_path / "file").read_text() == f"{tmp_path / 'file'}\n"


def test_it_runs_where_it_was_called_with_the_environment_it_was_called_with(tmp_path: Path) -> None:
    printed = must("exec", "alice", "sh", "-c", "pwd; echo $FLAVOUR", env={**os.environ, "FLAVOUR": "salty"})
    assert printed == f"{tmp_path}\nsalty\n"


@pytest.mark.parametrize("status", [0, 1, 42, 255])
def test_the_exit_status_is_the_programs(status: int) -> None:
    assert wanlab("exec", "alice", "sh", "-c", f"exit {status}").returncode == status


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV])
def test_a_program_that_a_signal_ended_gives_128_and_the_signal(number: signal.Signals) -> None:
    assert wanlab("exec", "alice", "sh", "-c", f"kill -{int(number)} $$").returncode == 128 + number


def test_a_missing_program_is_127() -> None:
    done = wanlab("exec", "alice", "nosuchprogram")
    assert done.returncode == 127
    assert complaint(done) == "nosuchprogram: command not found"


def test_a_file_that_is_no_program_is_126(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("text")
    done = wanlab("exec", "alice", "./text")
    assert done.returncode == 126
    assert complaint(done) == "./text: Permission denied"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("alic", "true"), "no node 'alic' in lab 'two-lans'; did you mean 'alice'?"),
        (("--lab", "two-lan", "alice", "true"), "no lab 'two-lan' is up; did you mean 'two-lans'?"),
        (("alice",), "missing argument 'COMMAND'"),
        (("alice", "--"), "missing argument 'COMMAND'"),
        ((), "missing argument 'NODE'"),
        (("--lap", "x", "alice", "true"), "no such option: --lap"),
    ],
)
def test_what_wanlab_itself_gets_wrong_is_125(arguments: tuple[str, ...], words: str) -> None:
    done = wanlab("exec", *arguments)
    assert done.returncode == 125
    assert words in complaint(done)


@pytest.fixture
def no_signal_ignored() -> Iterator[None]:
    """Whoever runs the tests may ignore some (nohup does), and what is ignored stays so in children."""
    before = {name: signal.signal(name, signal.SIG_DFL) for name in (signal.SIGHUP, signal.SIGQUIT)}
    yield
    for name, handler in before.items():
        signal.signal(name, handler)


@pytest.mark.usefixtures("no_signal_ignored")
def test_signals_are_handed_on() -> None:
    with start("alice", "sh", "-c", TRAPPER) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        for name in ("HUP", "INT", "QUIT", "USR1", "USR2", "TERM", "ALRM", "WINCH"):
            process.send_signal(signal.Signals[f"SIG{name}"])
            assert process.stdout.readline() == f"{name}\n"
        process.kill()


def test_an_interrupt_reaches_everything_that_the_program_runs() -> None:
    with start("alice", "sh", "-c", "sleep 1000 | sleep 1000; echo never") as process:
        time.sleep(0.3)
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 128 + signal.SIGINT


def test_the_program_dies_with_the_exec_that_is_killed() -> None:
    with start("alice", "sh", "-c", "sleep 987654 & echo here; wait") as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.kill()
        process.wait()
    eventually(lambda: not _sleeping("987654"))


def test_stopped_and_continued_it_stops_and_continues_the_program() -> None:
    with start("alice", "sh", "-c", "echo here; while :; do echo tick; sleep 0.02; done") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "here\n"
        process.send_signal(signal.SIGTSTP)
        eventually(lambda: _state(process.pid) == "T")
        time.sleep(0.2)
        os.set_blocking(process.stdout.fileno(), False)
        while _read_some(process.stdout.fileno()):
            pass
        time.sleep(0.2)
        assert not _read_some(process.stdout.fileno()), "the program goes on while we are stopped"
        process.send_signal(signal.SIGCONT)
        eventually(lambda: _read_some(process.stdout.fileno()) if process.stdout else b"")
        process.kill()


def test_signals_that_the_caller_ignores_stay_ignored() -> None:
    with start("alice", "sh", "-c", "echo here; sleep 0.5; echo done", preexec_fn=_ignore_hangups) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "here\n"
        process.send_signal(signal.SIGHUP)
        assert process.stdout.readline() == "done\n"
        assert process.wait(10) == 0


def test_a_reader_that_leaves_early_ends_the_program_as_anywhere() -> None:
    pipeline = 'set -o pipefail; "$@" yes | head -n 1'
    done = subprocess.run(
        ["bash", "-c", pipeline, "bash", *WANLAB, "exec", "alice"], capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.stderr, done.returncode) == ("y\n", "", 128 + signal.SIGPIPE)


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_it_works_with_closed_descriptors(closed: str) -> None:
    done = subprocess.run(["sh", "-c", f'"$@" {closed}', "sh", *WANLAB, "exec", "alice", "true"], check=False)
    assert done.returncode == 0


def test_pipes_are_as_fast_as_without_us() -> None:
    started = time.monotonic()
    command = '"$@" cat /dev/zero | head -c 1000000000 | wc -c'
    printed = subprocess.check_output(["sh", "-c", command, "sh", *WANLAB, "exec", "alice"], stderr=subprocess.DEVNULL)
    assert printed.strip() == b"1000000000"
    assert time.monotonic() - started < 10  # a copy through Python would take longer than that


def test_inside_a_lab_the_lab_is_known(two_lans: None) -> None:
    must("up", "cable")
    inner = ("exec", "--lab", "two-lans", "alice", "--", *WANLAB, "exec", "bob", "hostname")
    assert must(*inner) == "bob\n"


def _ignore_hangups() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)


def _state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def _read_some(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 65536)
    except BlockingIOError:
        return b""


def _sleeping(argument: str) -> list[int]:
    found = []
    for pid, process in running().items():
        if process.name == "sleep":
            try:
                words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if argument.encode() in words:
                found.append(pid)
    return found


def test_a_program_inside_a_lab_finds_the_lab_without_a_login_of_its_own() -> None:
    nested = must("exec", "alice", "env", "-u", "XDG_RUNTIME_DIR", *WANLAB, "exec", "bob", "hostname")
    assert nested == "bob\n"
