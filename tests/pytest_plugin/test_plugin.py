"""The pytest plugin, as a test suite's author sees it: each test here runs a test suite of its own."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.labs import descendants, eventually, machine, none_left

ENDS = {
    "alice:eth0", "bob:eth0", "coordinator:eth0", "home-a:lan", "home-a:wan", "home-b:lan", "home-b:wan",
    "wan:coordinator", "wan:home-a", "wan:home-b",
}  # fmt: skip


@pytest.fixture
def suite(pytester: pytest.Pytester) -> pytest.Pytester:
    pytester.makeini("[pytest]\nasyncio_default_fixture_loop_scope = function\naddopts = --strict-markers")
    return pytester


def run(suite: pytest.Pytester, *options: str) -> pytest.RunResult:
    return suite.runpytest_subprocess("-p", "no:cacheprovider", *options, timeout=60)


def labs_up() -> list[str]:
    done = subprocess.run([sys.executable, "-m", "wanlab", "ls"], capture_output=True, text=True, check=True)
    return [line.split()[0] for line in done.stdout.splitlines() if "two-lans." in line]


def test_a_lab_is_all_it_takes_and_each_test_has_its_own(suite: pytest.Pytester) -> None:
    suite.makepyfile(
        """
        def test_one(lab):
            lab["alice"].run(["ping", "-c1", "coordinator"], check=True)
            lab["alice"].run(["ip", "link", "del", "eth0"], check=True)
        def test_two(lab):
            lab["alice"].run(["ping", "-c1", "coordinator"], check=True)
        """
    )
    run(suite).assert_outcomes(passed=2)
    assert not (suite.path / "wanlab-runs").exists()
    assert not labs_up()


def test_a_lab_is_chosen_by_mark_file_topology_and_factory(suite: pytest.Pytester) -> None:
    suite.path.joinpath("mine.toml").write_text('[switch.lan]\n[host.one]\nlink = "lan"\n[host.two]\nlink = "lan"\n')
    suite.makepyfile(
        test_marks="""
        import pytest
        from wanlab import Topology
        def built():
            t = Topology("built")
            t.host("server", t.switch("wan"))
            return t
        @pytest.mark.lab("star:3")
        def test_catalogue(lab): assert "h3" in lab
        @pytest.mark.lab("mine.toml")
        def test_file(lab): assert "two" in lab
        @pytest.mark.lab(built())
        def test_topology(lab): assert "server" in lab
        @pytest.mark.lab(lab=built)
        def test_function(lab): assert "server" in lab
        def test_factory(make_lab):
            first, second = make_lab(built()), make_lab(built())
            assert first.name != second.name and first["server"].run(["true"]).returncode == 0
        """,
        test_fixture="""
        import pytest
        from wanlab import Topology
        @pytest.fixture
        def topology():
            t = Topology("fixture")
            t.host("lonely", t.switch("wan"))
            return t
        def test_it(lab): assert "lonely" in lab
        """,
    )
    run(suite).assert_outcomes(passed=6)


def test_a_lab_is_shared_within_the_scope_that_is_asked_for(suite: pytest.Pytester) -> None:
    suite.makepyfile(
        """
        import pytest
        pids = []
        @pytest.mark.lab(scope="module")
        class TestShared:
            def test_one(self, lab): pids.append(lab.pid)
            def test_two(self, lab): pids.append(lab.pid)
        def test_fresh(lab): pids.append(lab.pid)
        def test_all(): assert pids[0] == pids[1] != pids[2]
        """
    )
    run(suite).assert_outcomes(passed=4)


def test_a_failing_test_tells_what_is_known_of_its_lab(suite: pytest.Pytester) -> None:
    suite.makepyfile(
        """
        def test_it(lab):
            lab["alice"].run(["ping", "-c1", "coordinator"], capture_output=True)
            lab["coordinator"].serve(["sh", "-c", "echo here I am; sleep 60"], log_line="here")
            assert 1 + 1 == 3
        """
    )
    result = run(suite)
    result.assert_outcomes(failed=1)
    for line in (
        "*assert (1 + 1) == 3",
        "*: topology*", "*home-a  router 172.16.0.1, NAT article",
        "*: processes*", "alice: ping -c1 coordinator: exit status 0", "*coordinator: sh -c *: runs", "    here I am",
        "*: routes*", "alice *default via 10.1.0.254 dev eth0",
        "*: rules of home-a*", "*counter packets 1 bytes 84 masquerade*",
        "*: packets*",
    ):  # fmt: skip
        result.stdout.fnmatch_lines([line])
    directory = suite.path / "wanlab-runs" / "test_a_failing_test_tells_what_is_known_of_its_lab.py-test_it"
    result.stdout.fnmatch_lines([str(directory)])
    said = subprocess.run(["capinfos", directory / "packets.pcapng"], capture_output=True, text=True, check=True).stdout
    assert {line.split(" = ")[1] for line in said.splitlines() if "Name = " in line} == ENDS
    assert (directory / "run.json").exists()
    assert not labs_up()


def test_packets_of_tests_that_pass_are_kept_where_that_is_asked_for(suite: pytest.Pytester) -> None:
    suite.makepyfile("def test_it(lab): pass")
    run(suite, "--wanlab-capture=always", "--wanlab-dir=mine").assert_outcomes(passed=1)
    assert len(list(suite.path.glob("mine/*test_it/packets.pcapng"))) == 1


def test_nothing_is_kept_where_that_is_asked_for(suite: pytest.Pytester) -> None:
    suite.makepyfile("def test_it(lab): assert 0")
    run(suite, "--wanlab-capture=never").assert_outcomes(failed=1)
    assert not (suite.path / "wanlab-runs").exists()


def test_a_disk_that_is_full_takes_no_test_its_report(suite: pytest.Pytester) -> None:
    suite.makepyfile("def test_it(lab): assert 0")
    suite.path.joinpath("wanlab-runs").write_text("a file, so that there can be no directory")
    result = run(suite)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*: topology*", "*could not be written*"])


def test_a_disk_that_fills_up_takes_a_test_its_captures_and_nothing_else(suite: pytest.Pytester) -> None:
    """A disk with room for the small files and not for the packets."""
    suite.makepyfile(
        """
        import pytest
        @pytest.mark.parametrize("number", range(2))
        def test_it(lab, number):
            lab["alice"].run(["ping", "-c100", "-i0.002", "-s1400", "coordinator"], check=True, capture_output=True)
            assert 0
        def test_good(lab): pass
        """
    )
    runs = suite.mkdir("wanlab-runs")
    result = suite.run(*machine(f"mount -t tmpfs -o size=256k tmpfs {runs}"), sys.executable, "-m", "pytest",
                       "-p", "no:cacheprovider")  # fmt: skip
    result.assert_outcomes(failed=2, passed=1)
    result.stdout.fnmatch_lines(["*: topology*", "*packets.pcapng could not be written: No space left on device"])
    assert "INTERNALERROR" not in result.stdout.str()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_suite_that_is_cut_off_leaves_nothing_and_keeps_what_it_has(
    suite: pytest.Pytester, runtime: Path, number: signal.Signals
) -> None:
    suite.makepyfile(
        """
        import time
        def test_bad(lab): assert 0
        def test_good(lab): pass
        def test_long(lab, make_lab):
            lab["coordinator"].serve(["sh", "-c", "echo on; exec sleep 1000"], log_line="on")
            make_lab("two-lans")["alice"].run(["sh", "-c", "touch here; exec sleep 1000"])
        def test_never(lab): pass
        """
    )
    command = [sys.executable, "-m", "pytest", "-v", "-p", "no:cacheprovider", "--junitxml=junit.xml"]
    with (suite.path / "printed").open("w") as output:
        process = subprocess.Popen(command, cwd=suite.path, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
    eventually((suite.path / "here").exists, "the third test runs", seconds=40)
    of_suite = descendants(process.pid)
    assert any(each.name == "sleep" for each in of_suite)
    process.send_signal(number)
    process.wait(40)
    printed = (suite.path / "printed").read_text()
    eventually(lambda: none_left(of_suite), "all that the suite has started has ended")
    eventually(lambda: not any(path.is_dir() for path in runtime.iterdir()), "no lab is up")
    for line in ("test_bad FAILED", "test_good PASSED"):
        assert line in printed
    (recorded,) = (suite.path / "wanlab-runs").glob("*test_bad")
    assert (recorded / "packets.pcapng").exists()
    if number == signal.SIGINT:
        assert process.returncode == 2
        assert "1 failed, 1 passed" in printed
        assert (suite.path / "junit.xml").read_text().count("<testcase") >= 2


def test_the_lab_of_a_failing_test_stays_up_where_that_is_asked_for(suite: pytest.Pytester) -> None:
    suite.makepyfile(
        """
        def test_bad(lab):
            lab["coordinator"].serve(["sh", "-c", "echo up; sleep 60"], log_line="up")
            assert 0
        def test_good(lab): pass
        """
    )
    result = run(suite, "--wanlab-keep")
    (name,) = labs_up()
    try:
        result.stdout.fnmatch_lines([f"wanlab shell --lab {name} *"])
        ps = [sys.executable, "-m", "wanlab", "exec", "--lab", name, "coordinator", "ps", "-A", "-o", "args"]
        assert "echo up; sleep 60" in subprocess.run(ps, capture_output=True, text=True, check=True).stdout
    finally:
        subprocess.run([sys.executable, "-m", "wanlab", "down", "--lab", name], check=True)


def test_a_server_that_dies_fails_its_test_at_once(suite: pytest.Pytester) -> None:
    suite.makepyfile(
        """
        import asyncio, time
        def serve(lab):
            lab["coordinator"].serve(["sh", "-c", "echo no more ports; sleep 0.2; exit 3"], log_line="ports")
        def test_waiting(lab):
            serve(lab)
            try:
                time.sleep(50)
            except Exception:
                pass
        def test_looping(lab):
            serve(lab)
            asyncio.run(asyncio.sleep(50))
        """
    )
    result = run(suite, "--durations=0")
    result.assert_outcomes(failed=2)
    result.stdout.fnmatch_lines(["*sh in node 'coordinator' ended by itself (exit status 3)*", "*no more ports"])


def test_asynchronous_tests_have_labs_too(suite: pytest.Pytester) -> None:
    suite.makepyfile(
        """
        import pytest
        @pytest.mark.asyncio
        async def test_asyncio(lab):
            assert (await lab["alice"].run_async(["ping", "-c1", "coordinator"])).returncode == 0
        @pytest.mark.anyio
        async def test_anyio(lab):
            assert (await lab["bob"].run_async(["ping", "-c1", "coordinator"])).returncode == 0
        @pytest.fixture
        def anyio_backend(): return "asyncio"
        """
    )
    run(suite).assert_outcomes(passed=2)


def test_tests_in_parallel_do_not_meet(suite: pytest.Pytester) -> None:
    suite.makepyfile(
        """
        import pytest
        @pytest.mark.parametrize("number", range(8))
        def test_it(lab, number):
            lab["alice"].run(["ping", "-c1", "coordinator"], check=True)
        """
    )
    run(suite, "-n2").assert_outcomes(passed=8)


def test_a_matrix_of_nats_has_a_test_for_each_pair(suite: pytest.Pytester) -> None:
    suite.makepyfile(
        """
        import pytest
        @pytest.mark.nat_matrix("home-a", "home-b", nats=["linux", "symmetric"], ordered=False)
        @pytest.mark.vary("alice.mtu", [1280, 1500])
        def test_it(lab, variation):
            assert lab.network["home-a"].nat.name == variation["home-a.nat"]
            assert lab["alice"].interface("eth0").mtu == int(variation["alice.mtu"])
        """
    )
    result = run(suite, "-v")
    result.assert_outcomes(passed=6)
    result.stdout.fnmatch_lines(["*test_it[[]linux+symmetric+mtu=1280] PASSED*"])


def test_a_matrix_without_names_is_all_nats(suite: pytest.Pytester) -> None:
    suite.makepyfile("import pytest\n@pytest.mark.nat_matrix('home-a', 'home-b')\ndef test_it(lab): pass\n")
    run(suite, "--collect-only", "-q").stdout.fnmatch_lines(["144 tests collected*"])


@pytest.mark.parametrize(
    ("mark", "said"),
    [
        ("lab('two-lan')", "*did you mean 'two-lans'?"),
        ("lab('no.toml')", "*there is no file 'no.toml'*"),
        ("lab('two-lans', scope='modul')", "*there is no scope 'modul'*"),
        ("lab(3)", "*3 is no lab*"),
        ("nat_matrix('home-a', nats=['linus'])", "*did you mean 'linux'?"),
        ("nat_matrix('home-c', nats=['linux'])", "*no node 'home-c' in lab 'two-lans'*"),
        ("vary('mtu', [1])", "*'mtu' is no place of a lab*"),
    ],
)
def test_a_mark_that_cannot_be_meant_is_told(suite: pytest.Pytester, mark: str, said: str) -> None:
    suite.makepyfile(f"import pytest\n@pytest.mark.{mark}\ndef test_it(lab): pass\n")
    result = run(suite)
    assert result.ret != 0
    assert "Traceback" not in result.stdout.str() + result.stderr.str()
    whole = [*result.outlines, *result.errlines]
    assert any(Path(line).match(said) or __import__("fnmatch").fnmatch(line, said) for line in whole), whole


def test_where_there_can_be_no_lab_tests_are_skipped_with_reason_and_cure(suite: pytest.Pytester) -> None:
    suite.makepyfile("def test_it(lab): pass")
    no_labs = machine("echo 0 > /proc/sys/user/max_user_namespaces; echo 0 > /proc/sys/user/max_pid_namespaces",
                      user_namespace=True)  # fmt: skip
    command = [*no_labs, sys.executable, "-m", "pytest", "-p", "no:cacheprovider"]
    result = suite.run(*command)
    result.assert_outcomes(skipped=1)
    result.stdout.fnmatch_lines(["1 skipped: no lab can be made here: *namespaces*", "*wanlab doctor*"])
    suite.run(*command, "--wanlab-require").assert_outcomes(errors=1)


def test_tests_without_labs_pay_for_nothing(suite: pytest.Pytester) -> None:
    suite.makepyfile(
        """
        import sys
        def test_it():
            assert not [name for name in sys.modules if name.startswith("wanlab.") and "plugin" not in name]
        """
    )
    run(suite).assert_outcomes(passed=1)
