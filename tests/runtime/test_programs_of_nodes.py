"""Programs in a node that a change takes away end with it; those of all other nodes run on."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path

from tests.support.labs import descendants, eventually, none_left, pair
from wanlab import Lab, Topology

# A program that ignores what can be ignored, and a daemon: a child of nobody's, in a session of its own.
STUBBORN = "trap '' HUP TERM INT; (setsid sleep 600 &) ; echo ready; while :; do sleep 600; done"


def with_a_third() -> Topology:
    topology = pair()
    topology.host("third", "wire")
    return topology


def test_programs_end_with_the_node_that_they_are_in() -> None:
    with Lab(with_a_third()) as lab:
        before = descendants(lab.pid)
        with lab["third"].popen(["sh", "-c", STUBBORN], stdout=-1, text=True) as program:
            assert program.stdout is not None
            assert program.stdout.readline() == "ready\n"
            eventually(lambda: len(descendants(lab.pid) - before) >= 3)
            theirs = descendants(lab.pid) - before
            with lab["left"].popen(["sleep", "600"]) as other:
                lab.apply(pair())
                assert none_left(theirs)
                assert program.wait(5) == -signal.SIGKILL
                assert other.poll() is None
                assert lab.verify().ok
                other.kill()
        lab.apply(with_a_third())
        assert lab["third"].run(["true"]).returncode == 0
        assert lab.verify().ok


def test_a_namespace_goes_with_its_node() -> None:
    with Lab(with_a_third()) as lab:
        program = lab["third"].popen(["sleep", "600"])
        (sleeping,) = [each for each in descendants(lab.pid) if each.name == "sleep"]
        namespace = os.readlink(f"/proc/{sleeping.pid}/ns/net")
        lab.apply(pair())
        program.wait(5)
        assert namespace not in set(namespaces())


def namespaces() -> Iterator[str]:
    for path in Path("/proc").glob("[0-9]*/ns/net"):
        with contextlib.suppress(OSError):  # it has ended, or is somebody else's
            yield os.readlink(path)
