"""Stories: what they say in a line, and that their JSON loses nothing."""

from __future__ import annotations

import json
from ipaddress import ip_address

from wanlab.capture.headers import Endpoint, Header
from wanlab.trace.story import Crossing, Fate, Rule, Story


def endpoint(text: str) -> Endpoint:
    address, _, port = text.rpartition(":")
    return Endpoint(ip_address(address), int(port))


def header(source: str, destination: str, ttl: int = 64) -> Header:
    return Header("udp", endpoint(source), endpoint(destination), ttl, 40, "12 bytes")


SENT = header("10.2.0.1:4000", "172.16.0.1:31999")
MOVED = header("172.16.0.2:51234", "172.16.0.1:31999", 63)
DROP = Rule("inet wanlab", "wl_input", 9, "drop", 'iifname "wan" drop')
STORY = Story(
    7,
    (
        Crossing("bob", None, "eth0", 100, 100, SENT, SENT),
        Crossing("home-b", "lan", "wan", 200, 300, SENT, MOVED, (Rule("inet wanlab", "nat", None, "accept"),)),
        Crossing("wan", "home-b", "home-a", 400, 500, MOVED, MOVED),
        Crossing("home-a", "wan", None, 600, None, MOVED, None, (DROP,)),
    ),
    Fate.DROPPED,
    "home-a",
    "filtering is address-and-port-dependent",
)


def test_a_story_reads_as_one_line() -> None:
    assert str(STORY) == (
        "bob -> home-a 172.16.0.1:31999 udp 12 bytes: dropped by home-a (filtering is address-and-port-dependent)"
        " [home-b: 10.2.0.1:4000 -> 172.16.0.2:51234]"
    )


def test_json_loses_nothing() -> None:
    assert Story.from_json(json.loads(json.dumps(STORY.to_json()))) == STORY


def test_an_ipv6_endpoint_is_written_in_brackets() -> None:
    assert str(Endpoint(ip_address("2001:db8::1"), 53)) == "[2001:db8::1]:53"
    assert str(Endpoint(ip_address("2001:db8::1"))) == "2001:db8::1"
