"""top: what passes each link, held against what ping says it has sent."""

from __future__ import annotations

import json
import signal
import subprocess
from typing import Any

from tests.cli.command import WANLAB, OnTerminal, complaint, must, wanlab

ALICES = "alice eth0 -> home-a lan"


def ways(text: str) -> dict[str, dict[str, Any]]:
    return {way["link"]: way for way in json.loads(text)}


def test_it_counts_what_was_sent_and_what_was_dropped(two_lans: None) -> None:
    before = ways(must("top", "--once", "--json"))
    assert len(before) == 10  # five cables, two directions each
    must("exec", "alice", "ping", "-c5", "-i0.01", "-s1000", "coordinator")
    after = ways(must("top", "--once", "--json"))
    # ARP may come on top of five echo requests of 1000 bytes, with headers of 8, 20 and 14 bytes.
    sent = after[ALICES]["sent_packets"] - before[ALICES]["sent_packets"]
    octets = after[ALICES]["sent_bytes"] - before[ALICES]["sent_bytes"]
    assert 5 <= sent <= 7
    assert octets == 5 * 1042 + (sent - 5) * 42
    assert set(ways(must("top", "bob", "--once", "--json"))) == {"bob eth0 -> home-b lan", "home-b lan -> bob eth0"}
    table = must("top", "alice", "--once").splitlines()
    assert table[0].split()[:3] == ["link", "packets", "bytes"]
    assert table[1].startswith(f"{ALICES} ")


def test_it_shows_rates_until_it_is_stopped(two_lans: None) -> None:
    pings = [*WANLAB, "exec", "alice", "--", "ping", "-q", "-i0.02", "-w60", "coordinator"]
    with subprocess.Popen(pings, stdout=subprocess.DEVNULL) as pinging:
        shown = subprocess.Popen(
            [*WANLAB, "top", "alice", "--json", "--interval", "0.5"], stdout=subprocess.PIPE, text=True
        )
        assert shown.stdout is not None
        rates = [ways(shown.stdout.readline())[ALICES]["packets_per_s"] for _ in range(4)]
        shown.send_signal(signal.SIGINT)
        shown.communicate(timeout=30)
        pinging.send_signal(signal.SIGINT)
    assert shown.returncode == 0
    assert rates[0] == 0  # of one look there is no rate
    assert 5 < max(rates[1:]) < 120  # 50 a second are asked for


def test_it_is_live_on_a_terminal(two_lans: None) -> None:
    with OnTerminal(*WANLAB, "top", "alice", "--interval", "0.1") as terminal:
        terminal.until(ALICES)
        terminal.type("\x03")
        assert terminal.end() == 0
        assert "Traceback" not in terminal.seen


def test_what_is_not_there_is_said(two_lans: None) -> None:
    assert "no node 'alise'" in complaint(wanlab("top", "alise", "--once"))
    assert wanlab("top", "--once", "--lab", "other").returncode != 0
