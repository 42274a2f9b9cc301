"""Router advertisements: real ones, by radvd, and addresses and routes that the kernel makes of them."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from tests.plan.test_script_equals_kernel import compare
from tests.support.labs import machine, run_program
from tests.topology.helpers import refusal, toml
from wanlab import KernelError, Lab, Topology
from wanlab.runtime.directory import labs, runtime_directory
from wanlab.topology.document import from_document

LAN = ["192.168.1.0/24", "2001:470:2::/64"]
ALL_ROUTERS = "ff02::2"


def home(ipv6: str | None = None) -> Topology:
    """Two hosts that make their addresses, one that was given its own, a router below, a server outside."""
    t = Topology("advertised")
    wan = t.switch("wan", ["5.5.5.0/24", "2001:470:1::/64"])
    t.router("isp").connect(wan)
    t.host("server", wan)
    router = t.router("home", wan, lan=LAN, slaac=True, ipv6=ipv6)
    t.host("laptop", router)
    t.host("phone", router)
    t.host("fixed", router, address="2001:470:2::77")
    t.host("tv", t.router("inner", router, lan=["192.168.2.0/24", "2001:470:3::/64"], slaac=True))
    return t


def two_uplinks() -> Topology:
    """A laptop with two interfaces, each on a LAN with advertisements, one of them with a dot in its name."""
    t = Topology("roaming")
    wan = t.switch("wan", "2001:470:1::/64")
    t.host("server", wan)
    wifi = t.router("wifi", wan, lan="2001:470:2::/64", nat="none", slaac=True)
    mobile = t.router("mobile", wan, lan="2001:470:3::/64", nat="none", slaac=True)
    laptop = t.host("laptop")
    laptop.connect(wifi, name="wlan0.5")
    laptop.connect(mobile, name="usb0")
    return t


def switched() -> Topology:
    """Advertisements on a router's further interface, which is on a switch."""
    t = Topology("switched")
    office = t.switch("office", "fd00:5::/64")
    router = t.router("core", lan="fd00:6::/64", slaac=True)
    router.connect(office)
    t.host("desk", office)
    t.host("printer", router)
    return t


def shown(lab: Lab, node: str, *words: str) -> list[dict[str, Any]]:
    found = lab[node].run(["ip", "-j", "-6", *words], capture_output=True, text=True, check=True).stdout
    rows: list[dict[str, Any]] = json.loads(found or "[]")
    return rows


def test_a_host_makes_its_address_and_its_default_route_of_an_advertisement() -> None:
    with Lab(home()) as lab:
        (link,) = shown(lab, "laptop", "address", "show", "dev", "eth0")
        (address,) = (a for a in link["addr_info"] if a["scope"] == "global")
        (default,) = shown(lab, "laptop", "route", "show", "default")
        mine = next(str(a.ip) for a in lab["laptop"].interfaces[0].addresses if a.version == 6)
        assert address["local"] == mine
        assert address["dynamic"] is True  # the kernel's own doing
        assert "tentative" not in address
        assert default["protocol"] == "ra"
        mac = lab["laptop"].interfaces[0].mac or ""
        assert mine.endswith(f"ff:fe{mac[9:11]}:{mac[12:14]}{mac[15:17]}".replace(":0", ":"))  # EUI-64


def test_the_advertisement_is_one_on_the_wire() -> None:
    with (
        Lab(home()) as lab,
        lab["laptop"].socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x86DD)) as tap,
        lab["laptop"].socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6) as asking,
    ):
        tap.bind(("eth0", 0x86DD))
        tap.settimeout(5)
        asking.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 255)
        asking.sendto(bytes([133, 0, 0, 0, 0, 0, 0, 0]), (ALL_ROUTERS, 0, 0, 2))
        frames = (tap.recv(2000) for _ in range(50))
        frame = next(frame for frame in frames if frame[20] == socket.IPPROTO_ICMPV6 and frame[54] == 134)
        assert frame[21] == 255  # RFC 4861, section 6.1.2
        assert socket.inet_pton(socket.AF_INET6, "2001:470:2::") in frame


def test_who_was_given_an_address_keeps_it_and_takes_no_other() -> None:
    with Lab(home()) as lab:
        for node, interface in (("fixed", "eth0"), ("inner", "wan")):
            (link,) = shown(lab, node, "address", "show", "dev", interface)
            assert len([a for a in link["addr_info"] if a["scope"] == "global"]) == 1
            (default,) = shown(lab, node, "route", "show", "default")
            assert default.get("protocol") != "ra"


@pytest.mark.parametrize("ipv6", ["route", "prefix-translation", "masquerade"])
def test_a_lab_with_advertisements_verifies(ipv6: str) -> None:
    with Lab(home(ipv6=ipv6)) as lab:
        report = lab.verify()
    assert report.ok, [str(check) for check in report.failed]


@pytest.mark.parametrize("make", [two_uplinks, switched])
def test_advertisements_on_several_interfaces_verify(make: Callable[[], Topology]) -> None:
    with Lab(make()) as lab:
        report = lab.verify()
    assert report.ok, [str(check) for check in report.failed]


def test_the_first_of_two_default_routes_is_preferred() -> None:
    with Lab(two_uplinks()) as lab:
        routes = shown(lab, "laptop", "route", "show", "default")
        assert {route["dev"]: route["metric"] for route in routes} == {"wlan0.5": 1024, "usb0": 1124}


@pytest.mark.parametrize("make", [home, two_uplinks, switched])
def test_the_script_and_the_kernel_make_the_same_lab(make: Callable[[], Topology]) -> None:
    compare(make())


def test_the_key_survives_a_document() -> None:
    topology = home()
    assert topology.to_document()["router"]["home"]["slaac"] is True
    assert from_document(topology.to_document()).resolve() == topology.resolve()


def test_the_addresses_are_known_before_the_lab_is_up() -> None:
    network = toml('[router.r]\nlan = "fd00:1::/64"\nslaac = true\n[host.h]\nlink = "r"').resolve()
    mac = network["h"].interfaces[0].mac or ""
    first = f"{int(mac[:2], 16) ^ 2:02x}"
    expected = int.from_bytes(bytes.fromhex(first + mac[3:8].replace(":", "") + "fffe" + mac[9:].replace(":", "")))
    assert int(network["h"].address) & 0xFFFF_FFFF_FFFF_FFFF == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[router.r]\nslaac = true", "lab.toml:1: router 'r': slaac, and it has no IPv6 inside; give its lan an IPv6"),
        (
            '[router.r]\nlan = "fd00::/60"\nslaac = true',
            "lab.toml:1: router 'r': slaac needs a /64, and the lan of 'r' has fd00::/60",
        ),
        (
            '[switch.s]\nsubnet = "fd00::/64"\n[router.a]\nslaac = true\ninterface = [{ link = "s" }]\n'
            '[router.b]\nslaac = true\ninterface = [{ link = "s" }]',
            "lab.toml:6: router 'b': switch 's' has the router advertisements of 'a' already",
        ),
        ("[router.r]\nslaac = 1", "lab.toml:2: 'slaac' of router 'r' must be true or false, not 1"),
    ],
)
def test_what_cannot_be_is_refused(text: str, message: str) -> None:
    assert refusal(text).startswith(message)


def test_without_radvd_the_lab_is_refused_before_anything_is_built() -> None:
    code = (
        "from wanlab import Lab, Topology, MachineError\n"
        "t = Topology('x'); t.host('h', t.router('r', lan='fd00::/64', slaac=True))\n"
        "try:\n    Lab(t).up()\nexcept MachineError as error:\n    print(error)\n"
    )
    said = run_program(code, before=machine("mount --bind /dev/null $(command -v radvd)"))
    assert said == "node 'r': radvd is not installed; install it (Debian package radvd)\n"
    assert not list(labs(runtime_directory()))


def test_an_advertisement_that_does_not_come_is_an_error_that_names_the_node() -> None:
    with pytest.raises(KernelError, match=r"laptop: eth0 gives itself 2001:470:2:.*: no router adv"):
        _without_advertisements().up()


def _without_advertisements() -> Lab:
    """A lab whose network believes in advertisements that nobody sends."""
    lab = Lab(home())
    nodes = dict(lab.network.nodes)
    for name in ("home", "inner"):
        node = nodes[name]
        nodes[name] = replace(node, interfaces=tuple(replace(i, advertises=False) for i in node.interfaces))
    lab.network = replace(lab.network, nodes=nodes)
    return lab
