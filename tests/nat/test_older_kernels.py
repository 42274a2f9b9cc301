"""NATs as kernels have them that ask sets only: made so by hand, where this kernel would take the others."""

from __future__ import annotations

import json
import re
from typing import Any

from tests.measure.test_behaviour import COMBINATIONS, homes
from wanlab import Lab
from wanlab.measure.nat import measure_nats
from wanlab.plan.compile import compile_network
from wanlab.plan.older_kernels import with_sets_beside_maps
from wanlab.plan.steps import LoadRuleset
from wanlab.topology.nat import NATS, Nat, Ports

_NATS = [nat for nat in NATS.values() if nat is not None]
_SEVERAL = [*_NATS, Nat(ports=Ports.RANDOM, addresses=2, block=101), *COMBINATIONS[::9]]


def test_their_routers_do_what_they_are_described_to() -> None:
    topology = homes(_SEVERAL)
    rules = {s.node: s.text for s in compile_network(topology.resolve()).steps if isinstance(s, LoadRuleset)}
    older = {node: text for node, each in rules.items() if (text := with_sets_beside_maps(each)) is not None}
    assert len(older) >= len(_SEVERAL) // 2
    with Lab(topology) as lab:
        for node, text in older.items():
            assert _asked_maps(text) == set()
            lab[node].run(["nft", "-f", "-"], input=f"flush ruleset\n{text}", text=True, check=True)
        for nat, found in zip(_SEVERAL, measure_nats(lab), strict=True):
            assert found.ok, (nat.name, [each for each in found.findings if each.ok is False])
        for node in older:
            _keys_are_those_of_maps(lab, node)


def _asked_maps(rules: str) -> set[str]:
    return {name for name in re.findall(r"!= @(\w+)", rules) if f"map {name} {{" in rules}


def _keys_are_those_of_maps(lab: Lab, node: str) -> None:
    listed = lab[node].run(["nft", "-j", "list", "ruleset"], capture_output=True, text=True, check=True).stdout
    found = {kind: _elements(listed, kind) for kind in ("map", "set")}
    beside = {name: keys for name, keys in found["set"].items() if name.endswith("_keys")}
    assert beside
    for name, keys in beside.items():
        assert keys == found["map"][name.removesuffix("_keys")], (node, name)


def _elements(listed: str, kind: str) -> dict[str, set[Any]]:
    entries = [entry[kind] for entry in json.loads(listed)["nftables"] if kind in entry]
    return {entry["name"]: {_key(each) for each in entry.get("elem", [])} for entry in entries}


def _key(element: Any) -> str:
    key = element[0] if isinstance(element, list) else element
    return json.dumps(key["elem"]["val"] if isinstance(key, dict) and "elem" in key else key)
