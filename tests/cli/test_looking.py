"""The verbs that look: ls, inspect, graph, script, catalog."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from tests.cli.command import WANLAB, must
from tests.support.labs import eventually
from wanlab.topology import catalogue


def test_ls_lists_what_is_up(two_lans: None) -> None:
    (lab,) = json.loads(must("ls", "--json"))
    assert (lab["name"], lab["topology"], lab["nodes"], lab["programs"]) == ("two-lans", "two-lans", 6, 0)
    assert Path(f"/proc/{lab['pid']}/comm").read_text() == "wanlab-holder\n"
    assert 0 <= time.time() - lab["started"] < 60
    heading, row = must("ls").splitlines()
    assert heading.split()[:2] == ["NAME", "NODES"]
    assert row.split()[:2] == ["two-lans", "6"]


def test_ls_says_when_nothing_is_up() -> None:
    assert must("ls") == "no lab is up\n"
    assert json.loads(must("ls", "--json")) == []


def test_inspect_tells_what_ip_tells(two_lans: None) -> None:
    told = {node["name"]: node for node in json.loads(must("inspect", "--json"))["nodes"]}
    assert set(told) == {"wan", "coordinator", "home-a", "alice", "home-b", "bob"}
    for name, node in told.items():
        links = {link["ifname"]: link for link in json.loads(must("exec", name, "ip", "-j", "address"))}
        assert {each["name"] for each in node["interfaces"]} == set(links) - {"lo"}
        for each in node["interfaces"]:
            link = links[each["name"]]
            seen = {f"{a['local']}/{a['prefixlen']}" for a in link["addr_info"] if a.get("scope") == "global"}
            assert set(each["addresses"]) == seen
            assert each["mtu"] == link["mtu"]
            assert each["mac"] in (None, link["address"])
        defaults = [r for r in json.loads(must("exec", name, "ip", "-j", "route")) if r["dst"] == "default"]
        assert [r["via"] for r in node["routes"] if r["to"] == "0.0.0.0/0"] == [r["gateway"] for r in defaults]
    assert told["home-a"]["nat"]["name"] == "article"
    assert told["alice"]["interfaces"][0]["cable_to"] == {"node": "home-a", "interface": "lan"}


def test_inspect_of_one_node_tells_of_that_node_only(two_lans: None) -> None:
    assert json.loads(must("inspect", "alice", "--json"))["address"] == "10.1.0.1"
    printed = must("inspect", "alice")
    assert printed.startswith("host alice\n")
    assert "default" in printed
    assert "bob" not in printed
    assert "held by process" in must("inspect")


def test_inspect_counts_what_each_direction_of_a_link_has_carried(two_lans: None) -> None:
    must("exec", "alice", "ping", "-c3", "-i0.01", "-s1000", "coordinator")

    def links() -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(must("inspect", "--json"))["links"]
        return found

    def sent_by_ip(ends: list[dict[str, Any]]) -> list[tuple[int, int]]:
        found = []
        for end in ends:
            (seen,) = json.loads(must("exec", end["node"], "ip", "-j", "-s", "link", "show", end["interface"]))
            found.append((seen["stats64"]["tx"]["packets"], seen["stats64"]["tx"]["bytes"]))
        return found

    ends = links()
    assert len(ends) == 10  # five cables, two directions each

    def at_rest() -> list[dict[str, Any]]:
        """What is told while nothing passes: neighbours are asked after again some seconds after the ping."""
        before, told = sent_by_ip(ends), links()
        return told if sent_by_ip(ends) == before == [(e["sent_packets"], e["sent_bytes"]) for e in told] else []

    told = {link["link"]: link for link in eventually(at_rest, "inspect and ip tell the same", seconds=60)}
    assert told["alice eth0 -> home-a lan"]["sent_bytes"] >= 3 * 1042
    of_alice = json.loads(must("inspect", "alice", "--json"))["links"]
    assert [link["link"] for link in of_alice] == ["alice eth0 -> home-a lan", "home-a lan -> alice eth0"]
    heading, *rows = must("inspect", "alice").partition("\n\n")[2].splitlines()
    assert heading.split() == ["link", "packets", "bytes", "dropped", "waiting"]
    assert [row.split("  ")[0] for row in rows] == [link["link"] for link in of_alice]


def test_graph_draws_what_is_up_and_what_could_be(two_lans: None) -> None:
    drawn = must("graph")
    assert "alice" in drawn
    assert "10.1.0.1" in drawn
    assert must("graph", "two-lans") == drawn
    assert "alice" not in must("graph", "switch") or "bob" in drawn


def test_graph_writes_what_the_files_name_says(tmp_path: Path) -> None:
    begins = {"a.svg": "<svg ", "a.mmd": "---", "a.dot": "graph ", "a.gv": "graph ", "a.json": "{", "a.txt": "╔"}
    for name, beginning in begins.items():
        assert must("graph", "two-lans", "-o", str(tmp_path / name)) == ""
        assert (tmp_path / name).read_text().startswith(beginning)
    assert must("graph", "two-lans", "--format", "svg") == (tmp_path / "a.svg").read_text()
    assert must("graph", "two-lans", "-f", "svg", "-o", str(tmp_path / "b.txt")) == ""
    assert (tmp_path / "b.txt").read_text() == (tmp_path / "a.svg").read_text()
    assert must("graph", "two-lans", "--format", "tree").startswith("wan  switch")


def test_graph_marks_what_is_down_and_what_has_changed(two_lans: None) -> None:
    must("exec", "bob", "ip", "link", "set", "eth0", "down")
    must("exec", "alice", "ip", "address", "replace", "10.1.0.50/24", "dev", "eth0")
    must("exec", "home-b", "ip", "link", "delete", "wan")
    graph = json.loads(must("graph", "--format", "json"))
    down = {frozenset((link["a"]["node"], link["b"]["node"])) for link in graph["links"] if link["down"]}
    assert down == {frozenset({"bob", "home-b"}), frozenset({"home-b", "wan"})}
    for node in graph["nodes"]:
        links = {link["ifname"]: link for link in json.loads(must("exec", node["name"], "ip", "-j", "address"))}
        for each in node["interfaces"]:
            shown = each["addresses"] if each["found_addresses"] is None else each["found_addresses"]
            infos = links[each["name"]]["addr_info"] if each["name"] in links else []
            assert set(shown) == {f"{a['local']}/{a['prefixlen']}" for a in infos if a["scope"] == "global"}
    drawn = must("graph")
    assert drawn.count("down") == 2
    assert "10.1.0.50 (changed)" in drawn


def test_nat_shows_mappings_once_or_until_it_is_interrupted(two_lans: None) -> None:
    assert must("nat", "--mappings").strip() == "no NAT remembers anything"
    must("ping", "-c1", "alice", "coordinator")
    heading, row = must("nat", "--mappings", "home-a").splitlines()
    assert heading.split()[:4] == ["router", "protocol", "internal", "external"]
    assert row.split()[:2] == ["home-a", "icmp"]
    assert row.split()[2].startswith("10.1.0.1:")
    (mapping,) = json.loads(must("nat", "--mappings", "--json"))
    assert mapping["external"]["address"] == "172.16.0.1"
    watching = subprocess.Popen([*WANLAB, "nat", "--mappings", "--watch", "--json"], stdout=subprocess.PIPE, text=True)
    assert watching.stdout is not None
    for _ in range(2):
        (again,) = json.loads(watching.stdout.readline())
        assert again["internal"] == mapping["internal"]
    watching.send_signal(signal.SIGINT)
    assert watching.wait(15) == 0
    watching.stdout.close()


def test_script_prints_commands_that_a_shell_can_read() -> None:
    script = must("script", "two-lans")
    assert "ip netns add" in script
    subprocess.run(["bash", "-n"], input=script, text=True, check=True)


def test_catalog_lists_the_ready_labs_and_prints_their_files() -> None:
    assert [line.split()[0] for line in must("catalog").splitlines()] == list(catalogue.names())
    assert [lab["name"] for lab in json.loads(must("catalog", "--json"))] == list(catalogue.names())
    assert must("catalog", "two-lans") == catalogue.text("two-lans")
    assert json.loads(must("catalog", "star:5", "--json"))["file"] == catalogue.text("star:5")


@pytest.mark.parametrize("name", catalogue.names())
def test_a_catalogue_file_is_a_lab_when_saved(name: str, tmp_path: Path) -> None:
    (tmp_path / "wanlab.toml").write_text(must("catalog", name))
    assert "nothing was built" in must("up", "--dry-run")


def test_looking_needs_no_privileges_and_makes_nothing(runtime: Path) -> None:
    for verb in (("script", "two-lans"), ("graph", "two-lans"), ("catalog",), ("up", "two-lans", "--dry-run")):
        must(*verb, env={**os.environ, "PATH": "/nonexistent"})
    assert not runtime.exists()
