"""The script that wanlab prints and the lab that it builds are the same lab."""

from __future__ import annotations

import json

import pytest

from tests.support.inventory import Run, differences, inventory, plugged
from tests.support.script_lab import ScriptLab
from tests.support.shapes import SHAPES
from wanlab import Lab, Topology
from wanlab.plan.compile import compile_network
from wanlab.plan.script import write_script
from wanlab.topology import catalogue
from wanlab.topology.network import Network


@pytest.mark.parametrize("shape", SHAPES)
def test_the_script_and_the_kernel_make_the_same_lab(shape: str) -> None:
    compare(SHAPES[shape]())


@pytest.mark.parametrize("name", [*catalogue.names(), "chain:5"])
def test_the_script_and_the_kernel_make_the_same_lab_of_the_catalogue(name: str) -> None:
    compare(Topology.load(name))


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
