"""Nothing leaks in or out: two labs never meet, and the machine neither changes nor is seen."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.labs import PAIR, eventually, machine, pair, run_program
from tests.support.shapes import two_lans
from wanlab import Lab, LabNode

UDP = socket.SOCK_DGRAM

LOOK = """
import json, os, socket, subprocess
def look():
    def tell(*words):
        return subprocess.run(words, capture_output=True, text=True).stdout
    def stable(text):
        return [line for line in text.splitlines() if not any(w in line for w in ("conntrack_count", "stable_secret"))]
    return {
        "links": json.loads(tell("ip", "-j", "-d", "link")),
        "addresses": json.loads(tell("ip", "-j", "address")),
        "routes": stable(tell("ip", "route", "show", "table", "all")),
        "namespaces": tell("ip", "netns"),
        "run": sorted(os.listdir("/run")),
        "rules": tell("nft", "list", "ruleset"),
        "sysctls": stable(tell("sysctl", "-a", "--ignore", "--pattern", r"^net\\.|^kernel\\.(hostname|domainname)")),
        "mounts": sorted(open("/proc/self/mountinfo").read().splitlines()),
        "files": {name: open(name).read() for name in ("/etc/hosts", "/etc/resolv.conf", "/etc/nsswitch.conf")
                  if os.path.exists(name)},
        "names": (socket.gethostname(), tell("uname", "-n"), tell("hostname")),
    }
def compare(before, after, when):
    for key in before:
        if before[key] != after[key]:
            raise SystemExit(f"{key} changed {when}: {before[key]} -> {after[key]}")
"""

OWN_MACHINE = """
    echo 1 > /proc/sys/net/ipv6/conf/default/disable_ipv6
    ip link add outside type veth peer name beyond && ip link set beyond up
    ip addr add 198.18.0.1/24 dev outside && ip link set outside up
    ip link add veth0 type veth peer name eth0 && ip link set veth0 up && ip link set eth0 up
    until [ "$(ip link | grep -c 'state UP')" = 4 ]; do sleep 0.01; done
    ip route add default via 198.18.0.2
    nft add table inet wanlab && nft add chain inet wanlab wl_forward
    hostname the-machine
    mkdir /run/netns /run/nscd /run/sub && mount -t tmpfs tmpfs /run/sub
"""


def test_a_machine_looks_the_same_before_while_and_after_a_lab_is_up() -> None:
    # Mounts are shared on this machine, as systemd makes them: what a lab mounted without care would be seen here.
    run_program(PAIR + LOOK + """
from tests.support.shapes import two_lans
before = look()
assert "the-machine" in before["names"][0] and "wl_forward" in before["rules"] and "outside" in str(before["links"])
for t in (two_lans(), pair(), two_lans()):
    with Lab(t) as lab:
        for node in lab:
            node.run(["hostname"], check=True, capture_output=True)
        lab.shell(["ip", "netns"], stdout=-3).wait()
        compare(before, look(), "while a lab is up")
    compare(before, look(), "after a lab")
""", before=("env", f"PYTHONPATH={Path.cwd()}", *machine(OWN_MACHINE)))  # fmt: skip


def test_this_process_looks_the_same_while_a_lab_is_up() -> None:
    def look() -> list[str]:
        names = [os.readlink(f"/proc/self/ns/{kind}") for kind in sorted(os.listdir("/proc/self/ns"))]
        files = [Path(file).read_text() for file in ("/proc/self/mountinfo", "/etc/hosts")]
        return [*names, *files, socket.gethostname(), str(os.getresuid()), str(Path.cwd())]

    before = look()
    with Lab(two_lans()) as lab:
        lab["alice"].run(["true"])
        assert look() == before
    assert look() == before


SERVE = """
import threading
def serve(family, address):
    server = socket.create_server((address, 7777), family=family)
    def loop():
        while True:
            server.accept()[0].sendall(b"from the machine")
    threading.Thread(target=loop, daemon=True).start()
serve(socket.AF_INET, "0.0.0.0")
abstract = socket.socket(socket.AF_UNIX)
abstract.bind("\\0of-the-machine")
abstract.listen()
socket.create_connection(("198.18.0.1", 7777), 5).close()
socket.create_connection(("127.0.0.1", 7777), 5).close()
"""


def test_no_node_reaches_an_address_of_the_machine() -> None:
    run_program(PAIR + LOOK + SERVE + """
import errno
with Lab(pair()) as lab:
    for node in lab:
        for address in ("198.18.0.1", "127.0.0.1", "198.18.0.2", "0.0.0.0"):
            with node.socket() as client:
                client.settimeout(3)
                try:
                    client.connect((address, 7777))
                except OSError as error:
                    assert error.errno in (errno.ENETUNREACH, errno.ECONNREFUSED, errno.EHOSTUNREACH), (address, error)
                else:
                    raise SystemExit(f"{node.name} reached {address}")
        routes = node.run(["ip", "route"], capture_output=True, text=True).stdout
        assert "198.18" not in routes and "default" not in routes, routes
    code = "import socket; socket.socket(socket.AF_UNIX).connect(chr(0) + 'of-the-machine')"
    done = lab["left"].run(["/usr/bin/env", "python3", "-c", code], capture_output=True, text=True)
    assert "ConnectionRefusedError" in done.stderr, done
    # ... and what is in no node has no network at all.
    done = lab.shell(["ping", "-c1", "-W1", "5.5.5.1"], stdout=-3, stderr=-3).wait()
    assert done != 0
""", before=machine(OWN_MACHINE))  # fmt: skip


def test_the_machine_reaches_no_address_of_a_lab() -> None:
    with Lab(two_lans()) as lab, lab["coordinator"].socket() as server:
        server.bind(("172.16.0.100", 7777))
        server.listen()
        server.settimeout(0)
        with socket.socket() as client:
            client.settimeout(0.3)
            client.connect_ex(("172.16.0.100", 7777))  # whoever has this address outside: it is not the lab
        with pytest.raises(BlockingIOError):
            server.accept()


def test_two_labs_of_the_same_addresses_do_not_hear_each_other() -> None:
    with Lab(pair()) as one, Lab(pair()) as other:
        assert one.name != other.name
        with (
            one["right"].socket(type=UDP) as here,
            other["right"].socket(type=UDP) as there,
            one["left"].socket(type=UDP) as sender,
        ):
            for listener in (here, there):
                listener.bind(("", 9000))
            sender.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
            for address in ("5.5.5.2", "5.5.5.255"):
                sender.sendto(b"for one", (address, 9000))
            here.settimeout(10)
            assert [here.recv(100) for _ in range(2)] == [b"for one"] * 2
            there.settimeout(0)
            with pytest.raises(BlockingIOError):
                there.recv(100)
        with one["right"].socket() as here, other["left"].socket() as stranger:
            here.bind(("5.5.5.2", 9000))
            here.listen()
            with pytest.raises(ConnectionRefusedError):
                stranger.connect(("5.5.5.2", 9000))


def test_a_lab_of_another_lab_is_untouched_when_that_ends() -> None:
    with Lab(pair()) as stays:
        for _ in range(3):
            with Lab(pair()) as goes:
                assert stays["left"].run(["ping", "-c1", "-W5", "5.5.5.2"], stdout=-3).returncode == 0
                os.kill(goes.pid, 9)
        assert stays["left"].run(["ping", "-c1", "-W5", "5.5.5.2"], stdout=-3).returncode == 0


def test_a_lab_can_be_made_inside_a_node_of_another() -> None:
    with Lab(pair()) as outer:
        code = (
            PAIR
            + """
import os
with Lab(pair("inner")) as lab:
    print(lab["right"].run(["hostname"], capture_output=True, text=True, check=True).stdout)
    lab["right"].run(["ping", "-c1", "-W5", "5.5.5.1"], check=True, stdout=-3)
"""
        )
        done = outer["left"].run([sys.executable, "-c", code], capture_output=True, text=True)
        assert done.stdout == "right\n\n", done.stderr


# -- what a node's programs see --------------------------------------------------------------------------------------


@pytest.fixture(params=["alice", "bob", "home-a", "coordinator", "wan"])
def node(request: pytest.FixtureRequest) -> Iterator[LabNode]:
    with Lab(two_lans()) as lab:
        yield lab[request.param]


def out(node: LabNode, *words: str) -> str:
    done = node.run(list(words), stdout=subprocess.PIPE, text=True, check=True)
    text: str = done.stdout
    return text


def test_every_node_finds_every_node_by_name(node: LabNode) -> None:
    expected = {
        "alice": "10.1.0.1", "bob": "10.2.0.1", "coordinator": "172.16.0.100",
        "home-a": "172.16.0.1", "home-b": "172.16.0.2",
        "lan.home-a": "10.1.0.254", "wan.home-b": "172.16.0.2", "localhost": "127.0.0.1",
    }  # fmt: skip
    found = {name: out(node, "getent", "hosts", name).split()[0] for name in expected}
    assert {**found, "localhost": "127.0.0.1"} == expected


def test_a_name_outside_the_lab_is_answered_by_nobody(node: LabNode) -> None:
    assert node.run(["timeout", "20", "getent", "hosts", "www.example.com"], stdout=subprocess.PIPE).stdout == b""


def test_a_node_has_its_own_hostname_and_may_change_it_alone(node: LabNode) -> None:
    assert out(node, "hostname").strip() == out(node, "cat", "/proc/sys/kernel/hostname").strip() == node.name
    assert out(node, "uname", "-n").strip() == node.name
    out(node, "hostname", "changed")
    assert out(node, "hostname").strip() == "changed"
    assert socket.gethostname() != "changed"


def test_a_node_sees_its_own_interfaces_wherever_it_looks(node: LabNode) -> None:
    expected = sorted(["lo", *(interface.name for interface in node.interfaces)])
    assert sorted(link["ifname"] for link in json.loads(out(node, "ip", "-j", "link"))) == expected
    assert sorted(out(node, "ls", "/sys/class/net").split()) == expected
    lines = out(node, "cat", "/proc/net/dev").splitlines()[2:]
    assert sorted(line.split(":")[0].strip() for line in lines) == expected


def test_a_node_sees_only_the_processes_of_its_lab() -> None:
    with Lab(pair()) as lab, lab["right"].popen(["sleep", "300"]) as neighbour:
        try:
            seen = out(lab["left"], "ps", "-eo", "comm=").split()
            assert sorted(seen) == ["ps", "sleep", "wanlab-holder"]
            assert out(lab["left"], "sh", "-c", "echo $PPID") == "1\n"
        finally:
            neighbour.kill()


def test_the_files_that_a_lab_covers_are_the_machines_own_again_outside(node: LabNode) -> None:
    assert "alice" in out(node, "cat", "/etc/hosts")
    assert "nameserver" not in out(node, "cat", "/etc/resolv.conf")
    assert "10.1.0.1" not in Path("/etc/hosts").read_text()


def test_a_mount_made_in_a_node_is_seen_in_that_node_alone(tmp_path: Path) -> None:
    with Lab(pair()) as lab:
        out(lab["left"], "mount", "-t", "tmpfs", "tmpfs", str(tmp_path))
        out(lab["left"], "touch", f"{tmp_path}/inside")
        assert out(lab["left"], "ls", str(tmp_path)) == "inside\n"
        assert out(lab["right"], "ls", str(tmp_path)) == ""
        assert os.listdir(tmp_path) == []
    assert os.listdir(tmp_path) == []


def test_a_sysctl_set_in_a_node_is_set_in_that_node_alone() -> None:
    before = Path("/proc/sys/net/ipv4/ip_forward").read_text()
    with Lab(pair()) as lab:
        out(
            lab["left"],
            "sh",
            "-c",
            "echo 1 > /proc/sys/net/ipv4/ip_forward; echo 77 > /proc/sys/net/ipv4/ip_default_ttl",
        )
        assert (
            out(lab["left"], "cat", "/proc/sys/net/ipv4/ip_forward", "/proc/sys/net/ipv4/ip_default_ttl") == "1\n77\n"
        )
        assert out(lab["right"], "cat", "/proc/sys/net/ipv4/ip_default_ttl") == "64\n"
        assert Path("/proc/sys/net/ipv4/ip_forward").read_text() == before


def test_a_program_can_neither_end_the_lab_from_inside_nor_other_programs_outside() -> None:
    with Lab(pair()) as lab:
        lab["left"].run(["sh", "-c", "kill -9 1; kill -INT 1; kill -HUP 1; kill -9 -1"], stderr=-3)
        assert lab["left"].run(["true"]).returncode == 0
        assert subprocess.run(["true"], check=False).returncode == 0


def test_a_machine_that_covers_parts_of_proc_as_containers_do_still_runs_labs() -> None:
    run_program(PAIR + """
with Lab(pair()) as lab:
    for name in ("left", "right"):
        node = lab[name]
        for _ in range(2):
            assert node.run(["hostname"], capture_output=True).stdout.decode().strip() == name
            found = node.run(["cat", "/proc/net/dev"], capture_output=True, text=True).stdout
            assert "eth0" in found and "outside" not in found
    lab["left"].run(["ping", "-c1", "-W5", "5.5.5.2"], check=True, stdout=-3)
    process = lab["left"].popen(["sleep", "100"])
    process.terminate()
    assert process.wait(10) == -15
""", before=machine("mount -t tmpfs tmpfs /proc/tty; ip link add outside type veth", user_namespace=True))  # fmt: skip


def test_nothing_of_a_lab_is_left_in_the_runtime_directory(runtime: Path) -> None:
    with Lab(pair()) as lab:
        assert lab.name in os.listdir(runtime)
    eventually(lambda: lab.name not in os.listdir(runtime))


def test_a_lab_sees_what_was_mounted_before_it_came_up_though_others_came_before() -> None:
    run_program(PAIR + """
import os, subprocess
for n in range(4):
    os.mkdir(f"/run/new{n}", 0o700)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=0700", "tmpfs", f"/run/new{n}"], check=True)
    os.mkdir(f"/run/new{n}/here")
    os.environ["XDG_RUNTIME_DIR"] = f"/run/new{n}"
    with Lab(pair()) as lab:
        lab["left"].run(["test", "-d", "here"], cwd=f"/run/new{n}", check=True)
    with Lab(pair()) as lab:
        lab["left"].run(["test", "-d", "here"], cwd=f"/run/new{n}", check=True)
""", before=machine())  # fmt: skip
