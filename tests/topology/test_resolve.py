"""Working out interfaces, subnets and addresses."""

from __future__ import annotations

import itertools

import pytest

from tests.topology.helpers import address, refusal, toml
from wanlab.errors import TopologyError
from wanlab.topology.topology import Topology

TWO_HOMES = """
    [switch.wan]
    [router.home-a]
    uplink = "wan"
    [router.home-b]
    uplink = "wan"
    [host.server]
    link = "wan"
    [host.alice]
    link = "home-a"
    [host.bob]
    link = "home-b"
"""


def test_addresses_that_are_given_are_used_as_given() -> None:
    network = toml("""
        [switch.wan]
        subnet = "172.16.0.0/24"
        [router.home]
        uplink = "wan"
        address = "172.16.0.7"
        lan = "10.9.0.254/24"
        [host.alice]
        link = "home"
        address = "10.9.0.33"
    """).resolve()
    assert address(network, "home", "wan") == "172.16.0.7/24"
    assert address(network, "home", "lan") == "10.9.0.254/24"
    assert address(network, "alice") == "10.9.0.33/24"


def test_chosen_wan_addresses_look_public_and_chosen_lan_addresses_private() -> None:
    network = toml(TWO_HOMES).resolve()
    for ip in (network["server"].address, network["home-a"].address, network["home-b"].address):
        assert ip.is_global
    for ip in (network["alice"].address, network["bob"].address, network["home-a"].interface("lan").address):
        assert ip.is_private


def test_the_inside_of_a_router_on_a_switch_is_private() -> None:
    network = toml("""
        [switch.wan]
        [switch.office]
        [router.gate]
        uplink = "wan"
        [[router.gate.interface]]
        link = "office"
        [host.desk]
        link = "office"
    """).resolve()
    assert network["desk"].address.is_private
    assert network["gate"].address.is_global
    assert str(network["desk"].routes[0].via) == str(network["gate"].interface("eth0").address)


def test_a_gateway_gets_the_first_address_of_its_lan_and_hosts_the_next_ones_in_the_file_s_order() -> None:
    network = toml("""
        [host.zoe]
        link = "home"
        [host.adam]
        link = "home"
        [router.home]
        lan = "10.5.0.0/24"
    """).resolve()
    assert address(network, "home", "lan") == "10.5.0.1/24"
    assert address(network, "zoe") == "10.5.0.2/24"
    assert address(network, "adam") == "10.5.0.3/24"


def test_a_chosen_address_steps_around_given_ones() -> None:
    t = Topology("mine")
    t.switch("s", "10.0.0.0/29")
    for name, given in {"a": None, "b": "10.0.0.1", "c": None, "d": "10.0.0.3"}.items():
        t.host(name, "s", address=given)
    assert [address(t.resolve(), n) for n in "abcd"] == ["10.0.0.2/29", "10.0.0.1/29", "10.0.0.4/29", "10.0.0.3/29"]


def test_the_same_file_gives_the_same_network() -> None:
    assert toml(TWO_HOMES).resolve() == toml(TWO_HOMES).resolve()
    t = toml(TWO_HOMES)
    assert t.resolve() == t.resolve()


def test_the_order_of_kinds_in_a_file_does_not_matter() -> None:
    sections = [
        "[switch.wan]\n",
        '[router.up]\nuplink = "wan"\n[router.below]\nuplink = "up"\n',
        '[host.alice]\nlink = "below"\n[host.server]\nlink = "wan"\n[host.n]\n[host.m]\n',
        '[[link]]\nends = ["m", "n"]\n[[link]]\nends = ["server", "alice"]\n',
    ]
    expected = toml("".join(sections)).resolve()
    for order in itertools.permutations(sections):
        assert toml("".join(order)).resolve() == expected


def test_routers_are_numbered_in_the_file_s_order_even_when_one_is_named_before_its_uplink() -> None:
    network = toml("""
        [router.inner]
        uplink = "outer"
        [router.outer]
        uplink = "wan"
        [switch.wan]
        [host.a]
        link = "inner"
    """).resolve()
    assert [router.name for router in network] == ["wan", "inner", "outer", "a"]
    assert address(network, "inner", "lan") == "10.1.0.1/24"
    assert address(network, "outer", "lan") == "10.2.0.1/24"


@pytest.mark.parametrize("hosts", [1, 2, 253, 254, 255, 509, 510, 511, 1023])
def test_a_chosen_subnet_has_room_for_everybody_and_is_a_24_where_that_is_enough(hosts: int) -> None:
    t = Topology("star")
    t.switch("s")
    for n in range(hosts):
        t.host(f"h{n}", "s")
    network = t.resolve()
    (subnet,) = network.segments["s"].subnets
    assert len({node.address for node in network if node.name != "s"}) == hosts
    assert all(node.address in subnet for node in network if node.name != "s")
    smallest = next(prefix for prefix in range(32, 0, -1) if 2 ** (32 - prefix) - 2 >= hosts)
    assert subnet.prefixlen == min(24, smallest)
    assert not any(node.address in (subnet.network_address, subnet.broadcast_address) for node in network.of())


def test_segments_of_many_sizes_get_subnets_that_do_not_overlap() -> None:
    t = Topology("many")
    for size in (300, 1, 600, 2, 254, 255, 1):
        switch = t.switch(f"s{len(t.nodes)}")
        for _ in range(size):
            t.host(f"h{len(t.nodes)}", switch)
    subnets = [subnet for segment in t.resolve().segments.values() for subnet in segment.subnets]
    assert not any(a.overlaps(b) for a, b in itertools.combinations(subnets, 2))


def test_a_switch_of_1024_ports_is_refused_where_the_switch_is_declared() -> None:
    message = refusal("\n[switch.hub]\n" + "".join(f'[host.h{n}]\nlink = "hub"\n' for n in range(1024)))
    assert message.startswith("lab.toml:1: switch 'hub' has 1024 ports; a Linux bridge has 1023 at most")


def test_a_lan_of_1024_hosts_is_refused() -> None:
    message = refusal("[router.r]\n" + "".join(f'[host.h{n}]\nlink = "r"\n' for n in range(1024)))
    assert message.startswith("lab.toml:1: router 'r' has 1024 ports")


def test_too_many_interfaces_for_the_given_subnet_are_refused() -> None:
    message = refusal("""
        [switch.s]
        subnet = "10.0.0.0/30"
        [host.a]
        link = "s"
        [host.b]
        link = "s"
        [host.c]
        link = "s"
    """)
    assert message == ("lab.toml:1: switch 's': 10.0.0.0/30 has no address left for 'c'; give it a larger subnet")


# -- given addresses that cannot be ----------------------------------------------------------------------------------

SWITCH = '[switch.s]\nsubnet = "10.0.0.0/24"\n[host.a]\nlink = "s"\n'


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("10.0.1.1", "lab.toml:5: host 'a': address 10.0.1.1 is not in 10.0.0.0/24, the subnet of switch 's'"),
        ("10.0.0.1/25", "lab.toml:5: host 'a': address 10.0.0.1/25 is not in 10.0.0.0/24"),
        ("10.0.0.0", "lab.toml:5: host 'a': 10.0.0.0 is the network address of 10.0.0.0/24"),
        ("10.0.0.255", "lab.toml:5: host 'a': 10.0.0.255 is the broadcast address of 10.0.0.0/24"),
        ("fd00::1", "lab.toml:5: host 'a': switch 's' has no IPv6 subnet that fd00::1 could be in"),
        ("10.0.0.256", "lab.toml:5: '10.0.0.256' is no IP address"),
    ],
)
def test_an_address_that_its_segment_cannot_have_is_refused_in_its_line(given: str, message: str) -> None:
    assert refusal(f'{SWITCH}address = "{given}"\n').startswith(message)


def test_the_subnet_router_address_of_ipv6_is_refused() -> None:
    message = refusal('[switch.s]\nsubnet = "fd00::/64"\n[host.a]\nlink = "s"\naddress = "fd00::"\n')
    assert message.startswith("lab.toml:5: host 'a': fd00:: is the subnet-router anycast address of fd00::/64")


def test_both_addresses_of_a_31_and_a_127_may_be_used() -> None:
    network = toml(
        '[host.a]\n[host.b]\n[[link]]\nends = ["a", "b"]\nsubnet = ["10.0.0.0/31", "fd00::/127"]\n'
    ).resolve()
    assert address(network, "a") == "10.0.0.0/31"
    assert address(network, "b") == "10.0.0.1/31"
    assert {address(network, n, version=6) for n in "ab"} == {"fd00::/127", "fd00::1/127"}


def test_a_doubled_address_is_refused_with_both_places() -> None:
    message = refusal(f'{SWITCH}address = "10.0.0.9"\n[host.b]\nlink = "s"\naddress = "10.0.0.9"\n')
    assert message == (
        "lab.toml:8: host 'b': address 10.0.0.9 is that of host 'a' already (lab.toml:5); "
        "give one of them another address"
    )


def test_an_address_without_any_subnet_to_be_in_is_refused() -> None:
    message = refusal('[router.r]\n[host.a]\nlink = "r"\naddress = "192.168.7.5"\n')
    assert message == (
        "lab.toml:4: host 'a': the lan of 'r' has no IPv4 subnet that 192.168.7.5 could be in; "
        "say which one, or write 192.168.7.5/24"
    )


def test_an_address_with_a_prefix_length_tells_its_segment_the_subnet() -> None:
    network = toml('[router.r]\n[host.a]\nlink = "r"\naddress = "192.168.7.5/24"\n').resolve()
    assert address(network, "r", "lan") == "192.168.7.1/24"


# -- interfaces and switches -----------------------------------------------------------------------------------------


def test_interfaces_are_named_in_the_order_of_their_links() -> None:
    network = toml("""
        [switch.wifi]
        [router.home]
        [host.laptop]
        [[host.laptop.interface]]
        link = "home"
        [[host.laptop.interface]]
        link = "wifi"
    """).resolve()
    laptop = network["laptop"]
    assert [(i.name, i.segment) for i in laptop.interfaces] == [("eth0", "home-lan"), ("eth1", "wifi")]


def test_a_cable_to_a_host_does_not_take_the_name_of_its_own_link() -> None:
    network = toml("""
        [switch.lan]
        [host.first]
        [host.second]
        link = "lan"
        [[link]]
        ends = ["first", "second"]
    """).resolve()
    assert [(i.name, i.segment) for i in network["second"].interfaces] == [("eth0", "lan"), ("eth1", "first--second")]


def test_a_name_that_is_chosen_never_takes_one_that_is_given() -> None:
    network = toml("""
        [switch.s]
        [host.b]
        [[host.b.interface]]
        link = "s"
        [[host.b.interface]]
        link = "s"
        name = "eth0"
    """).resolve()
    assert [i.name for i in network["b"].interfaces] == ["eth1", "eth0"]


def test_two_interfaces_of_one_name_are_refused() -> None:
    message = refusal("""
        [switch.s]
        [host.b]
        [[host.b.interface]]
        link = "s"
        name = "x"
        [[host.b.interface]]
        link = "s"
        name = "x"
    """)
    assert message.startswith("lab.toml:7: host 'b' has two interfaces named 'x'")


def test_a_router_s_further_interface_cannot_be_called_wan_or_lan() -> None:
    for name in ("wan", "lan"):
        message = refusal(f"""
            [switch.s]
            [switch.t]
            [router.r]
            uplink = "s"
            lan = "10.1.0.0/24"
            [[router.r.interface]]
            link = "t"
            name = "{name}"
        """)
        assert f"router 'r' has two interfaces named '{name}'" in message


def test_the_ends_of_a_cable_bear_the_names_they_were_given() -> None:
    network = toml("""
        [host.a]
        [host.b]
        [[link]]
        ends = [{node = "a", name = "left", address = "10.0.0.5/24"}, {node = "b", name = "right"}]
    """).resolve()
    assert network.links[0].a == ("a", "left")
    assert network.links[0].b == ("b", "right")
    assert address(network, "b", "right") == "10.0.0.1/24"


def test_a_lan_of_one_host_is_a_cable_and_a_lan_of_two_is_a_bridge() -> None:
    one = toml('[router.r]\n[host.a]\nlink = "r"\n').resolve()
    assert [(i.name, i.bridge) for i in one["r"].interfaces] == [("lan", False)]
    two = toml('[router.r]\n[host.a]\nlink = "r"\n[host.b]\nlink = "r"\n').resolve()
    assert {(i.name, i.bridge, i.master) for i in two["r"].interfaces} == {
        ("lan", True, None),
        ("a", False, "lan"),
        ("b", False, "lan"),
    }


def test_names_that_fit_no_interface_get_ports_that_do() -> None:
    t = Topology("mine")
    t.switch("s")
    names = ["a" * 40, "b" * 40, "br0", "default", "port1", "port2"]
    for name in names:
        t.host(name, "s")
    ports = [i.name for i in t.resolve()["s"].interfaces]
    assert len(ports) == len(set(ports)) == 7
    assert all(len(port) <= 15 for port in ports)


def test_linked_switches_are_one_segment_with_one_subnet() -> None:
    network = toml("""
        [switch.a]
        link = ["b", "c"]
        [switch.b]
        mtu = 9000
        [switch.c]
        subnet = "10.0.0.0/24"
        [host.x]
        link = "a"
        [host.y]
        link = "c"
    """).resolve()
    assert len(network.segments) == 1
    assert {network[n].interfaces[0].segment for n in "xyabc"} == {next(iter(network.segments))}
    assert network["x"].interfaces[0].mtu == network["y"].interfaces[0].mtu == 9000
    assert (address(network, "x"), address(network, "y")) == ("10.0.0.1/24", "10.0.0.2/24")


def test_linked_switches_with_two_subnets_are_refused() -> None:
    message = refusal('[switch.a]\nlink = "b"\nsubnet = "10.1.0.0/24"\n[switch.b]\nsubnet = "10.2.0.0/24"\n')
    assert "are linked and have different subnets" in message
    assert message.startswith("lab.toml:")


def test_a_loop_of_switches_is_refused_where_the_link_is() -> None:
    message = refusal("""
        [switch.a]
        link = "b"
        [switch.b]
        link = "c"
        [switch.c]
        link = "a"
    """)
    assert message.startswith("lab.toml:6: switches 'c' and 'a' are linked already: broadcasts would never end")


def test_a_loop_of_uplinks_is_refused_and_drawn() -> None:
    message = refusal("""
        [router.a]
        uplink = "b"
        [router.b]
        uplink = "c"
        [router.c]
        uplink = "a"
        [router.innocent]
        uplink = "a"
    """)
    assert message == "lab.toml:6: a loop of uplinks: a -> b -> c -> a; give one of them another uplink"


def test_a_loop_of_uplinks_through_switches_is_refused() -> None:
    t = Topology("mine")
    t.switch("s")
    t.switch("u")
    a = t.router("a", "s")
    b = t.router("b", "u")
    a.connect("u")
    b.connect("s")
    with pytest.raises(TopologyError, match="a loop of uplinks: a -> b -> a"):
        t.resolve()


def test_a_router_inside_its_own_outside_is_refused() -> None:
    t = Topology("mine")
    t.switch("s")
    t.router("a", "s").connect("s")
    with pytest.raises(TopologyError, match="a loop of uplinks: a -> a"):
        t.resolve()


def test_core_routers_whose_interface_is_called_wan_are_no_loop() -> None:
    toml("""
        [router.a]
        [router.b]
        [[link]]
        ends = [{node = "a", name = "wan"}, {node = "b", name = "wan"}]
    """).resolve()


# -- MTU -------------------------------------------------------------------------------------------------------------


def test_an_mtu_is_that_of_the_switch_unless_the_interface_has_a_smaller_one() -> None:
    network = toml("""
        [switch.s]
        mtu = 9000
        [host.a]
        link = "s"
        [host.b]
        link = "s"
        mtu = 1400
    """).resolve()
    assert network["a"].interface("eth0").mtu == 9000
    assert network["b"].interface("eth0").mtu == 1400


def test_an_mtu_above_that_of_the_switch_is_refused() -> None:
    message = refusal('[switch.s]\n[host.a]\nlink = "s"\nmtu = 9000\n')
    assert message.startswith("lab.toml:3: host 'a': mtu 9000 is more than the 1500 of switch 's'")


def test_an_mtu_too_small_for_ipv6_is_refused() -> None:
    message = refusal('[switch.s]\nsubnet = "fd00::/64"\n[host.a]\nlink = "s"\nmtu = 1279\n')
    assert "host 'a': IPv6 needs an mtu of 1280 or more" in message


# -- two families ----------------------------------------------------------------------------------------------------


def test_a_dual_stack_lab_has_both_families_everywhere() -> None:
    network = toml("""
        [switch.wan]
        subnet = ["2001:db8:1::/64", "203.0.113.0/24"]
        [router.home]
        uplink = "wan"
        lan = ["fd00:1::/64", "10.1.0.254/24"]
        [host.alice]
        link = "home"
        [host.server]
        link = "wan"
        address = ["203.0.113.9", "2001:db8:1::9"]
    """).resolve()
    assert [str(a) for a in network["server"].interfaces[0].addresses] == ["203.0.113.9/24", "2001:db8:1::9/64"]
    assert [str(a) for a in network["alice"].interfaces[0].addresses] == ["10.1.0.1/24", "fd00:1::2/64"]
    assert str(network["alice"].address) == "10.1.0.1"
    assert {(str(r.destination), str(r.via)) for r in network["alice"].routes} == {
        ("0.0.0.0/0", "10.1.0.254"),
        ("::/0", "fd00:1::1"),
    }


def test_a_lab_may_be_ipv6_only() -> None:
    network = toml('[switch.s]\nsubnet = "fd00::/64"\n[host.a]\nlink = "s"\n').resolve()
    assert [str(a) for a in network["a"].interfaces[0].addresses] == ["fd00::1/64"]
    assert str(network["a"].address) == "fd00::1"


def test_every_addressed_interface_has_a_mac_of_its_own_that_follows_from_its_name() -> None:
    network = toml(TWO_HOMES).resolve()
    macs = {(i.node, i.name): i.mac for node in network for i in node.interfaces if i.addresses}
    assert len(set(macs.values())) == len(macs)
    assert all(mac is not None and int(mac[:2], 16) & 3 == 2 for mac in macs.values())  # local, and no group's
    more = toml(TWO_HOMES + '[host.carol]\nlink = "wan"\n').resolve()
    assert all(more[node].interface(name).mac == mac for (node, name), mac in macs.items())
