"""What the netlink of a star costs, by wanlab's own code and by pyroute2: the figures of dependencies.md.

    python docs/measure_pyroute2.py [HOSTS]

Both make the same kernel objects, in namespaces of this process that end with it: a namespace for each host and for
the switch, a veth pair with both ends placed at once, an address a host, every interface up and on the bridge.
Needs the package pyroute2 (the extra `dev`), and no privileges.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from wanlab.kernel.execute import Executor, Namespaces
from wanlab.kernel.syscalls import CLONE_NEWNET, CLONE_NEWNS, MS_PRIVATE, MS_REC, mount, setns, unshare
from wanlab.kernel.userns import become_root
from wanlab.plan.compile import compile_network
from wanlab.plan.steps import AddAddress, AddBridge, AddCable, AddNamespace, Enslave, SetUp, Step
from wanlab.topology.topology import Topology

_TURNS = 5
_HOLDER = "/tmp"


def main() -> None:
    """Measure by turns, each in a process of its own, and print the medians."""
    hosts = int(sys.argv[1]) if len(sys.argv) > 1 else 100
    plan = compile_network(Topology.load(f"star:{hosts}").resolve())
    kinds = (AddNamespace, AddCable, AddBridge, Enslave, AddAddress, SetUp)
    steps: list[Step] = [step for step in plan.steps if isinstance(step, kinds)]
    print(f"star of {hosts}: {len(steps)} steps")
    found: dict[str, list[float]] = {"wanlab": [], "pyroute2": []}
    for _ in range(_TURNS):
        for name, build in (("wanlab", _by_wanlab), ("pyroute2", _by_pyroute2)):
            found[name].append(_in_a_process(build, steps))
    for name, seconds in found.items():
        print(f"{name:10} {statistics.median(seconds) * 1000:8.1f} ms")
    print(f"import of pyroute2: {_import_ms():.0f} ms")


def _in_a_process(build: Callable[[list[Step]], float], steps: list[Step]) -> float:
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        become_root()
        inner = os.fork()
        if inner == 0:
            unshare(CLONE_NEWNS)
            mount("none", "/", flags=MS_REC | MS_PRIVATE)
            mount("names", _HOLDER, "tmpfs")
            os.write(write, str(build(steps)).encode())
        else:
            os.waitpid(inner, 0)
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as stream:
        seconds = float(stream.read())
    os.waitpid(child, 0)
    time.sleep(0.5)  # the kernel frees the namespaces of this turn before the next one
    return seconds


def _by_wanlab(steps: list[Step]) -> float:
    namespaces = Namespaces()
    namespaces.directory = Path(_HOLDER)
    start = time.perf_counter()
    Executor(namespaces).execute(steps)
    return time.perf_counter() - start


def _by_pyroute2(steps: list[Step]) -> float:
    """As it is at its best: one IPRoute for each visit to a namespace, names of interfaces looked up once."""
    from pyroute2 import IPRoute  # type: ignore[import-untyped]

    unshare(CLONE_NEWNET)
    home = os.open("/proc/self/ns/net", os.O_RDONLY)
    start = time.perf_counter()
    places: dict[str, int] = {}
    visits: dict[str, list[Step]] = {}
    cables: list[AddCable] = []
    for step in steps:
        if isinstance(step, AddNamespace):
            unshare(CLONE_NEWNET)
            places[step.node] = os.open("/proc/self/ns/net", os.O_RDONLY)
            visits[step.node] = []
        elif isinstance(step, AddCable):
            cables.append(step)
        elif isinstance(step, AddBridge | Enslave | AddAddress | SetUp):
            visits[step.node].append(step)
    setns(home, CLONE_NEWNET)
    with IPRoute() as route:
        for cable in cables:
            peer = {"ifname": cable.b.interface, "net_ns_fd": places[cable.b.node]}
            route.link("add", ifname=cable.a.interface, kind="veth", net_ns_fd=places[cable.a.node], peer=peer)
    for node, visit in visits.items():
        setns(places[node], CLONE_NEWNET)
        with IPRoute() as route:
            for step in visit:
                if isinstance(step, AddBridge):
                    route.link("add", ifname=step.interface, kind="bridge")
            index = {link.get_attr("IFLA_IFNAME"): link["index"] for link in route.get_links()}
            for step in visit:
                if isinstance(step, Enslave):
                    route.link("set", index=index[step.interface], master=index[step.bridge])
                elif isinstance(step, AddAddress):
                    address, _, prefix = step.address.partition("/")
                    route.addr("add", index=index[step.interface], address=address, prefixlen=int(prefix))
                elif isinstance(step, SetUp):
                    route.link("set", index=index[step.interface], state="up")
    return time.perf_counter() - start


def _import_ms() -> float:
    code = "import time; start = time.perf_counter(); import pyroute2; print(time.perf_counter() - start)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return float(done.stdout) * 1000


if __name__ == "__main__":
    main()
