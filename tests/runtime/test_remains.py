"""What is left of a lab that has ended is let go of: for good, soon, and not while the next lab is being built."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

from tests.support.labs import descendants, eventually, pair, program
from wanlab import Lab


def namespaces_held(process: int) -> int:
    """How many descriptors of namespaces the forge of that process has, by /proc."""
    forges = [each.pid for each in descendants(process) if each.name == "wanlab-forge"]
    links = []
    for forge in forges:
        for entry in os.listdir(f"/proc/{forge}/fd"):
            try:
                links.append(os.readlink(f"/proc/{forge}/fd/{entry}"))
            except FileNotFoundError:
                continue
    return sum(link.startswith(("net:[", "mnt:[")) for link in links)


def test_namespaces_of_labs_that_have_ended_do_not_pile_up() -> None:
    with Lab(pair()):
        eventually(lambda: namespaces_held(os.getpid()) > 0, "the forge knows the lab's namespaces")
        one_lab = namespaces_held(os.getpid())
    most = 0
    for _ in range(12):
        with Lab(pair()):
            most = max(most, namespaces_held(os.getpid()))
    assert most <= 3 * one_lab  # this one's, the last one's, and those of one that is on its way out
    eventually(lambda: namespaces_held(os.getpid()) == 0, "nothing is held when no lab is up")


def test_namespaces_are_held_until_the_next_lab_is_built_and_for_no_more_than_a_moment() -> None:
    with Lab(pair()):
        pass
    ended = time.monotonic()
    eventually(lambda: namespaces_held(os.getpid()) == 0, "nothing is held when no lab follows")
    assert time.monotonic() - ended < 10


def test_labs_that_end_side_by_side_leave_nothing() -> None:
    def some() -> None:
        for _ in range(4):
            with Lab(pair()) as lab:
                lab["left"].run(["true"], check=True)

    threads = [threading.Thread(target=some) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    eventually(lambda: namespaces_held(os.getpid()) == 0)


def test_no_other_process_of_a_lab_has_the_forges_descriptors() -> None:
    """A guardian or holder that had them would keep a lab's namespaces for as long as another lab is up."""
    code = (
        "import sys\nfrom wanlab import Lab, Topology\n"
        "def pair(name):\n t = Topology(name); w = t.switch('w'); t.host('a', w); return t\n"
        "labs = [Lab(pair('x')).up() for _ in range(3)]\nlabs.pop(0).down()\nlabs.append(Lab(pair('x')).up())\n"
        "print(*(lab.pid for lab in labs), flush=True)\nsys.stdin.read()\n"
    )
    with program(code) as client:
        holders = [int(pid) for pid in client.line().split()]
        own = {pid: os.stat(f"/proc/{pid}/ns/net").st_ino for pid in holders}
        for each in descendants(client.pid):
            if each.name not in ("wanlab-guard", "wanlab-holder"):
                continue
            for entry in list(Path(f"/proc/{each.pid}/fd").iterdir()):
                try:
                    link = os.readlink(entry)
                except FileNotFoundError:
                    continue
                if link.startswith("net:["):
                    assert each.pid in own
                    assert int(link[5:-1]) == own[each.pid]
