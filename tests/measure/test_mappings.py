"""What NATs remember, beside what servers outside, conntrack and nft say of it."""

from __future__ import annotations

import json
import re
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.support.labs import eventually
from wanlab import Lab, LabNode, NoSuchNode, Topology, UsageError
from wanlab.measure.mappings import LiveEndpoint, LiveMapping, Peer, mappings

NATS: dict[str, Any] = {
    "independent": {"mapping": "endpoint-independent", "filtering": "endpoint-independent"},
    "address": {"mapping": "endpoint-independent", "filtering": "address-dependent"},
    "strict": {"mapping": "endpoint-independent", "filtering": "address-and-port-dependent"},
    "towards-address": {
        "mapping": "address-dependent", "filtering": "address-dependent", "ports": "random", "hairpin": "off",
    },
    "towards-all": {
        "mapping": "address-and-port-dependent", "filtering": "address-and-port-dependent", "ports": "random",
        "hairpin": "off",
    },
    "pool": {"mapping": "endpoint-independent", "filtering": "address-dependent", "addresses": 2},
    "linux": "linux",
    "article": "article",
}  # fmt: skip
SLACK_S = 3  # between two looks, on a busy machine


def street() -> Topology:
    t = Topology("street")
    wan = t.switch("wan", "5.5.5.0/24")
    t.host("server", wan)
    t.host("other", wan)
    for name, nat in NATS.items():
        t.host(f"{name}-host", t.router(name, wan, nat=nat))
    return t


@pytest.fixture(scope="module")
def street_lab() -> Iterator[Lab]:
    with Lab(street()) as lab:
        yield lab


@contextmanager
def udp(node: LabNode, port: int = 0) -> Iterator[socket.socket]:
    with node.socket(socket.AF_INET, socket.SOCK_DGRAM) as made:
        made.bind(("0.0.0.0", port))
        made.settimeout(10)
        yield made


def of(found: tuple[LiveMapping, ...], internal: LiveEndpoint, protocol: str = "udp") -> list[LiveMapping]:
    return [each for each in found if each.internal == internal and each.protocol == protocol]


def numbers(value: Any) -> set[int]:
    """The numbers in what nft lists."""
    parts = value["concat"] if isinstance(value, dict) else [value]
    return {part for part in parts if isinstance(part, int)}


def output(node: LabNode, *command: str) -> str:
    return str(node.run(command, capture_output=True, text=True, check=True).stdout)


@pytest.mark.parametrize("nat", NATS)
def test_a_mapping_is_what_servers_outside_see(street_lab: Lab, nat: str) -> None:
    lab = street_lab
    host, server, other = lab[f"{nat}-host"], lab["server"], lab["other"]
    with udp(host, 4000) as inside, udp(server, 5001) as one, udp(server, 5002) as two, udp(other, 5003) as three:
        seen = {}
        for outside in (one, two, three):
            address = server.address if outside is not three else other.address
            to = (str(address), outside.getsockname()[1])
            inside.sendto(b"x", to)
            seen[to] = outside.recvfrom(9)[1]
        found = of(lab[nat].mappings(), LiveEndpoint(str(host.address), 4000))
    assert {each.external for each in found} == {LiveEndpoint(*endpoint) for endpoint in seen.values()}
    assert all(each.router == nat for each in found)
    assert all(each.open == (nat == "independent") for each in found)
    for to, external in seen.items():
        (mapping,) = [each for each in found if each.external == LiveEndpoint(*external)]
        whom = (to[0], None) if nat in ("address", "towards-address", "pool") else to
        assert whom in {(peer.address, peer.port) for peer in mapping.peers}
        assert all(0 < peer.expires_s <= 300 for peer in mapping.peers)


@pytest.mark.parametrize("nat", ["independent", "address", "strict", "towards-address", "pool"])
def test_time_left_is_that_of_the_rulesets_own_map(street_lab: Lab, nat: str) -> None:
    lab = street_lab
    host = lab[f"{nat}-host"]
    with udp(host) as inside:
        port = inside.getsockname()[1]
        inside.sendto(b"x", (str(lab["server"].address), 9))
        time.sleep(1.2)  # beyond the second that the rules give an element on top of the timer, which is not told
        (mapping,) = eventually(lambda: of(lab[nat].mappings(), LiveEndpoint(str(host.address), port)))
        listed = json.loads(output(lab[nat], "nft", "-j", "list", "maps"))["nftables"]
    # Whatever the maps are like: the elements in which the mapping's ports stand, in key or value.
    ports = {port, mapping.external.port}
    expiries = [
        key["elem"]["expires"]
        for each in listed
        for key, value in each.get("map", {}).get("elem", ())
        if "wl_udp" in each["map"]["name"] and ports & (numbers(key["elem"]["val"]) | numbers(value))
    ]
    assert expiries
    assert mapping.expires_s is not None
    assert 0 <= mapping.expires_s - max(expiries) <= SLACK_S


@pytest.mark.parametrize("nat", ["linux", "article"])
def test_time_left_and_peers_of_a_kernels_nat_are_conntracks(street_lab: Lab, nat: str) -> None:
    lab = street_lab
    host = lab[f"{nat}-host"]
    with udp(host, 4100) as inside:
        for port in (9, 10):
            inside.sendto(b"x", (str(lab["server"].address), port))
        found = of(lab[nat].mappings(), LiveEndpoint(str(host.address), 4100))
        listed = output(lab[nat], "conntrack", "-L", "-p", "udp", "--orig-port-src", "4100")
    told = {}
    for line in listed.splitlines():
        numbers = re.findall(r"dport=(\d+)", line)
        told[int(numbers[0])] = (int(line.split()[2]), int(numbers[1]))  # towards which port: seconds, external port
    peers = {peer.port: (peer.expires_s, each.external.port) for each in found for peer in each.peers}
    assert set(peers) == set(told) == {9, 10}
    for port, (seconds, external) in told.items():
        assert peers[port][1] == external
        assert 0 <= peers[port][0] - seconds <= SLACK_S
    assert {each.expires_s for each in found} <= {seconds for seconds, _ in peers.values()}


def test_a_connection_stands_longer_than_one_that_was_refused(street_lab: Lab) -> None:
    lab = street_lab
    host, server = lab["address-host"], lab["server"]
    with server.socket() as listener, host.socket() as client, host.socket() as refused:
        listener.bind(("0.0.0.0", 7000))
        listener.listen()
        client.connect((str(server.address), 7000))
        with listener.accept()[0] as connection:
            seen = LiveEndpoint(*connection.getpeername())
            with pytest.raises(ConnectionRefusedError):
                refused.connect((str(server.address), 7001))
            found = [each for each in lab["address"].mappings() if each.protocol == "tcp"]
    stands, *others = sorted(found, key=lambda each: -(each.expires_s or 0))
    assert stands.external == seen
    assert stands.expires_s is not None
    assert 7440 - 2 * SLACK_S <= stands.expires_s <= 7441  # RFC 5382 REQ-5
    assert others
    assert all(each.expires_s is not None and each.expires_s <= 241 for each in others)


@pytest.mark.parametrize("nat", ["linux", "article"])
def test_pings_have_mappings_too(street_lab: Lab, nat: str) -> None:
    lab = street_lab
    output(lab[f"{nat}-host"], "ping", "-c1", "server")
    found = [each for each in lab[nat].mappings() if each.protocol == "icmp"]
    listed = output(lab[nat], "conntrack", "-L", "-p", "icmp")
    assert len(found) == len(listed.splitlines())
    assert {peer.address for each in found for peer in each.peers} == {str(lab["server"].address)}
    assert {each.external.port for each in found} == {
        int(line.rpartition("id=")[2].split()[0]) for line in listed.splitlines()
    }
    assert all(each.expires_s is not None and 0 < each.expires_s <= 30 for each in found)


def test_looking_is_no_program_of_the_labs(street_lab: Lab) -> None:
    before = street_lab.records
    found = mappings(street_lab)
    assert street_lab.records == before
    assert [each.router for each in found] == sorted((each.router for each in found), key=list(NATS).index)


def test_what_is_no_router_has_no_mappings(street_lab: Lab) -> None:
    with pytest.raises(UsageError, match="server"):
        street_lab["server"].mappings()
    with pytest.raises(NoSuchNode):
        mappings(street_lab, ["nobody"])


def test_a_port_that_was_asked_for_is_listed() -> None:
    t = Topology("asked")
    wan = t.switch("wan", "5.5.5.0/24")
    home = t.router("home", wan, nat={"preset": "home", "port_mapping": "all"})
    t.host("laptop", home)
    with Lab(t) as lab:
        assert lab["home"].mappings() == ()
        output(lab["laptop"], "natpmpc", "-a", "5000", "5001", "udp", "300")
        (mapping,) = [each for each in lab["home"].mappings() if each.asked]
    # natpmpc's first number is the external port, its second the internal one.
    assert (mapping.protocol, mapping.external) == ("udp", LiveEndpoint("5.5.5.1", 5000))
    assert mapping.internal == LiveEndpoint(str(lab.network["laptop"].address), 5001)
    assert mapping.open
    assert mapping.expires_s is None


def test_masquerade_of_ipv6_has_mappings() -> None:
    t = Topology("six")
    wan = t.switch("wan", "2001:470:1::/64")
    server = t.host("server", wan)
    home = t.router("home", wan, lan="fd00:1::/64", nat="none", ipv6="masquerade")
    t.host("laptop", home)
    with Lab(t) as lab:
        inside = lab["laptop"].socket(socket.AF_INET6, socket.SOCK_DGRAM)
        outside = lab[server.name].socket(socket.AF_INET6, socket.SOCK_DGRAM)
        with inside, outside:
            outside.bind(("::", 9000))
            outside.settimeout(10)
            inside.sendto(b"x", (str(lab["server"].address), 9000))
            seen = outside.recvfrom(9)[1]
            (mapping,) = lab["home"].mappings()
            assert mapping.internal == LiveEndpoint(str(lab["laptop"].address), inside.getsockname()[1])
    assert mapping.external == LiveEndpoint(seen[0], seen[1])
    assert str(mapping.external).startswith("[2001:470:1::")
    assert [(peer.address, peer.port) for peer in mapping.peers] == [(str(lab.network["server"].address), 9000)]
    assert str(Peer("::1", None, 1)) == "::1"


def test_a_router_without_nat_remembers_nothing() -> None:
    t = Topology("plain")
    wan = t.switch("wan", "5.5.5.0/24")
    t.host("server", wan)
    t.host("laptop", t.router("open", wan, nat="none"))
    with Lab(t) as lab:
        output(lab["laptop"], "ping", "-c1", "server")
        assert lab["open"].mappings() == ()
        assert mappings(lab) == ()
