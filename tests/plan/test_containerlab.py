"""What is written for containerlab makes the same lab: its commands are run in namespaces as it would make them.

containerlab itself is not run: it wants Docker, and root. Its file's form is that of its JSON schema.
"""

from __future__ import annotations

import re
import shlex
from typing import Any

import pytest
import yaml

from tests.support.inventory import differences, inventory
from tests.support.script_lab import ScriptLab
from tests.support.shapes import SHAPES, two_lans
from wanlab import Lab, Topology, UsageError
from wanlab.plan.compile import compile_network
from wanlab.plan.containerlab import write_containerlab
from wanlab.plan.hosts import hosts_file


def document(topology: Topology) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(write_containerlab(compile_network(topology.resolve())))
    return found


def script(clab: dict[str, Any]) -> str:
    """What containerlab does, as commands: cables for frames of 9500 bytes, then each node's commands."""
    lines = ["set -e", *(f"ip netns add {node}" for node in clab["topology"]["nodes"])]
    for link in clab["topology"].get("links", ()):
        (a, a_name), (b, b_name) = (end.split(":") for end in link["endpoints"])
        ends = (f"name {a_name} mtu 9500 netns {a}", f"name {b_name} mtu 9500 netns {b}")
        lines.append(f"ip link add {ends[0]} type veth peer {ends[1]}")
    for node, about in clab["topology"]["nodes"].items():
        for command in about["exec"]:
            if "/etc/hosts" not in command:  # a container's own, and here the machine's
                lines.append(shlex.join(["ip", "netns", "exec", node, *shlex.split(command)]))
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize("lab", ["two-lans", "carrier", "dual-stack", "homes:3", "cable"])
def test_the_commands_make_the_lab_that_wanlab_builds(lab: str) -> None:
    topology = Topology.load(lab)
    nodes = topology.resolve().nodes
    with ScriptLab(script(document(topology))) as by_hand, Lab(topology) as built:

        def run(node: str, argv: list[str]) -> str:
            printed: str = built[node].run(argv, capture_output=True, text=True, check=True).stdout
            return printed

        found = differences(inventory(by_hand.run, nodes), inventory(run, nodes))
    assert [each for each in found if "/names: " not in each] == []  # which are not written here, see below


@pytest.mark.parametrize("shape", SHAPES)
def test_the_file_has_the_form_that_containerlab_reads(shape: str) -> None:
    topology = SHAPES[shape]()
    clab = document(topology)
    network = topology.resolve()
    assert set(clab) == {"name", "topology"}  # no other keys are allowed
    assert set(clab["topology"]) <= {"defaults", "nodes", "links"}
    assert clab["topology"]["defaults"]["kind"] == "linux"
    assert set(clab["topology"]["nodes"]) == set(network.nodes)
    for about in clab["topology"]["nodes"].values():
        assert set(about) == {"exec"}
        assert all(isinstance(command, str) and shlex.split(command) for command in about["exec"])
    ends = [tuple(link["endpoints"]) for link in clab["topology"].get("links", ())]
    assert all(len(pair) == 2 and all(re.fullmatch(r"\S+:\S+", end) for end in pair) for pair in ends)
    assert sorted(map(sorted, ends)) == sorted(
        sorted(f"{node}:{name}" for node, name in (link.a, link.b)) for link in network.links
    )


def test_every_node_is_told_the_names_of_all() -> None:
    clab = document(two_lans())
    hosts = clab["topology"]["defaults"]["env"]["LAB_HOSTS"]
    assert hosts == hosts_file(two_lans().resolve())
    for about in clab["topology"]["nodes"].values():
        assert shlex.split(about["exec"][-1]) == ["sh", "-c", 'echo "$LAB_HOSTS" >> /etc/hosts']


def test_what_containerlab_cannot_have_is_refused_or_said() -> None:
    t = Topology("taken")
    t.host("host")
    with pytest.raises(UsageError, match="'host'"):
        document(t)
    t = Topology("served")
    t.host("laptop", t.router("home", t.switch("wan"), nat={"preset": "home", "port_mapping": "all"}))
    assert "miniupnpd" in write_containerlab(compile_network(t.resolve())).splitlines()[1]
