"""WireGuard tunnels through NATs by wireguard-go, in nodes and without root: what keepalive is for."""

import json
import os
import subprocess
import time
from dataclasses import dataclass

import pytest

from wanlab import Lab
from wanlab.capture.capture import Capture

PORT = 51820
SHORT_S = 4  # an idle mapping's life in these NATs; at home it is half a minute and more
PREFIX = 24


@pytest.fixture(autouse=True)
def tun() -> None:
    """wireguard-go's interface is a TUN device, and whether a user may open those is the machine's decision."""
    try:
        os.close(os.open("/dev/net/tun", os.O_RDWR))
    except OSError as error:
        pytest.skip(f"/dev/net/tun: {error.strerror}: sudo chmod 666 /dev/net/tun; docker run --device /dev/net/tun")


@dataclass(frozen=True)
class Peer:
    """A node with a tunnel interface."""

    node: str
    address: str
    """In the tunnel."""
    private_key: str
    public_key: str

    @classmethod
    def of(cls, node: str, address: str) -> "Peer":
        private = subprocess.run(["wg", "genkey"], capture_output=True, text=True, check=True).stdout
        public = subprocess.run(["wg", "pubkey"], input=private, capture_output=True, text=True, check=True).stdout
        return cls(node, address, private.strip(), public.strip())


def start(lab: Lab, own: Peer, other: Peer, *, endpoint: str | None = None, keepalive_s: int | None = None) -> None:
    """Bring up *own*'s end of a tunnel. Without *endpoint* it waits for the other to speak first."""
    node = lab[own.node]
    # wireguard-go has its control socket in /run: an ordinary user may write nothing there, and root's two nodes would
    # share it. Each node has mounts of its own, so it can have a /run of its own.
    node.run(["mount", "-t", "tmpfs", "tmpfs", "/run"], check=True)
    node.serve(["wireguard-go", "--foreground", "wg0"], command=["wg", "show", "wg0"])
    node.run(["wg", "setconf", "wg0", "/dev/stdin"], input=config(own, other, endpoint, keepalive_s), text=True,
             check=True)  # fmt: skip
    node.run(["ip", "address", "add", f"{own.address}/{PREFIX}", "dev", "wg0"], check=True)
    node.run(["ip", "link", "set", "wg0", "up"], check=True)


def config(own: Peer, other: Peer, endpoint: str | None, keepalive_s: int | None) -> str:
    lines = [
        "[Interface]", f"PrivateKey = {own.private_key}", f"ListenPort = {PORT}",
        "[Peer]", f"PublicKey = {other.public_key}", f"AllowedIPs = {other.address}/32",
    ]  # fmt: skip
    if endpoint is not None:
        lines.append(f"Endpoint = {endpoint}:{PORT}")
    if keepalive_s is not None:
        lines.append(f"PersistentKeepalive = {keepalive_s}")
    return "\n".join(lines) + "\n"


def reaches(lab: Lab, node: str, address: str, *, within_s: int) -> bool:
    """Whether *address* answers a ping before that many seconds are over."""
    ping = ["ping", "-c1", "-i0.5", f"-w{within_s}", "-W1", address]
    return lab[node].run(ping, capture_output=True).returncode == 0


def seen(lab: Lab, own: Peer) -> str:
    """Where a node sees the other end of its tunnel."""
    shown = lab[own.node].run(["wg", "show", "wg0", "endpoints"], capture_output=True, text=True, check=True).stdout
    return shown.split()[1].partition(":")[0]


@pytest.mark.vary("home-a.nat", ["home", "symmetric"])
def test_a_tunnel_out_of_a_nat_carries_data_that_nobody_on_the_wan_can_read(lab: Lab) -> None:
    alice, server = Peer.of("alice", "10.9.0.1"), Peer.of("coordinator", "10.9.0.100")
    start(lab, server, alice)
    start(lab, alice, server, endpoint=str(lab["coordinator"].address))
    assert reaches(lab, "alice", server.address, within_s=20)
    assert seen(lab, server) == str(lab["home-a"].wan.address)
    with Capture(lab, ["home-a"]) as capture:
        ping = ["ping", "-c1", "-p", b"wanlab".hex(), "-s", "600", server.address]
        lab["alice"].run(ping, check=True, capture_output=True)
    frames = [packet.data for packet in capture.packets() if packet.end == "home-a:wan" and len(packet.data) > 600]
    assert len(frames) == 2  # the request and the answer
    assert all(b"wanlab" not in frame and PORT.to_bytes(2) in frame[34:38] for frame in frames)
    with lab["coordinator"].serve(["iperf3", "--server"], tcp_port=5201):
        iperf = ["iperf3", "--client", server.address, "--time", "1", "--json"]
        done = lab["alice"].run(iperf, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["end"]["sum_received"]["bytes"] > 1_000_000


@pytest.mark.nat_matrix("home-a", "home-b", nats=["home", "port-restricted"], ordered=False)
def test_two_peers_behind_two_nats_meet_when_both_knock(lab: Lab) -> None:
    alice, bob = Peer.of("alice", "10.9.0.1"), Peer.of("bob", "10.9.0.2")
    # These NATs preserve the port: so the peers know where to knock, and keepalive makes both of them do it.
    start(lab, alice, bob, endpoint=str(lab["home-b"].wan.address), keepalive_s=1)
    start(lab, bob, alice, endpoint=str(lab["home-a"].wan.address), keepalive_s=1)
    assert reaches(lab, "alice", bob.address, within_s=30)
    assert reaches(lab, "bob", alice.address, within_s=5)


@pytest.mark.vary("home-a.nat", [{"preset": "port-restricted", "udp_timeout_s": SHORT_S}])
@pytest.mark.parametrize("keepalive_s", [None, 1])
def test_the_outside_reaches_an_idle_peer_behind_a_nat_only_with_keepalive(lab: Lab, keepalive_s: int | None) -> None:
    alice, server = Peer.of("alice", "10.9.0.1"), Peer.of("coordinator", "10.9.0.100")
    start(lab, server, alice)
    start(lab, alice, server, endpoint=str(lab["coordinator"].address), keepalive_s=keepalive_s)
    assert reaches(lab, "alice", server.address, within_s=20)
    # While the mapping stands; on a busy machine it may be gone before the second ping.
    assert any(
        reaches(lab, "alice", server.address, within_s=5) and reaches(lab, "coordinator", alice.address, within_s=1)
        for _ in range(5)
    )
    time.sleep(2 * SHORT_S)
    assert reaches(lab, "coordinator", alice.address, within_s=3 if keepalive_s is None else 20) == bool(keepalive_s)
