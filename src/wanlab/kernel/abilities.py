"""What this machine can do for labs, each thing tried in throw-away namespaces, and what to do where it can't.

`examine` starts a process of its own (the caller may have threads), which becomes root as a lab's does, tries
everything and tells line by line: a probe that hangs or dies costs no other its answer. Nothing of the machine is
changed, but that its kernel may load modules that are asked for, as it would for a lab.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import functools
import gzip
import json
import os
import platform
import pwd
import resource
import shutil
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from wanlab.errors import KernelError, MachineError
from wanlab.kernel import nftables
from wanlab.kernel.netlink import Netlink, attribute
from wanlab.kernel.syscalls import (
    CLONE_NEWNET,
    CLONE_NEWNS,
    CLONE_NEWPID,
    CLONE_NEWUSER,
    CLONE_NEWUTS,
    MS_NODEV,
    MS_NOEXEC,
    MS_NOSUID,
    MS_PRIVATE,
    MS_REC,
    die_with_parent,
    mount,
    set_process_name,
    unshare,
)
from wanlab.kernel.userns import become_root


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that this machine can or cannot do."""

    group: str
    """What it belongs to."""
    name: str
    """What was tried."""
    ok: bool | None
    """Whether it works; None: not needed here, or not known."""
    found: str
    """What happened, in the kernel's own words where it refused."""
    use: str
    """What wanlab uses it for."""
    cure: str | None
    """Commands to copy; None where nothing is wrong, or where no command would help."""
    needed: bool
    """Whether labs do not work without it."""


def examine() -> list[Finding]:
    """Try everything; takes a fraction of a second. What the machine lacks is told, never raised."""
    told, problem = _ask_the_examiner()
    return [told.get(probe.name) or probe.finding(None, f"not tried: {problem}") for probe in _all_probes()]


# -- the process that tries ------------------------------------------------------------------------------------------

_PATIENCE = 10.0  # seconds for everything, on a machine that hardly moves
_PROBE_PATIENCE = 1.0  # seconds for one probe: each takes milliseconds

_PACKAGE_ROOT = str(Path(__file__).resolve().parents[2])

# -I -S: as for the forge, nothing of the caller's environment or site-packages is wanted.
_EXAMINER = [
    sys.executable,
    "-IS",
    "-c",
    f"import sys; sys.path.append({_PACKAGE_ROOT!r}); from wanlab.kernel.abilities import _examiner; _examiner()",
]


def _ask_the_examiner() -> tuple[dict[str, Finding], str]:
    """The findings by name, and why some may be missing."""
    pipe = subprocess.PIPE
    with subprocess.Popen(_EXAMINER, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe, cwd="/") as process:
        try:
            output, errors = process.communicate(timeout=_PATIENCE)
            last = errors.decode(errors="replace").strip().rpartition("\n")[2]
            problem = last or f"the examination ended early (status {process.returncode})"
        except subprocess.TimeoutExpired:
            process.kill()
            output, _ = process.communicate()
            problem = f"the examination took more than {_PATIENCE:.0f} s"
        except BaseException:
            process.kill()
            raise
    findings = (Finding(**json.loads(line)) for line in output.splitlines())
    return {finding.name: finding for finding in findings}, problem


def _examiner() -> None:
    """In the examiner: try what needs no namespace, become root, and have a child try the rest inside."""
    die_with_parent(signal.SIGKILL)
    set_process_name("wanlab-doctor")
    signal.signal(signal.SIGALRM, _too_slow)
    failed: set[str] = set()
    for probe in _OUTSIDE:
        _try(probe, failed)
    if os.geteuid() != 0 and _BECOME_ROOT.name in failed:
        ...
    child = os.fork()  # first process of a PID namespace: with it ends whatever a probe may leave running
    if child == 0:
        try:
            die_with_parent(signal.SIGKILL)
            for probe in _INSIDE:
                _try(probe, failed)
        finally:
            os._exit(0)
    os.waitpid(child, 0)
