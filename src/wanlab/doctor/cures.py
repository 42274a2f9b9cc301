"""What to do where a machine lacks something: commands to copy."""

from __future__ import annotations

import errno
import functools
import gzip
import os
import platform
from pathlib import Path

from wanlab.doctor.probe import Cure, Lacking

ROOM = 10000  # namespaces of a kind: several labs of 1000 nodes
CONTAINER = (
    "docker run --security-opt seccomp=unconfined --security-opt apparmor=unconfined "
    "--security-opt systempaths=unconfined --device /dev/net/tun IMAGE"
)

_BLOCKERS = (
    (errno.EPERM, "kernel.apparmor_restrict_unprivileged_userns", "1", "0"),  # Ubuntu, since 23.10
    (errno.EPERM, "kernel.unprivileged_userns_clone", "0", "1"),  # Debian's and Arch's own switch
    (errno.ENOSPC, "user.max_user_namespaces", "0", str(ROOM)),  # RHEL 7, and hardening guides
    (errno.ENOSPC, "user.max_pid_namespaces", "0", str(ROOM)),
)


def blocker(number: int) -> tuple[str, str]:
    """What refuses namespaces with that errno, and the cure."""
    if number == errno.EACCES:  # AppArmor says this where others say EPERM
        number = errno.EPERM
    if number == errno.EPERM and line_of("/proc/self/status", "Seccomp:") not in ("0", None):
        return "a seccomp filter, as containers have one, forbids it", CONTAINER
    for refusal, setting, blocks, allows in _BLOCKERS:
        if number == refusal and sysctl(setting) == blocks:
            return f"{setting} is {blocks}", f"sudo sysctl -w {setting}={allows}"
    if number == errno.ENOSPC:
        return "all that user.max_user_namespaces allows are in use", f"sudo sysctl -w user.max_user_namespaces={ROOM}"
    if os.geteuid() != 0:
        return "no setting that wanlab knows forbids it", "sudo wanlab doctor"
    return "this root lacks CAP_SYS_ADMIN, as in a container", CONTAINER


def refused(number: int) -> str | None:
    """For namespaces that are refused with that errno."""
    return blocker(number)[1]


def container(number: int) -> str | None:
    """For what containers forbid."""
    return CONTAINER


def install(debian: str, fedora: str) -> Cure:
    """For a program or library that is not there."""
    return lambda number: package(debian, fedora)


def namespaces(kind: str) -> Cure:
    """For namespaces of *kind* (net, mnt) and what is done in them."""

    def cure(number: int) -> str | None:
        if number == errno.ENOSPC:
            return f"sudo sysctl -w user.max_{kind}_namespaces={ROOM}"
        return refused(number)

    return cure


def module(name: str, option: str | None = None) -> Cure:
    """For what the kernel does by the module *name*, which it has where CONFIG_*option* (or that name) is set."""
    option = option or name.upper()

    def cure(number: int) -> str | None:
        if number in (errno.EPERM, errno.EACCES):
            return refused(number)
        if f"# CONFIG_{option} is not set" in _kernel_config():
            raise Lacking(f"this kernel was built without CONFIG_{option}")
        load = f"sudo modprobe {name}"
        for system, package in _EXTRA_MODULES.items():
            if system in _systems():
                return f"{load} || {{ {package} && {load}; }}"
        return load

    return cure


_EXTRA_MODULES = {
    "ubuntu": "sudo apt install linux-modules-extra-$(uname -r)",
    "fedora": "sudo dnf install kernel-modules-extra-$(uname -r)",
}


def package(debian: str, fedora: str) -> str:
    """How to install a package on this system, or on both kinds where it is neither."""
    if {"debian", "ubuntu"} & _systems():
        return f"sudo apt install {debian}"
    if "fedora" in _systems():
        return f"sudo dnf install {fedora}"
    return f"sudo apt install {debian}  # Debian, Ubuntu\nsudo dnf install {fedora}  # Fedora"


@functools.cache
def _systems() -> frozenset[str]:
    """This distribution and those that it is like, by /etc/os-release: {"ubuntu", "debian"}."""
    names = f"{line_of('/etc/os-release', 'ID=') or ''} {line_of('/etc/os-release', 'ID_LIKE=') or ''}"
    return frozenset({"fedora" if name in ("rhel", "centos") else name for name in names.replace('"', "").split()})


@functools.cache
def _kernel_config() -> str:
    """What this kernel was built with, where it tells."""
    release = platform.release()
    for file in ("/proc/config.gz", f"/boot/config-{release}", f"/lib/modules/{release}/config"):
        try:
            content = Path(file).read_bytes()
            return (gzip.decompress(content) if file.endswith(".gz") else content).decode()
        except (OSError, ValueError):
            continue
    return ""


def line_of(file: str, start: str) -> str | None:
    """The rest of the first line of *file* that begins with *start*."""
    try:
        lines = Path(file).read_text().splitlines()
    except OSError:
        return None
    return next((line.removeprefix(start).strip() for line in lines if line.startswith(start)), None)


def sysctl(setting: str) -> str | None:
    """What a setting is, by its dotted name; None where this kernel has no such."""
    return line_of("/proc/sys/" + setting.replace(".", "/"), "")
