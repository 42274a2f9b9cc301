"""A name server on the WAN, dnsmasq, asked from behind NATs: with dig, and by the resolver that programs use."""

import pytest

from wanlab import Lab
from wanlab.runtime.server import Server

DNSMASQ = [
    "dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--user=", "--group=", "--no-resolv", "--no-hosts",
    "--pid-file=", "--log-facility=-", "--log-queries", "--address=/service.example/198.51.100.7",
]  # fmt: skip
ASK = "echo nameserver {} >/run/resolv.conf && mount --bind /run/resolv.conf /etc/resolv.conf"


@pytest.fixture
def dns(lab: Lab) -> Server:
    """The name server: it knows one name."""
    return lab["coordinator"].serve(DNSMASQ, udp_port=53, tcp_port=53)


def test_names_are_served_through_nats(lab: Lab, dns: Server) -> None:
    for client in ("alice", "bob"):
        for transport in ("+notcp", "+tcp"):
            dig = ["dig", "+short", transport, f"@{lab['coordinator'].address}", "service.example"]
            assert lab[client].run(dig, capture_output=True, text=True, check=True).stdout == "198.51.100.7\n"
    asked = dns.log.text()
    for router in ("home-a", "home-b"):
        assert f"from {lab[router].wan.address}" in asked
    assert "from 10." not in asked


@pytest.mark.vary("home-a.nat", ["hotel"])
def test_a_hotel_lets_its_guests_ask_for_names(lab: Lab, dns: Server) -> None:
    dig = ["dig", "+short", f"@{lab['coordinator'].address}", "service.example"]
    assert lab["alice"].run(dig, capture_output=True, text=True, check=True).stdout == "198.51.100.7\n"


def test_a_program_in_a_node_finds_a_name_by_the_nodes_own_name_server(lab: Lab, dns: Server) -> None:
    alice = lab["alice"]
    look = ["getent", "ahostsv4", "service.example"]
    assert alice.run(look, capture_output=True).returncode != 0  # a lab knows the names of its nodes alone
    # Each node has mounts of its own, and so can have its own /etc/resolv.conf.
    alice.run(["mount", "-t", "tmpfs", "tmpfs", "/run"], check=True)
    alice.run(["sh", "-ec", ASK.format(lab["coordinator"].address)], check=True)
    assert "198.51.100.7" in alice.run(look, capture_output=True, text=True, check=True).stdout
    assert lab["bob"].run(look, capture_output=True).returncode != 0
