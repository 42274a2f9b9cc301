"""What tests of labs that are up lean on: deadlines, other programs' processes, and machines of their own.

Nothing of wanlab's is asked here: processes are found by /proc, machines are made by util-linux.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, NamedTuple, TypeVar

from wanlab import Topology

Found = TypeVar("Found")

PATH = f"{os.environ.get('PATH', '/usr/bin:/bin')}:/usr/sbin:/sbin"
"""Where `ip` and `nft` are: Debian's users lack the sbin directories."""

PAIR = """
from wanlab import Lab, Topology
def pair(name="pair"):
    t = Topology(name)
    wire = t.switch("wire", "5.5.5.0/24")
    t.host("left", wire, address="5.5.5.1")
    t.host("right", wire, address="5.5.5.2")
    return t
"""
"""`pair`, for programs of their own."""


def pair(name: str = "pair") -> Topology:
    """Two hosts on a switch: the smallest lab in which anybody can talk to anybody."""
    t = Topology(name)
    wire = t.switch("wire", "5.5.5.0/24")
    t.host("left", wire, address="5.5.5.1")
    t.host("right", wire, address="5.5.5.2")
    return t


def eventually(look: Callable[[], Found], what: str = "", seconds: float = 15.0) -> Found:
    """Look again and again until something true is seen, and return it. Fails after *seconds*."""
    deadline = time.monotonic() + seconds
    while True:
        found = look()
        if found:
            return found
        assert time.monotonic() < deadline, f"waited {seconds} s in vain: {what or look}; seen last: {found!r}"
        time.sleep(0.01)


class Running(NamedTuple):
    """A process, told apart from a later one with the same PID by when it started."""

    pid: int
    started: int
    parent: int
    name: str


def running() -> dict[int, Running]:
    """All processes of the machine that have not ended, by PID."""
    found = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                text = Path("/proc", entry, "stat").read_text()
            except OSError:
                continue
            name, _, rest = text.partition("(")[2].rpartition(")")
            fields = rest.split()
            if fields[0] not in ("Z", "X"):
                found[int(entry)] = Running(int(entry), int(fields[19]), int(fields[1]), name)
    return found


def descendants(pid: int) -> set[Running]:
    """The processes that *pid* started, and theirs."""
    known = running()
    found: set[Running] = set()
    members = {pid}
    while new := {p for p in known.values() if p.parent in members} - found:
        found |= new
        members |= {p.pid for p in new}
    return found


def none_left(processes: set[Running]) -> bool:
    """Whether all of these have ended."""
    known = running()
    return not any(p.pid in known and known[p.pid].started == p.started for p in processes)


def marked(marker: str) -> list[int]:
    """The PIDs of processes with *marker* in their command line."""
    found = []
    for pid in running():
        try:
            words = Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            continue
        if marker.encode() in words and pid != os.getpid():
            found.append(pid)
    return found


class Program:
    """Python code in a process of its own, that prints lines."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.pid = process.pid

    def line(self) -> str:
        """The next line that it prints; fails with what it complained about where there is none."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            assert self.process.stderr is not None
            raise AssertionError(f"the program ended with {self.process.wait(10)}:\n{self.process.stderr.read()}")
        return line.strip()

    def tell(self, line: str = "") -> None:
        """Write it a line."""
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()


@contextmanager
def program(code: str, *arguments: str, before: tuple[str, ...] = ()) -> Iterator[Program]:
    """Run Python code, killed at the end of the `with`. *before* precedes the interpreter in its command line."""
    process = subprocess.Popen(
        [*before, sys.executable, "-c", code, *arguments],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "PATH": PATH},
    )  # fmt: skip
    try:
        yield Program(process)
    finally:
        process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout, process.stderr):
            _close(stream)


def run_program(code: str, *arguments: str, before: tuple[str, ...] = (), timeout: float = 60) -> str:
    """Run Python code to its end; what it printed. Fails with what it complained about."""
    done = subprocess.run(
        [*before, sys.executable, "-c", code, *arguments],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout, check=False,
        env={**os.environ, "PATH": PATH},
    )  # fmt: skip
    assert done.returncode == 0, f"exit status {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def machine(setup: str = "", *, user_namespace: bool | None = None) -> tuple[str, ...]:
    """What to put before a command so that it runs on a machine of its own, as its root, after the shell's *setup*.

    It has its own links, firewall, hostname, /run and mounts, which are shared as systemd's are, but not with the real
    machine. *user_namespace* True: also where root could do without (it then has limits of its own, in /proc/sys/user).
    """
    user = os.geteuid() != 0 if user_namespace is None else user_namespace
    shell = f"""
        mount --make-rshared / && mount -t tmpfs -o mode=0755 tmpfs /run && ip link set lo up || exit 99
        {setup}
        exec "$@"
    """
    mapping = ("--user", "--map-root-user") if user else ()
    return ("env", f"PATH={PATH}", "unshare", *mapping, "--mount", "--net", "--uts", "--", "sh", "-ec", shell, "sh")


def _close(stream: IO[str] | None) -> None:
    if stream is not None:
        with suppress(BrokenPipeError):
            stream.close()


@contextmanager
def alone_with_many_hosts() -> Iterator[None]:
    """While it lasts, no other test on this machine has a lab with more than a hundred hosts, whoever runs it.

    All namespaces share one table of neighbours, with room for 1024. A lock by a name that needs no file, so that the
    tests as root and those as an ordinary user, which run side by side, can both take it.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as lock:
        deadline = time.monotonic() + 250
        while True:
            try:
                lock.bind("\0wanlab-tests-crowd")
                break
            except OSError:
                assert time.monotonic() < deadline, "another test with a large lab does not end"
                time.sleep(0.1)
        yield
