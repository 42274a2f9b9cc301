"""The script that wanlab prints and the lab that it builds are the same lab."""

from __future__ import annotations

import json

import pytest

from tests.impairment.conftest import refusal
from tests.support.inventory import Run, differences, inventory, plugged
from tests.support.script_lab import ScriptLab
from tests.support.shapes import SHAPES, impaired
from wanlab import Lab, Topology
from wanlab.plan.compile import compile_network
from wanlab.plan.script import write_script
from wanlab.topology import catalogue
from wanlab.topology.document import rebuild
from wanlab.topology.network import Network


@pytest.mark.parametrize("shape", SHAPES)
def test_the_script_and_the_kernel_make_the_same_lab(shape: str) -> None:
    compare(SHAPES[shape]())


@pytest.mark.parametrize("name", [*catalogue.names(), "chain:5"])
def test_the_script_and_the_kernel_make_the_same_lab_of_the_catalogue(name: str) -> None:
    topology = Topology.load(name)
    # The script impairs by netem alone: without it, all the rest of such a lab can still be compared.
    compare(unimpaired(topology) if refusal("netem") else topology)


def unimpaired(topology: Topology) -> Topology:
    document = topology.to_document()
    for section in ("switch", "router", "host"):
        for table in document.get(section, {}).values():
            several = table.get("interface")
            for each in (table, *(several if isinstance(several, list) else ())):
                each.pop("impairment", None)
    for link in document.get("link", ()):
        link.pop("impairment", None)
    return rebuild(document)


def test_the_script_and_the_kernel_make_the_same_lab_of_impaired_links() -> None:
    why = refusal("netem")
    if why:
        pytest.skip(why)
    topology = impaired()
    network = topology.resolve()
    compare(topology)
    with ScriptLab(write_script(compile_network(network))) as by_hand, Lab(topology, impairment="netem") as lab:
        ends = [(node.name, i.name) for node in network for i in node.interfaces if i.egress is not None]
        for node, interface in ends:
            for what in ("qdisc", "filter"):
                argv = ["tc", "-j", what, "show", "dev", interface]
                by_kernel = json.loads(lab[node].run(argv, capture_output=True, text=True, check=True).stdout)
                assert without_counts(json.loads(by_hand.run(node, argv))) == without_counts(by_kernel)


def without_counts(rows: list[dict[str, object]]) -> list[dict[str, object]]:
    return [{key: value for key, value in row.items() if key != "refcnt"} for row in rows]


def compare(topology: Topology) -> None:
    network = topology.resolve()
    with ScriptLab(write_script(compile_network(network))) as by_hand, Lab(topology) as lab:

        def run(node: str, argv: list[str]) -> str:
            printed: str = lab[node].run(argv, capture_output=True, text=True, check=True).stdout
            return printed

        assert differences(inventory(by_hand.run, network.nodes), inventory(run, network.nodes)) == []
        assert differences(cables(by_hand.run, network), cables(run, network)) == []


def cables(run: Run, network: Network) -> dict[str, dict[str, str]]:
    """Which MACs stand behind which port or interface, in every node, once all have asked all their neighbours."""
    for node in network:
        for mine in node.interfaces:
            for other in network.peers(mine.segment) if mine.addresses else ():
                if other.node != node.name:
                    # The neighbour's MAC is asked for, whether it answers a ping or keeps silent.
                    run(node.name, ["sh", "-c", f"ping -c1 -W0.3 -I {mine.name} {other.address} || true"])
    macs = {i.mac for node in network for i in node.interfaces if i.mac}
    heard = {}
    for node in network:
        neighbours = json.loads(run(node.name, ["ip", "-j", "-4", "neighbour"]) or "[]")
        heard[node.name] = {n["lladdr"]: n["dev"] for n in neighbours if "lladdr" in n} | plugged(run, node.name, macs)
    return heard
