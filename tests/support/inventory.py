"""What a lab consists of, as independent tools tell it: for comparing two labs, or one lab before and after.

Nothing of wanlab's is asked; `run` runs a program inside a node and returns what it printed.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Collection, Iterable
from typing import Any

Run = Callable[[str, list[str]], str]
"""Runs a command line inside a node; returns its standard output; raises where it fails."""

# Numbers that the kernel chooses, clocks, and identifiers made from the random MACs of bridges and their ports.
_VOLATILE_OF_LINKS = {
    "ifindex", "link", "link_index", "link_netnsid", "link_netns", "stats", "stats64",
    "bridge_id", "root_id", "hello_timer", "tcn_timer", "topology_change_timer", "gc_timer",
    "designated_bridge", "designated_root", "message_age_timer", "forward_delay_timer", "hold_timer",
}  # fmt: skip
_VOLATILE_OF_ADDRESSES = {"tentative", "dadfailed", "optimistic"}
_VOLATILE_OF_ROUTES = {"expires", "users", "age", "used", "error"}
_SYSCTLS = r"^net\.(ipv4\.conf\.|ipv6\.conf\.|ipv4\.ip_forward$|netfilter\.nf_conntrack_.*timeout)"
_SETTLING_TIME = 5.0  # seconds; the kernel's link watch takes up to one


def inventory(run: Run, nodes: Iterable[str]) -> dict[str, dict[str, Any]]:
    """For each node its links, addresses, routes, sysctls, nftables rules, bridge ports and names."""
    names = list(nodes)
    settle(run, names)
    return {node: _of_node(run, node) for node in names}


def settle(run: Run, nodes: Iterable[str]) -> None:
    """Wait until every interface that is up and can have a carrier has one, and every address is taken for its own.

    The kernel's link watch tells a moment after the fact, and routes of link-local addresses wait for their DAD.
    """
    deadline = time.monotonic() + _SETTLING_TIME
    for node in nodes:
        while not _settled(json.loads(run(node, ["ip", "-j", "-d", "address"]))):
            if time.monotonic() > deadline:
                return
            time.sleep(0.05)


def _settled(links: list[dict[str, Any]]) -> bool:
    with_ports = {link["master"] for link in links if "master" in link}
    waiting = (
        link["operstate"] != "UP" or any("tentative" in address for address in link["addr_info"])
        for link in links
        if "UP" in link["flags"]
        and link["link_type"] != "loopback"
        and link.get("linkinfo", {}).get("info_kind") != "tun"  # the wire's: it never tells
        and (link.get("linkinfo", {}).get("info_kind") != "bridge" or link["ifname"] in with_ports)
    )
    return not any(waiting)


def _of_node(run: Run, node: str) -> dict[str, Any]:
    links = json.loads(run(node, ["ip", "-j", "-d", "link"]))
    addresses = json.loads(run(node, ["ip", "-j", "address"]))
    fixed_mac = {
        link["ifname"]: link["address"]
        for link in addresses
        if any(address["scope"] == "global" for address in link["addr_info"])
    }
    return {
        "links": {link["ifname"]: _link(link, fixed_mac) for link in links},
        "addresses": {link["ifname"]: _addresses(link, fixed_mac) for link in addresses},
        "routes": {
            family: _routes(
                json.loads(run(node, ["ip", "-j", family, "route", "show", "table", "all"]) or "[]"), fixed_mac
            )
            for family in ("-4", "-6")
        },
        "sysctls": _sysctls(run(node, ["sysctl", "--all", "--ignore", "--pattern", _SYSCTLS])),
        "rules": _rules(json.loads(run(node, ["nft", "-j", "list", "ruleset"]))),
        "ports": {
            port["ifname"]: _without(port, _VOLATILE_OF_LINKS)
            for port in json.loads(run(node, ["bridge", "-j", "-d", "link"]) or "[]")
        },
        "names": run(node, ["cat", "/etc/hosts"]),
    }


def _link(link: dict[str, Any], fixed_mac: dict[str, str]) -> dict[str, Any]:
    known: dict[str, Any] = _without(link, _VOLATILE_OF_LINKS)
    known["flags"] = sorted(link["flags"])
    if link["ifname"] not in fixed_mac:
        known.pop("address", None)
    return known


def _addresses(link: dict[str, Any], fixed_mac: dict[str, str]) -> list[Any]:
    # The link-local address of an interface without a fixed MAC follows from a random one.
    found = [
        _without(address, _VOLATILE_OF_ADDRESSES)
        for address in link["addr_info"]
        if address["scope"] != "link" or link["ifname"] in fixed_mac
    ]
    return sorted(found, key=lambda address: (address["family"], address["local"]))


def _routes(routes: list[dict[str, Any]], fixed_mac: dict[str, str]) -> list[Any]:
    found = [_without(route, _VOLATILE_OF_ROUTES) for route in routes]
    for route in found:
        if route["dst"].startswith("fe80::") and "/" not in route["dst"] and route["dev"] not in fixed_mac:
            route["dst"] = "its own link-local address"
    return sorted(found, key=lambda route: json.dumps(route, sort_keys=True))


def _sysctls(text: str) -> dict[str, str]:
    pairs = (line.split(" = ", 1) for line in text.splitlines() if " = " in line)
    return {key: value for key, value in pairs if not key.endswith("stable_secret")}


def _rules(ruleset: dict[str, Any]) -> list[Any]:
    return [_without(entry, {"handle"}) for entry in ruleset["nftables"] if "metainfo" not in entry]


def _without(value: Any, keys: set[str]) -> Any:
    """The same, at every depth, without these keys; counters are set to nought."""
    if isinstance(value, dict):
        return {
            key: {"packets": 0, "bytes": 0} if key == "counter" else _without(entry, keys)
            for key, entry in value.items()
            if key not in keys
        }
    if isinstance(value, list):
        return [_without(entry, keys) for entry in value]
    return value


def differences(one: Any, other: Any, path: str = "") -> list[str]:
    """Where two inventories differ, a line each: an assertion that shows two whole labs helps nobody."""
    if isinstance(one, dict) and isinstance(other, dict):
        lines = []
        for key in [*one, *(key for key in other if key not in one)]:
            here = f"{path}/{key}"
            if key not in one:
                lines.append(f"{here}: only in the second: {other[key]!r}")
            elif key not in other:
                lines.append(f"{here}: only in the first: {one[key]!r}")
            else:
                lines += differences(one[key], other[key], here)
        return lines
    if isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        pairs = enumerate(zip(one, other, strict=True))
        return [line for n, (a, b) in pairs for line in differences(a, b, f"{path}[{n}]")]
    return [] if one == other else [f"{path}: {one!r} != {other!r}"]


def plugged(run: Run, switch: str, macs: Collection[str]) -> dict[str, str]:
    """At which port a switch has heard each of *macs*: shows which cable ends where, after some traffic.

    Other MACs are heard too: a bridge itself speaks IGMP, from a random one.
    """
    entries = json.loads(run(switch, ["bridge", "-j", "fdb", "show"]) or "[]")
    return {entry["mac"]: entry["ifname"] for entry in entries if entry["mac"] in macs and not entry.get("state")}
