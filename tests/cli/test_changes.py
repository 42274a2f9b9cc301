"""`change`, `reboot` and `apply`: what a lab that is up becomes, and what is said of it."""

from __future__ import annotations

import json
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.cli.command import WANLAB, complaint, must, wanlab
from tests.support.labs import eventually

pytestmark = pytest.mark.usefixtures("two_lans")

FILE = """\
[switch.wire]
[host.left]
link = "wire"
[host.right]
link = "wire"
"""


def router(name: str = "home-a") -> dict[str, Any]:
    """All that is told of it but what its links have counted: that goes on by itself."""
    found: dict[str, Any] = json.loads(must("inspect", name, "--json"))
    found["links"] = [link["link"] for link in found["links"]]
    return found


def test_a_change_says_its_steps_and_is_seen_by_all_verbs() -> None:
    printed = must("change", "home-a", "nat=full", "address=172.16.0.50").splitlines()
    assert "home-a: wan has address 172.16.0.50/24" in printed
    assert "home-a: forgets its connections" in printed
    assert printed[-1] == f"{len(printed) - 1} steps"
    assert (router()["nat"]["name"], router()["address"]) == ("full", "172.16.0.50")
    assert "checks hold" in must("verify")
    assert "nat 'full'" in must("nat", "home-a")


def test_a_value_may_be_a_table_and_an_empty_one_takes_the_key_away() -> None:
    must("change", "home-a", 'nat={preset = "home", filtering = "endpoint-independent"}')
    assert router()["nat"]["filtering"] == "endpoint-independent"
    must("change", "home-a", "nat=")
    assert router()["nat"]["name"] == "linux"


def test_a_dry_run_changes_nothing() -> None:
    before = router()
    printed = must("change", "home-a", "nat=full", "--dry-run").splitlines()
    assert printed[-1] == "nothing was changed"
    assert "home-a: nftables rules" in printed
    assert router() == before


def test_a_router_that_reboots_is_up_again_when_the_verb_returns() -> None:
    assert must("reboot", "home-a", "--down", "0.1") == "home-a is up again\n"
    assert must("exec", "alice", "ping", "-c1", "-W2", "coordinator")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT], ids=lambda number: number.name)
def test_a_reboot_that_is_ended_turns_the_router_on_again(number: signal.Signals) -> None:
    with subprocess.Popen([*WANLAB, "reboot", "home-a", "--down", "60"], stderr=subprocess.DEVNULL) as rebooting:
        assert eventually(lambda: wanlab("exec", "alice", "ping", "-c1", "-W1", "coordinator").returncode == 1)
        rebooting.send_signal(number)
        assert rebooting.wait(10) == 128 + number
    assert "checks hold" in must("verify")


def test_a_link_goes_down_and_up_and_a_cable_elsewhere() -> None:
    assert "alice: eth0 down" in must("link", "alice", "down").splitlines()
    assert [line.split()[0] for line in must("graph").splitlines() if "down" in line] == ["down"]
    assert json.loads(must("inspect", "alice", "--json"))["interfaces"][0]["state"] == "down"
    assert wanlab("exec", "alice", "ping", "-c1", "-W1", "coordinator").returncode != 0
    assert must("link", "alice:eth0", "up").endswith("2 steps\n")
    assert must("unplug", "home-a", "--dry-run").splitlines() == ["wan: home-a down", "1 step", "nothing was changed"]
    assert must("unplug", "home-a").splitlines() == ["wan: home-a down", "1 step"]
    assert ", unplugged, cable to wan home-a" in must("inspect", "home-a")
    assert must("plug", "home-a").splitlines() == ["wan: home-a up", "1 step"]
    assert must("plug", "alice", "home-b", "--address", "10.2.0.7")
    assert must("exec", "alice", "ping", "-c1", "-W2", "bob")
    assert json.loads(must("inspect", "alice", "--json"))["address"] == "10.2.0.7"
    assert must("change", "alice:eth0", "link=home-a", "address=10.1.0.1")
    assert must("exec", "alice", "ping", "-c1", "-W2", "coordinator")


def test_a_lab_becomes_the_one_of_a_file_and_nothing_is_done_twice(tmp_path: Path) -> None:
    file = tmp_path / "pair.toml"
    file.write_text(FILE)
    must("apply", str(file))
    assert must("exec", "left", "ping", "-c1", "-W2", "right")
    assert must("apply", str(file)) == "0 steps\n"
    assert [node["name"] for node in json.loads(must("inspect", "--json"))["nodes"]] == ["wire", "left", "right"]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("change", "home-a", "nat=simetric"), 2, "did you mean 'symmetric'?"),
        (("change", "home-a", "nat"), 2, "'nat' is no KEY=VALUE; write it like nat=symmetric"),
        (("change", "home-a", "nate=home"), 2, "unknown key 'nate' in router 'home-a'; did you mean 'nat'?"),
        (("change", "hom-a", "nat=home"), 3, "no node 'hom-a' in lab 'two-lans'; did you mean 'home-a'?"),
        (("change", "alice", "address=1.2.3.4"), 2, "address 1.2.3.4 is not in 10.1.0.0/24"),
        (("link", "hom-a", "down"), 3, "no node 'hom-a' in lab 'two-lans'; did you mean 'home-a'?"),
        (("link", "home-a:eth9", "down"), 2, "router 'home-a' has no interface 'eth9'; there is lan, wan"),
        (
            ("link", "wan", "down"),
            2,
            "switch 'wan' has 3 links; say which one: wan:home-a, wan:home-b, wan:coordinator",
        ),
        (("link", "home-a", "sideways"), 2, "is not one of 'down', 'up', 'unplugged'"),
        (("plug", "alice", "nowhere"), 2, "no node 'nowhere'"),
        (("reboot", "hom-a"), 3, "no node 'hom-a' in lab 'two-lans'; did you mean 'home-a'?"),
        (("apply", "two-lan"), 2, "no lab 'two-lan' in the catalogue and no such file; did you mean 'two-lans'?"),
        (("apply", "--lab", "other", "two-lans"), 3, "no lab 'other' is up"),
    ],
)
def test_what_cannot_be_is_one_line_and_the_lab_stays_as_it_is(
    arguments: tuple[str, ...], code: int, said: str
) -> None:
    before = router()
    done = wanlab(*arguments)
    assert done.returncode == code
    assert said in complaint(done)
    assert router() == before
