"""Rules that count do the same as those that do not."""

from __future__ import annotations

import pytest

from wanlab import Lab, Topology
from wanlab.topology.nat import NATS


@pytest.mark.parametrize("name", NATS)
def test_rules_of_every_nat_can_count(name: str) -> None:
    t = Topology("counted")
    wan = t.switch("wan")
    t.host("server", wan)
    t.host("laptop", t.router("home", wan, nat=name))
    with Lab(t, count_rules=True) as lab:
        if name != "none":
            lab["laptop"].run(["ping", "-c1", "server"], check=True, capture_output=True)
        rules = lab["home"].run(["nft", "list", "ruleset"], capture_output=True, text=True, check=True).stdout
    assert "counter packets" in rules
    assert name == "none" or "counter packets 1 " in rules
    for line in rules.splitlines():
        assert "type " in line or not line.endswith((" drop", " accept")) or "counter" in line, line
