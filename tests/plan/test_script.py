"""The printed script: what it says, and that it builds a lab that works."""

from __future__ import annotations

import os
import re
import subprocess
from ipaddress import IPv4Address

import pytest

from tests.support.inventory import inventory, plugged, settle
from tests.support.script_lab import UNPRIVILEGED, ScriptLab
from tests.support.shapes import SHAPES, core, dual_stack, odd, star, two_lans
from wanlab.plan.compile import compile_network
from wanlab.plan.script import write_script
from wanlab.plan.steps import AddCable, AddNamespace, AddRoute, End, LoadRuleset, Plan, SetSysctl, Stage
from wanlab.topology.network import Network
from wanlab.topology.topology import Topology

MAC = "[0-9a-f:]{17}"
USERS = {"caller": ()} | ({"unprivileged": UNPRIVILEGED} if os.geteuid() == 0 else {})


def script_of(topology: Topology) -> str:
    return write_script(compile_network(topology.resolve()))


def commands(script: str) -> list[str]:
    """The lines that are neither comments nor empty."""
    return [line for line in script.splitlines() if line and not line.startswith("#")]


def answers(lab: ScriptLab, node: str, target: str) -> bool:
    try:
        lab.run(node, ["ping", "-c1", "-W2", "-i0.2", target])
    except subprocess.CalledProcessError:
        return False
    return True


# -- what it says ------------------------------------------------------------------------------------------------


def test_two_lans_are_made_by_the_articles_own_kinds_of_commands() -> None:
    script = script_of(two_lans())
    for command in (
        r"ip netns add alice",
        rf"ip link add name eth0 address {MAC} netns alice type veth peer name lan address {MAC} netns home-a",
        r"ip -n wan link add name br0 type bridge",
        r"ip -n wan link set dev home-a master br0",
        r"ip -n wan link set dev br0 up",
        r"ip netns exec home-a sysctl -qw net\.ipv4\.ip_forward=1",
        r"ip netns exec home-b sysctl -qw net\.ipv4\.ip_forward=1",
        r"ip -n home-a address add 10\.1\.0\.254/24 .*dev lan",
        r"ip -n alice address add 10\.1\.0\.1/24 .*dev eth0",
        r"ip -n alice route add default via 10\.1\.0\.254 dev eth0",
        r"ip netns exec home-a nft -f - <<'EOF'",
        r"\t\toifname \"wan\" .*masquerade random,persistent",
    ):
        assert re.search(f"^{command}$", script, re.MULTILINE), command


def test_the_article_s_forwarding_mistake_is_not_repeated() -> None:
    forwarding = [line for line in commands(script_of(two_lans())) if "ip_forward" in line]
    assert [line.split()[3] for line in forwarding] == ["home-a", "home-b"]


def test_every_step_is_one_command_in_the_order_of_the_plan() -> None:
    plan = compile_network(odd().resolve())
    body = write_script(plan).split("\n# Names:")[0]
    made = [line for line in commands(body) if line.startswith("ip ")]
    assert len(made) == len(plan.steps)
    nodes = [re.findall(r"netns add (\S+)", line) for line in made]
    assert [found[0] for found in nodes if found] == [s.node for s in plan.steps if isinstance(s, AddNamespace)]


def test_every_stage_is_a_paragraph_under_its_title() -> None:
    plan = compile_network(core().resolve())
    unwrapped = re.sub(r"\n# (?!#)", " ", "\n" + write_script(plan))
    places = [unwrapped.index(stage.title) for stage in plan.stages]
    assert places == sorted(places)


def test_no_comment_is_wider_than_a_page() -> None:
    script = script_of(star(300))
    assert max(len(line) for line in script.splitlines()) <= 110


def test_the_same_topology_gives_the_same_script() -> None:
    assert script_of(core()) == script_of(core())


@pytest.mark.parametrize("shape", SHAPES)
def test_bash_parses_the_script_of_every_shape(shape: str) -> None:
    subprocess.run(["bash", "-n"], input=script_of(SHAPES[shape]()), text=True, check=True)


def test_what_a_shell_would_take_apart_is_quoted() -> None:
    plan = Plan("x", (Stage("t", (SetSysctl("n", "net.ipv4.ip_local_port_range", "1024 $HOME"),)),), "")
    assert "ip netns exec n sysctl -qw 'net.ipv4.ip_local_port_range=1024 $HOME'\n" in write_script(plan)


def test_rules_that_hold_the_delimiter_do_not_end_the_here_document() -> None:
    plan = Plan("x", (Stage("t", (LoadRuleset("n", "# first\nEOF\n# last\n"),)),), "")
    assert "<<'EOFF'\n# first\nEOF\n# last\nEOFF\n" in write_script(plan)


def test_an_mtu_is_only_named_where_it_is_not_ethernets() -> None:
    cable = AddCable(End("a", "eth0", None, 1400), End("b", "eth0", "02:00:00:00:00:01", 1500))
    script = write_script(Plan("x", (Stage("t", (cable,)),), ""))
    assert (
        "ip link add name eth0 mtu 1400 netns a type veth peer name eth0 address 02:00:00:00:00:01 netns b\n" in script
    )


def test_a_metric_is_only_named_where_there_is_one() -> None:
    routes = (
        AddRoute("n", "0.0.0.0/0", "10.0.0.1", "eth0"),
        AddRoute("n", "::/0", "fd00::1", "eth0", 1124),
        AddRoute("n", "10.9.0.0/16", "10.0.0.2", "eth0"),
    )
    assert commands(write_script(Plan("x", (Stage("t", routes),), "")))[1:] == [
        "ip -n n route add default via 10.0.0.1 dev eth0",
        "ip -n n -6 route add default via fd00::1 dev eth0 metric 1124",
        "ip -n n route add 10.9.0.0/16 via 10.0.0.2 dev eth0",
    ]


def test_a_plan_without_nodes_is_a_script_without_commands() -> None:
    assert commands(write_script(Plan("empty", (), ""))) == ["set -e # stop at the first command that fails"]


# -- what it does ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("user", USERS)
@pytest.mark.parametrize("shape", SHAPES)
def test_the_script_runs_and_every_node_reaches_its_neighbours_by_name(shape: str, user: str) -> None:
    network = SHAPES[shape]().resolve()
    with ScriptLab(write_script(compile_network(network)), USERS[user]) as lab:
        assert lab.stderr == ""
        settle(lab.run, network.nodes)
        for node, target in neighbours(network):
            assert answers(lab, node, target), f"{node} -> {target}"


def neighbours(network: Network) -> list[tuple[str, str]]:
    """(node, address of another on one of its segments); not those whose firewall is to keep silent."""
    return [
        (mine.node, str(address.ip))
        for node in network
        for mine in node.interfaces
        if mine.addresses
        for other in network.peers(mine.segment)
        if other.node != mine.node
        if not (network[other.node].firewall and other.name == network[other.node].uplink)
        for address in other.addresses
    ]


@pytest.mark.parametrize("user", USERS)
def test_two_lans_behave_as_the_article_wants(user: str) -> None:
    with ScriptLab(script_of(two_lans()), USERS[user]) as lab:
        settle(lab.run, ["wan", "home-a", "home-b", "coordinator", "alice", "bob"])
        assert answers(lab, "alice", "coordinator")
        assert answers(lab, "bob", "coordinator")
        assert not answers(lab, "coordinator", "home-a")
        lab.run("coordinator", ["ip", "route", "add", "10.1.0.0/24", "via", "172.16.0.1"])
        assert not answers(lab, "coordinator", "alice")
        assert not answers(lab, "bob", "alice")


def test_a_server_sees_the_router_and_not_the_host_behind_it() -> None:
    listen = "import socket; s = socket.create_server(('', 1234)); print('ready', flush=True); print(s.accept()[1][0])"
    with ScriptLab(script_of(two_lans())) as lab:
        server = lab.popen("coordinator", ["python3", "-c", listen])
        with server:
            assert server.stdout is not None
            assert server.stdout.readline() == "ready\n"
            lab.run("alice", ["bash", "-c", "exec 3<>/dev/tcp/coordinator/1234"])
            assert IPv4Address(server.stdout.readline().strip()) == IPv4Address("172.16.0.1")


def test_every_cable_ends_in_the_port_that_bears_its_name() -> None:
    network = two_lans().resolve()
    with ScriptLab(write_script(compile_network(network))) as lab:
        settle(lab.run, network.nodes)
        for name in ("home-a", "home-b"):
            assert answers(lab, name, "172.16.0.100")
        macs = {str(interface.mac): interface.node for interface in network.peers("wan")}
        learnt = plugged(lab.run, "wan", macs)
    assert learnt == macs


def test_a_core_carries_packets_between_far_switches() -> None:
    network = core().resolve()
    with ScriptLab(write_script(compile_network(network))) as lab:
        settle(lab.run, network.nodes)
        assert answers(lab, "h1", "h3")
        assert answers(lab, "laptop", "h2")
        assert not answers(lab, "h2", "laptop")


def test_both_families_work_where_both_are_given() -> None:
    network = dual_stack().resolve()
    server = next(str(a.ip) for a in network["server"].primary.addresses if a.version == 6)
    with ScriptLab(write_script(compile_network(network))) as lab:
        settle(lab.run, network.nodes)
        assert answers(lab, "laptop", str(network["server"].address))
        assert answers(lab, "laptop", server)


def test_what_is_said_about_taking_it_down_takes_it_all_down() -> None:
    script = script_of(two_lans())
    _, said = script.split("# To take it all down", 1)
    down = "\n".join(line.removeprefix("#   ") for line in said.splitlines()[1:])
    with ScriptLab(script) as lab:
        assert len(lab.outside(["ip", "netns", "list"]).splitlines()) == 6
        lab.outside(["bash", "-ec", down])
        assert lab.outside(["ip", "netns", "list"]) == ""
        assert lab.outside(["ls", "/etc/netns"]) == ""


def test_a_script_that_fails_says_so_and_leaves_nothing() -> None:
    nap = f"{86400 + os.getpid() / 1e7:.7f}"
    script = f"set -e\nip netns add a\nsleep {nap} < /dev/null > /dev/null 2>&1 &\nip netns add a\n"
    with pytest.raises(subprocess.CalledProcessError) as failed, ScriptLab(script):
        pass
    assert "File exists" in failed.value.stderr
    assert nap not in subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout


def test_nothing_of_a_script_reaches_the_machine() -> None:
    def machine() -> list[str]:
        tools = (["ip", "netns", "list"], ["ip", "-o", "link"], ["ls", "/etc", "/run"], ["cat", "/proc/self/mountinfo"])
        environment = {**os.environ, "PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin"}
        return [subprocess.run(t, capture_output=True, text=True, check=False, env=environment).stdout for t in tools]

    before = machine()
    with ScriptLab(script_of(two_lans())) as lab:
        assert machine() == before
        assert "alice" in lab.run("bob", ["cat", "/etc/hosts"])
    assert machine() == before


def test_an_inventory_of_one_lab_is_the_same_twice_and_tells_tampering() -> None:
    network = two_lans().resolve()
    with ScriptLab(write_script(compile_network(network))) as lab:
        first = inventory(lab.run, network.nodes)
        assert answers(lab, "alice", "coordinator")
        assert inventory(lab.run, network.nodes) == first
        for node, *tampering in (
            ("home-a", "nft", "flush", "chain", "inet", "wanlab", "wl_forward"),
            ("home-b", "sysctl", "-qw", "net.ipv4.ip_forward=0"),
            ("coordinator", "ip", "route", "add", "10.1.0.0/24", "via", "172.16.0.1"),
            ("wan", "ip", "link", "set", "dev", "home-a", "nomaster"),
            ("bob", "ip", "link", "set", "dev", "eth0", "mtu", "1400"),
        ):
            lab.run(node, tampering)
            now = inventory(lab.run, network.nodes)
            assert now[node] != first[node], tampering
