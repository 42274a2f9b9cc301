"""Hosts ask their router for ports by NAT-PMP, PCP and UPnP IGD, with the clients that programs use."""

from __future__ import annotations

import socket
import struct
from ipaddress import IPv6Address

import pytest

from tests.compliance.requirement import requirement
from wanlab import Lab, MachineError, Topology
from wanlab.runtime.directory import labs, runtime_directory
from wanlab.topology.nat import NATS, PortMapping

NATPMPC, UPNPC = "natpmpc", "upnpc"
PUBLIC, PRIVATE = "5.5.5.0/24", "10.64.0.0/24"
TRANSLATING = [name for name, nat in NATS.items() if nat is not None]


def home(wan: str = PUBLIC, nat: str = "home", port_mapping: str = "all") -> Topology:
    topology = Topology("mapped")
    outside = topology.switch("outside", wan)
    topology.host("server", outside)
    router = topology.router("router", outside, lan="192.168.1.0/24", nat={"preset": nat, "port_mapping": port_mapping})
    topology.host("a", router)
    topology.host("b", router)
    return topology


def ask(lab: Lab, *words: str) -> tuple[int, str]:
    done = lab["a"].run(words, capture_output=True, text=True, timeout=30)
    return done.returncode, done.stdout


def natpmp(lab: Lab, outside: int, inside: int, protocol: str = "udp", lifetime: int = 600) -> tuple[int, str]:
    words = (NATPMPC, "-g", "192.168.1.1", "-a", str(outside), str(inside), protocol, str(lifetime))
    return ask(lab, *words)


def arrives(lab: Lab, port: int, inside: int, kind: socket.SocketKind) -> str | None:
    """Who a host inside sees as the sender of what the server sends to a port of the router; None: nothing."""
    with lab["a"].socket(type=kind) as listening, lab["server"].socket(type=kind) as sending:
        listening.bind((str(lab["a"].address), inside))
        listening.settimeout(1)
        sending.settimeout(1)
        try:
            if kind is socket.SOCK_STREAM:
                listening.listen()
                sending.connect((str(lab["router"].address), port))
                connection, (address, _) = listening.accept()
                connection.close()
                return str(address)
            sending.sendto(b"hello", (str(lab["router"].address), port))
            return str(listening.recvfrom(64)[1][0])
        except (TimeoutError, ConnectionError):
            return None


@pytest.mark.parametrize("nat", TRANSLATING)
def test_a_port_asked_for_by_nat_pmp_leads_to_who_asked(nat: str) -> None:
    with Lab(home(nat=nat)) as lab:
        assert arrives(lab, 4000, 5000, socket.SOCK_DGRAM) is None
        status, said = natpmp(lab, 4000, 5000)
        assert (status, "Mapped public port 4000 protocol UDP to local port 5000" in said) == (0, True), said
        assert f"Public IP address : {lab['router'].address}" in said
        assert arrives(lab, 4000, 5000, socket.SOCK_DGRAM) == str(lab["server"].address)


@pytest.mark.parametrize("nat", ["home", "linux", "symmetric"])
def test_a_port_asked_for_by_upnp_leads_to_who_asked(nat: str) -> None:
    with Lab(home(nat=nat)) as lab:
        address = str(lab["a"].address)
        status, said = ask(lab, UPNPC, "-m", "eth0", "-a", address, "6000", "7000", "TCP", "600")
        assert (status, "Found valid IGD" in said) == (0, True), said
        assert f"external {lab['router'].address}:7000 TCP is redirected to internal {address}:6000" in said
        assert arrives(lab, 7000, 6000, socket.SOCK_STREAM) == str(lab["server"].address)


@requirement("RFC 6888 REQ-9")
def test_a_port_asked_for_by_pcp_leads_to_who_asked() -> None:
    with Lab(home()) as lab, lab["a"].socket(type=socket.SOCK_DGRAM) as client:
        client.settimeout(3)
        client.connect(("192.168.1.1", 5351))
        mine = IPv6Address(f"::ffff:{lab['a'].address}").packed
        # RFC 6887, sections 7.1 and 11.1: version 2, MAP, 600 s; nonce, UDP, internal 5000, external 4000 suggested.
        head = struct.pack("!BBHI16s", 2, 1, 0, 600, mine)
        client.send(head + struct.pack("!12sB3xHH16s", b"wanlab nonce", 17, 5000, 4000, bytes(16)))
        answer = client.recv(1100)
        version, opcode, result, lifetime = struct.unpack_from("!BBxBI", answer)
        assert (version, opcode, result, lifetime) == (2, 0x81, 0, 600)
        inside, outside, address = struct.unpack_from("!HH16s", answer, 24 + 16)
        assert (inside, outside) == (5000, 4000)
        assert IPv6Address(address).ipv4_mapped == lab["router"].address
        assert arrives(lab, 4000, 5000, socket.SOCK_DGRAM) == str(lab["server"].address)


def test_a_port_is_taken_back_when_it_is_given_up() -> None:
    with Lab(home()) as lab:
        natpmp(lab, 4000, 5000)
        assert arrives(lab, 4000, 5000, socket.SOCK_DGRAM) is not None
        assert natpmp(lab, 0, 5000, lifetime=0)[0] == 0
        assert arrives(lab, 4000, 5000, socket.SOCK_DGRAM) is None


def test_who_asks_gets_no_port_that_leads_to_somebody_else() -> None:
    with Lab(home()) as lab:
        ask(lab, UPNPC, "-m", "eth0", "-a", str(lab["b"].address), "6000", "7000", "UDP", "600")
        with lab["b"].socket(type=socket.SOCK_DGRAM) as other, lab["server"].socket(type=socket.SOCK_DGRAM) as sender:
            other.bind(("", 6000))
            other.settimeout(0.5)
            sender.sendto(b"hello", (str(lab["router"].address), 7000))
            with pytest.raises(TimeoutError):
                other.recv(64)


def test_behind_a_private_address_the_router_refuses_as_behind_a_carrier() -> None:
    with Lab(home(PRIVATE)) as lab:
        status, said = natpmp(lab, 4000, 5000)
        assert (status, "Mapped public port" in said) == (1, False), said
        status, said = ask(lab, UPNPC, "-m", "eth0", "-a", str(lab["a"].address), "6000", "7000", "TCP", "600")
        assert (status, "is redirected" in said) == (1, False), said
        assert arrives(lab, 4000, 5000, socket.SOCK_DGRAM) is None


def test_behind_a_carriers_nat_the_home_router_refuses() -> None:
    topology = Topology("twice")
    internet = topology.switch("internet", PUBLIC)
    carrier = topology.router("carrier", internet, lan="100.64.0.0/24", nat="carrier")
    router = topology.router("router", carrier, lan="192.168.1.0/24", nat={"preset": "home", "port_mapping": "all"})
    topology.host("a", router)
    with Lab(topology) as lab:
        status, said = natpmp(lab, 4000, 5000)
        assert (status, "Mapped public port" in said) == (1, False), said


@pytest.mark.parametrize(("said", "pmp", "upnp"), [("nat-pmp", True, False), ("upnp", False, True)])
def test_only_what_was_asked_for_is_served(said: str, pmp: bool, upnp: bool) -> None:
    with Lab(home(port_mapping=said)) as lab:
        assert (natpmp(lab, 4000, 5000)[0] == 0) == pmp
        address = str(lab["a"].address)
        status, _ = ask(lab, UPNPC, "-m", "eth0", "-a", address, "6000", "7000", "TCP", "600")
        assert (status == 0) == upnp


@pytest.mark.parametrize("nat", ["home", "linux"])
def test_a_router_that_serves_port_mapping_is_otherwise_the_nat_that_it_was(nat: str) -> None:
    with Lab(home(nat=nat)) as lab:
        natpmp(lab, 4000, 5000)
        report = lab.verify()
        assert not report.failed
        assert any(check.group == "behaviour" for check in report.checks)


def test_without_the_server_installed_nothing_is_built(monkeypatch: pytest.MonkeyPatch) -> None:
    from wanlab.plan import compile as compiling
    from wanlab.plan.steps import StartService

    missing = StartService("router", "mapper", ("no-such-server",), (), "mapper-package")
    monkeypatch.setattr(compiling, "services", lambda node: [missing])
    with pytest.raises(MachineError, match=r"'router': no-such-server is not installed; .*mapper-package"):
        Lab(home(), name="never").up()
    assert "never" not in labs(runtime_directory())


def test_none_is_served_where_none_was_asked_for() -> None:
    with Lab(home(port_mapping=PortMapping.OFF.value)) as lab:
        assert lab["router"].run(["ss", "-Hlntu"], capture_output=True, text=True).stdout == ""
