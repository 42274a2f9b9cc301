"""Two aioice peers behind two NATs: directly where theory says so, by coturn's relay elsewhere."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from wanlab import Lab
from wanlab.capture.capture import Capture
from wanlab.capture.pcapng import Packet
from wanlab.punch.theory import predict
from wanlab.topology.nat import nat_named

HERE = Path(__file__).parent
TURNSERVER = [
    "turnserver", "-n", "--no-tls", "--no-dtls", "--no-cli", "--log-file=stdout", "--verbose", "--pidfile=/dev/null",
    "--listening-port=443", "--lt-cred-mech", "--realm=lab.example", "--user=peer:secret",
]  # fmt: skip


def connect(lab: Lab) -> tuple[dict, dict, str, list[Packet]]:
    """Have alice and bob find each other; what they print, coturn's log, and the packets at the relay and at home-b."""
    coordinator = lab["coordinator"]
    address = str(coordinator.address)
    turn = [*TURNSERVER, f"--listening-ip={address}", f"--relay-ip={address}", f"--aux-server={address}:53"]
    with (
        coordinator.serve([sys.executable, HERE / "rendezvous.py", "80"], tcp_port=80),
        coordinator.serve(turn, tcp_port=443, udp_port=53) as relay,
    ):
        with Capture(lab, ["coordinator", "home-b"]) as capture:
            peers = [
                lab[name].popen(
                    [sys.executable, HERE / "peer.py", name, role, "coordinator"],
                    stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True,
                )
                for name, role in (("alice", "offer"), ("bob", "answer"))
            ]  # fmt: skip
            printed = [peer.communicate(timeout=60)[0] for peer in peers]
        assert [peer.returncode for peer in peers] == [0, 0]
        log = relay.log.text()
    alice, bob = (json.loads(text) for text in printed)
    assert alice["heard"] == [f"bob says {number}" for number in range(10)]
    assert bob["heard"] == [f"alice says {number}" for number in range(10)]
    return alice, bob, log, list(capture.packets())


def check(lab: Lab, *, direct: bool) -> None:
    """Three witnesses must agree: the pairs that the peers chose, the relay's log, and the packets on the cables."""
    alice, bob, log, packets = connect(lab)
    types = {peer[side] for peer in (alice, bob) for side in ("local", "remote")}
    allocations = re.findall(r"ALLOCATE processed, success", log)
    words = [packet for packet in packets if re.search(rb"(alice|bob) says \d", packet.data)]
    at_the_relay = [packet for packet in words if packet.end == "coordinator:eth0"]
    from_home_a = [
        packet
        for packet in words
        if packet.end == "home-b:wan" and packet.data[26:30] == lab["home-a"].wan.address.packed  # IPv4's source
    ]
    if direct:
        assert "relay" not in types
        assert not allocations
        assert not at_the_relay
        assert len(from_home_a) >= 10
    else:
        assert types == {"relay"}
        assert len(allocations) == 2
        assert len(at_the_relay) >= 20  # what it receives and what it sends on
        assert not from_home_a


@pytest.mark.nat_matrix("home-a", "home-b", nats=["full", "home", "port-restricted", "symmetric"], ordered=False)
def test_peers_connect_directly_where_theory_says_so_and_by_the_relay_elsewhere(lab: Lab, variation) -> None:
    check(lab, direct=predict(nat_named(variation["home-a.nat"]), nat_named(variation["home-b.nat"])).connects)


@pytest.mark.vary("home-a.nat", ["hotel"])
def test_a_guest_in_a_hotel_connects_by_the_relay_on_the_webs_port(lab: Lab) -> None:
    check(lab, direct=False)
