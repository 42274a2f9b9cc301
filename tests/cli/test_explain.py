"""`wanlab explain`: what it says, to people and to programs, and how it ends."""

from __future__ import annotations

import json

from tests.cli.command import complaint, must, wanlab


def test_it_says_what_stood_in_the_way_and_what_would_help(two_lans: None) -> None:
    must("change", "home-b", "nat=port-restricted")
    done = wanlab("explain", "alice", "bob", "--udp", "5000")
    assert (done.returncode, done.stderr) == (1, "")
    lines = done.stdout.splitlines()
    assert lines[0] == "alice and bob do not connect directly by UDP; they met at coordinator"
    assert lines[1].startswith("theory: they should not (")
    assert [line for line in lines if not line.startswith(" ")][2:] == ["what stood in the way:", "what would help:"]
    assert any("home-a gave alice another port for bob" in line for line in lines)
    assert any("home-b lets in nothing from" in line and "bob has sent to" in line for line in lines)
    assert any("a birthday attack" in line for line in lines)


def test_a_way_is_shown_where_there_is_one_in_words_and_as_json(two_lans: None) -> None:
    for router in ("home-a", "home-b"):
        must("change", router, "nat=home")
    assert must("explain", "alice", "bob", "--tcp").splitlines()[0] == (
        "alice and bob connect directly by TCP: alice -> home-a -> wan -> home-b -> bob"
    )
    told = json.loads(must("explain", "alice", "bob", "--udp", "5000", "--json"))
    assert told["connected"]
    assert told["path"] == ["alice", "home-a", "wan", "home-b", "bob"]
    assert {story["crossings"][0]["before"]["source"]["port"] for story in told["stories"]} == {5000}


def test_what_cannot_be_explained_is_refused(two_lans: None) -> None:
    for arguments, status, said in (
        (("alice", "bbo"), 3, "did you mean 'bob'?"),
        (("alice", "home-a"), 2, "'home-a' is a router; name two hosts"),
        (("alice", "bob", "--udp", "5000", "--tcp"), 2, "either --udp or --tcp"),
        (("alice", "bob", "--via", "cordinator"), 3, "did you mean 'coordinator'?"),
    ):
        done = wanlab("explain", *arguments)
        assert done.returncode == status
        assert said in complaint(done)
