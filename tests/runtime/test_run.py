"""`host.run` and `host.popen` are what `subprocess.run` and `subprocess.Popen` are, in another place."""

from __future__ import annotations

import io
import os
import resource
import select
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.support.labs import PAIR, eventually, marked, pair, run_program
from wanlab import CommandNotFound, Lab, LabNode, UsageError

PIPE, DEVNULL, STDOUT = subprocess.PIPE, subprocess.DEVNULL, subprocess.STDOUT
BIG = 3_000_000  # many times what a pipe holds
ECHO_TWICE = "import sys; d = sys.stdin.buffer.read(); sys.stdout.buffer.write(d); sys.stderr.buffer.write(d[::-1])"
DROWNS = (  # writes as much as it likes before it reads anything
    f"import sys; sys.stdout.write('x' * {BIG}); sys.stdout.flush(); sys.stderr.write('y' * {BIG});"
    "print(len(sys.stdin.read()))"
)


def sh(words: str) -> list[str]:
    return ["sh", "-c", words]


def outcome(run: Any, args: Any, options: dict[str, Any]) -> Any:
    """All that a caller can see of a call."""
    try:
        done = run(args, **options)
    except subprocess.SubprocessError as error:
        return type(error), vars(error)
    except OSError as error:
        return "OSError", error.errno
    except Exception as error:
        return type(error)
    return done.args, done.returncode, done.stdout, done.stderr


SAME: dict[str, tuple[Any, dict[str, Any]]] = {
    "exit status": (sh("exit 7"), {}),
    "killed by a signal": (sh("kill -9 $$"), {}),
    "ended by SIGTERM": (sh("kill -TERM $$"), {}),
    "bytes": (sh("printf 'a\\377'; printf b >&2"), {"capture_output": True}),
    "text": (sh("printf 'gr\\303\\274n\\n'"), {"capture_output": True, "text": True}),
    "line ends": (sh("printf 'a\\r\\nb\\rc\\n'"), {"capture_output": True, "text": True}),
    "an encoding": (sh("printf 'gr\\374n'"), {"stdout": PIPE, "encoding": "latin-1"}),
    "an error handler": (sh("printf 'a\\377'"), {"stdout": PIPE, "errors": "replace"}),
    "input": (["cat"], {"input": b"abc", "stdout": PIPE}),
    "text input": (["cat"], {"input": "grün\n", "stdout": PIPE, "text": True}),
    "no input": (["cat"], {"input": b"", "stdout": PIPE}),
    "input that nobody reads": (["true"], {"input": b"x" * BIG, "stdout": PIPE}),
    "large streams": ([sys.executable, "-c", ECHO_TWICE], {"input": b"\0\1\2\xff" * 800_000, "capture_output": True}),
    "streams that drown": ([sys.executable, "-c", DROWNS], {"input": "z" * BIG, "capture_output": True, "text": True}),
    "stderr in stdout": (sh("echo a; echo b >&2; echo c"), {"stdout": PIPE, "stderr": STDOUT, "text": True}),
    "only stderr": (sh("echo a >&2"), {"stdout": DEVNULL, "stderr": PIPE}),
    "nothing at all": (sh("cat; echo a; echo b >&2"), {"stdin": DEVNULL, "stdout": DEVNULL, "stderr": DEVNULL}),
    "no standard input": (["cat"], {"stdin": DEVNULL, "stdout": PIPE}),
    "a directory": (["pwd"], {"cwd": "/usr/bin", "stdout": PIPE}),
    "a directory as a path": (["pwd"], {"cwd": Path("/usr"), "stdout": PIPE}),
    "the caller's directory": (["pwd"], {"stdout": PIPE}),
    "a path as a program": ([Path("/bin/echo"), Path("a b")], {"stdout": PIPE}),
    "arguments as they are": (["printf", "[%s]", "", "a b", "*", "$HOME", "'\"\\", "\n", "ü"], {"stdout": PIPE}),
    "an argument that is no UTF-8": (["printf", "%s", os.fsdecode(b"\xff\xfe")], {"stdout": PIPE}),
    "a tuple": (("echo", "a"), {"stdout": PIPE}),
    "check": (sh("echo a; echo b >&2; exit 3"), {"check": True, "capture_output": True}),
    "check of a signal": (sh("kill -INT $$"), {"check": True}),
    "check that passes": (["true"], {"check": True}),
    "the search path of the environment": (["true"], {"env": {"PATH": "/nowhere"}}),
    "no such program": (["no-such-program-here"], {"env": {"PATH": "/usr/bin:/bin"}}),
    "no such file": (["/no/such/program"], {}),
    "not executable": (["/etc/passwd"], {}),
    "a directory as a program": (["/etc"], {}),
    "below a file": (["/etc/passwd/program"], {}),
    "no such directory": (["true"], {"cwd": "/no/such/directory"}),
    "a file as a directory": (["true"], {"cwd": "/etc/passwd"}),
    "a NUL in an argument": (["echo", "a\0b"], {"stdout": PIPE}),
    "a NUL in a variable": (["true"], {"env": {"A": "b\0c"}}),
    "a variable with =": (["true"], {"env": {"A=B": "c"}}),
    "a number as an argument": (["echo", 1], {"stdout": PIPE}),
    "a file without a descriptor": (["true"], {"stdout": io.BytesIO()}),
    "input and stdin": (["cat"], {"input": b"a", "stdin": DEVNULL}),
    "capture_output and stdout": (["true"], {"capture_output": True, "stdout": PIPE}),
}  # fmt: skip


@pytest.mark.parametrize("case", SAME)
def test_a_run_looks_the_same_as_subprocess_makes_it(alice: LabNode, case: str) -> None:
    args, options = SAME[case]
    assert outcome(alice.run, args, options) == outcome(subprocess.run, args, options)


def test_a_run_leaves_no_descriptor_behind_however_it_ends(alice: LabNode) -> None:
    alice.run(["true"])
    before = len(os.listdir("/proc/self/fd"))
    for args, options in SAME.values():
        outcome(alice.run, args, options)
    assert len(os.listdir("/proc/self/fd")) == before


def test_what_a_child_inherits_is_what_subprocess_would_give_it(alice: LabNode) -> None:
    asks = sh(
        "grep -E '^(Umask|SigBlk|SigCgt|NoNewPrivs)' /proc/self/status; ulimit -a; ls /proc/self/fd; nice; env | sort"
    )
    environment = {"PATH": os.environ["PATH"], "A": "b c\nd", "EMPTY": "", "WANLAB_NODE": "alice"}
    options: Any = {"env": environment, "stdin": DEVNULL, "stdout": PIPE, "text": True}
    ours, other = (run(asks, **options).stdout.splitlines() for run in (alice.run, subprocess.run))
    assert ours == other


def test_the_environment_is_the_callers_unless_another_is_given(
    alice: LabNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANLAB_TEST_WORD", "grün \udcff")
    asks = sh('printf %s "$WANLAB_TEST_WORD"')
    assert alice.run(asks, stdout=PIPE).stdout == os.fsencode("grün \udcff")
    assert alice.run(asks, env={"PATH": os.environ["PATH"]}, stdout=PIPE).stdout == b""


def test_a_child_starts_with_every_signal_at_its_default(alice: LabNode) -> None:
    status = alice.run(["grep", "-E", "^Sig(Ign|Blk)|^ShdPnd", "/proc/self/status"], stdout=PIPE, text=True).stdout
    libc = 1 << (32 - 1) | 1 << (33 - 1)  # glibc keeps these two to itself: nobody can set them back
    seen = {line.split()[0]: int(line.split()[1], 16) & ~libc for line in status.splitlines()}
    assert seen == {"SigBlk:": 0, "SigIgn:": 0, "ShdPnd:": 0}


def test_a_child_starts_with_default_signals_though_the_caller_blocks_some() -> None:
    run_program(
        PAIR
        + """
import signal
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM, signal.SIGUSR1, signal.SIGCHLD])
signal.signal(signal.SIGUSR2, signal.SIG_IGN)
with Lab(pair()) as lab:
    assert lab["left"].run(["grep", "^SigBlk:\\t0*$", "/proc/self/status"]).returncode == 0
    assert lab["left"].run(["sh", "-c", "kill -TERM $$"]).returncode == -15
    with lab["left"].popen(["sleep", "100"]) as process:
        process.terminate()
        assert process.wait(10) == -15
"""
    )


def test_a_writer_whose_reader_has_gone_ends_by_sigpipe(alice: LabNode) -> None:
    done = alice.run(["bash", "-c", "yes | head -n1; echo ${PIPESTATUS[0]}"], stdout=PIPE, stderr=PIPE, text=True)
    assert (done.stdout, done.stderr) == ("y\n141\n", "")


def test_a_child_gets_three_descriptors_and_no_more(alice: LabNode) -> None:
    read, write = os.pipe()
    os.set_inheritable(write, True)
    try:
        choices: list[dict[str, Any]] = [{}, {"stdin": PIPE}, {"stdin": PIPE, "stderr": STDOUT}]
        for options in choices:
            with alice.popen(
                sh("exec 9< /proc/self/fd; cd /proc/self/fd; echo *"), stdout=PIPE, text=True, **options
            ) as p:
                assert p.communicate()[0] in ("0 1 2 9\n", "0 1 2 3 9\n")
        alice.popen(["true"]).wait()
        again = alice.run(["ls", "-l", "/proc/self/fd"], stdin=DEVNULL, stdout=PIPE, stderr=DEVNULL, text=True).stdout
        assert "socket:" not in again
    finally:
        os.close(read)
        os.close(write)


def test_files_and_descriptors_are_passed_as_they_are(alice: LabNode, tmp_path: Path) -> None:
    (tmp_path / "in").write_text("from a file\n")
    with open(tmp_path / "in") as given, open(tmp_path / "out", "w") as taken:
        taken.write("before\n")
        taken.flush()
        alice.run(sh("cat; echo problem >&2"), stdin=given, stdout=taken.fileno(), stderr=taken, check=True)
        taken.write("after\n")
    assert (tmp_path / "out").read_text() == "before\nfrom a file\nproblem\nafter\n"


def test_output_goes_to_the_callers_own_where_nothing_is_said(
    alice: LabNode, capfd: pytest.CaptureFixture[str]
) -> None:
    alice.run(sh("echo out; echo err >&2"), check=True)
    assert capfd.readouterr() == ("out\n", "err\n")


def test_a_caller_with_closed_standard_streams_can_run_programs() -> None:
    out = run_program(
        PAIR
        + """
import os, sys
os.close(0)
os.close(2)
with Lab(pair()) as lab:
    assert lab["left"].run(["true"]).returncode == 0
    print(lab["left"].run(["echo", "a"], capture_output=True).stdout)
"""
    )
    assert out == "b'a\\n'\n"


def test_a_missing_program_is_an_oserror_that_says_so(alice: LabNode) -> None:
    with pytest.raises(OSError, match="no-such-program-here: command not found") as caught:
        alice.run(["no-such-program-here"], env={"PATH": "/usr/bin:/bin"})
    assert isinstance(caught.value, CommandNotFound)
    assert caught.value.filename == "no-such-program-here"
    assert caught.value.exit_code == 127


def test_a_program_that_may_not_be_executed_ends_a_command_line_with_126(alice: LabNode) -> None:
    with pytest.raises(CommandNotFound, match="/etc/passwd: Permission denied") as caught:
        alice.run(["/etc/passwd"])
    assert caught.value.exit_code == 126


def test_a_bad_directory_is_an_oserror_that_names_the_directory(alice: LabNode) -> None:
    with pytest.raises(OSError, match="/no/such/directory: No such file"):
        alice.run(["true"], cwd="/no/such/directory")


def test_words_in_one_string_are_refused(alice: LabNode) -> None:
    with pytest.raises(TypeError, match="sequence"):
        alice.run("echo a")
    with pytest.raises((TypeError, ValueError)):
        alice.run([])


def test_a_script_is_found_relative_to_the_given_directory(alice: LabNode, tmp_path: Path) -> None:
    (tmp_path / "script").write_text("#!/bin/sh\necho from script\n")
    (tmp_path / "script").chmod(0o755)
    assert alice.run(["./script"], cwd=tmp_path, stdout=PIPE).stdout == b"from script\n"


def test_a_file_that_a_node_writes_is_the_callers(alice: LabNode, tmp_path: Path) -> None:
    alice.run(["touch", tmp_path / "file"], check=True)
    assert (tmp_path / "file").stat().st_uid == os.geteuid()


def test_the_umask_is_the_one_that_the_caller_has_now(alice: LabNode, tmp_path: Path) -> None:
    alice.run(["true"])
    before = os.umask(0o027)
    try:
        assert alice.run(sh("umask"), stdout=PIPE).stdout == b"0027\n"
    finally:
        os.umask(before)


def test_the_limit_of_open_files_is_the_one_that_the_caller_has_now(alice: LabNode) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    lower = min(soft, hard) - 24
    resource.setrlimit(resource.RLIMIT_NOFILE, (lower, hard))
    try:
        assert alice.run(sh("ulimit -Sn; ulimit -Hn"), stdout=PIPE, text=True).stdout.split()[0] == str(lower)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


# -- timeouts --------------------------------------------------------------------------------------------------------


def test_a_timeout_kills_the_program_and_keeps_what_it_had_written(alice: LabNode) -> None:
    marker = f"600.{uuid.uuid4().int}"
    started = time.monotonic()
    with pytest.raises(subprocess.TimeoutExpired) as caught:
        alice.run(sh(f"trap '' TERM HUP INT; echo early; exec sleep {marker}"), timeout=0.5, stdout=PIPE)
    assert time.monotonic() - started < 10
    assert caught.value.timeout == 0.5
    assert caught.value.output == b"early\n"
    eventually(lambda: not marked(marker))


def test_a_timeout_holds_though_a_grandchild_keeps_the_pipe(alice: LabNode) -> None:
    with pytest.raises(subprocess.TimeoutExpired):
        alice.run(sh("sleep 300 & sleep 300"), timeout=0.3, capture_output=True)


def test_a_timeout_that_does_not_come_changes_nothing(alice: LabNode) -> None:
    done = alice.run(["cat"], input="abc", timeout=30, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "abc")


def test_communicate_can_be_tried_again_after_a_timeout_and_loses_nothing(alice: LabNode) -> None:
    code = (
        "import sys; print('early', flush=True); print(len(sys.stdin.buffer.read())); sys.stdin.close(); print('late')"
    )
    with alice.popen(sh(f'sleep 0.6; exec {sys.executable} -c "{code}"'), stdin=PIPE, stdout=PIPE) as process:
        with pytest.raises(subprocess.TimeoutExpired):
            process.communicate(b"x" * BIG, timeout=0.2)
        assert process.communicate() == (f"early\n{BIG}\nlate\n".encode(), None)


# -- popen -----------------------------------------------------------------------------------------------------------


def test_a_process_can_be_talked_to_line_by_line(alice: LabNode) -> None:
    with alice.popen(["cat"], stdin=PIPE, stdout=PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for line in ("one\n", "zwei\n", "grün\n"):
            process.stdin.write(line)
            process.stdin.flush()
            assert process.stdout.readline() == line
        assert process.poll() is None
        process.stdin.close()
        assert process.wait(10) == 0
        assert process.poll() == 0


def test_what_was_written_before_comes_before_what_communicate_writes(alice: LabNode) -> None:
    with alice.popen(["cat"], stdin=PIPE, stdout=PIPE, text=True) as process:
        assert process.stdin is not None
        process.stdin.write("first ")
        assert process.communicate("second")[0] == "first second"


@pytest.mark.parametrize(
    ("how", "number"), [("terminate", signal.SIGTERM), ("kill", signal.SIGKILL), (signal.SIGUSR1, signal.SIGUSR1)]
)
def test_a_process_can_be_signalled(alice: LabNode, how: Any, number: int) -> None:
    with alice.popen(["sleep", "100"]) as process:
        assert process.poll() is None
        assert process.returncode is None
        if isinstance(how, str):
            getattr(process, how)()
        else:
            process.send_signal(how)
        assert process.wait(10) == process.returncode == -number


def test_signalling_a_process_that_has_ended_does_nothing(alice: LabNode) -> None:
    process = alice.popen(["true"])
    assert process.wait(10) == 0
    process.kill()
    process.terminate()
    process.send_signal(signal.SIGINT)
    assert process.wait() == process.poll() == 0


def test_a_program_sees_signals_that_it_handles(alice: LabNode) -> None:
    with alice.popen(
        sh("trap 'echo caught; exit 5' TERM; echo ready; while :; do sleep 0.02; done"), stdout=PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        process.terminate()
        assert process.stdout.read() == b"caught\n"
        assert process.wait(10) == 5


def test_wait_gives_up_after_its_timeout(alice: LabNode) -> None:
    with alice.popen(["sleep", "100"]) as process:
        with pytest.raises(subprocess.TimeoutExpired, match="sleep"):
            process.wait(0.05)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(timeout=0)
        process.kill()


def test_poll_does_not_wait_while_another_thread_does(alice: LabNode) -> None:
    with alice.popen(["sleep", "100"]) as process:
        waiter = threading.Thread(target=process.wait)
        waiter.start()
        try:
            started = time.monotonic()
            assert process.poll() is None
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(0.1)
            assert time.monotonic() - started < 3
        finally:
            process.kill()
            waiter.join(10)
        assert not waiter.is_alive()
        assert process.poll() == -signal.SIGKILL


def test_the_descriptor_is_readable_once_the_program_has_ended_and_poll_knows_then(alice: LabNode) -> None:
    for _ in range(50):
        with alice.popen(["cat"], stdin=PIPE) as process:
            assert process.stdin is not None
            assert select.select([process], [], [], 0)[0] == []
            process.stdin.close()
            assert select.select([process], [], [], 10)[0] == [process]
            assert process.poll() == 0


def test_the_descriptor_can_be_unregistered_after_the_status_was_read(alice: LabNode) -> None:
    poller = select.epoll()
    with poller, alice.popen(["true"]) as process:
        poller.register(process.fileno(), select.EPOLLIN)
        assert poller.poll(10)
        process.wait()
        os.fstat(process.fileno())
        poller.unregister(process.fileno())


def test_the_pid_is_the_one_that_the_machine_knows(alice: LabNode) -> None:
    marker = f"600.{uuid.uuid4().int}"
    with alice.popen(["sleep", marker]) as process:
        eventually(lambda: marked(marker) == [process.pid])
        os.kill(process.pid, signal.SIGINT)
        assert process.wait(10) == -signal.SIGINT


def test_a_process_that_nobody_holds_on_to_runs_on(alice: LabNode, tmp_path: Path) -> None:
    alice.popen(sh(f"while ! test -e {tmp_path}/go; do sleep 0.02; done; touch {tmp_path}/done"))
    for _ in range(5):
        alice.run(["true"])
    (tmp_path / "go").touch()
    eventually((tmp_path / "done").exists)


def test_processes_that_nobody_holds_on_to_run_on_though_threads_start_others(alice: LabNode) -> None:
    marker = f"600.{uuid.uuid4().int}"

    def work() -> None:
        for _ in range(10):
            alice.popen(["sleep", marker])
            alice.run(["true"])

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    eventually(lambda: len(marked(marker)) == 80)  # a command line is seen a moment after its exec


def test_many_programs_run_at_once(lab: Lab) -> None:
    nodes = [lab[name] for name in ("alice", "bob", "coordinator", "home-a", "wan")]
    processes = [nodes[n % 5].popen(["cat"], stdin=PIPE, stdout=PIPE) for n in range(150)]
    for n, process in reversed(list(enumerate(processes))):
        assert process.communicate(b"%d" % n) == (b"%d" % n, None)
    assert Counter(process.returncode for process in processes) == {0: 150}


def test_a_switch_and_a_router_run_programs_too(lab: Lab) -> None:
    for node in lab:
        assert node.run(["hostname"], stdout=PIPE, text=True).stdout == f"{node.name}\n"


def test_children_and_their_orphans_leave_no_zombie(alice: LabNode) -> None:
    alice.run(sh("for n in 1 2 3 4 5 6 7 8 9; do (sh -c 'sleep 0.0$0 & exit' $n &) ; done"), check=True)
    for _ in range(5):
        alice.popen(["true"]).wait()

    def states() -> list[str]:
        shown: str = alice.run(["ps", "-eo", "stat="], stdout=PIPE, text=True).stdout
        return shown.split()

    eventually(lambda: not any(state.startswith("Z") for state in states()) and len(states()) == 2)


def test_hundreds_of_runs_and_sockets_fit_in_few_descriptors() -> None:
    # The limit is on the program, and so on all that holds the lab: who keeps a descriptor of each runs out of them.
    run_program(
        PAIR
        + """
import os, resource, socket
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
with Lab(pair()) as lab:
    left = lab["left"]
    left.run(["true"])
    before = sorted(os.listdir("/proc/self/fd"))
    for n in range(500):
        left.run(["/bin/true"], check=True, capture_output=n % 2 == 0)
        if n % 4 == 0:
            left.socket().close()
            lab.shell(["/bin/true"]).wait() if n % 40 == 0 else None
            for wrong in (
                lambda: left.run(["no-such"]), lambda: left.run(["true"], cwd="/no"), lambda: left.socket(2, 1, 250)
            ):
                try:
                    wrong()
                except OSError:
                    pass
                else:
                    raise SystemExit("no error")
    assert sorted(os.listdir("/proc/self/fd")) == before, os.listdir("/proc/self/fd")
"""
    )


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may see the descriptors of the process that holds a lab")
def test_the_holder_keeps_no_descriptor_of_what_has_ended(lab: Lab) -> None:
    def descriptors() -> int:
        return len(os.listdir(f"/proc/{lab.pid}/fd"))

    alice = lab["alice"]
    alice.run(["true"])
    lab.shell(["true"]).wait()
    before = eventually(descriptors)
    for args, options in SAME.values():
        outcome(alice.run, args, options)
        alice.socket().close()
    lab.shell(["true"]).wait()
    alice.run(["true"])
    eventually(lambda: descriptors() <= before)


def test_processes_that_end_and_nobody_asks_about_keep_few_descriptors(alice: LabNode) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(200):
        alice.popen(["true"])
    assert len(os.listdir("/proc/self/fd")) < before + 2 * 60


def test_too_many_programs_for_the_descriptors_is_an_error_and_not_the_end_of_the_lab() -> None:
    run_program(
        PAIR
        + """
import resource
from wanlab import WanlabError
soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (40, 40))
lab = Lab(pair()).up()
processes = []
if hard > 40:
    resource.setrlimit(resource.RLIMIT_NOFILE, (40, 40))
import os, sys
# Many clients, each with few descriptors: what overflows is the holder.
children = []
for _ in range(4):
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        mine, refused = [], 0
        for _ in range(12):
            try:
                mine.append(lab["left"].popen(["sleep", "100"]))
            except (OSError, WanlabError):
                refused += 1
        os.write(write, b"%d" % refused)
        os.read(0, 1)
        sys.stdin.close()
        os._exit(0)
    os.close(write)
    children.append((pid, read))
refused = sum(int(os.read(read, 10)) for _, read in children)
assert refused > 0
for pid, read in children:
    os.close(read)
    os.waitpid(pid, 0)
assert lab["left"].run(["echo", "a"], capture_output=True).stdout == b"a\\n"
lab.down()
"""
    )


def test_a_terminal_is_the_programs_own_to_control(alice: LabNode) -> None:
    master, slave = os.openpty()
    try:
        with alice.popen(
            sh("echo ready; exec sleep 100"), stdin=slave, stdout=slave, stderr=slave, terminal=True
        ) as process:
            os.close(slave)
            assert os.read(master, 100) == b"ready\r\n"
            os.write(master, b"\x03")  # what a terminal sends for ^C
            assert process.wait(10) == -signal.SIGINT
    finally:
        os.close(master)


def test_closing_the_with_waits_for_the_program(alice: LabNode, tmp_path: Path) -> None:
    with alice.popen(sh(f"cat; touch {tmp_path}/done"), stdin=PIPE) as process:
        pass
    assert process.returncode == 0
    assert (tmp_path / "done").exists()


def test_a_node_of_a_lab_that_is_down_says_so() -> None:
    with Lab(pair()) as lab:
        left = lab["left"]
    for use in (
        lambda: left.run(["true"]),
        left.socket,
        lambda: lab.shell(["true"]),
        lambda: lab["right"].popen(["true"]),
    ):
        with pytest.raises(UsageError, match="lab 'pair' is not up"):
            use()
