"""Many impaired links at once."""

from __future__ import annotations

import contextlib
import socket
import time
from pathlib import Path

import pytest

from tests.impairment.conftest import refusal
from wanlab import Lab, LabNode, Topology

_TOGETHER = 50
_NEIGHBOURS = Path("/proc/sys/net/ipv4/neigh/default/gc_thresh3")


@pytest.mark.usefixtures("crowd")
def test_fifty_impaired_links_hold_up(means: str) -> None:
    _hold_up(50, means)


@pytest.mark.timeout(600)
@pytest.mark.usefixtures("crowd")
def test_a_thousand_links_impaired_by_netem_hold_up() -> None:
    if why := refusal("netem"):
        pytest.skip(why)
    if int(_NEIGHBOURS.read_text()) < 4096:  # each host and its server know one another
        pytest.skip("the table of neighbours, one for all namespaces, has no room for 2000: net.ipv4.neigh.default")
    _hold_up(1000, "netem")


def _hold_up(links: int, means: str) -> None:
    """So many hosts, each behind an impaired link, ask a server three times: each answer takes its delay twice.

    Fifty at a switch: what is flooded to a thousand ports at once is more than the kernel's backlog holds.
    """
    t = Topology("many")
    for place in range(links // _TOGETHER):
        wan = t.switch(f"wan{place}")
        t.host(f"server{place}", wan)
        for number in range(_TOGETHER):
            t.host(f"h{place}-{number}", wan, impairment={"delay": "100ms"})
    with Lab(t, impairment=means) as lab:
        for place in range(links // _TOGETHER):
            _ask_three_times(lab[f"server{place}"], [lab[f"h{place}-{number}"] for number in range(_TOGETHER)])
        impaired = [each for each in lab.counters() if each.interface == "eth0" and each.node.startswith("h")]
        assert len(impaired) == links
        assert sum(each.impaired for each in impaired) == 0


def _ask_three_times(serving: LabNode, asking: list[LabNode]) -> None:
    with contextlib.ExitStack() as stack:
        server, *hosts = (stack.enter_context(n.socket(type=socket.SOCK_DGRAM)) for n in (serving, *asking))
        server.bind(("0.0.0.0", 7))
        for each in (server, *hosts):
            each.settimeout(10)
        for each in hosts:
            each.connect((str(serving.address), 7))
        for _ in range(3):
            for each in hosts:
                each.send(str(time.monotonic()).encode())
            for _ in hosts:
                data, sender = server.recvfrom(100)
                server.sendto(data, sender)
            sent = [float(each.recv(100)) for each in hosts]
            assert time.monotonic() - max(sent) >= 0.199
