"""What our few netlink messages make is what `ip` shows, and what the kernel refuses is what `ip` says it refused."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.support.labs import machine, run_program

START = """
import json, os, socket, subprocess
from wanlab.kernel.netlink import Netlink
class Refused(Exception):
    pass
def refused(which, number, words):
    return Refused(which, number, words)
def ip(*words):
    out = subprocess.run(["ip", "-j", "-d", *words], capture_output=True, text=True, check=True).stdout
    return json.loads(out or "[]")
def sh(words):
    return subprocess.run(words, shell=True, capture_output=True, text=True)
here = os.open("/proc/self/ns/net", os.O_RDONLY)
n = Netlink()
"""


def inside(code: str, *, setup: str = "") -> Any:
    """Run code beside a Netlink of an empty namespace; what it gave to `print(json.dumps(...))`."""
    return json.loads(run_program(START + code, before=machine(setup)))


def test_a_cable_has_the_names_indices_macs_and_mtus_that_were_asked_for() -> None:
    links = inside("""
n.add_veth(("left", 70, here, "02:00:00:00:00:01", 1400), ("right", 80, here, None, 9000))
n.flush(refused)
print(json.dumps({link["ifname"]: link for link in ip("link")}))
""")
    left, right = links["left"], links["right"]
    assert (left["ifindex"], left["mtu"], left["address"]) == (70, 1400, "02:00:00:00:00:01")
    assert (right["ifindex"], right["mtu"]) == (80, 9000)
    assert left["linkinfo"]["info_kind"] == right["linkinfo"]["info_kind"] == "veth"
    assert left["link"] == "right"
    assert "UP" not in left["flags"]


def test_the_ends_of_a_cable_are_placed_in_their_namespaces_at_once() -> None:
    found = inside("""
subprocess.run(["ip", "netns", "add", "a"], check=True)
subprocess.run(["ip", "netns", "add", "b"], check=True)
a, b = (os.open(f"/run/netns/{name}", os.O_RDONLY) for name in "ab")
n.add_veth(("eth0", 5, a, None, 1500), ("eth0", 6, b, None, 1500))
n.flush(refused)
print(json.dumps([[link["ifname"] for link in ip(*where, "link")] for where in ((), ("-n", "a"), ("-n", "b"))]))
""")
    assert [sorted(names) for names in found] == [["lo"], ["eth0", "lo"], ["eth0", "lo"]]


def test_a_bridge_has_ports_and_goes_up() -> None:
    links = inside("""
n.add_bridge("br0", 50, "02:00:00:00:00:50", 1400)
n.add_veth(("p1", 51, here, None, 1400), ("far", 52, here, None, 1400))
n.enslave(51, 50)
for index in (50, 51, 52):
    n.set_up(index)
n.flush(refused)
n.settle(50)
n.flush(refused)
print(json.dumps({link["ifname"]: link for link in ip("link")}))
""")
    assert links["br0"]["linkinfo"]["info_kind"] == "bridge"
    assert (links["br0"]["mtu"], links["br0"]["address"]) == (1400, "02:00:00:00:00:50")
    assert links["p1"]["master"] == "br0"
    assert all("UP" in links[name]["flags"] for name in ("br0", "p1", "far"))


@pytest.mark.parametrize(
    ("address", "same"),
    [
        ("10.1.0.1/24", "10.1.0.1/24 brd +"),
        ("10.1.0.1/8", "10.1.0.1/8 brd +"),
        ("10.1.0.1/30", "10.1.0.1/30 brd +"),
        ("10.1.0.0/31", "10.1.0.0/31"),
        ("10.1.0.1/32", "10.1.0.1/32"),
        ("172.16.5.129/25", "172.16.5.129/25 brd +"),
        ("fd00::1/64", "fd00::1/64 nodad"),
        ("2001:db8::ffff/128", "2001:db8::ffff/128 nodad"),
    ],
)
def test_an_address_is_the_one_that_ip_adds(address: str, same: str) -> None:
    ours, other = inside(f"""
n.add_veth(("ours", 70, here, None, 1500), ("far", 71, here, None, 1500))
n.add_veth(("other", 80, here, None, 1500), ("beyond", 81, here, None, 1500))
for index in (70, 71, 80, 81):
    n.set_up(index)
n.add_address(70, {address!r})
n.flush(refused)
done = sh("ip addr add {same} dev other")
assert not done.returncode, done.stderr
def addresses(name):
    found = [a for a in ip("addr", "show", "dev", name)[0]["addr_info"] if a["scope"] != "link"]
    return [{{k: v for k, v in a.items() if k != "label"}} for a in found]
print(json.dumps([addresses("ours"), addresses("other")]))
""")
    assert len(ours) == 1
    assert ours == other


@pytest.mark.parametrize(
    ("route", "same"),
    [
        (("0.0.0.0/0", "10.1.0.254", 0), "default via 10.1.0.254 dev wire"),
        (("10.9.0.0/16", "10.1.0.253", 0), "10.9.0.0/16 via 10.1.0.253 dev wire"),
        (("10.9.0.0/16", "10.1.0.253", 77), "10.9.0.0/16 via 10.1.0.253 dev wire metric 77"),
        (("10.9.8.7/32", "10.1.0.253", 0), "10.9.8.7/32 via 10.1.0.253 dev wire"),
        (("::/0", "fd00::fe", 0), "default via fd00::fe dev wire"),
        (("fd09::/48", "fd00::fd", 5), "fd09::/48 via fd00::fd dev wire metric 5"),
    ],
)
def test_a_route_is_the_one_that_ip_adds(route: tuple[str, str, int], same: str) -> None:
    ours, other = inside(f"""
n.add_veth(("wire", 70, here, None, 1500), ("far", 71, here, None, 1500))
n.set_up(70); n.set_up(71)
n.add_address(70, "10.1.0.1/24"); n.add_address(70, "fd00::1/64")
n.flush(refused)
def routes():
    found = [r for family in ("-4", "-6") for r in ip(family, "route") if r.get("gateway")]
    return found
destination, via, metric = {route!r}
n.add_route(destination, via, 70, metric)
n.flush(refused)
ours = routes()
assert not sh("ip route del {same}").returncode
done = sh("ip route add {same}")
assert not done.returncode, done.stderr
print(json.dumps([ours, routes()]))
""")
    assert len(ours) == 1
    assert ours == other


def test_a_deleted_end_takes_the_other_with_it() -> None:
    assert inside("""
n.add_veth(("left", 70, here, None, 1500), ("right", 80, here, None, 1500))
n.delete_link(80)
n.flush(refused)
print(json.dumps([link["ifname"] for link in ip("link")]))
""") == ["lo"]


def test_hundreds_of_messages_are_answered_one_by_one() -> None:
    seen = inside("""
n.add_veth(("left", 70, here, None, 1500), ("right", 80, here, None, 1500))
for i in range(1, 99):
    n.add_address(70, f"10.0.{i}.1/24")
assert n.full is False and len(n) == 99
n.flush(refused)
assert len(n) == 0
n.flush(refused)
for i in range(1, 100):
    n.add_address(70, f"10.1.{i}.1/24")
n.add_address(70, "10.0.5.1/24")
assert n.full
try:
    n.flush(refused)
except Refused as error:
    which = error.args
n.add_address(70, "10.2.0.1/24")
n.flush(refused)
print(json.dumps([which, len(ip("addr", "show", "dev", "left")[0]["addr_info"])]))
""")
    (which, number, words), count = seen
    assert (which, number) == (99, 17)
    assert words
    assert count == 98 + 99 + 1


# Each: our message, and what `ip` would say where the same is asked of it.
REFUSALS = {
    "an address twice": ('n.add_address(70, "10.1.0.1/24")', "ip addr add 10.1.0.1/24 brd + dev left"),
    "a name twice": (
        'n.add_veth(("left", 90, here, None, 1500), ("x", 91, here, None, 1500))',
        "ip link add left type veth peer name x",
    ),
    "a bridge's mtu too small": ('n.add_bridge("br7", 90, None, 10)', "ip link add dev br7 mtu 10 type bridge"),
    "a gateway out of reach": (
        'n.add_route("0.0.0.0/0", "9.9.9.9", 70, 0)', "ip route add default via 9.9.9.9 dev left",
    ),
    "no interface to bring up": ("n.set_up(4711)", None),
    "no interface for an address": ('n.add_address(4711, "10.1.0.1/24")', None),
    "a port of no bridge": ("n.enslave(70, 80)", "ip link set left master right"),
    "a prefix too long": ('n.add_address(70, "10.1.0.1/33")', None),
    "a multicast mac": (
        'n.add_bridge("br8", 90, "03:00:00:00:00:01", 1500)', "ip link add br8 address 03:00:00:00:00:01 type bridge",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSALS)
def test_a_refusal_says_what_ip_says(case: str) -> None:
    message, command = REFUSALS[case]
    (which, number, words), said = inside(f"""
n.add_veth(("left", 70, here, None, 1500), ("right", 80, here, None, 1500))
n.set_up(70); n.set_up(80)
n.add_address(70, "10.1.0.1/24")
n.flush(refused)
n.set_up(70)
{message}
n.set_up(80)
try:
    n.flush(refused)
    found = [None, None, "nothing"]
except Refused as error:
    found = error.args
said = sh({command!r}).stderr if {command!r} else ""
print(json.dumps([found, said]))
""")
    assert which == 1
    assert number > 0
    assert words
    assert "\n" not in words
    if command:
        assert words in said


def test_what_is_refused_stops_nothing_that_was_sent_with_it() -> None:
    # The caller undoes all of it: but it must not be told of the wrong message.
    (which, _, _), names = inside("""
n.add_bridge("a", 10, None, 1500)
n.add_bridge("a", 11, None, 1500)
n.add_bridge("b", 12, None, 1500)
n.add_bridge("b", 13, None, 1500)
try:
    n.flush(refused)
except Refused as error:
    print(json.dumps([error.args, [link["ifname"] for link in ip("link")]]))
""")
    assert which == 1
    assert sorted(names) == ["a", "b", "lo"]


def test_a_closed_netlink_leaves_no_descriptor() -> None:
    assert (
        inside("""
before = len(os.listdir("/proc/self/fd"))
for _ in range(50):
    m = Netlink(); m.set_up(1); m.flush(refused); m.close()
print(json.dumps(len(os.listdir("/proc/self/fd")) - before))
""")
        == 0
    )
