"""Many impaired links at once."""

from __future__ import annotations

import contextlib
import socket
import time
from pathlib import Path

import pytest

from tests.impairment.conftest import refusal
from wanlab import Lab, Topology

_NEIGHBOURS = Path("/proc/sys/net/ipv4/neigh/default/gc_thresh3")


@pytest.mark.usefixtures("crowd")
def test_fifty_impaired_links_hold_up(means: str) -> None:
    _hold_up(50, means)


@pytest.mark.timeout(600)
@pytest.mark.usefixtures("crowd")
def test_a_thousand_links_impaired_by_netem_hold_up() -> None:
    if why := refusal("netem"):
        pytest.skip(why)
    if int(_NEIGHBOURS.read_text()) < 4096:  # the server and each host know one another
        pytest.skip("the table of neighbours, one for all namespaces, has no room for 2000: net.ipv4.neigh.default")
    _hold_up(1000, "netem")


def _hold_up(links: int, means: str) -> None:
    """So many hosts, each behind an impaired link, ask one server three times: each answer takes its delay twice."""
    t = Topology("many")
    wan = t.switch("wan")
    t.host("server", wan)
    for number in range(links):
        t.host(f"h{number}", wan, impairment={"delay": "100ms"})
    with Lab(t, impairment=means) as lab, lab["server"].socket(type=socket.SOCK_DGRAM) as server:
        server.bind(("0.0.0.0", 7))
        server.settimeout(10)
        for first in range(0, links, 50):  # as many at a time as the server's buffer surely holds
            with contextlib.ExitStack() as stack:
                hosts = [
                    stack.enter_context(lab[f"h{number}"].socket(type=socket.SOCK_DGRAM))
                    for number in range(first, first + 50)
                ]
                for each in hosts:
                    each.settimeout(10)
                    each.connect((str(lab["server"].address), 7))
                for _ in range(3):
                    for each in hosts:
                        each.send(str(time.monotonic()).encode())
                    for _ in hosts:
                        data, sender = server.recvfrom(100)
                        server.sendto(data, sender)
                    sent = [float(each.recv(100)) for each in hosts]
                    assert time.monotonic() - max(sent) >= 0.199
        impaired = [each for each in lab.counters() if each.interface == "eth0" and each.node != "server"]
        assert len(impaired) == links
        assert sum(each.impaired for each in impaired) == 0
