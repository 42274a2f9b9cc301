"""Impaired links in plans, as commands, and in changes."""

from __future__ import annotations

from tests.support.shapes import impaired
from wanlab import Topology
from wanlab.plan.change import change, reboot
from wanlab.plan.compile import compile_network
from wanlab.plan.script import write_script
from wanlab.plan.steps import ClearImpairment, RemoveLink, RemoveNamespace, SetImpairment, undo
from wanlab.plan.words import in_words
from wanlab.topology.impairment import Impairment


def cable(impairment: object) -> Topology:
    t = Topology("cable")
    t.host("a").connect(t.host("b"), impairment=impairment)  # type: ignore[arg-type]
    return t


def steps_to(old: Topology, new: Topology) -> list[object]:
    return list(change(old.resolve(), new.resolve()))


def test_each_impaired_end_is_one_step_after_all_cables() -> None:
    steps = compile_network(cable({"delay": "5ms", "up": {"loss": "1%"}}).resolve()).steps
    assert [step for step in steps if isinstance(step, SetImpairment)] == [
        SetImpairment("a", "eth0", Impairment(5, loss_percent=1), 1500),
        SetImpairment("b", "eth0", Impairment(5), 1500),
    ]


def test_a_script_has_the_commands_of_tc() -> None:
    said = {"up": {"delay": "20ms", "jitter": "5ms", "distribution": "normal", "rate": "10mbit", "queue": 50}}
    script = write_script(compile_network(cable(said).resolve()))
    commands = [line for line in script.splitlines() if line.startswith("tc ")]
    assert commands == [
        f"tc -n a qdisc replace dev eth0 root handle 1: prio bands 2 priomap {' '.join(['1'] * 16)}",
        "tc -n a qdisc replace dev eth0 parent 1:2 handle 2: tbf rate 32gbit burst 1518 limit 1518",
        # 33 packets of 1514 bytes are under way in 40 ms at 10 Mbit/s, 50 wait, one is being sent
        "tc -n a qdisc replace dev eth0 parent 2:1 handle 3: "
        "netem limit 85 delay 20ms 5ms distribution normal rate 10mbit",
        "tc -n a filter add dev eth0 parent 1: protocol arp prio 1 u32 match u32 0 0 flowid 1:1",
        *(
            "tc -n a filter add dev eth0 parent 1: protocol ipv6 prio 2 u32 match ip6 protocol 58 0xff "
            f"match u8 {value} {mask} at 40 flowid 1:1"
            for value, mask in (("0x85", "0xff"), ("0x86", "0xfe"), ("0x88", "0xfe"))
        ),
    ]


def test_another_quality_is_one_step_for_each_direction_that_changes() -> None:
    one = cable({"delay": "5ms", "up": {"loss": "1%"}})
    assert steps_to(one, cable({"delay": "5ms"})) == [SetImpairment("a", "eth0", Impairment(5), 1500)]
    assert steps_to(one, cable({"down": {"delay": "5ms"}})) == [ClearImpairment("a", "eth0")]
    assert steps_to(cable(None), cable({"up": {"delay": "5ms"}})) == [SetImpairment("a", "eth0", Impairment(5), 1500)]
    assert steps_to(one, cable({"delay": "5ms", "up": {"loss": "1%"}})) == []


def test_whatever_impairs_a_link_lets_go_of_it_before_it_goes() -> None:
    less = impaired()
    del less.nodes["carol"]
    for steps in (steps_to(impaired(), less), steps_to(impaired(), Topology("impaired"))):
        cleared = {(step.node, step.interface) for step in steps if isinstance(step, ClearImpairment)}
        assert ("carol", "eth0") in cleared
        assert ("alice", "eth1") in cleared
        last = max(number for number, step in enumerate(steps) if isinstance(step, ClearImpairment))
        gone = [number for number, step in enumerate(steps) if isinstance(step, RemoveLink | RemoveNamespace)]
        assert last < min(gone)


def test_a_reboot_puts_back_what_its_links_do_to_packets() -> None:
    network = impaired().resolve()
    off, on = reboot(network, "home")
    assert not any(isinstance(step, SetImpairment | ClearImpairment) for step in off)
    restored = {step.interface for step in on if isinstance(step, SetImpairment) and step.node == "home"}
    assert restored == {each.name for each in network["home"].interfaces if each.egress is not None}
    assert restored


def test_what_was_impaired_is_undone_by_clearing_it() -> None:
    assert undo([SetImpairment("a", "eth0", Impairment(5), 1500)]) == [ClearImpairment("a", "eth0")]


def test_steps_are_told_in_tc_s_words() -> None:
    step = SetImpairment("a", "eth0", Impairment(5, 1, loss_percent=0.5, hit_arp=True), 1500)
    assert in_words(step) == "a: eth0 sends with delay 5ms, jitter 1ms, loss 0.5%, hit_arp"
