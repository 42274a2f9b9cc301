"""What cannot be meant: one line that says what, where and what to do; an exit code; nothing left behind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.command import WANLAB, complaint, must, nothing_left, wanlab
from tests.support.labs import eventually, machine

WIRE = "[switch.wire]\n"

FILES = {
    "an unknown key": (WIRE + '[host.a]\nlink = "wire"\nadress = "10.0.0.1"\n', ":4:", "address"),
    "a misspelt name": (WIRE + '[host.a]\nlink = "wier"\n', ":3:", "did you mean 'wire'?"),
    "overlapping subnets": (
        '[switch.x]\nsubnet = "10.0.0.0/8"\n[switch.y]\nsubnet = "10.1.0.0/16"\n',
        ":3:",
        "overlap",
    ),
    "a duplicate address": (
        '[switch.x]\nsubnet = "10.0.0.0/24"\n[host.a]\nlink = "x"\naddress = "10.0.0.1"\n'
        '[host.b]\nlink = "x"\naddress = "10.0.0.1"\n',
        ":8:",
        "10.0.0.1",
    ),
    "an address outside its subnet": (
        '[switch.x]\nsubnet = "10.0.0.0/24"\n[host.a]\nlink = "x"\naddress = "10.9.0.1"\n',
        ":5:",
        "10.0.0.0/24",
    ),
    "a loop of uplinks": ('[router.a]\nuplink = "b"\n[router.b]\nuplink = "a"\n', "", "loop"),
    "a name that is no hostname": (WIRE + '[host.a_b]\nlink = "wire"\n', ":2:", "hostname"),
    "broken TOML": ("[host\n", ":1:", "not TOML"),
    "an empty file": ("", "", "empty"),
}


@pytest.mark.parametrize("case", FILES)
@pytest.mark.parametrize("verb", [("up",), ("script",), ("graph",), ("up", "--dry-run")])
def test_a_bad_file_is_named_with_its_line(runtime: Path, tmp_path: Path, case: str, verb: tuple[str, ...]) -> None:
    text, place, words = FILES[case]
    (tmp_path / "bad.toml").write_text(text)
    done = wanlab(*verb, "bad.toml")
    assert (done.returncode, done.stdout) == (2, "")
    message = complaint(done)
    assert message.startswith("bad.toml"), message
    assert place in message
    assert words in message
    assert nothing_left(runtime)


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("up", "two-lan"), 2, "did you mean 'two-lans'?"),
        (("up", "nosuch.toml"), 2, "nosuch.toml"),
        (("up", "."), 2, "no lab"),
        (("up", "./"), 2, "directory"),
        (("up",), 2, "no lab file in"),
        (("up", "star:0"), 2, "star"),
        (("up", "star:x"), 2, "star"),
        (("up", "star:2000"), 2, "has 1023 at most"),
        (("up", "two-lans", "--name", "a/b"), 2, "'a/b' cannot name a lab"),
        (("up", "two-lans", "--name", ""), 2, "cannot name a lab"),
        (("up", "two-lans", "three"), 2, "three"),
        (("up", "--nmae", "x"), 2, "no such option: --nmae"),
        (("upp",), 2, "no such command 'upp'; did you mean 'up'?"),
        (("ls", "extra"), 2, "extra"),
        (("catalog", "two-lan"), 2, "did you mean 'two-lans'?"),
        (("ping", "a"), 2, "missing argument 'TO'"),
        (("ping", "a", "b", "-c", "x"), 2, "'--count'"),
        (("down", "--lab", "x", "--all"), 2, "--all"),
        (("graph", "two-lans", "--lab", "x"), 2, "--lab"),
        (("down",), 3, "no lab is up; bring one up: wanlab up two-lans"),
        (("inspect",), 3, "no lab is up"),
        (("verify",), 3, "no lab is up"),
        (("ping", "a", "b"), 3, "no lab is up"),
        (("graph",), 3, "no lab is up"),
        (("down", "--lab", "x"), 3, "no lab 'x' is up"),
        (("down", "--lab", "../x"), 3, "'../x'"),
        (("inspect", "--lab", "x" * 300), 3, "is up"),
        (("exec", "alice", "true"), 125, "no lab is up"),
        (("shell",), 125, "no lab is up"),
        (("shell", "--lap", "x"), 125, "no such option: --lap"),
    ],
)
def test_a_bad_command_line_is_answered_with_one_line(
    runtime: Path, arguments: tuple[str, ...], code: int, words: str
) -> None:
    done = wanlab(*arguments)
    assert words in complaint(done)
    assert (done.returncode, done.stdout) == (code, "")
    assert nothing_left(runtime)


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("inspect", "alic"), 3),
        (("ping", "alic", "bob"), 3),
        (("ping", "bob", "alic"), 3),
        (("exec", "alic", "x"), 125),
    ],
)
def test_an_unknown_node_is_answered_with_the_likely_one(two_lans: None, arguments: tuple[str, ...], code: int) -> None:
    done = wanlab(*arguments)
    assert complaint(done) == "no node 'alic' in lab 'two-lans'; did you mean 'alice'?"
    assert done.returncode == code


CHANGES = {
    "loss": ('impairment = { loss = "130%" }', 6, "alice': impairment: loss 130% is out of range"),
    "rate": ('impairment = { up = { rate = "0mbit" } }', 6, "alice': impairment: rate 0 bit/s is out of range"),
    "jitter": ('impairment = { delay = "5ms", jitter = "6ms" }', 6, "alice': impairment: jitter"),
    "a router that is not there": ('state = "up"\nlink = "home-c"', 7, "no node 'home-c'"),
    "a state": ('state = "sideways"', 6, "'sideways'"),
}


@pytest.mark.parametrize("case", CHANGES)
def test_a_change_that_cannot_be_names_node_file_and_line_and_nothing_happens(
    two_lans: None, tmp_path: Path, case: str
) -> None:
    said, line, words = CHANGES[case]
    plugged = "" if "link" in said else 'link = "home-a"\n'
    text = f'[switch.wan]\n[router.home-a]\nuplink = "wan"\n[host.alice]\n{plugged or "# elsewhere"}'
    (tmp_path / "worse.toml").write_text(f"{text.rstrip()}\n{said}\n")
    before = must("inspect", "alice"), must("exec", "alice", "ip", "-j", "address"), nothing_but_events()
    done = wanlab("apply", "worse.toml")
    assert done.returncode == 2
    message = complaint(done)
    assert message.startswith(f"worse.toml:{line}: "), message
    assert words in message
    scenario = f"[[event]]\nat = 0\n[event.change.alice]\n{said}\n"
    (tmp_path / "night.toml").write_text(scenario)
    done = wanlab("play", "night.toml")
    assert done.returncode == 2
    assert complaint(done).startswith("night.toml:2: event 1, at 0 s (alice:")
    assert (must("inspect", "alice"), must("exec", "alice", "ip", "-j", "address"), nothing_but_events()) == before


def nothing_but_events() -> list[object]:
    """What has happened to the lab."""
    return list(json.loads(must("inspect", "--json"))["events"])


def test_a_host_is_not_moved_to_a_router_that_is_not_there(two_lans: None) -> None:
    for command in (("plug", "alice", "home-c"), ("change", "alice", "link=home-c")):
        done = wanlab(*command)
        assert done.returncode == 2
        assert "no node 'home-c'; did you mean 'home-" in complaint(done)
    assert nothing_but_events() == []
    must("exec", "alice", "ping", "-c1", "-W5", "coordinator")


def test_a_switch_has_no_address_to_ping(two_lans: None) -> None:
    done = wanlab("ping", "alice", "wan")
    assert "switch 'wan' has no address" in complaint(done)
    assert done.returncode == 2


def test_a_current_directory_that_is_gone_is_no_traceback(two_lans: None, tmp_path: Path) -> None:
    script = 'mkdir gone && cd gone && rmdir ../gone && exec "$@"'
    for arguments, code in ((("exec", "alice", "true"), 125), (("up",), 2), (("ls",), 0)):
        done = subprocess.run(
            ["sh", "-c", script, "sh", *WANLAB, *arguments],
            capture_output=True, text=True, check=False, env={**os.environ, "PYTHONSAFEPATH": "1"},
        )  # fmt: skip
        assert done.returncode == code, done
        if code:
            complaint(done)


NO_LIBRARY = 'mount --bind /dev/null "$(ldconfig -p | sed -n "s/.*libnftables.so.1 .*=> //p" | head -n1)"'
# Root of a user namespace sets the limit; then wanlab is run by somebody else, in one more that uses it up.
NO_NAMESPACES = "chmod 0700 $XDG_RUNTIME_DIR; echo 1 > /proc/sys/user/max_user_namespaces"
SOMEBODY = ("unshare", "--user", "--map-user=1000", "--map-group=1000")


@pytest.mark.parametrize(
    ("setup", "somebody", "words"), [(NO_LIBRARY, (), "libnftables"), (NO_NAMESPACES, SOMEBODY, "user namespaces")]
)
def test_a_machine_that_cannot_do_it_is_4(runtime: Path, setup: str, somebody: tuple[str, ...], words: str) -> None:
    command = [*machine(setup, user_namespace=True), *somebody, *WANLAB, "up", "two-lans"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert words in complaint(done)
    assert done.returncode == 4
    eventually(lambda: nothing_left(runtime))


def test_a_reader_that_leaves_is_no_error(two_lans: None) -> None:
    for verb in ("inspect", "ls", "graph", "-h", "script two-lans", "inspect --json"):
        script = f"{sys.executable} -m wanlab {verb} | true; exit ${{PIPESTATUS[0]}}"
        done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=False)
        assert done.stderr == "", verb
        assert done.returncode in (0, 1 if verb == "-h" else 141), verb


def test_the_same_file_can_be_corrected_and_brought_up(tmp_path: Path) -> None:
    file = tmp_path / "wanlab.toml"
    file.write_text(WIRE + '[host.a]\nlink = "wier"\n')
    assert wanlab("up").returncode == 2
    file.write_text(WIRE + '[host.a]\nlink = "wire"\n')
    must("up")
