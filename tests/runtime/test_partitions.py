"""Partitions: who is kept from whom, seen by packets, and by nobody else."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.inventory import differences, inventory
from tests.support.labs import eventually
from tests.support.traffic import PORT, Traffic
from wanlab import Lab, NoSuchNode, Topology, TopologyError
from wanlab.plan.change import change
from wanlab.plan.steps import LoseFrames
from wanlab.topology.files import read

IPV6 = ["5.5.5.0/24", "2a00:5::/64"]


def switch() -> Topology:
    topology = Topology("switch")
    wan = topology.switch("wan", IPV6)
    for name in ("alice", "bob", "carol", "dave"):
        topology.host(name, wan)
    return topology


def homes() -> Topology:
    """Homes with one host and with two, one of them routed, and a server."""
    topology = Topology("homes")
    wan = topology.switch("wan", IPV6)
    topology.host("server", wan)
    for home, hosts in (("one", ("alice",)), ("two", ("bob", "carol"))):
        router = topology.router(home, wan, lan=[f"192.168.{len(home + hosts[0])}.0/24"], nat="full")
        for host in hosts:
            topology.host(host, router)
    site = topology.router("site", wan, lan=["10.9.0.0/24", "2a00:9::/64"], nat="none", firewall=False)
    topology.host("desk", site)
    return topology


def reaches(lab: Lab, sender: str, receiver: str) -> bool:
    words = ["ping", "-c1", "-W1", str(lab[receiver].address)]
    return bool(lab[sender].run(words, capture_output=True).returncode == 0)


def of(lab: Lab) -> dict[str, object]:
    def run(node: str, argv: list[str]) -> str:
        printed: str = lab[node].run(argv, capture_output=True, text=True, check=True).stdout
        return printed

    return dict(inventory(run, lab.network.nodes))


def test_nodes_on_one_switch_are_kept_apart_and_healed_under_traffic() -> None:
    with Lab(switch()) as lab, Traffic(lab, "alice", "bob") as cut, Traffic(lab, "carol", "bob", PORT + 1) as whole:
        assert cut.passes()
        lab.partition(["alice"], ["bob", "carol"])
        assert cut.stands_still()
        assert whole.passes()
        assert reaches(lab, "alice", "dave")
        report = lab.verify()
        assert report.ok, report.failed
        lab.heal()
        assert cut.passes()
        assert lab.verify().ok


def test_nothing_of_the_other_side_is_seen_arp_included(tmp_path: Path) -> None:
    with Lab(switch()) as lab:
        lab.partition("alice", ["bob"])
        with lab.capture("bob") as capture:
            for family in ("-4", "-6"):
                lab["alice"].run(["ping", family, "-c1", "-W1", "bob"], capture_output=True)
            assert reaches(lab, "dave", "bob")
            capture.stop()
            capture.write(tmp_path / "bob.pcapng")
        words = ["tcpdump", "-n", "-e", "-r", str(tmp_path / "bob.pcapng"), "ether", "src"]
        seen = {
            name: subprocess.run(
                [*words, str(lab[name].interface("eth0").mac)], capture_output=True, text=True, check=True
            ).stdout
            for name in ("alice", "dave")
        }
        assert seen["alice"] == ""
        assert "ARP" in seen["dave"]


def test_a_connection_that_stands_is_cut_in_silence_and_goes_on_after() -> None:
    with Lab(switch()) as lab, lab["bob"].socket() as listening, lab["alice"].socket() as client:
        listening.bind(("", PORT))
        listening.listen()
        client.settimeout(30)
        client.connect((str(lab["bob"].address), PORT))
        connection, _ = listening.accept()
        with connection:
            connection.settimeout(0.5)
            lab.partition(["alice"], ["bob"])
            client.sendall(b"held back")
            with pytest.raises(TimeoutError):
                connection.recv(64)
            assert client.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0
            lab.heal()
            connection.settimeout(30)
            assert connection.recv(64) == b"held back"


@pytest.mark.parametrize(
    "groups",
    [
        (["alice"], ["server"]),
        (["server"], ["one"]),
        (["alice"], ["bob", "carol"]),
        (["alice"], ["bob"]),
        (["one"], ["two"]),
        (["bob"], ["carol"]),
        (["desk"], ["server", "alice"]),
        (["site"], ["server"]),
        (["desk"], ["two"]),
        (["alice"],),
        (["server"], ["one"], ["site"]),
    ],
)
def test_a_partition_is_verified_by_packets_and_like_one_that_was_built(groups: tuple[list[str], ...]) -> None:
    with Lab(homes()) as lab:
        whole = of(lab)
        lab.partition(*groups)
        report = lab.verify()
        assert report.ok, report.failed
        with Lab(lab.topology) as fresh:
            assert [line for line in differences(of(fresh), of(lab)) if "/elem" not in line] == []
        lab.heal()
        assert [line for line in differences(whole, of(lab)) if "/elem" not in line] == []


def test_a_host_behind_a_nat_with_others_is_cut_where_it_can_be_told_from_them() -> None:
    """alice is alone behind her NAT, bob is not: bob's end sees to it, and carol notices nothing."""
    with Lab(homes()) as lab:
        lab.partition(["alice"], ["bob"])
        at = {end.node for end in change(Topology.load("cable").resolve(), lab.network) if isinstance(end, LoseFrames)}
        assert at
        for host in ("bob", "carol"):
            with lab[host].socket(type=socket.SOCK_DGRAM) as inside, lab["alice"].socket(type=socket.SOCK_DGRAM) as out:
                inside.bind(("", PORT))
                out.bind(("", PORT))
                out.settimeout(0.2)
                inside.sendto(b"opens", (str(lab["one"].address), PORT))

                def answered(inside: socket.socket = inside, out: socket.socket = out) -> bool:
                    out.sendto(b"opens", (str(lab["two"].address), PORT))
                    inside.sendto(b"through", (str(lab["one"].address), PORT))
                    try:
                        return out.recv(64) == b"through"
                    except TimeoutError:
                        return False

                if host == "carol":
                    assert eventually(answered)
                else:
                    assert not any(answered() for _ in range(5))


def test_a_partition_stays_where_a_host_moves_and_a_cable_is_laid_anew() -> None:
    with Lab(homes()) as lab:
        lab.partition(["alice"], ["server"])
        assert not reaches(lab, "alice", "server")
        lab["alice"].plug("site")
        assert not reaches(lab, "alice", "server")
        assert reaches(lab, "alice", "desk")
        lab["alice"].plug("wan")
        assert not reaches(lab, "alice", "server")
        assert lab.verify().ok
        lab.heal("alice")
        assert reaches(lab, "alice", "server")


def test_partitions_are_healed_one_by_one() -> None:
    with Lab(switch()) as lab:
        lab.partition(["alice"], ["bob"])
        lab.partition(["carol"], ["dave"])
        lab.heal("dave")
        assert reaches(lab, "carol", "dave")
        assert not reaches(lab, "alice", "bob")
        assert lab.heal() != ()
        assert lab.heal() == ()


def test_a_file_has_partitions() -> None:
    text = '[switch.s]\n[host.a]\nlink = "s"\n[host.b]\nlink = "s"\n[[partition]]\ngroups = [["a"], ["b"]]\n'
    topology = read(text, "lab.toml", "toml")
    assert topology.to_document()["partition"] == [{"groups": [["a"], ["b"]]}]
    with pytest.raises(TopologyError, match=r"lab\.toml:7: a partition: no node 'c'"):
        read(text.replace('["b"]', '["c"]'), "lab.toml", "toml")


@pytest.mark.parametrize(
    ("verb", "kind", "said"),
    [
        (lambda lab: lab.partition(), TopologyError, "a partition with no groups"),
        (lambda lab: lab.partition([], ["bob"]), TopologyError, "a group of nobody; name nodes"),
        (lambda lab: lab.partition(["alice"], ["alcie"]), TopologyError, "no node 'alcie'; did you mean 'alice'"),
        (lambda lab: lab.partition(["alice"], ["wan"]), TopologyError, "'wan' is a switch; name the hosts"),
        (lambda lab: lab.partition(["alice"], ["alice"]), TopologyError, "'alice' is named twice"),
        (lambda lab: lab.heal("nobody"), NoSuchNode, "no node 'nobody'"),
    ],
)
def test_what_is_no_partition_is_refused(verb: Callable[[Lab], object], kind: type[Exception], said: str) -> None:
    with Lab(switch()) as lab:
        document = lab.topology.to_document()
        with pytest.raises(kind, match=said):
            verb(lab)
        assert lab.topology.to_document() == document
        assert reaches(lab, "alice", "bob")


def test_who_cannot_be_told_apart_is_named() -> None:
    topology = homes()
    topology.host("erin", "one")
    topology.partition(["alice"], ["bob"])
    with pytest.raises(TopologyError, match="'alice' cannot tell 'bob' from 'carol', both behind 'two', nor"):
        topology.resolve()


def test_time_goes_on_for_who_is_not_concerned() -> None:
    with Lab(switch()) as lab, Traffic(lab, "carol", "dave") as traffic:
        assert traffic.passes()
        before = len(traffic.arrived)
        for _ in range(5):
            lab.partition(["alice"], ["bob"])
            lab.heal()
        time.sleep(0.2)
        numbers = [number for number, _ in traffic.arrived[before:]]
        assert numbers == list(range(numbers[0], numbers[-1] + 1)), "not one packet was lost"
