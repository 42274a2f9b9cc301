"""A shell of no node: the article's `ip netns exec alice ...` works as typed."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.support.labs import machine, run_program
from wanlab import CommandNotFound, Lab

PIPE = subprocess.PIPE


def tell(lab: Lab, *words: str) -> str:
    with lab.shell(list(words), stdout=PIPE, stderr=PIPE, text=True) as process:
        output, problems = process.communicate()
    assert process.returncode == 0, problems
    text: str = output
    return text


def test_the_nodes_are_namespaces_by_their_names(lab: Lab) -> None:
    listed = {line.split()[0] for line in tell(lab, "ip", "netns").splitlines()}
    assert listed == {node.name for node in lab}


def test_a_command_of_the_article_works_as_typed(lab: Lab) -> None:
    assert "10.1.0.1/24" in tell(lab, "ip", "netns", "exec", "alice", "ip", "-br", "addr")
    assert "10.1.0.1/24" in tell(lab, "ip", "-n", "alice", "addr")
    assert " 0% packet loss" in tell(lab, "ip", "netns", "exec", "alice", "ping", "-c1", "-W5", "172.16.0.100")
    assert "masquerade" in tell(lab, "ip", "netns", "exec", "home-a", "nft", "list", "ruleset")


@pytest.mark.parametrize("name", ["alice", "home-a", "wan"])
def test_it_shows_the_same_as_the_node_itself(lab: Lab, name: str) -> None:
    def links(text: str) -> Any:
        return json.loads(text)

    asked = ["ip", "-j", "addr"]
    inside = lab[name].run(asked, stdout=PIPE, text=True).stdout
    assert links(tell(lab, "ip", "netns", "exec", name, *asked)) == links(inside)


def test_a_change_made_there_is_made_in_the_node(lab: Lab) -> None:
    tell(lab, "ip", "-n", "alice", "link", "set", "eth0", "mtu", "1300")
    link = json.loads(lab["alice"].run(["ip", "-j", "link", "show", "eth0"], stdout=PIPE).stdout)
    assert link[0]["mtu"] == 1300


def test_names_resolve_there_too(lab: Lab) -> None:
    assert "10.2.0.1" in tell(lab, "getent", "hosts", "bob")
    assert "10.2.0.1" in tell(lab, "ip", "netns", "exec", "alice", "getent", "hosts", "bob")


def test_the_machine_shows_no_namespace(lab: Lab) -> None:
    before = os.listdir("/run")
    tell(lab, "ip", "netns")
    assert os.listdir("/run") == before
    shown = subprocess.run(["ip", "netns"], stdout=PIPE, text=True, check=True).stdout
    assert "alice" not in shown


def test_it_sees_the_machines_files(lab: Lab, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("hello")
    assert tell(lab, "cat", str(tmp_path / "file")) == "hello"
    assert tell(lab, "ls", "/run").split() == sorted({*tell(lab, "ls", "/run").split(), "netns"})
    missing = set(os.listdir("/run")) - set(tell(lab, "ls", "-A", "/run").split())
    assert not missing


def test_its_directory_is_the_callers(lab: Lab, tmp_path: Path) -> None:
    assert tell(lab, "pwd").strip() == os.getcwd()


def test_a_missing_program_is_reported_as_in_a_node(lab: Lab) -> None:
    with pytest.raises(CommandNotFound):
        lab.shell(["no-such-program"], env={"PATH": "/usr/bin"})


SHELL = """
import os, subprocess
from tests.support.shapes import two_lans
from wanlab import Lab
before = sorted(os.listdir("/run")), open("/proc/self/mountinfo").read()
with Lab(two_lans()) as lab:
    for _ in range(2):
        with lab.shell(["ip", "netns", "exec", "alice", "ip", "-br", "addr"], stdout=-1, text=True) as process:
            assert "10.1.0.1/24" in process.communicate()[0]
        with lab.shell(["ip", "netns"], stdout=-1, text=True) as process:
            listed = {line.split()[0] for line in process.communicate()[0].splitlines()}
        assert listed == {node.name for node in lab}, listed
        with lab.shell(["ls", "-A", "/run"], stdout=-1, text=True) as process:
            assert {"thing", "away", "place"} <= set(process.communicate()[0].split())
    assert (sorted(os.listdir("/run")), open("/proc/self/mountinfo").read()) == before
assert (sorted(os.listdir("/run")), open("/proc/self/mountinfo").read()) == before
"""


@pytest.mark.parametrize(
    "setup",
    [
        pytest.param("", id="without /run/netns"),
        pytest.param("mkdir /run/netns", id="with an empty /run/netns"),
        pytest.param("ip netns add foreign", id="with namespaces of its own"),
    ],
)
def test_a_machine_needs_no_directory_of_namespaces_and_may_have_one(setup: str) -> None:
    setup = f"touch /run/thing; ln -s /nowhere /run/away; mkdir /run/place; {setup}"
    run_program(SHELL, before=("env", f"PYTHONPATH={Path.cwd()}", *machine(setup)))
