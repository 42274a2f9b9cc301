"""The state of nodes, beside what other people's tools say of it."""

from __future__ import annotations

import sys
from pathlib import Path

from wanlab import Lab
from wanlab.recording.state import states

ROOT = Path(__file__).resolve().parents[2]


def test_state_is_what_other_tools_say() -> None:
    with Lab("two-lans") as lab:
        lab["alice"].run(["ping", "-c1", "coordinator"], check=True, capture_output=True)
        state = states(lab, ["home-a"])["home-a"]

        def said(*command: str) -> str:
            return str(lab["home-a"].run(command, capture_output=True, text=True, check=True).stdout)

        assert state.rules == said("nft", "list", "ruleset").rstrip("\n")
        assert "172.16.0.1/24" in said("ip", "-brief", "address")
        assert "wan 172.16.0.1/24" in state.addresses.splitlines()
        assert "10.1.0.0/24 dev lan" in state.routes.splitlines()
        alice = states(lab, ["alice"])["alice"]
        (default,) = (
            lab["alice"].run(["ip", "route", "show", "default"], capture_output=True).stdout.decode().splitlines()
        )
        assert default.strip() in alice.routes.splitlines()


def test_connections_are_read_without_the_file_as_well() -> None:
    code = f"import sys; sys.path.append({str(ROOT / 'src')!r}); from wanlab.kernel import flows; "
    with Lab("two-lans") as lab:
        lab["alice"].run(["ping", "-c1", "coordinator"], check=True, capture_output=True)
        by_netlink = lab["home-a"].run(
            [sys.executable, "-IS", "-c", code + "print(*flows.connections_by_netlink(), sep='\\n')"],
            capture_output=True, text=True, check=True,
        ).stdout  # fmt: skip
        listed = lab["home-a"].run(["conntrack", "-L"], capture_output=True, text=True, check=True).stdout
    assert by_netlink.startswith("icmp ")
    assert "src=10.1.0.1 dst=172.16.0.100" in by_netlink
    translated = next(word for word in listed.split()[::-1] if word.startswith("id="))
    assert by_netlink.strip().endswith(f"src=172.16.0.100 dst=172.16.0.1 {translated}")
