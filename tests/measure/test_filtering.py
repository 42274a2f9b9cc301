"""Whom a stateful firewall without NAT lets in, once a host behind it has sent (RFC 6092): asked from outside."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.compliance.requirement import requirement
from tests.support import shapes
from wanlab import Lab, LabNode, Topology, UsageError
from wanlab.measure.nat import measure_nat
from wanlab.measure.routed import OPEN

EIF, ADF, APDF = "endpoint-independent", "address-dependent", "address-and-port-dependent"
LETS_IN = {
    EIF: {"known", "other port", "other address"},
    ADF: {"known", "other port"},
    APDF: {"known"},
    True: {"known"},
}
ROUTED: dict[str, tuple[int, dict[str, Any]]] = {
    "IPv4 without NAT": (4, {"nat": "none"}),
    "IPv6": (6, {}),
    "IPv6 with prefix translation": (6, {"ipv6": "prefix-translation"}),
}
QUIET = 0.25  # seconds after which what has not arrived will not
FIRST, SECOND = 4001, 4002
INSIDE = 5000


def guarded(firewall: bool | str, keys: dict[str, Any]) -> Topology:
    """A host behind a firewall, and two outside."""
    t = Topology("guarded")
    wan = t.switch("wan", ["5.5.5.0/24", "2001:470:1::/64"])
    t.host("server", wan)
    t.host("stranger", wan)
    home = t.router("home", wan, lan=["5.6.6.0/24", "2001:470:2::/64"], firewall=firewall, **keys)
    t.host("laptop", home)
    return t


class Ends:
    """Sockets of one family and kind, in any node."""

    def __init__(self, lab: Lab, version: int, kind: int) -> None:
        self.lab = lab
        self.version = version
        self.kind = kind

    def address(self, node: LabNode) -> str:
        (address,) = (a.ip for i in node.interfaces for a in i.addresses if a.version == self.version)
        return str(address)

    @contextmanager
    def open(self, node: str, port: int) -> Iterator[socket.socket]:
        family = socket.AF_INET if self.version == 4 else socket.AF_INET6
        with self.lab[node].socket(family, self.kind) as opened:
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            opened.bind(("0.0.0.0" if self.version == 4 else "::", port))
            opened.settimeout(3)
            yield opened


@requirement("RFC 6092 REC-17")
@pytest.mark.parametrize("routed", ROUTED)
@pytest.mark.parametrize("firewall", [EIF, ADF, APDF, True])
def test_over_udp_it_lets_in_whom_its_filtering_says(firewall: bool | str, routed: str) -> None:
    version, keys = ROUTED[routed]
    with Lab(guarded(firewall, keys)) as lab:
        ends = Ends(lab, version, socket.SOCK_DGRAM)
        server = ends.address(lab["server"])
        with (
            ends.open("laptop", INSIDE) as laptop,
            ends.open("laptop", INSIDE + 1) as idle,
            ends.open("server", FIRST) as known,
            ends.open("server", SECOND) as other_port,
            ends.open("stranger", FIRST) as other_address,
        ):
            callers = {"known": known, "other port": other_port, "other address": other_address}
            own = seen_by(laptop, known, (server, FIRST))
            for caller in callers.values():
                caller.sendto(b"to the idle port", (own, INSIDE + 1))
            assert heard(idle) == set()
            for name, caller in callers.items():
                caller.sendto(name.encode(), (own, INSIDE))
            assert heard(laptop) == LETS_IN[firewall]


def seen_by(inside: socket.socket, outside: socket.socket, to: tuple[str, int]) -> str:
    """Send out, and tell the address that it was seen to come from."""
    inside.sendto(b"open", to)
    address: str = outside.recvfrom(100)[1][0]
    return address


def heard(opened: socket.socket) -> set[str]:
    """All that arrives until nothing does."""
    opened.settimeout(QUIET)
    found = set()
    try:
        while True:
            found.add(opened.recv(100).decode())
    except TimeoutError:
        return found


@requirement("RFC 6092 REC-33")
@pytest.mark.parametrize("routed", ROUTED)
@pytest.mark.parametrize("firewall", [EIF, ADF, APDF, True])
def test_over_tcp_it_lets_in_whom_its_filtering_says(firewall: bool | str, routed: str) -> None:
    version, keys = ROUTED[routed]
    with Lab(guarded(firewall, keys)) as lab:
        ends = Ends(lab, version, socket.SOCK_STREAM)
        with (
            ends.open("laptop", INSIDE) as laptop,
            ends.open("laptop", INSIDE) as listening,
            ends.open("laptop", INSIDE + 1) as idle,
            ends.open("server", FIRST) as known,
            ends.open("server", SECOND) as other_port,
            ends.open("stranger", FIRST) as other_address,
            ends.open("stranger", SECOND) as passer_by,
        ):
            known.listen()
            idle.listen()
            laptop.connect((ends.address(lab["server"]), FIRST))
            connection, (own, *_) = known.accept()
            listening.listen()
            assert not connects(passer_by, (own, INSIDE + 1))
            allowed = {
                name
                for name, caller in {"other port": other_port, "other address": other_address}.items()
                if connects(caller, (own, INSIDE))
            }
            assert allowed | {"known"} == LETS_IN[firewall]
            connection.sendall(b"still here")
            assert laptop.recv(100) == b"still here"
            connection.close()


def connects(caller: socket.socket, to: tuple[str, int]) -> bool:
    caller.settimeout(2 * QUIET)
    try:
        caller.connect(to)
    except TimeoutError:
        return False
    return True


@pytest.mark.parametrize("firewall", [EIF, ADF, APDF, True, False])
@pytest.mark.parametrize("routed", ROUTED)
def test_verify_holds(firewall: bool | str, routed: str) -> None:
    with Lab(guarded(firewall, ROUTED[routed][1])) as lab:
        report = lab.verify()
    assert report.ok, [str(check) for check in report.failed]


@requirement("RFC 6092 REC-14 to REC-16", "RFC 6092 REC-35")
def test_state_lives_as_long_as_rfc_6092_has_it_and_what_goes_out_refreshes_it() -> None:
    """REC-14: UDP 5 minutes; REC-16: outbound packets refresh; REC-35: TCP 2 h 4 min, 4 min while it opens."""
    with Lab(guarded(EIF, {"nat": "none"})) as lab:
        udp, tcp = Ends(lab, 6, socket.SOCK_DGRAM), Ends(lab, 6, socket.SOCK_STREAM)
        server = udp.address(lab["server"])
        with udp.open("laptop", INSIDE) as laptop, udp.open("server", FIRST) as known:
            seen_by(laptop, known, (server, FIRST))
            first = lives(lab, "wl_udp6_open")
            assert 290 < first["expires"] <= 300
            lab["home"].run(["sleep", "1.2"], check=True)
            assert lives(lab, "wl_udp6_open")["expires"] < first["expires"]
            seen_by(laptop, known, (server, FIRST))
            assert lives(lab, "wl_udp6_open")["expires"] >= 299
        with tcp.open("laptop", INSIDE) as laptop:
            with pytest.raises(ConnectionRefusedError):
                laptop.connect((server, FIRST))
            assert 230 < lives(lab, "wl_tcp6_open")["expires"] <= 240
        with tcp.open("laptop", INSIDE + 1) as laptop, tcp.open("server", FIRST) as known:
            known.listen()
            laptop.connect((server, FIRST))
            assert 7430 < max(entry["expires"] for entry in elements(lab, "wl_tcp6_open")) <= 7440
        sysctl = ["sysctl", "-n", "net.netfilter.nf_conntrack_udp_timeout"]
        assert lab["home"].run(sysctl, capture_output=True, text=True, check=True).stdout == "300\n"


def elements(lab: Lab, name: str) -> list[dict[str, Any]]:
    listed = lab["home"].run(["nft", "-j", "list", "set", "inet", "wanlab", name], capture_output=True, check=True)
    (found,) = (entry["set"] for entry in json.loads(listed.stdout)["nftables"] if "set" in entry)
    return [element["elem"] for element in found["elem"]]


def lives(lab: Lab, name: str) -> dict[str, Any]:
    (only,) = elements(lab, name)
    return only


def test_what_was_not_let_out_opens_nothing() -> None:
    """The UDP ports that a NAT's owner blocks are blocked for IPv6 as well, and what is sent there is no sending."""
    topology = guarded(EIF, {"nat": "hotel"})
    with Lab(topology) as lab:
        ends = Ends(lab, 6, socket.SOCK_DGRAM)
        with ends.open("laptop", INSIDE) as laptop, ends.open("server", FIRST) as server:
            laptop.sendto(b"blocked", (ends.address(lab["server"]), FIRST))
            server.sendto(b"in?", (ends.address(lab["laptop"]), INSIDE))
            assert heard(server) == set()
            assert heard(laptop) == set()


def test_a_firewall_without_nat_is_a_thing_of_its_own() -> None:
    """`nat = "none"` with the firewall that is there by default: addresses are true, and nobody gets in unasked."""
    with Lab(shapes.firewalls()) as lab:
        report = lab.verify()
        assert report.ok
        assert not any(check.group == "nat" for check in report.checks)
        assert any(check.group == "unsolicited" for check in report.checks)


# -- wanlab nat ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("firewall", [EIF, ADF, APDF, True])
@pytest.mark.parametrize("routed", ROUTED)
def test_what_is_declared_is_measured(firewall: bool | str, routed: str) -> None:
    version, keys = ROUTED[routed]
    with Lab(guarded(firewall, keys)) as lab:
        measured = measure_nat(lab, "home")
    assert measured.ok
    seen = {finding.axis: finding.measured for finding in measured.findings}
    assert seen[f"ipv{version} filtering"] == (APDF if firewall is True else firewall)
    assert seen["ipv6"].startswith(keys.get("ipv6", "route"))


def test_a_prefix_translation_without_a_firewall_lets_everything_in() -> None:
    with Lab(guarded(False, {"ipv6": "prefix-translation"})) as lab:
        measured = measure_nat(lab, "home")
    assert measured.ok
    assert {finding.axis: finding.measured for finding in measured.findings}["ipv6 filtering"] == OPEN


def test_a_host_whose_address_ends_as_its_routers_does_is_masqueraded_all_the_same() -> None:
    t = Topology("ends-alike")
    wan = t.switch("wan", "2a00:5::/64")
    t.host("server", wan, address="2a00:5::1")
    t.router("home", wan, address="2a00:5::2", lan="fd00:1::/64", nat="none", ipv6="masquerade")
    t.host("laptop", "home", address="fd00:1::2")
    with Lab(t) as lab:
        measured = measure_nat(lab, "home")
    assert measured.ok
    assert {finding.axis: finding.measured for finding in measured.findings}["ipv6"] == "masquerade: is 2a00:5::2"


WRONG = {
    "filtering": ("nft flush chain inet wanlab wl_opening", "ipv6 filtering", APDF),
    "no filtering": ("nft chain inet wanlab wl_forward '{ policy accept; }'", "ipv6 filtering", OPEN),
    "nothing let out": ("nft insert rule inet wanlab wl_forward meta nfproto ipv6 drop", "ipv6 from laptop", "nothing"),
    "masqueraded": (
        "nft add chain inet wanlab x '{ type nat hook postrouting priority 90; }';"
        " nft add rule inet wanlab x oifname wan meta nfproto ipv6 masquerade",
        "ipv6",
        "masquerade",
    ),
}


@pytest.mark.parametrize(("command", "axis", "seen"), WRONG.values(), ids=WRONG.keys())
def test_what_is_not_as_declared_differs(command: str, axis: str, seen: str) -> None:
    with Lab(guarded(EIF, {})) as lab:
        lab["home"].run(["sh", "-ec", command], check=True)
        measured = measure_nat(lab, "home")
    (found,) = (finding for finding in measured.findings if finding.axis == axis)
    assert found.ok is False
    assert found.measured.startswith(seen)


def test_a_router_that_only_forwards_has_nothing_to_measure() -> None:
    with Lab(shapes.chain()) as lab, pytest.raises(UsageError, match="'r1' translates and filters nothing"):
        measure_nat(lab, "r1")


def test_a_router_that_nobody_can_measure_says_why() -> None:
    t = Topology("alone")
    t.router("home", t.switch("wan", "2001:470:1::/64"), lan="2001:470:2::/64", nat="none")
    with Lab(t) as lab:
        measured = measure_nat(lab, "home")
    assert measured.notes == ("IPv6 not measured: nobody is outside of it who takes calls",)
