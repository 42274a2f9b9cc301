"""`verify` says that a lab is right when it is, and names what is wrong when somebody has tampered with it."""

from __future__ import annotations

import socket
from collections.abc import Callable

import pytest

from tests.support import shapes
from wanlab import Lab, Topology
from wanlab.measure.verify import Check, Report


def _homes(nat: str, *, firewall: bool = True) -> Topology:
    """Two homes of two hosts each on one WAN with a server."""
    t = Topology("homes")
    wan = t.switch("wan")
    t.host("server", wan)
    for side in ("a", "b"):
        router = t.router(f"home-{side}", wan, nat=nat, firewall=firewall)
        t.host(f"first-{side}", router)
        t.host(f"second-{side}", router)
    return t


def _double_nat() -> Topology:
    t = Topology("double")
    wan = t.switch("wan")
    t.host("server", wan)
    carrier = t.router("carrier", wan, nat="article")
    for side in ("a", "b"):
        t.host(f"laptop-{side}", t.router(f"home-{side}", carrier, nat="linux"))
    return t


def _two_uplinks() -> Topology:
    """A laptop on Wi-Fi and on mobile at once."""
    t = Topology("roaming")
    wan = t.switch("wan")
    t.host("server", wan)
    wifi, mobile = t.router("wifi", wan), t.router("mobile", wan, nat="article")
    laptop = t.host("laptop", wifi)
    laptop.connect(mobile)
    t.host("tv", wifi)
    return t


def _narrow() -> Topology:
    """A link whose MTU is below everybody else's in the middle of a path."""
    t = Topology("narrow")
    core = t.switch("core", mtu=1280)
    left, right = (t.router(name, core, nat="none", firewall=False) for name in ("left", "right"))
    t.host("a", left)
    t.host("b", right)
    return t


def _neighbours() -> Topology:
    """Two hosts behind a prefix translation, who reach each other by their addresses outside, too."""
    t = Topology("neighbours")
    wan = t.switch("wan", "2001:470:1::/64")
    t.host("server", wan)
    home = t.router("home", wan, lan="fd00:1::/64", nat="none", ipv6="prefix-translation")
    t.host("laptop", home)
    t.host("phone", home)
    return t


def _failed(report: Report, group: str) -> list[Check]:
    return [check for check in report.failed if check.group == group]


def _overlapping() -> Topology:
    """Two homes that chose the same subnet, as homes do."""
    t = Topology("overlapping", overlapping_lans=True)
    wan = t.switch("wan")
    t.host("server", wan)
    for side in ("a", "b"):
        t.host(f"laptop-{side}", t.router(f"home-{side}", wan, lan="192.168.1.0/24"))
    return t


RIGHT: dict[str, Callable[[], Topology]] = {
    "linux": lambda: _homes("linux"),
    "article": lambda: _homes("article"),
    "no-nat": lambda: _homes("none"),
    "no-firewall": lambda: _homes("linux", firewall=False),
    "plain-routers": lambda: _homes("none", firewall=False),
    "double-nat": _double_nat,
    "two-uplinks": _two_uplinks,
    "narrow": _narrow,
    "overlapping": _overlapping,
    "two-lans": shapes.two_lans,
    "cable": shapes.cable,
    "star": shapes.star,
    "chain": shapes.chain,
    "core": shapes.core,
    "dual-stack": shapes.dual_stack,
    "prefix-translation": shapes.prefix_translation,
    "neighbours": _neighbours,
    "ipv6-only": shapes.ipv6_only,
    "firewalls": shapes.firewalls,
}


@pytest.mark.parametrize("make", RIGHT.values(), ids=RIGHT.keys())
def test_a_lab_as_it_was_built_verifies(make: Callable[[], Topology]) -> None:
    with Lab(make()) as lab:
        report = lab.verify()
    assert report.ok, [str(check) for check in report.failed]
    assert {check.group for check in report.checks} >= {"reach", "names", "mtu"}


def test_a_lab_verifies_again_and_again() -> None:
    with Lab(_homes("linux")) as lab:
        assert all(lab.verify().ok for _ in range(3))


# -- tampering: what is done by hand in a node of two-lans, and the group and node that must turn red -----------------

TAMPERED = {
    "masquerade flushed": ("home-a", "nft flush chain inet wanlab wl_postrouting", "nat", "alice"),
    "all rules flushed": ("home-a", "nft flush ruleset", "unsolicited", "alice"),
    "forward drop gone": (
        "home-a",
        "nft chain inet wanlab wl_forward '{ policy accept; }'",
        "unsolicited",
        "alice",
    ),
    "lan no longer let out": ("home-b", "nft flush chain inet wanlab wl_forward", "reach", "bob"),
    "input drop gone": ("home-b", "nft flush chain inet wanlab wl_input", "reach", "coordinator -> home-b"),
    "ports preserved instead of random": (
        "home-a",
        "nft flush chain inet wanlab wl_postrouting; nft add rule inet wanlab wl_postrouting oifname wan masquerade",
        "nat",
        "alice",
    ),
    "another source address": (
        "home-a",
        "ip address add 172.16.0.77/24 dev wan;"
        " nft flush chain inet wanlab wl_postrouting;"
        " nft add rule inet wanlab wl_postrouting oifname wan snat ip to 172.16.0.77",
        "nat",
        "alice",
    ),
    "forwarding off": ("home-a", "sysctl -qw net.ipv4.ip_forward=0", "reach", "alice"),
    "interface down": ("bob", "ip link set eth0 down", "reach", "bob"),
    "switch port down": ("wan", "ip link set coordinator down", "reach", "coordinator"),
    "default route gone": ("alice", "ip route del default", "reach", "alice"),
    "mtu lowered": ("home-a", "ip link set wan mtu 1400", "mtu", "alice"),
    "mtu raised": ("alice", "ip link set eth0 mtu 1600", "mtu", "alice"),
    "one hop too many taken off": (
        "home-a",
        "nft add chain inet wanlab ttl '{ type filter hook forward priority 10; }';"
        " nft add rule inet wanlab ttl ip ttl set 40",
        "reach",
        "alice",
    ),
    "a name points elsewhere": (
        "alice",
        "sed 's/^172.16.0.100 /172.16.0.99 /' /etc/hosts > $TMPDIR/hosts; mount --bind $TMPDIR/hosts /etc/hosts",
        "names",
        "alice",
    ),
}


@pytest.mark.parametrize(("node", "command", "group", "culprit"), TAMPERED.values(), ids=TAMPERED.keys())
def test_tampering_turns_the_right_line_red(
    node: str, command: str, group: str, culprit: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    directory = tmp_path_factory.mktemp("tamper")
    with Lab(shapes.two_lans()) as lab:
        lab[node].run(["sh", "-ec", f"TMPDIR={directory}; {command}"], check=True)
        report = lab.verify()
    red = _failed(report, group)
    assert red, f"nothing in {group!r} turned red: {[str(check) for check in report.failed]}"
    assert all(check.expected != check.seen for check in red)
    assert any(culprit in check.subject for check in red)


def test_what_was_not_tampered_with_stays_green() -> None:
    with Lab(shapes.two_lans()) as lab:
        lab["bob"].run(["ip", "link", "set", "eth0", "down"], check=True)
        report = lab.verify()
    near = ("bob", "home-b:")  # the NAT of a router without a host cannot be measured
    assert all(any(name in check.subject for name in near) for check in report.failed), [str(c) for c in report.failed]


def test_a_lab_that_is_repaired_verifies_again() -> None:
    with Lab(shapes.two_lans()) as lab:
        lab["home-a"].run(["nft", "flush", "chain", "inet", "wanlab", "wl_input"], check=True)
        assert not lab.verify().ok
        lab["home-a"].run(["nft", "add rule inet wanlab wl_input iifname wan ct state established,related accept"])
        lab["home-a"].run(["nft", "add rule inet wanlab wl_input iifname wan drop"], check=True)
        assert lab.verify().ok


def test_the_port_that_a_server_reports_is_the_one_on_the_wire() -> None:
    """Held against the frame itself, since verify asks the kernel that translates."""
    with (
        Lab(shapes.two_lans()) as lab,
        lab["coordinator"].socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0800)) as tap,
        lab["coordinator"].socket(socket.AF_INET, socket.SOCK_DGRAM) as server,
        lab["alice"].socket(socket.AF_INET, socket.SOCK_DGRAM) as client,
    ):
        tap.bind(("eth0", 0x0800))
        tap.settimeout(5)
        server.bind(("", 4000))
        server.settimeout(5)
        client.sendto(b"who am I?", (str(lab["coordinator"].address), 4000))
        _, (address, port) = server.recvfrom(100)
        frame = tap.recv(2000)
        while frame[36:38] != (4000).to_bytes(2, "big"):
            frame = tap.recv(2000)
        expected = str(lab["home-a"].wan.address)
    assert (address, port) == (socket.inet_ntoa(frame[26:30]), int.from_bytes(frame[34:36], "big"))
    assert address == expected


@pytest.mark.usefixtures("crowd")
@pytest.mark.timeout(240)
def test_a_large_star_is_verified_in_part_and_says_so() -> None:
    with Lab(shapes.star(500)) as lab:
        report = lab.verify()
    assert report.ok, [str(check) for check in report.failed][:5]
    assert any("of 500 nodes" in note for note in report.notes)


@pytest.mark.usefixtures("crowd")
@pytest.mark.timeout(240)
def test_a_broken_host_beyond_the_full_grid_is_still_found() -> None:
    with Lab(shapes.star(150)) as lab:
        lab["h149"].run(["ip", "link", "set", "eth0", "down"], check=True)
        report = lab.verify()
    assert report.failed
    assert all("h149" in check.subject for check in report.failed), [str(check) for check in report.failed][:5]


def test_a_report_is_json_that_tells_expected_and_seen() -> None:
    with Lab(shapes.cable()) as lab:
        document = lab.verify().to_json()
    assert document["ok"] is True
    assert {"group", "subject", "expected", "seen", "ok"} == set(document["checks"][0])


def test_where_tcp_may_go_to_few_ports_it_is_not_tried_and_said_so() -> None:
    t = Topology("few-ports")
    wan = t.switch("wan", "5.5.5.0/24")
    t.host("server", wan)
    t.host("laptop", t.router("home", wan, nat={"tcp_ports": [80]}))
    with Lab(t) as lab:
        report = lab.verify()
    assert report.ok
    assert "nat: laptop over TCP: not tried: home lets it go to few ports only" in report.notes
