"""Rules loaded through the library are those that `nft -f` loads, and so are the complaints."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.support.labs import machine, run_program
from tests.support.shapes import two_lans
from wanlab.plan.ruleset import ruleset

START = """
import json, os, subprocess, sys
from wanlab.errors import KernelError, MachineError
from wanlab.kernel import nftables
def listed(*words):
    done = subprocess.run(["nft", "-j", "list", "ruleset"], capture_output=True, text=True, check=True)
    def bare(value):
        if isinstance(value, dict):
            return {k: bare(v) for k, v in value.items() if k != "handle"}
        return [bare(v) for v in value] if isinstance(value, list) else value
    return [bare(entry) for entry in json.loads(done.stdout)["nftables"] if "metainfo" not in entry]
def nft(text):
    return subprocess.run(["nft", "-f", "-"], input=text, capture_output=True, text=True)
text = sys.argv[1]
"""
NETWORK = two_lans().resolve()
ROUTER = NETWORK["home-a"]
RULES = ruleset(ROUTER, NETWORK) or ""


def inside(code: str, text: str = RULES) -> Any:
    return json.loads(run_program(START + code, text, before=machine()))


TEXTS = [
    pytest.param(RULES, id="a router's"),
    pytest.param("table ip t { set s { type ipv4_addr; elements = { 1.2.3.4, 5.6.7.8 }; }; }", id="a set"),
    pytest.param("table inet t\ndelete table inet t\ntable inet t { chain c { counter; }; }", id="a table anew"),
    pytest.param("# only a comment\n", id="nothing"),
]


@pytest.mark.parametrize("text", TEXTS)
def test_rules_are_those_that_nft_loads(text: str) -> None:
    ours, other = inside("""
nftables.load(text)
ours = listed()
assert not nft("flush ruleset").returncode
assert not nft(text).returncode
print(json.dumps([ours, listed()]))
""", text)  # fmt: skip
    assert ours == other


def test_a_routers_rules_are_not_nothing() -> None:
    found = inside("nftables.load(text); print(json.dumps(listed()))")
    assert any("rule" in entry for entry in found)
    assert {entry["table"]["name"] for entry in found if "table" in entry} == {"wanlab"}


@pytest.mark.parametrize(
    "text",
    [
        "table inet t { chain c { oops } }",
        "table inet t { chain c { type filter hook nowhere priority 0; } }",
        "add rule inet t c accept",
        "table inet t {",
        "delete table inet t",
        "add chain inet none c",
    ],
)
def test_a_complaint_is_nfts_own_in_one_line_and_nothing_is_loaded(text: str) -> None:
    words, said, left = inside("""
before = listed()
try:
    nftables.load("table inet first {}\\n" + text)
    words = None
except KernelError as error:
    words = error.what
left = listed()
said = nft("table inet first {}\\n" + text).stderr
print(json.dumps([words, said, left == before]))
""", text)  # fmt: skip
    assert words
    assert "\n" not in words
    first = said.splitlines()[0].split("Error: ")[1]
    assert first in words
    assert left


def test_rules_go_to_the_namespace_that_the_caller_is_in_now() -> None:
    assert inside("""
from wanlab.kernel.syscalls import CLONE_NEWNET, setns, unshare
home = os.open("/proc/self/ns/net", os.O_RDONLY)
nftables.load("table inet one {}")
unshare(CLONE_NEWNET)
nftables.load("table inet two {}")
there = [entry["table"]["name"] for entry in listed()]
setns(home, CLONE_NEWNET)
print(json.dumps([there, [entry["table"]["name"] for entry in listed()]]))
""") == [["two"], ["one"]]


def test_hundreds_of_loads_keep_no_descriptor() -> None:
    assert (
        inside("""
nftables.load(text)
before = len(os.listdir("/proc/self/fd"))
for n in range(200):
    nftables.load("flush ruleset")
    try:
        nftables.load("oops")
    except KernelError:
        pass
print(json.dumps(len(os.listdir("/proc/self/fd")) - before))
""")
        == 0
    )


def test_without_privileges_a_load_is_an_error_in_the_kernels_words() -> None:
    words = inside("""
os.setgid(0)
from wanlab.kernel.syscalls import CLONE_NEWUSER, unshare
unshare(CLONE_NEWUSER)
try:
    nftables.load("table inet t {}")
    print(json.dumps(None))
except KernelError as error:
    print(json.dumps(error.what))
""")
    assert "not permitted" in words


# What one transaction does not take: the message is longer than a socket's buffer may be without privileges.
LONG = """
chains = "".join("\\tchain c%d {\\n\\t\\tgoto c%d\\n\\t}\\n" % (n, n - 1) for n in range(1, 6000))
long = "table inet long {\\n\\tchain c0 {\\n\\t\\tcounter accept\\n\\t}\\n" + chains
"""


def test_what_is_too_long_for_one_transaction_is_loaded_whole_all_the_same() -> None:
    code = """
at_once = nft(long + "}").stderr
nftables.load(long + "}\\n")
found = listed()
print(json.dumps([at_once, sum("chain" in entry for entry in found), sum("rule" in entry for entry in found)]))
"""
    at_once, chains, rules = json.loads(run_program(START + LONG + code, "", before=machine(user_namespace=True)))
    assert "Message too long" in at_once, "the test needs a longer text"
    assert (chains, rules) == (6000, 6000)


def test_of_what_is_too_long_for_one_transaction_and_wrong_at_its_end_nothing_is_left() -> None:
    code = """
try:
    nftables.load(long + "\\tchain last {\\n\\t\\tgoto nowhere\\n\\t}\\n}\\n")
    words = ""
except KernelError as error:
    words = error.what
print(json.dumps([words, listed()]))
"""
    words, left = json.loads(run_program(START + LONG + code, "", before=machine(user_namespace=True)))
    assert "No such file or directory" in words
    assert left == []
