"""Labs of every shape that the model allows, declared in Python, for testing compilers, drawings and kernels."""

from __future__ import annotations

from collections.abc import Callable

from wanlab.topology.topology import Topology


def cable() -> Topology:
    t = Topology("cable")
    alice = t.host("alice")
    t.host("bob").connect(alice, subnet="172.16.0.0/24", address="172.16.0.2", peer_address="172.16.0.1")
    return t


def switch() -> Topology:
    t = Topology("switch")
    wan = t.switch("wan", "172.16.0.0/24")
    for name in ("alice", "bob", "coordinator"):
        t.host(name, wan)
    return t


def two_lans() -> Topology:
    t = Topology("two-lans")
    wan = t.switch("wan", "172.16.0.0/24")
    t.host("coordinator", wan, address="172.16.0.100")
    home_a = t.router("home-a", wan, address="172.16.0.1", lan="10.1.0.254/24", nat="article")
    home_b = t.router("home-b", wan, address="172.16.0.2", lan="10.2.0.254/24", nat="article")
    t.host("alice", home_a, address="10.1.0.1")
    t.host("bob", home_b, address="10.2.0.1")
    return t


def star(size: int = 5) -> Topology:
    t = Topology("star")
    hub = t.switch("hub", "5.5.0.0/16")
    for n in range(1, size + 1):
        t.host(f"h{n}", hub)
    return t


def chain() -> Topology:
    """Three routers, none of which translates or guards: the first is a core router, the others have uplinks."""
    t = Topology("chain")
    r1 = t.router("r1", lan="10.1.0.0/24")
    r2 = t.router("r2", r1, lan="10.2.0.0/24", nat="none", firewall=False)
    r3 = t.router("r3", r2, lan="10.3.0.0/24", nat="none", firewall=False)
    for n, router in enumerate((r1, r2, r3), start=1):
        t.host(f"h{n}", router)
    return t


def core() -> Topology:
    """Three core routers, every one with a cable to every other, a switch below each and a home at the first."""
    t = Topology("core")
    routers = [t.router(f"r{n}") for n in (1, 2, 3)]
    for n, router in enumerate(routers):
        for other in routers[:n]:
            router.connect(other)
        access = t.switch(f"s{n + 1}")
        router.connect(access)
        t.host(f"h{n + 1}", access)
    home = t.router("home", "s1")
    t.host("laptop", home)
    t.host("phone", home)
    return t


def dual_stack() -> Topology:
    t = Topology("dual-stack")
    wan = t.switch("wan", ["5.5.5.0/24", "2001:470:1::/64"])
    core_router = t.router("isp")
    core_router.connect(wan)
    t.host("server", wan)
    home = t.router("home", wan, lan=["192.168.1.0/24", "2001:470:2::/64"])
    t.host("laptop", home)
    t.host("phone", home)
    return t


def prefix_translation() -> Topology:
    """Dual-stack, translating prefixes: a home for its LAN and one behind a further router, an office that is open."""
    t = Topology("prefixes")
    wan = t.switch("wan", ["5.5.5.0/24", "2001:470:1::/64"])
    t.router("isp").connect(wan)
    t.host("server", wan)
    home = t.router("home", wan, lan=["192.168.1.0/24", "fd00:1::/64"], ipv6="prefix-translation")
    t.host("laptop", home)
    inner = t.router("inner", home, lan=["192.168.2.0/24", "fd00:2::/64"], firewall=False)
    t.host("tv", inner)
    office = t.router(
        "office",
        wan,
        lan=["192.168.3.0/24", "fd00:3::/60"],
        ipv6="prefix-translation",
        ipv6_prefix="2001:470:3::/56",
        firewall=False,
    )
    t.host("desk", office)
    t.host("printer", office)
    return t


def ipv6_only() -> Topology:
    """No IPv4: a home that masquerades, one with open filtering, prefixes translated twice on the way."""
    t = Topology("ipv6-only")
    wan = t.switch("wan", "2001:470:1::/64")
    t.host("server", wan)
    hidden = t.router("hidden", wan, lan="fd00:1::/64", nat="none", ipv6="masquerade")
    t.host("laptop", hidden)
    guarded = t.router("guarded", wan, lan="2001:470:2::/64", nat="none", firewall="endpoint-independent")
    t.host("phone", guarded)
    site = t.router("site", wan, lan="fd00:3::/64", nat="none", ipv6="prefix-translation")
    flat = t.router("flat", site, lan="fd00:4::/64", nat="none", ipv6="prefix-translation", firewall=False)
    t.host("camera", flat)
    return t


def firewalls() -> Topology:
    """Firewalls without NAT, of all kinds."""
    t = Topology("firewalls")
    wan = t.switch("wan", ["5.5.5.0/24", "2001:470:1::/64"])
    t.host("server", wan)
    for n, kind in enumerate(("endpoint-independent", "address-dependent", "address-and-port-dependent"), start=2):
        router = t.router(f"r{n}", wan, lan=[f"5.6.{n}.0/24", f"2001:470:{n}::/64"], nat="none", firewall=kind)
        t.host(f"h{n}", router)
    return t


def odd() -> Topology:
    """Trunks, jumbo frames, a small MTU, a multi-homed host, names that iproute2 has a meaning for, a host alone."""
    t = Topology("odd")
    upper = t.switch("upper", "5.5.5.0/24", mtu=9000)
    lower = t.switch("lower", mtu=9000)
    lower.connect(upper)
    slow = t.switch("slow", "5.6.0.0/24", mtu=1280)
    for name in ("a", "up", "address", "netns"):
        t.host(name, lower)
    twin = t.host("twin", upper)
    twin.connect(slow, name="slow0")
    small = t.host("small", slow, mtu=1000)
    small.connect("a", subnet="10.99.0.0/31")
    t.host("alone")
    return t


def impaired() -> Topology:
    """Links that do everything to packets that links can do; not every kernel can have these as a script makes them."""
    t = Topology("impaired")
    wan = t.switch("wan", "5.5.5.0/24")
    t.switch("far").connect(wan, impairment={"delay": "80ms", "hit_arp": True})
    home = t.router("home", wan, lan="10.1.0.0/24", nat="linux", impairment="adsl")
    alice = t.host("alice", home, impairment="wifi-bad")
    t.host("bob", wan, impairment={"delay": "10ms", "jitter": "2ms", "loss": "1%", "reorder": "5%"}, mtu=1400)
    t.host("carol").connect(
        alice, mtu=9000, impairment={"duplicate": "1%", "corrupt": "0.5%", "up": {"rate": "10gbit"}}
    )
    return t


SHAPES: dict[str, Callable[[], Topology]] = {
    "cable": cable,
    "switch": switch,
    "two-lans": two_lans,
    "star": star,
    "chain": chain,
    "core": core,
    "dual-stack": dual_stack,
    "prefix-translation": prefix_translation,
    "ipv6-only": ipv6_only,
    "firewalls": firewalls,
    "odd": odd,
}
