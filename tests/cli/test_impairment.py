"""Impaired links on the command line: how they are asked for, and what is told of them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.command import complaint, must, wanlab

FILE = """\
[switch.wan]
[host.server]
link = "wan"
[host.phone]
link = "wan"
impairment = "4g"
"""


@pytest.fixture
def file(tmp_path: Path) -> str:
    path = tmp_path / "phone.toml"
    path.write_text(FILE)
    return str(path)


def test_a_lab_says_what_impairs_its_links_and_how(file: str) -> None:
    done = wanlab("up", file, "--impairment", "wire")
    if done.returncode == 4:
        pytest.skip(done.stderr)
    try:
        printed = must("inspect")
        assert "links are impaired by wire (asked for)" in printed
        assert "sends with delay 27ms, jitter 7ms, distribution normal, rate 6300kbit, queue 200ms" in printed
        told = json.loads(must("inspect", "--json"))
        assert told["impairment"]["means"] == "wire"
        (phone,) = [node for node in told["nodes"] if node["name"] == "phone"]
        assert phone["interfaces"][0]["sends_with"]["rate"] == "6300kbit"
        assert "!" not in printed
        must("exec", "phone", "nft", "flush", "ruleset")
        assert "  ! eth0 sends unimpaired: its rules are gone\n    `wanlab reboot phone` puts" in must(
            "inspect", "phone"
        )
        assert json.loads(must("inspect", "--json"))["faults"] == [
            {"node": "phone", "interface": "eth0", "what": "sends unimpaired: its rules are gone"}
        ]
        assert json.loads(must("inspect", "server", "--json"))["faults"] == []
        must("reboot", "phone")
        assert "!" not in must("inspect")
        assert must("change", "phone", "impairment=none").splitlines() == [
            "phone: eth0 sends unimpaired",
            "wan: phone sends unimpaired",
            "2 steps",
        ]
        done = wanlab("change", "phone", "impairment={loss = '130%'}")
        assert done.returncode == 2
        assert "loss 130% is out of range; use 0% to 100%" in complaint(done)
    finally:
        must("down")


def test_what_no_link_can_be_names_file_and_line(tmp_path: Path) -> None:
    path = tmp_path / "wrong.toml"
    path.write_text(FILE.replace('"4g"', '{ rate = "0mbit" }'))
    done = wanlab("up", str(path))
    assert done.returncode == 2
    assert "wrong.toml:6: host 'phone': impairment: rate 0 bit/s is out of range" in complaint(done)


def test_a_means_that_there_is_not_is_refused(file: str) -> None:
    done = wanlab("up", file, "--impairment", "magic")
    assert done.returncode == 2
    assert "impairment by 'magic' is not known; there is netem, wire" in complaint(done)


def test_what_would_be_done_is_told(file: str) -> None:
    assert "  phone: eth0 sends with delay 27ms, jitter 7ms" in must("up", file, "--dry-run")


def test_a_means_that_does_not_work_here_is_an_error(file: str) -> None:
    done = wanlab("up", file, "--impairment", "netem")
    if done.returncode == 0:
        must("down")
        pytest.skip("this kernel has netem")
    assert done.returncode == 4
    assert "links cannot be impaired by netem" in complaint(done)
