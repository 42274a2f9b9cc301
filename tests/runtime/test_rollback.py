"""Changes that are refused half-way: the lab is as it was, by the kernel's own words and by what passes."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from tests.impairment.conftest import refusal
from tests.support.inventory import differences, inventory
from tests.support.traffic import Traffic
from wanlab import KernelError, Lab, Topology
from wanlab.plan.change import change
from wanlab.plan.steps import AddRoute, Step
from wanlab.topology.network import Network

FAULT = AddRoute("server", "9.9.9.0/24", "8.8.8.8", "eth0")


def town() -> Topology:
    t = Topology("town")
    internet = t.switch("internet", "5.5.5.0/24")
    t.host("server", internet)
    home = t.router("home", internet, lan="192.168.1.0/24", nat="home", impairment={"delay": "5ms"})
    t.host("laptop", home)
    t.host("guest", t.router("elsewhere", internet, lan="192.168.2.0/24"))
    return t


def of(lab: Lab) -> dict[str, object]:
    def run(node: str, argv: list[str]) -> str:
        printed: str = lab[node].run(argv, capture_output=True, text=True, check=True).stdout
        return printed

    told = inventory(run, lab.network.nodes)
    for node in told.values():  # tables are listed in the order in which they were made
        node["rules"].sort(key=_table)
    return dict(told)


def _table(entry: dict[str, dict[str, str]]) -> tuple[str, str]:
    (about,) = entry.values()
    return about["family"], about.get("table", about.get("name", ""))


def changed(before: dict[str, object], after: dict[str, object]) -> list[str]:
    """What differs, but for what a NAT has learned of the packets that passed meanwhile."""
    return [line for line in differences(before, after) if "/elem: " not in line and "/elem[" not in line]


@contextmanager
def faulty(monkeypatch: pytest.MonkeyPatch, where: float) -> Iterator[None]:
    """Have changes contain a step that the kernel refuses: 0, before all others; 1, after them; 0.5, in the middle.

    The ways back are as they are.
    """
    asked: list[Network] = []

    def with_a_fault(old: Network, new: Network) -> tuple[Step, ...]:
        steps = change(old, new)
        asked.append(new)
        if len(asked) > 1:
            return steps  # the way back
        assert steps
        place = round(where * len(steps))
        return (*steps[:place], FAULT, *steps[place:])

    with monkeypatch.context() as patched:
        patched.setattr("wanlab.plan.rehearsal.change", with_a_fault)
        yield


Verb = Callable[[Lab], object]


def _without_the_guest(lab: Lab) -> None:
    topology = town()
    for name in ("guest", "elsewhere"):
        del topology.nodes[name]
    lab.apply(topology)


def _with_another_host(lab: Lab) -> None:
    topology = town()
    topology.host("printer", "home", impairment="wifi-bad")
    lab.apply(topology)


CHANGES: dict[str, Verb] = {
    "impaired": lambda lab: lab.change("laptop", impairment={"delay": "20ms", "loss": "10%"}),
    "impaired otherwise": lambda lab: lab.change("home", impairment={"delay": "50ms", "up": {"rate": "1mbit"}}),
    "unimpaired": lambda lab: lab.change("home", impairment=None),
    "down": lambda lab: lab["laptop"].link_down(),
    "uplink down": lambda lab: lab["home"].link_down(),
    "unplugged": lambda lab: lab.change("home", state="unplugged", impairment=None),
    "plugged in elsewhere": lambda lab: lab["laptop"].plug("elsewhere"),
    "partition": lambda lab: lab.partition(["laptop"], ["server"]),
    "NAT": lambda lab: lab.change("home", nat="symmetric"),
    "new address": lambda lab: lab.new_address("home"),
    "nodes go": _without_the_guest,
    "a node comes": _with_another_host,
}


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """One for all: each of them leaves it as it was."""
    if refusal("wire"):
        pytest.skip(refusal("wire"))
    with Lab(town(), impairment="wire") as lab:
        assert lab["laptop"].run(["ping", "-c1", "server"], capture_output=True).returncode == 0
        yield lab


@pytest.mark.parametrize("where", [0, 0.5, 1], ids=["first", "middle", "last"])
@pytest.mark.parametrize("name", CHANGES)
def test_what_is_refused_half_way_leaves_the_lab_as_it_was(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, name: str, where: float
) -> None:
    before, document, events = of(lab), lab.topology.to_document(), len(lab.events)
    program = lab["guest"].popen(["sleep", "60"])
    try:
        with Traffic(lab, "laptop", "server") as traffic:
            assert traffic.passes()
            with faulty(monkeypatch, where), pytest.raises(KernelError, match=r"8\.8\.8\.8"):
                CHANGES[name](lab)
            assert traffic.passes()
            assert traffic.arrived[-1][1] == str(lab["home"].address)
        assert program.poll() is None, "a program in a node that has not gone"
    finally:
        program.kill()
        program.wait()
    assert changed(before, of(lab)) == []
    assert (lab.topology.to_document(), len(lab.events)) == (document, events)
    assert lab.impairment_faults() == {}
    # Through both ends of the home's line, 5 ms each; and from the node that was to go.
    for node in ("laptop", "guest"):
        started = time.monotonic()
        assert lab[node].run(["ping", "-c1", "-W5", "server"], capture_output=True).returncode == 0
        assert node == "guest" or time.monotonic() - started >= 0.01


def test_the_lab_that_has_been_through_all_of_it_is_proved(lab: Lab) -> None:
    report = lab.verify()
    assert report.ok, report.failed


def test_a_partition_and_a_link_that_is_down_outlive_an_end_of_theirs_that_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with Lab(town()) as lab, Traffic(lab, "laptop", "server") as traffic:
        for name in ("partition", "uplink down"):
            CHANGES[name](lab)
            assert traffic.stands_still(0.2)
            before = rules_and_flags(lab)
            for where in (0.0, 1.0):
                with faulty(monkeypatch, where), pytest.raises(KernelError, match=r"8\.8\.8\.8"):
                    lab.apply(town())
                assert rules_and_flags(lab) == before
                assert traffic.stands_still(0.2)
            lab.apply(town())
            assert traffic.passes()


def rules_and_flags(lab: Lab) -> list[object]:
    """What a partition and a link's state are made of, in the nodes that these concern."""
    found: list[object] = []
    for node in ("home", "internet", "elsewhere"):
        links = json.loads(lab[node].run(["ip", "-j", "link"], capture_output=True, text=True, check=True).stdout)
        found.append([(each["ifname"], "UP" in each["flags"]) for each in links])
        found.append(
            lab[node].run(["nft", "-s", "list", "table", "netdev", "wanlab_apart"], capture_output=True).stdout
        )
    return found
