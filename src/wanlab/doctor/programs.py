"""Whether programs are installed, and limits high enough."""

from __future__ import annotations

import errno
import os
import resource
import shutil
import subprocess
from collections.abc import Callable

from wanlab.doctor.cures import ROOM, install, sysctl
from wanlab.doctor.probe import Cure, Lacking, Probe


def _program(name: str, option: str, sign: str) -> Callable[[], str]:
    """Whether a program is installed: *sign* is in what it answers to *option*."""

    def attempt() -> str:
        # /sbin is not on the path of Debian's users.
        path = shutil.which(name, path=os.pathsep.join((*os.get_exec_path(), "/usr/sbin", "/sbin")))
        if path is None:
            raise FileNotFoundError(errno.ENOENT, "not installed")
        output = subprocess.PIPE
        done = subprocess.run(
            [path, option], stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, check=False
        )
        answer = done.stdout.decode(errors="replace").partition("\n")[0].strip()
        if sign not in answer:
            raise FileNotFoundError(errno.ENOENT, f"{path} is another program: {answer}")
        return answer

    return attempt


def _open_files() -> str:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    enough = 1024  # a lab's own process needs a few for itself, and one for each program that runs in it
    if hard != resource.RLIM_INFINITY and hard < enough:
        raise Lacking(f"{hard} at most", f"sudo prlimit --pid $$ --nofile={enough}:{enough}")
    return f"{soft}, and {'any number' if hard == resource.RLIM_INFINITY else hard} on demand"


def _room() -> str:
    enough = 1100  # for a lab of 1000 hosts
    limits = {f"user.max_{kind}_namespaces": 0 for kind in ("user", "pid", "net", "mnt", "uts")}
    for setting in limits:
        limits[setting] = int(sysctl(setting) or 0)
    low = [setting for setting, limit in limits.items() if limit < enough]
    if low:
        found = ", ".join(f"{setting} is {limits[setting]}" for setting in low)
        raise Lacking(found, "sudo sysctl -w " + " ".join(f"{setting}={ROOM}" for setting in low))
    return f"{min(limits.values())} of each kind"


def _tool(name: str, use: str, option: str, sign: str, cure: Cure) -> Probe:
    return Probe(name, use, _program(name, option, sign), cure, after=None)


PROGRAMS_AND_LIMITS = (
    _tool("ip", "wanlab shell; what wanlab script prints", "-V", "iproute2", install("iproute2", "iproute")),
    _tool("nft", "what wanlab script prints", "--version", "nftables", install("nftables", "nftables")),
    _tool("tcpdump", "watching packets", "--version", "tcpdump", install("tcpdump", "tcpdump")),
    _tool("radvd", "router advertisements (slaac)", "--version", "Version", install("radvd", "radvd")),
    Probe("open files", "programs and sockets of a lab", _open_files, after=None),
    Probe("room for namespaces", "labs of 1000 hosts", _room, after=None),
)
