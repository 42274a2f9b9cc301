"""The pytest plugin on a bad day: full disks, programs that cannot start, Ctrl-C, several suites at once."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.labs import descendants, eventually, machine, none_left

PYTEST = (sys.executable, "-m", "pytest", "-p", "no:cacheprovider")


@pytest.fixture
def suite(pytester: pytest.Pytester) -> pytest.Pytester:
    pytester.makeini("[pytest]\nasyncio_default_fixture_loop_scope = function\naddopts = --strict-markers")
    return pytester


def run(suite: pytest.Pytester, *options: str) -> pytest.RunResult:
    return suite.runpytest_subprocess("-p", "no:cacheprovider", *options, timeout=100)


def nothing_is_up(runtime: Path) -> bool:
    return not runtime.is_dir() or not any(each.is_dir() for each in runtime.iterdir())


# -- programs --------------------------------------------------------------------------------------------------------


def test_programs_that_cannot_start_are_told_and_nothing_of_their_labs_is_left(
    suite: pytest.Pytester, runtime: Path
) -> None:
    suite.makepyfile(
        """
        def test_missing(lab): lab["alice"].run(["no-such-program"])
        def test_no_program(lab): lab["alice"].run(["/etc/hosts"])
        def test_missing_server(lab): lab["alice"].serve(["no-such-server"], tcp_port=1)
        def test_server_that_ends(lab): lab["alice"].serve(["sh", "-c", "echo no licence; exit 9"], tcp_port=1)
        def test_server_that_never_listens(lab): lab["alice"].serve(["sleep", "60"], tcp_port=1, timeout_s=0.2)
        def test_good(lab): pass
        """
    )
    result = run(suite)
    result.assert_outcomes(failed=5, passed=1)
    for said in (
        "*no-such-program: command not found*",
        "*/etc/hosts: Permission denied*",
        "*no-such-server: command not found*",
        "*sh in node 'alice' ended before it was ready (exit status 9)*",
        "*sleep in node 'alice' was not ready within 0.2 s: TCP port 1 is not open*",
    ):
        result.stdout.fnmatch_lines([said, "*: topology*"])
    result.stdout.fnmatch_lines(["*no licence*"])
    assert nothing_is_up(runtime)


# -- disks -----------------------------------------------------------------------------------------------------------


def test_a_full_disk_takes_the_packets_and_no_test_its_report(suite: pytest.Pytester, runtime: Path) -> None:
    suite.makepyfile(
        """
        def test_before(lab): assert 0, "before"
        def test_many_packets(lab):
            lab["alice"].run(["ping", "-c500", "-i0.002", "-s1400", "-q", "coordinator"])
            assert 0, "many"
        def test_after(lab): pass
        """
    )
    directory = suite.path / "small"
    directory.mkdir()
    # Of a size that takes the first test's run and not the second's. Its content goes with the mount: list it inside.
    disk = machine(f"mount -t tmpfs -o size=400k tmpfs {directory}")
    inside = 'cd /; "$@"; status=$?; find "$0" -type f -printf "kept %P %s\\n"; exit $status'
    # Labs are seen inside only: /run is that machine's own, and this directory too.
    result = suite.run(*disk, "sh", "-c", inside, str(directory), *PYTEST, f"--rootdir={suite.path}", str(suite.path),
                       f"--wanlab-dir={directory}")  # fmt: skip
    result.assert_outcomes(failed=2, passed=1)
    result.stdout.fnmatch_lines(
        ["*many", "*: topology*", "*packets.pcapng could not be written: No space left on device"]
    )
    kept = dict(re.findall(r"^kept (\S+) (\d+)$", result.stdout.str(), re.MULTILINE))
    runs = {Path(name).parts[0] for name in kept}
    assert any(name.endswith("test_before/packets.pcapng") for name in kept), kept
    assert len(runs - {".gitignore"}) == 2
    assert not any(name.endswith("test_many_packets/packets.pcapng") for name in kept)
    assert not any(name.endswith(".part") for name in kept)
    assert nothing_is_up(runtime)


# -- Ctrl-C ----------------------------------------------------------------------------------------------------------

_LONG = """
import time, pathlib
here = pathlib.Path(__file__).parent
def test_good(lab):
    lab["alice"].run(["ping", "-c1", "coordinator"], check=True)
def test_bad(lab):
    lab["alice"].run(["ping", "-c1", "coordinator"], check=True)
    assert 0, "a result from before"
def test_long(lab, make_lab):
    make_lab("cable")
    lab["coordinator"].serve(["sh", "-c", "echo up; sleep 987"], log_line="up")
    (here / "begun").touch()
    BODY
def test_never(lab):
    (here / "never").touch()
"""


@contextmanager
def on_its_own(suite: pytest.Pytester, *options: str) -> Iterator[subprocess.Popen[str]]:
    """pytest as the leader of a process group, as a shell starts it: that is what Ctrl-C goes to."""
    process = subprocess.Popen(
        [*PYTEST, "-rA", *options], cwd=suite.path, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True, start_new_session=True,
    )  # fmt: skip
    try:
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


@pytest.mark.parametrize(
    ("body", "options"),
    [
        ("time.sleep(600)", ()),
        ('lab["alice"].run(["sh", "-c", "trap true INT TERM; sleep 600; sleep 600"])', ()),
        ("while True: make_lab('cable')", ()),
        ("time.sleep(600)", ("-n1",)),
    ],
    ids=["python", "a program that ignores it", "labs coming up", "xdist"],
)
def test_ctrl_c_leaves_nothing_behind_and_keeps_earlier_results(
    suite: pytest.Pytester, runtime: Path, body: str, options: tuple[str, ...]
) -> None:
    suite.makepyfile(_LONG.replace("BODY", body))
    with on_its_own(suite, *options) as process:
        eventually((suite.path / "begun").exists, "the long test has begun", 60)
        time.sleep(0.3)
        family = descendants(process.pid)
        assert any(each.name == "wanlab-holder" for each in family)
        os.killpg(process.pid, signal.SIGINT)
        output, _ = process.communicate(timeout=60)
    assert process.returncode == pytest.ExitCode.INTERRUPTED, output
    assert "KeyboardInterrupt" in output
    assert re.search(r"^PASSED .*::test_good$", output, re.MULTILINE), output
    assert re.search(r"^FAILED .*::test_bad", output, re.MULTILINE), output
    assert "a result from before" in output
    (record,) = (suite.path / "wanlab-runs").glob("*test_bad/run.json")
    assert "packets.pcapng" in json.loads(record.read_text())["files"]
    assert not (suite.path / "never").exists()
    eventually(lambda: none_left(family) and nothing_is_up(runtime), "processes and directories of labs are gone")


# -- at once ---------------------------------------------------------------------------------------------------------


def test_labs_of_one_name_in_parallel_have_names_of_their_own_and_never_meet(
    suite: pytest.Pytester, runtime: Path
) -> None:
    suite.makepyfile(
        """
        import os, pathlib, pytest, socket
        names = pathlib.Path(__file__).parent / "names"
        @pytest.mark.parametrize("number", range(12))
        def test_it(lab, number):
            with names.open("a") as file:
                file.write(f"{lab.name} {os.getpid()}\\n")
            # The same address and port in every lab: each hears its own alice, once.
            server = lab["coordinator"].socket(socket.AF_INET, socket.SOCK_DGRAM)
            server.bind(("0.0.0.0", 5000))
            client = lab["alice"].socket(socket.AF_INET, socket.SOCK_DGRAM)
            client.sendto(str((number, os.getpid())).encode(), (str(lab["coordinator"].address), 5000))
            server.settimeout(20)
            assert server.recv(100) == str((number, os.getpid())).encode()
            server.settimeout(0.05)
            with pytest.raises(TimeoutError):
                server.recv(100)
            server.close(), client.close()
        """
    )
    run(suite, "-n2").assert_outcomes(passed=12)
    lines = [line.split() for line in (suite.path / "names").read_text().splitlines()]
    assert len({name for name, _ in lines}) == 12
    assert len({worker for _, worker in lines}) == 2
    assert nothing_is_up(runtime)


def test_asynchronous_tests_fail_and_are_cancelled_as_others_are(suite: pytest.Pytester, runtime: Path) -> None:
    suite.makepyfile(
        """
        import asyncio, pytest
        @pytest.fixture
        def anyio_backend(): return "asyncio"
        async def late(lab):
            await asyncio.wait_for(lab["alice"].run_async(["sleep", "600"]), 0.2)
        @pytest.mark.asyncio
        async def test_asyncio(lab): await late(lab)
        @pytest.mark.anyio
        async def test_anyio(lab): await late(lab)
        @pytest.mark.asyncio
        async def test_server_dies(lab):
            await lab["alice"].serve_async(["sh", "-c", "echo up; sleep 0.2; exit 7"], log_line="up")
            await asyncio.sleep(60)
        """
    )
    result = run(suite)
    result.assert_outcomes(failed=3)
    result.stdout.fnmatch_lines(
        ["*TimeoutError*", "*sleep 600: ended by SIGKILL*", "*ended by itself (exit status 7)*"]
    )
    assert nothing_is_up(runtime)
