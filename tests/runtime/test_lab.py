"""A lab and its nodes, as a program meets them."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from ipaddress import IPv4Address, IPv4Interface, IPv6Address
from pathlib import Path
from typing import Any

import pytest

from tests.support.labs import PAIR, eventually, pair, run_program, running
from tests.support.shapes import star
from wanlab import Lab, LabEnded, LabExists, LabNode, NoSuchLab, NoSuchNode, Topology, UsageError
from wanlab.runtime.directory import labs, runtime_directory


def pings(node: LabNode, address: str) -> bool:
    done = node.run(["ping", "-c1", "-W5", address], stdout=subprocess.DEVNULL)
    return bool(done.returncode == 0)


def test_the_issues_example_works_as_written() -> None:
    t = Topology("mine")
    wan = t.switch("wan", "5.5.5.0/24")
    t.host("server", wan)
    home = t.router("home", wan, lan="192.168.1.0/24", nat="linux")
    laptop = t.host("laptop", home)
    laptop.connect(wan)
    with Lab(t) as lab:
        assert isinstance(lab["server"].address, IPv4Address)
        assert lab["server"].address in lab["home"].wan.addresses[0].network
        assert isinstance(lab["home"].wan.addresses[0], IPv4Interface)
        assert isinstance(lab["home"].wan.address, IPv4Address)
        assert [interface.name for interface in lab["laptop"].interfaces] == ["eth0", "eth1"]
        assert pings(lab["laptop"], str(lab["server"].address))


def test_a_lab_of_the_catalogue_comes_up_by_its_name() -> None:
    with Lab("two-lans") as lab:
        lab["alice"].run(["ping", "-c1", "-W5", "172.16.0.100"], check=True, stdout=subprocess.DEVNULL)
        assert {node.name for node in lab} == {"wan", "coordinator", "home-a", "home-b", "alice", "bob"}


def test_an_address_of_a_second_family_works_beside_the_first() -> None:
    t = Topology("both")
    wire = t.switch("wire", ["5.5.5.0/24", "fd00:5::/64"])
    t.host("left", wire, address=["5.5.5.1", "fd00:5::1"])
    t.host("right", wire, address=["5.5.5.2", "fd00:5::2"])
    with Lab(t) as lab:
        assert lab["right"].interface("eth0").addresses[1].ip == IPv6Address("fd00:5::2")
        assert pings(lab["left"], "fd00:5::2")  # at once: nobody waits for duplicate address detection
        assert pings(lab["left"], "5.5.5.2")


def test_a_misspelt_node_is_a_key_error_with_a_suggestion(lab: Lab) -> None:
    with pytest.raises(KeyError) as caught:
        lab["alise"]
    assert isinstance(caught.value, NoSuchNode)
    assert str(caught.value) == "no node 'alise' in lab 'two-lans'; did you mean 'alice'?"
    assert "alice" in lab
    assert "alise" not in lab


def test_a_node_is_one_and_the_same_object(lab: Lab) -> None:
    assert lab["alice"] is lab["alice"]
    assert [node.name for node in lab] == [node.name for node in lab.nodes]
    assert "alice" in repr(lab["alice"])


def test_what_a_node_has_not_got_is_a_lookup_error(lab: Lab) -> None:
    for ask in (
        lambda: lab["wan"].address,
        lambda: lab["alice"].wan,
        lambda: lab["alice"].lan,
        lambda: lab["alice"].interface("eth7"),
    ):
        with pytest.raises(LookupError):
            ask()


def test_the_nodes_of_a_lab_can_be_asked_for_addresses_before_it_is_up() -> None:
    assert Lab(pair())["left"].address == IPv4Address("5.5.5.1")


def test_a_lab_that_was_never_up_says_so_when_used() -> None:
    with pytest.raises(UsageError, match=r"lab 'pair' is not up.*with Lab"):
        Lab(pair())["left"].run(["true"])
    Lab(pair()).down()


def test_a_lab_is_up_once() -> None:
    with Lab(pair()) as lab, pytest.raises(UsageError, match="is up already"):
        lab.up()


def test_a_lab_that_was_down_can_be_up_again() -> None:
    lab = Lab(pair())
    for _ in range(3):
        with lab:
            assert pings(lab["left"], "5.5.5.2")
            assert running()[lab.pid].name == "wanlab-holder"
        assert lab.pid == 0


def test_labs_of_one_topology_get_names_of_their_own(runtime: Path) -> None:
    with Lab(pair()) as one, Lab(pair()) as other, Lab(pair(), name="chosen") as third:
        assert third.name == "chosen"
        assert labs(runtime) == sorted({one.name, other.name, "chosen"})


def test_a_name_in_use_is_refused_and_free_after_down(runtime: Path) -> None:
    with Lab(pair(), name="mine"):
        with pytest.raises(LabExists, match="'mine' is up already"):
            Lab(pair(), name="mine").up()
        assert labs(runtime) == ["mine"]
    with Lab(pair(), name="mine") as lab:
        assert pings(lab["left"], "5.5.5.2")


@pytest.mark.parametrize(
    "name", ["", ".", "..", "a/b", "../a", "a b", "-a", "a-", "ü", "x" * 101, "a..b", "a\0b", "a\n"]
)
def test_a_name_that_cannot_be_a_directory_or_a_hostname_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="cannot name a lab"):
        Lab(pair(), name=name)


def test_the_longest_names_come_up(monkeypatch: pytest.MonkeyPatch) -> None:
    longest = "x" * 63
    with Lab(pair(longest)) as lab:
        assert pings(lab["left"], "5.5.5.2")
        with lab.shell(["hostname"], stdout=subprocess.PIPE, text=True) as process:
            assert process.communicate()[0].startswith("x" * 60)
    t = Topology("names")
    wire = t.switch(longest, "5.5.5.0/24")
    t.host("y" * 63, wire)
    with Lab(t) as lab:
        assert lab["y" * 63].run(["hostname"], stdout=subprocess.PIPE).stdout == b"y" * 63 + b"\n"


def test_names_that_mean_something_elsewhere_are_fine_for_nodes() -> None:
    t = Topology("odd")
    wire = t.switch("br", "5.5.5.0/24")
    names = ["socket", "lock", "hosts", "netns", "inside", "lo", "all", "default", "self", "fwd"]
    for name in names:
        t.host(name, wire)
    with Lab(t) as lab:
        for name in names:
            assert lab[name].run(["hostname"], stdout=subprocess.PIPE, text=True).stdout == f"{name}\n"
            assert pings(lab[name], str(lab["socket"].address))


# -- attaching -------------------------------------------------------------------------------------------------------


def test_another_program_finds_the_lab_and_leaves_it_up(runtime: Path) -> None:
    with Lab("two-lans", name="shared") as lab:
        with Lab.attach("shared") as other:
            assert other.pid == lab.pid
            assert other.network == lab.network
            assert other["alice"].address == lab["alice"].address
            assert pings(other["alice"], "172.16.0.100")
        assert labs(runtime) == ["shared"]
        assert Lab.attach().name == "shared"
        out = run_program(
            "from wanlab import Lab; l = Lab.attach(); print(l.name, l['bob'].address); l['bob'].run(['hostname'])"
        )
        assert out == "shared 10.2.0.1\nbob\n"
        assert pings(lab["alice"], "172.16.0.100")


def test_an_attached_lab_can_be_taken_down(runtime: Path) -> None:
    lab = Lab(pair(), name="shared").up()
    Lab.attach("shared").down()
    assert labs(runtime) == []
    with pytest.raises((NoSuchLab, LabEnded)):
        lab["left"].run(["true"])
    lab.down()


def test_attaching_to_no_lab_or_to_one_of_many_says_what_to_do() -> None:
    with pytest.raises(NoSuchLab, match="no lab is up"):
        Lab.attach()
    with pytest.raises(NoSuchLab, match="no lab 'shared' is up"):
        Lab.attach("shared")
    with Lab(pair(), name="shared"), Lab(pair(), name="other"):
        with pytest.raises(NoSuchLab, match="2 labs are up: other, shared; say which"):
            Lab.attach()
        with pytest.raises(NoSuchLab, match="did you mean 'shared'"):
            Lab.attach("sharde")


def test_a_lab_that_is_coming_up_can_be_attached_to() -> None:
    lab = Lab(star(100), name="slow")
    thread = threading.Thread(target=lab.up)
    thread.start()
    try:
        eventually(lambda: labs(runtime_directory()))
        assert pings(Lab.attach("slow")["h1"], str(lab["h100"].address))
    finally:
        thread.join()
        lab.down()


def test_progress_is_told_for_large_labs() -> None:
    told: list[tuple[int, int]] = []
    lab = Lab(star(150)).up(progress=lambda done, total: told.append((done, total)))
    lab.down()
    assert told
    assert told == sorted(told)
    assert all(0 < done <= total for done, total in told)


# -- many ------------------------------------------------------------------------------------------------------------


def test_sixty_labs_in_a_row_come_up_and_go_down(runtime: Path) -> None:
    descriptors = 0
    for n in range(60):
        with Lab(pair()) as lab:
            if n % 10 == 0:
                assert pings(lab["left"], "5.5.5.2")
        if n == 5:
            descriptors = len(os.listdir("/proc/self/fd"))
    assert len(os.listdir("/proc/self/fd")) <= descriptors
    assert labs(runtime) == []


def test_six_labs_at_once_work_side_by_side() -> None:
    several = [Lab("two-lans").up() for _ in range(6)]
    try:
        processes = [
            lab["alice"].popen(["ping", "-c2", "-i0.2", "-W5", "coordinator"], stdout=subprocess.DEVNULL)
            for lab in several
        ]
        assert [process.wait(20) for process in processes] == [0] * 6
    finally:
        for lab in several:
            lab.down()


def up_when_free(name: str, deadline: float) -> Lab:
    while True:
        try:
            return Lab(pair(), name=name).up()
        except LabExists:
            assert time.monotonic() < deadline


def test_the_same_name_up_and_killed_over_and_over_never_trips_over_its_own_ruin(runtime: Path) -> None:
    deadline = time.monotonic() + 30
    killed: list[Lab] = []
    for _ in range(25):
        lab = up_when_free("again", deadline)
        assert lab["left"].run(["true"]).returncode == 0
        os.kill(lab.pid, signal.SIGKILL)
        killed.append(lab)  # still held, so that nothing waits for its end here
    for lab in killed:
        lab.down()


def test_programs_that_want_the_same_name_at_once_get_it_one_after_the_other(runtime: Path) -> None:
    problems: list[Any] = []

    def work() -> None:
        try:
            deadline = time.monotonic() + 40
            for _ in range(5):
                lab = up_when_free("wanted", deadline)
                assert lab["left"].run(["true"]).returncode == 0
                lab.down()
        except BaseException as error:
            problems.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []


@pytest.mark.usefixtures("crowd")
@pytest.mark.timeout(240)
def test_a_star_of_a_thousand_hosts_comes_up_at_the_default_limit_of_descriptors() -> None:
    run_program("""
import resource
from tests.support.shapes import star
from wanlab import Lab
_, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (1024, min(4096, hard)))
with Lab(star(1000)) as lab:
    for name in ("h1", "h500", "h1000"):
        lab[name].run(["ping", "-c1", "-W5", str(lab["h777"].address)], check=True, stdout=-3)
    sockets = [lab[f"h{n}"].socket() for n in range(1, 901)]
    assert len(sockets) == 900
    for n in range(1, 301):
        assert lab[f"h{n}"].run(["true"]).returncode == 0
    processes = [lab[f"h{n}"].popen(["true"]) for n in range(700, 720)]
    assert [process.wait(20) for process in processes] == [0] * 20
""", before=("env", f"PYTHONPATH={Path.cwd()}"), timeout=100)  # fmt: skip


def test_a_chosen_name_is_not_in_the_way_of_another_topology(runtime: Path) -> None:
    with Lab(pair("one"), name="shared.name-1") as lab:
        assert lab.name == "shared.name-1"
        assert labs(runtime) == ["shared.name-1"]
    assert PAIR
