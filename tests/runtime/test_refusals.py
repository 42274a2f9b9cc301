"""What cannot be brought up is an error of the right kind, in one line, and nothing is left of it."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.labs import PAIR, descendants, machine, pair, run_program
from wanlab import KernelError, Lab, MachineError, Topology, WanlabError
from wanlab.plan.compile import compile_network
from wanlab.plan.steps import (
    AddAddress,
    AddBridge,
    AddCable,
    AddNamespace,
    AddRoute,
    End,
    Enslave,
    LoadRuleset,
    Plan,
    SetSysctl,
    SetUp,
    Stage,
    Step,
)
from wanlab.runtime.directory import labs
from wanlab.topology.network import Network

REFUSED: dict[str, tuple[Step, str, int | None]] = {
    "an MTU below the least": (
        AddCable(End("left", "eth7", None, 10), End("right", "eth7", None, 1500)),
        "left eth7", errno.EINVAL,
    ),
    "an interface twice": (
        AddCable(End("left", "eth0", None, 1500), End("right", "eth8", None, 1500)),
        "left eth0", errno.EEXIST,
    ),
    "a name that is too long": (AddBridge("left", "x" * 16, None, 1500), "left", errno.ERANGE),
    "an address twice": (AddAddress("left", "eth0", "5.5.5.1/24"), "5.5.5.1/24", errno.EEXIST),
    "an address of no interface": (AddAddress("left", "eth9", "5.5.6.1/24"), "eth9", None),
    "an address that is none": (AddAddress("left", "eth0", "5.5.5.500/24"), "5.5.5.500", None),
    "a prefix that is too long": (AddAddress("left", "eth0", "5.5.7.1/33"), "5.5.7.1/33", None),
    "a gateway out of reach": (AddRoute("left", "9.9.9.0/24", "8.8.8.8", "eth0"), "8.8.8.8", errno.ENETUNREACH),
    "a route out of nothing": (AddRoute("left", "9.9.9.0/24", "5.5.5.2", "eth9"), "eth9", None),
    "an interface that is not there": (SetUp("left", "eth9"), "eth9", None),
    "a bridge that is none": (Enslave("left", "eth0", "lo"), "lo", errno.EOPNOTSUPP),
    "a sysctl that is not there": (SetSysctl("left", "net.ipv4.no_such", "1"), "net.ipv4.no_such", errno.ENOENT),
    "a sysctl of another kind": (SetSysctl("left", "net.ipv4.ip_forward", "many"), "net.ipv4.ip_forward", errno.EINVAL),
    "rules that nft cannot read": (LoadRuleset("left", "table inet x { chain fwd { oops } }"), "left", None),
    "a node twice": (AddNamespace("left"), "left", None),
    "a node that is not there": (SetUp("nobody", "lo"), "nobody", errno.ENOENT),
    "a cable to a node that is not there": (
        AddCable(End("left", "eth5", None, 1500), End("nobody", "eth0", None, 1500)), "nobody", errno.ENOENT,
    ),
}  # fmt: skip


def adding(monkeypatch: pytest.MonkeyPatch, *steps: Step) -> None:
    """Have these steps taken at the end of every plan."""

    def compile_with_more(network: Network) -> Plan:
        plan = compile_network(network)
        return Plan(plan.lab, (*plan.stages, Stage("more", steps)), plan.hosts)

    monkeypatch.setattr("wanlab.runtime.lab.compile_network", compile_with_more)


@pytest.mark.parametrize("case", REFUSED)
def test_a_refused_step_is_an_error_that_names_it_and_leaves_nothing(
    runtime: Path, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    step, named, number = REFUSED[case]
    adding(monkeypatch, step)
    before = descendants(os.getpid())
    with pytest.raises(KernelError) as caught:
        Lab(pair(), name="broken").up()
    message = str(caught.value)
    assert named in message
    assert "\n" not in message
    assert "Error(" not in message
    assert "Errno" not in message
    if number is not None:
        assert caught.value.errno == number
    # At once, without waiting: nothing is left when the error is raised, and the name is free.
    assert labs(runtime) == []
    assert not (runtime / "broken").exists()
    # The next lab's holder waits already, with nothing in it; of this one there is none.
    assert len([p for p in descendants(os.getpid()) - before if p.name == "wanlab-holder"]) <= 1


def test_after_a_refusal_the_same_name_comes_up_at_once(runtime: Path) -> None:
    for _ in range(10):
        with pytest.MonkeyPatch.context() as patch:
            adding(patch, AddAddress("left", "eth0", "5.5.5.1/24"))
            with pytest.raises(KernelError, match=r"eth0 has address 5\.5\.5\.1/24"):
                Lab(pair(), name="again").up()
        with Lab(pair(), name="again") as lab:
            assert lab["left"].run(["true"]).returncode == 0


def test_a_refusal_carries_the_kernels_own_words(monkeypatch: pytest.MonkeyPatch) -> None:
    adding(monkeypatch, AddBridge("left", "br7", None, 10))
    with pytest.raises(KernelError, match="refused: left: bridge br7: mtu less than device minimum"):
        Lab(pair()).up()


def test_the_first_of_many_refusals_is_the_one_that_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[Step] = [
        SetUp("left", "eth0"),
        *(AddAddress("left", "eth0", "5.5.5.1/24") for _ in range(150)),
        SetUp("left", "no"),
    ]
    adding(monkeypatch, AddAddress("left", "eth0", "5.5.6.1/24"), AddAddress("left", "eth0", "5.5.6.1/24"), *steps)
    with pytest.raises(KernelError, match=r"5\.5\.6\.1/24"):
        Lab(pair()).up()


def test_a_lab_that_failed_can_be_brought_up_again() -> None:
    lab = Lab(pair())
    with pytest.MonkeyPatch.context() as patch:
        adding(patch, SetSysctl("left", "net.no.such", "1"))
        with pytest.raises(KernelError):
            lab.up()
    with lab:
        assert lab["left"].run(["true"]).returncode == 0


def refusal_on(setup: str, code: str, *, user_namespace: bool = True, before: tuple[str, ...] = ()) -> str:
    """What a lab's failing says on a machine of its own."""
    return run_program(PAIR + code, before=(*machine(setup, user_namespace=user_namespace), *before)).strip()


ROUTER = """
from wanlab import MachineError, WanlabError
import os
t = Topology("routed")
wan = t.switch("wan", "5.5.5.0/24")
home = t.router("home", wan, lan="192.168.1.0/24")
t.host("laptop", home)
"""
NO_LIBRARY = 'mount --bind /dev/null "$(ldconfig -p | sed -n "s/.*libnftables.so.1 .*=> //p" | head -n1)"'


def test_without_libnftables_a_lab_with_rules_says_what_to_install() -> None:
    said = refusal_on(NO_LIBRARY, ROUTER + """
for _ in range(2):
    try:
        Lab(t, name="routed").up()
    except MachineError as error:
        print(error)
print(os.listdir(os.environ["XDG_RUNTIME_DIR"] + "/wanlab"))
""").splitlines()  # fmt: skip
    assert len(said) == 3
    assert "libnftables" in said[0]
    assert "apt-get install" in said[0]
    assert said[2] in ("[]", "['.turn']")


def test_without_libnftables_a_lab_without_rules_comes_up() -> None:
    assert refusal_on(NO_LIBRARY, """
with Lab(pair()) as lab:
    print(lab["left"].run(["ping", "-c1", "-W5", "5.5.5.2"], stdout=-3).returncode)
""") == "0"  # fmt: skip


# Root of a user namespace sets the limit; then the program is somebody else, in one more that uses it up.
SOMEBODY = ("unshare", "--user", "--map-user=1000", "--map-group=1000")


def test_where_user_namespaces_are_refused_a_user_is_told_how_to_allow_them() -> None:
    said = refusal_on("chmod 0700 $XDG_RUNTIME_DIR; echo 1 > /proc/sys/user/max_user_namespaces", """
import os
from wanlab import MachineError
assert os.geteuid() == 1000
for _ in range(3):
    try:
        Lab(pair(), name="refused").up()
    except MachineError as error:
        print(error)
print(os.listdir(os.environ["XDG_RUNTIME_DIR"] + "/wanlab"))
""", before=SOMEBODY).splitlines()  # fmt: skip
    assert len(said) == 4
    assert "refuses user namespaces" in said[0]
    assert "sysctl" in said[0]
    assert said[3] in ("[]", "['.turn']")


def test_root_does_without_a_user_namespace_where_that_is_refused() -> None:
    assert refusal_on("echo 0 > /proc/sys/user/max_user_namespaces", """
import os
with Lab(pair()) as lab:
    assert os.readlink(f"/proc/{lab.pid}/ns/user") == os.readlink("/proc/self/ns/user")
    lab["left"].run(["ping", "-c1", "-W5", "5.5.5.2"], stdout=-3, check=True)
    print(lab["left"].run(["hostname"], capture_output=True, text=True).stdout)
""") == "left"  # fmt: skip


@pytest.mark.parametrize(("kind", "most"), [("net", 1), ("mnt", 1), ("pid", 0), ("uts", 1)])
def test_where_a_kind_of_namespace_runs_out_an_error_says_so(kind: str, most: int) -> None:
    said = refusal_on(f"echo {most} > /proc/sys/user/max_{kind}_namespaces", """
import os
from wanlab import WanlabError
for _ in range(3):
    try:
        with Lab(pair(), name="refused") as lab:
            lab["left"].run(["true"])
            lab["right"].run(["true"])
    except WanlabError as error:
        print(type(error).__name__, error)
print(os.listdir(os.environ["XDG_RUNTIME_DIR"] + "/wanlab"))
""").splitlines()  # fmt: skip
    assert len(said) == 4
    for line in said[:3]:
        assert line.startswith(("KernelError", "MachineError")), line
        assert "No space left" in line
    assert said[3] in ("[]", "['.turn']")


def test_a_topology_that_cannot_be_is_refused_before_anything_is_made(runtime: Path) -> None:
    t = Topology("bad")
    wire = t.switch("wire", "5.5.5.0/24")
    t.host("left", wire, address="5.5.6.1")
    with pytest.raises(WanlabError):
        Lab(t).up()
    assert not runtime.exists() or labs(runtime) == []


def test_refusals_of_a_machine_are_machine_errors() -> None:
    assert issubclass(MachineError, WanlabError)
    make: Callable[..., MachineError] = MachineError
    assert str(make("no", hint="do this")) == "no; do this"
