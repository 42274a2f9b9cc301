"""Namespaces of their own for the rivals, so that none of them touches the machine's network."""

import atexit
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from benchmarks.contest import Missing

HERE = Path(__file__).parent
TIMEOUT_S = 300

# Debian keeps nft, sysctl and ip out of an ordinary user's way.
_ENVIRONMENT = os.environ | {"PATH": os.environ.get("PATH", os.defpath) + ":/usr/sbin:/sbin", "LC_ALL": "C"}
_NEW_NAMESPACES = (
    "unshare",
    "--user",
    "--map-root-user",
    "--net",
    "--mount",
    "--pid",
    "--fork",
    "--kill-child",
)
# iproute2 keeps its namespaces in /run/netns: give it a /run that ends with the sandbox.
_PRIVATE_RUN = ("sh", "-c", 'mount -t tmpfs tmpfs /run && exec "$@"', "sh")


def sandboxed(*command: str) -> list[str]:
    """`command`, to be run as root of namespaces that end with it, and every process in them too."""
    return [*_NEW_NAMESPACES, *_PRIVATE_RUN, *command]


def script(name: str) -> list[str]:
    """One of the scripts beside this file, sandboxed."""
    return sandboxed("bash", str(HERE / name))


def run_json(command: list[str]) -> dict[str, float]:
    """Run a rival that prints its figures as one JSON object on the last line."""
    done = subprocess.run(
        command,
        env=_ENVIRONMENT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}: exit status {done.returncode}\n{done.stderr}")
    figures: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return figures


def popen(command: list[str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command,
        env=_ENVIRONMENT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


@contextmanager
def held(command: list[str]) -> Iterator[subprocess.Popen[str]]:
    """A process that runs until its standard input is closed, which happens at the end of the block."""
    with popen(command) as process:
        try:
            yield process
        finally:
            assert process.stdin is not None
            process.stdin.close()
            process.wait(TIMEOUT_S)


def popen_inside(sandbox: subprocess.Popen[str], namespace: str, command: list[str]) -> subprocess.Popen[str]:
    """Start `command` in one of the namespaces that a sandboxed process has made with `ip netns add`."""
    enter = ["nsenter", "--target", str(sandbox.pid), "--user", "--preserve-credentials", "--net", "--mount"]
    return popen([*enter, "ip", "netns", "exec", namespace, *command])


def settle() -> None:
    """Wait until the kernel has freed the namespaces of what was measured before."""
    subprocess.run(script("settle.sh"), env=_ENVIRONMENT, stdin=subprocess.DEVNULL, timeout=TIMEOUT_S, check=True)


def require(program: str, package: str) -> None:
    if shutil.which(program, path=_ENVIRONMENT["PATH"]) is None:
        raise Missing(f"{program} is not installed: apt install {package}")


@cache
def compiled(name: str) -> str:
    """The path of a C program beside this file, compiled for as long as this process runs."""
    require("cc", "gcc libc6-dev")
    directory = tempfile.TemporaryDirectory(prefix="wanlab-bench-")
    atexit.register(directory.cleanup)
    program = Path(directory.name) / name
    subprocess.run(["cc", "-O2", "-Wall", "-o", program, HERE / f"{name}.c"], check=True)
    return str(program)
