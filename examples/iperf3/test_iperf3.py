"""iperf3 between a host behind a NAT and a server outside: what its router let through, and what it made of it."""

import json

import pytest

from wanlab import Lab
from wanlab.runtime.server import Server


@pytest.fixture(autouse=True)
def server(lab: Lab) -> Server:
    """A server on the coordinator; it ends with the lab, and a test fails at once where it dies."""
    return lab["coordinator"].serve(["iperf3", "--server", "--forceflush"], tcp_port=5201)


def iperf3(lab: Lab, client: str, *options: str) -> dict:
    """Run a client to its end; its report."""
    command = ["iperf3", "--client", "coordinator", "--json", "--time", "1", *options]
    done = lab[client].run(command, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


@pytest.mark.nat_matrix("home-a", nats=["linux", "full", "symmetric"])
def test_tcp_goes_both_ways_through_a_nat(lab: Lab) -> None:
    up = iperf3(lab, "alice")
    assert up["start"]["connected"][0]["local_host"] == str(lab["alice"].address)
    assert up["end"]["sum_received"]["bytes"] > 1_000_000
    down = iperf3(lab, "alice", "--reverse")
    assert down["end"]["sum_received"]["bytes"] > 1_000_000


def test_the_server_sees_the_router(lab: Lab, server: Server) -> None:
    iperf3(lab, "alice")
    assert f"Accepted connection from {lab['home-a'].wan.address}," in server.log.text()


def test_udp_at_a_modest_rate_arrives_whole(lab: Lab) -> None:
    sums = iperf3(lab, "alice", "--udp", "--bitrate", "2M", "--length", "1200")["end"]["sum"]
    assert sums["packets"] > 100
    assert sums["lost_packets"] == 0
