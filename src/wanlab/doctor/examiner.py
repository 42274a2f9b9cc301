"""What this machine can do for labs, each thing tried in throw-away namespaces, and what to do where it can't.

`examine` starts a process of its own (the caller may have threads), which becomes root as a lab's does, tries
everything and tells line by line: a probe that hangs or dies costs no other its answer. Nothing of the machine is
changed, but that its kernel may load modules that are asked for, as it would for a lab.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
from dataclasses import asdict

from wanlab.doctor.links import LINK_QUALITY, LINKS
from wanlab.doctor.namespaces import NAMESPACES, USER_NAMESPACES
from wanlab.doctor.netfilter import CONNECTION_TRACKING, NFTABLES
from wanlab.doctor.probe import Finding, Lacking, Probe
from wanlab.doctor.programs import PROGRAMS_AND_LIMITS
from wanlab.kernel.interpreter import own_process
from wanlab.kernel.syscalls import die_with_parent, set_process_name

_GROUPS: dict[str, tuple[Probe, ...]] = {
    "Namespaces": NAMESPACES,
    "Links and sockets": LINKS,
    "nftables": NFTABLES,
    "Connection tracking": CONNECTION_TRACKING,
    "Link quality": LINK_QUALITY,
    "Programs and limits": PROGRAMS_AND_LIMITS,
}


def examine() -> list[Finding]:
    """Try everything; takes a fraction of a second. What the machine lacks is told, never raised."""
    told, problem = _ask_the_examiner()
    return [
        told.get(probe.name) or _finding(probe, None, f"not tried: {problem}")
        for probes in _GROUPS.values()
        for probe in probes
    ]


# -- the process that tries ------------------------------------------------------------------------------------------

_PATIENCE = 10.0  # seconds for everything, on a machine that hardly moves
_PROBE_PATIENCE = 1.0  # seconds for one probe: each takes milliseconds

_EXAMINER = own_process("from wanlab.doctor.examiner import _examiner; _examiner()")


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
    lacking: set[str] = set()
    for probe in _of_place(inside=False):
        _tell(_try(probe, lacking))
    child = os.fork()  # first process of a PID namespace: with it ends whatever a probe may leave running
    if child == 0:
        try:
            die_with_parent(signal.SIGKILL)
            for probe in _of_place(inside=True):
                _tell(_try(probe, lacking))
        finally:
            os._exit(0)
    os.waitpid(child, 0)


def _tell(finding: Finding) -> None:
    os.write(1, json.dumps(asdict(finding)).encode() + b"\n")  # not buffered: nothing is lost, or said twice by a fork


# -- one probe -------------------------------------------------------------------------------------------------------


def _of_place(*, inside: bool) -> list[Probe]:
    """In the order of the groups; becoming root is the last that happens outside."""
    probes = [probe for probes in _GROUPS.values() for probe in probes if (probe.after is not None) == inside]
    return sorted(probes, key=lambda probe: probe.name == USER_NAMESPACES)


class _TooSlow(Exception):
    """A probe's time is up."""


def _too_slow(*_: object) -> None:
    raise _TooSlow


def _try(probe: Probe, lacking: set[str]) -> Finding:
    """Try one thing. What is needed and does not work is added to *lacking*."""
    if probe.after in lacking:
        finding = _finding(probe, None, f"not tried: needs {probe.after}")
    else:
        try:
            signal.setitimer(signal.ITIMER_REAL, _PROBE_PATIENCE)
            try:
                finding = _finding(probe, True, probe.attempt())
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)
        except Lacking as verdict:
            finding = _finding(probe, verdict.ok, verdict.found, verdict.cure, verdict.needed)
        except _TooSlow:
            finding = _finding(probe, None, f"no answer within {_PROBE_PATIENCE:.0f} s")
        except OSError as error:
            words = error.strerror or str(error)
            try:
                finding = _finding(probe, False, words, probe.cure(error.errno or 0))
            except Lacking as verdict:
                finding = _finding(probe, False, f"{words}: {verdict.found}")
        except Exception as error:  # whatever it is, the other probes are to be tried
            finding = _finding(probe, None, f"not known: {type(error).__name__}: {error}")
    if finding.needed and not finding.ok:
        lacking.add(probe.name)
    return finding


def _finding(probe: Probe, ok: bool | None, found: str, cure: str | None = None, needed: bool | None = None) -> Finding:
    group = next(group for group, probes in _GROUPS.items() if probe in probes)
    return Finding(group, probe.name, ok, found, probe.use, cure, probe.needed if needed is None else needed)
