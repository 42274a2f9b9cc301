"""`verify`: the table, and the exit code."""

from __future__ import annotations

import json

import pytest

from tests.cli.command import must, wanlab

pytestmark = pytest.mark.usefixtures("two_lans")


def test_a_lab_as_it_should_be_is_proven_in_a_table() -> None:
    printed = must("verify").splitlines()
    assert printed[0].split() == ["group", "what", "expected", "seen"]
    assert all(line.startswith(("ok ", "note: ")) for line in printed[1:-1])
    assert "checks hold" in printed[-1]


def test_a_lab_that_was_tampered_with_exits_with_1_and_names_the_line() -> None:
    must("exec", "alice", "ip", "link", "set", "eth0", "down")
    done = wanlab("verify")
    assert done.returncode == 1
    assert done.stderr == ""
    differing = [line for line in done.stdout.splitlines() if line.startswith("DIFFERS")]
    assert any("alice -> coordinator" in line for line in differing)
    assert not any("bob -> coordinator" in line for line in differing)
    assert f"{len(differing)} of " in done.stdout.splitlines()[-1]


def test_json_holds_the_same() -> None:
    told = json.loads(must("verify", "--json"))
    assert told["ok"] is True
    assert {"group", "subject", "expected", "seen", "ok"} <= set(told["checks"][0])
