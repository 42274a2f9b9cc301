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
import itertools
import json
import os
import platform
import pwd
import re
import resource
import shutil
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
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
    return [
        told.get(probe.name) or probe.finding(None, f"not tried: {problem}")
        for probes in _GROUPS.values()
        for probe in probes
    ]


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


# -- probes ----------------------------------------------------------------------------------------------------------

Cure = Callable[[int], str | None]
"""The cure for a refusal with that errno. Raises _Lacking where there is none, and it knows why."""


@dataclass(frozen=True, slots=True)
class _Probe:
    name: str
    use: str
    attempt: Callable[[], str]
    """Tries, and says what was found. Raises OSError with the kernel's words, or _Lacking."""
    cure: Cure = lambda number: None
    needed: bool = False
    after: str | None = "network namespaces"
    """The probe without whose success this one cannot be tried; None: this one is tried outside of all namespaces."""

    def finding(self, ok: bool | None, found: str, cure: str | None = None, needed: bool | None = None) -> Finding:
        group = next(group for group, probes in _GROUPS.items() if self in probes)
        wanted = self.needed if needed is None else needed
        return Finding(group, self.name, ok, found, self.use, cure, wanted)


def _of_place(*, inside: bool) -> list[_Probe]:
    """In the order of the groups; becoming root is the last that happens outside."""
    probes = [probe for probes in _GROUPS.values() for probe in probes if (probe.after is not None) == inside]
    return sorted(probes, key=lambda probe: probe.name == _USER_NAMESPACES)


class _Lacking(Exception):
    """A probe's own verdict, where it knows more than an errno."""

    def __init__(self, found: str, cure: str | None = None, *, ok: bool | None = False, needed: bool | None = None):
        super().__init__(found)
        self.found, self.cure, self.ok, self.needed = found, cure, ok, needed


class _TooSlow(Exception):
    """A probe's time is up."""


def _too_slow(*_: object) -> None:
    raise _TooSlow


def _try(probe: _Probe, lacking: set[str]) -> Finding:
    """Try one thing. What is needed and does not work is added to *lacking*."""
    if probe.after in lacking:
        finding = probe.finding(None, f"not tried: needs {probe.after}")
    else:
        try:
            signal.setitimer(signal.ITIMER_REAL, _PROBE_PATIENCE)
            try:
                finding = probe.finding(True, probe.attempt())
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)
        except _Lacking as verdict:
            finding = probe.finding(verdict.ok, verdict.found, verdict.cure, verdict.needed)
        except _TooSlow:
            finding = probe.finding(None, f"no answer within {_PROBE_PATIENCE:.0f} s")
        except OSError as error:
            words = error.strerror or str(error)
            try:
                finding = probe.finding(False, words, probe.cure(error.errno or 0))
            except _Lacking as verdict:
                finding = probe.finding(False, f"{words}: {verdict.found}")
        except Exception as error:  # whatever it is, the other probes are to be tried
            finding = probe.finding(None, f"not known: {type(error).__name__}: {error}")
    if finding.needed and not finding.ok:
        lacking.add(probe.name)
    return finding


# -- cures -----------------------------------------------------------------------------------------------------------

_ROOM = 10000  # namespaces of a kind: several labs of 1000 nodes
_CONTAINER = (
    "docker run --security-opt seccomp=unconfined --security-opt apparmor=unconfined "
    "--security-opt systempaths=unconfined --device /dev/net/tun IMAGE"
)

_BLOCKERS = (
    (errno.EPERM, "kernel.apparmor_restrict_unprivileged_userns", "1", "0"),  # Ubuntu, since 23.10
    (errno.EPERM, "kernel.unprivileged_userns_clone", "0", "1"),  # Debian's and Arch's own switch
    (errno.ENOSPC, "user.max_user_namespaces", "0", str(_ROOM)),  # RHEL 7, and hardening guides
    (errno.ENOSPC, "user.max_pid_namespaces", "0", str(_ROOM)),
)


def _blocker(number: int) -> tuple[str, str]:
    """What refuses namespaces with that errno, and the cure."""
    if number == errno.EACCES:  # AppArmor says this where others say EPERM
        number = errno.EPERM
    if number == errno.EPERM and _line("/proc/self/status", "Seccomp:") not in ("0", None):
        return "a seccomp filter, as containers have one, forbids it", _CONTAINER
    for refusal, setting, blocks, allows in _BLOCKERS:
        if number == refusal and _sysctl(setting) == blocks:
            return f"{setting} is {blocks}", f"sudo sysctl -w {setting}={allows}"
    if number == errno.ENOSPC:
        return "all that user.max_user_namespaces allows are in use", f"sudo sysctl -w user.max_user_namespaces={_ROOM}"
    if os.geteuid() != 0:
        return "no setting that wanlab knows forbids it", "sudo wanlab doctor"
    return "this root lacks CAP_SYS_ADMIN, as in a container", _CONTAINER


def _refused(number: int) -> str | None:
    return _blocker(number)[1]


def _container(number: int) -> str | None:
    return _CONTAINER


def _install(debian: str, fedora: str) -> Cure:
    return lambda number: _package(debian, fedora)


def _namespaces(kind: str) -> Cure:
    """For namespaces of *kind* (net, mnt) and what is done in them."""

    def cure(number: int) -> str | None:
        if number == errno.ENOSPC:
            return f"sudo sysctl -w user.max_{kind}_namespaces={_ROOM}"
        return _refused(number)

    return cure


def _module(name: str, option: str | None = None) -> Cure:
    """For what the kernel does by the module *name*, which it has where CONFIG_*option* (or that name) is set."""
    option = option or name.upper()

    def cure(number: int) -> str | None:
        if number in (errno.EPERM, errno.EACCES):
            return _refused(number)
        if f"# CONFIG_{option} is not set" in _kernel_config():
            raise _Lacking(f"this kernel was built without CONFIG_{option}")
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


def _package(debian: str, fedora: str) -> str:
    """How to install a package on this system, or on both kinds where it is neither."""
    if {"debian", "ubuntu"} & _systems():
        return f"sudo apt install {debian}"
    if "fedora" in _systems():
        return f"sudo dnf install {fedora}"
    return f"sudo apt install {debian}  # Debian, Ubuntu\nsudo dnf install {fedora}  # Fedora"


@functools.cache
def _systems() -> frozenset[str]:
    """This distribution and those that it is like, by /etc/os-release: {"ubuntu", "debian"}."""
    names = f"{_line('/etc/os-release', 'ID=') or ''} {_line('/etc/os-release', 'ID_LIKE=') or ''}"
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


def _line(file: str, start: str) -> str | None:
    """The rest of the first line of *file* that begins with *start*."""
    try:
        lines = Path(file).read_text().splitlines()
    except OSError:
        return None
    return next((line.removeprefix(start).strip() for line in lines if line.startswith(start)), None)


def _sysctl(setting: str) -> str | None:
    return _line("/proc/sys/" + setting.replace(".", "/"), "")


# -- namespaces ------------------------------------------------------------------------------------------------------


def _become_root() -> str:
    number = _refusal(CLONE_NEWUSER | CLONE_NEWPID)
    try:
        if become_root():
            return f"root in one, with {_ids(_mapped_ids())}"
    except MachineError as error:
        # Ubuntu 24.04 makes the namespace, and leaves no capability in it.
        why, cure = _blocker(number or errno.EPERM)
        raise _Lacking(f"{error.what}: {why}", cure) from None
    why, cure = _blocker(number)
    raise _Lacking(f"{os.strerror(number)}: {why}; root does without", cure, needed=False)


def _refusal(flags: int) -> int:
    """The errno with which a child is refused these namespaces, or 0."""
    child = os.fork()
    if child == 0:
        number = 0
        try:
            unshare(flags)
        except OSError as error:
            number = error.errno or errno.EPERM
        finally:
            os._exit(number)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _mapped_ids() -> int:
    return sum(int(line.split()[2]) for line in Path("/proc/self/uid_map").read_text().splitlines())


def _ids(number: int) -> str:
    return "1 id" if number == 1 else f"{number} ids"


def _subordinate_ids() -> str:
    uid = int(Path("/proc/self/uid_map").read_text().split()[1])
    if uid == 0:
        raise _Lacking("not needed: root gives all ids that it has", ok=None)
    ids = _mapped_ids()
    if ids > 1:
        return _ids(ids)
    if not all(shutil.which(program) for program in ("newuidmap", "newgidmap")):
        raise _Lacking("newuidmap and newgidmap are not installed", _package("uidmap", "shadow-utils"))
    try:
        name = pwd.getpwuid(uid).pw_name
    except KeyError:
        name = str(uid)
    files = ("/etc/subuid", "/etc/subgid")
    without = [f for f in files if all(_line(f, f"{owner}:") is None for owner in (name, str(uid)))]
    if without:
        start = max((end for file in files for end in _ends(file)), default=100000)
        entry = f"{name}:{start}:65536"
        raise _Lacking(
            f"no range for {name} in {', '.join(without)}", f"echo {entry} | sudo tee -a {' '.join(without)}"
        )
    raise _Lacking(f"newuidmap refuses the range of {name} (no_new_privs, or a mount with nosuid?)")


def _ends(file: str) -> Iterator[int]:
    """The first id after each range in /etc/subuid or /etc/subgid."""
    for line in Path(file).read_text().splitlines() if Path(file).exists() else ():
        _, _, numbers = line.partition(":")
        start, _, count = numbers.partition(":")
        if start.isdigit() and count.isdigit():
            yield int(start) + int(count)


def _own_mounts() -> str:
    unshare(CLONE_NEWNS | CLONE_NEWUTS)
    mount("none", "/", flags=MS_REC | MS_PRIVATE)
    mount("wanlab", "/tmp", "tmpfs", MS_NOSUID | MS_NODEV, "mode=0700")
    return "private, with a tmpfs"


def _own_network() -> str:
    unshare(CLONE_NEWNET)
    with _netlink() as netlink:
        netlink.set_up(_LO)
    return "made and entered"


def _own_proc() -> str:
    mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC)
    return "mounted"


def _own_sys() -> str:
    mount("sysfs", "/sys", "sysfs", MS_NOSUID | MS_NODEV | MS_NOEXEC)
    return "mounted"


def _sysctls() -> str:
    _write_and_read("net/ipv4/ip_forward", "1")
    return "written and read back"


def _write_and_read(key: str, value: str) -> None:
    file = Path("/proc/sys", key)
    file.write_text(value)
    if file.read_text().split() != value.split():
        raise _Lacking(f"{key} does not keep what is written to it")


# -- links and sockets -----------------------------------------------------------------------------------------------

_LO = 1  # the index of `lo`
_indices = itertools.count(1000)  # of what probes make: removing it, one by one, would take most of the time

# include/uapi/linux/if_link.h: IFLA_VLAN_ID, IFLA_VXLAN_ID
_VLAN, _VXLAN = attribute(1, struct.pack("=H", 5)), attribute(1, struct.pack("=I", 5))


@contextmanager
def _netlink() -> Iterator[Netlink]:
    """A socket whose messages are sent, and answered, at the end."""
    netlink = Netlink()
    try:
        yield netlink
        netlink.flush(lambda which, number, words: OSError(number, words))
    finally:
        netlink.close()


def _veth() -> str:
    here = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        a, b = next(_indices), next(_indices)
        with _netlink() as netlink:
            netlink.add_veth((f"probe{a}", a, here, None, 1500), (f"probe{b}", b, here, None, 1500))
    finally:
        os.close(here)
    return "made"


def _new_bridge() -> int:
    index = next(_indices)
    with _netlink() as netlink:
        netlink.add_bridge(f"probe{index}", index, None, 1500)
    return index


def _bridge() -> str:
    _new_bridge()
    return "made"


def _link(kind: str, data: bytes = b"", *, on_bridge: bool = False) -> Callable[[], str]:
    def attempt() -> str:
        lower = _new_bridge() if on_bridge else None
        index = next(_indices)
        with _netlink() as netlink:
            netlink.add_link(kind, f"probe{index}", index, data, lower)
        return "made"

    return attempt


def _ipv6() -> str:
    if "ipv6.disable=1" in (_line("/proc/cmdline", "") or ""):
        raise _Lacking("switched off by ipv6.disable=1 on the kernel's command line")
    _write_and_read("net/ipv6/conf/default/disable_ipv6", "1")
    _write_and_read("net/ipv6/conf/lo/disable_ipv6", "0")
    with _netlink() as netlink:
        netlink.add_address(_LO, "fd00::1/64")
    return "address given"


def _tun() -> str:
    # include/uapi/linux/if_tun.h
    set_interface, tun, no_packet_information = 0x400454CA, 0x1, 0x1000
    device = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC)
    try:
        fcntl.ioctl(device, set_interface, struct.pack("=16sH22x", b"probe", tun | no_packet_information))
    finally:
        os.close(device)
    return "made"


def _tun_cure(number: int) -> str | None:
    if number in (errno.EPERM, errno.EACCES):
        return "sudo chmod 666 /dev/net/tun"
    if number == errno.ENOENT:
        return "sudo mkdir -p /dev/net && sudo mknod -m 666 /dev/net/tun c 10 200 && sudo modprobe tun"
    return _module("tun")(number)


def _packet_socket() -> str:
    everything = 0x0003  # ETH_P_ALL
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(everything)) as made:
        made.bind(("lo", 0))
    return "opened"


def _ping_socket() -> str:
    _write_and_read("net/ipv4/ping_group_range", "0\t0")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_ICMP):
        return "opened"


# -- link quality ----------------------------------------------------------------------------------------------------


def _qdisc(kind: str, options: bytes) -> Callable[[], str]:
    def attempt() -> str:
        index = _new_bridge()
        with _netlink() as netlink:
            netlink.add_qdisc(index, kind, options)
        return "made"

    return attempt


# include/uapi/linux/pkt_sched.h: struct tc_netem_qopt (latency, limit, loss, gap, duplicate, jitter)
_NETEM = struct.pack("=6I", 1000, 1000, 0, 0, 0, 0)
# TCA_TBF_PARMS: struct tc_tbf_qopt, two tc_ratespec of which the first is Ethernet (linklayer 1) at 125,000 bytes/s,
# then limit, buffer, mtu. TCA_TBF_BURST: in bytes.
_TBF = attribute(1, struct.pack("=BBHhHI12xIII", 0, 1, 0, 0, 0, 125_000, 10_000, 1000, 0)) + attribute(
    6, struct.pack("=I", 5000)
)
# struct tc_prio_qopt: bands, and which of them each priority goes to
_PRIO = struct.pack("=i16B", 2, *[1] * 16)
# TCA_HTB_INIT: struct tc_htb_glob (version 3, rate2quantum, defcls, debug, direct_pkts)
_HTB = attribute(2, struct.pack("=5I", 3, 10, 0, 0, 0))


def _egress() -> str:
    _load('chain c { type filter hook egress device "lo" priority 0; fwd to "lo"; };', "netdev")
    nftables.load("delete table netdev probe\n")
    return "loaded"


# -- nftables and connection tracking --------------------------------------------------------------------------------

_NFTABLES = _install("libnftables1", "nftables")


def _libnftables() -> str:
    try:
        nftables.require()
    except MachineError:
        raise OSError(errno.ENOENT, "libnftables.so.1 cannot be loaded") from None
    return "loaded"


def _nf_tables() -> str:
    _rules("")()
    # The library tells its version only at the head of what it prints as JSON.
    library = ctypes.CDLL("libnftables.so.1")
    library.nft_ctx_new.restype = ctypes.c_void_p
    library.nft_ctx_get_output_buffer.restype = ctypes.c_char_p
    context = ctypes.c_void_p(library.nft_ctx_new(0))
    try:
        library.nft_ctx_output_set_flags(context, 1 << 4)  # NFT_CTX_OUTPUT_JSON
        library.nft_ctx_buffer_output(context)
        library.nft_run_cmd_from_buffer(context, b"list tables")
        printed = library.nft_ctx_get_output_buffer(context) or b""
    finally:
        library.nft_ctx_free(context)
    version = re.search(rb'"version": *"([^"]+)"', printed)
    return f"loaded by libnftables {version[1].decode() if version else '(built without JSON)'}"


def _load(content: str, family: str = "inet") -> None:
    """Load a table named `probe`; on one line, since nft repeats the line that it complains about."""
    try:
        nftables.load(f"table {family} probe {{ {content} }}\n")
    except KernelError as error:
        words = error.what.partition(f" table {family} ")[0].removeprefix("Error: ")
        known = (errno.ENOENT, errno.EPERM, errno.EOPNOTSUPP, errno.EINVAL)
        raise OSError(next((number for number in known if os.strerror(number) in words), 0), words) from None


def _rules(content: str) -> Callable[[], str]:
    def attempt() -> str:
        _load(content)
        nftables.load("delete table inet probe\n")
        return "loaded"

    return attempt


_NEW, _TRACE = 1, 9  # include/uapi/linux/netfilter/nfnetlink.h: NFNLGRP_CONNTRACK_NEW, NFNLGRP_NFTRACE


def _event(group: int, rules: str) -> Callable[[], str]:
    """Whether netfilter tells the multicast *group* of a packet that meets *rules*."""

    def attempt() -> str:
        netfilter = 12  # NETLINK_NETFILTER
        _load(rules)
        try:
            with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, netfilter) as listener:
                listener.bind((0, 1 << (group - 1)))
                listener.settimeout(0.1)
                for _ in range(3):  # the first may only have made the kernel load the module that tells
                    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
                        sender.sendto(b"", ("127.0.0.1", 9))
                    with suppress(TimeoutError):
                        listener.recv(4096)
                        return "heard"
            raise OSError(errno.ENOMSG, "packets passed, and nothing was told of them")
        finally:
            nftables.load("delete table inet probe\n")

    return attempt


_TRACKED = "chain c { type filter hook output priority filter; ct state new accept; };"


def _timers() -> str:
    timers = ("udp_timeout", "udp_timeout_stream", "tcp_timeout_established", "tcp_timeout_fin_wait", "icmp_timeout")
    _load(_TRACKED)  # the sysctls come with the first rule that asks for a connection's state
    try:
        for timer in timers:
            _write_and_read(f"net/netfilter/nf_conntrack_{timer}", "3600")
    finally:
        nftables.load("delete table inet probe\n")
    return f"{len(timers)} written and read back"


def _timers_cure(number: int) -> str | None:
    # Old kernels hide them from user namespaces (ENOENT), and no command changes that.
    return _CONTAINER if number in (errno.EROFS, errno.EACCES) else None


def _nft_cure(module: str) -> Cure:
    kernel = _module(module)
    # An errno comes from the kernel; without one it is the library that does not know the words.
    return lambda number: (kernel if number else _NFTABLES)(number)


def _nft(name: str, use: str, module: str, rules: str, *, needed: bool = False) -> _Probe:
    return _Probe(name, use, _rules(rules), _nft_cure(module), needed, "nf_tables")


def _forward(rule: str) -> str:
    return f"chain c {{ type filter hook forward priority filter; {rule}; }};"


def _source(rule: str) -> str:
    return f"chain c {{ type nat hook postrouting priority srcnat; meta l4proto {{ tcp, udp }} {rule}; }};"


def _map(kind: str) -> str:
    return f"map m {{ type {kind}; flags dynamic,timeout; timeout 5m; size 65536; }}; "


_SET = "set s { type ipv4_addr; flags dynamic; size 65536; }; "
_LEARN = (
    "chain c { type filter hook postrouting priority srcnat + 1; ct direction original meta l4proto udp "
    "update @m { ct original ip saddr . ct original proto-src : ct reply proto-dst }; };"
)
_DESTINATION = (
    "chain c { type nat hook prerouting priority dstnat; meta l4proto { tcp, udp } dnat ip to th dport map @m; };"
)
_TRACED = "chain c { type filter hook output priority filter; meta nftrace set 1; };"

# -- programs and limits ---------------------------------------------------------------------------------------------


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
        raise _Lacking(f"{hard} at most", f"sudo prlimit --pid $$ --nofile={enough}:{enough}")
    return f"{soft}, and {'any number' if hard == resource.RLIM_INFINITY else hard} on demand"


def _room() -> str:
    enough = 1100  # for a lab of 1000 hosts
    limits = {f"user.max_{kind}_namespaces": 0 for kind in ("user", "pid", "net", "mnt", "uts")}
    for setting in limits:
        limits[setting] = int(_sysctl(setting) or 0)
    low = [setting for setting, limit in limits.items() if limit < enough]
    if low:
        found = ", ".join(f"{setting} is {limits[setting]}" for setting in low)
        raise _Lacking(found, "sudo sysctl -w " + " ".join(f"{setting}={_ROOM}" for setting in low))
    return f"{min(limits.values())} of each kind"


# -- what is tried ---------------------------------------------------------------------------------------------------


_USER_NAMESPACES = "user namespaces"
_GROUPS: dict[str, tuple[_Probe, ...]] = {
    "Namespaces": (
        _Probe(_USER_NAMESPACES, "being root of a lab, and of nothing else", _become_root, _refused, True, None),
        _Probe(
            "mounts", "a lab's own /etc/hosts and resolver", _own_mounts, _namespaces("mnt"), True, _USER_NAMESPACES
        ),
        _Probe("network namespaces", "every node is one", _own_network, _namespaces("net"), True, "mounts"),
        _Probe("network sysctls", "routers that forward", _sysctls, _container, True),
        _Probe("a /proc of its own", "programs of a lab see no others", _own_proc, _container),
        _Probe("a /sys of its own", "a node's interfaces in /sys/class/net", _own_sys, _container),
        _Probe("subordinate ids", "programs in a node that change their user", _subordinate_ids),
    ),
    "Links and sockets": (
        _Probe("veth", "cables", _veth, _module("veth"), True),
        _Probe("bridge", "switches", _bridge, _module("bridge"), True),
        # Needed: in a node without IPv6 addresses it is switched off, which fails where there is nothing to switch.
        _Probe("IPv6", "addresses, and silence where there are none", _ipv6, _module("ipv6"), True),
        _Probe("tun", "VPN software in a node", _tun, _tun_cure),
        _Probe("wireguard", "WireGuard in a node", _link("wireguard"), _module("wireguard")),
        _Probe(
            "vlan",
            "VLANs in a node",
            _link("vlan", _VLAN, on_bridge=True),
            _module("8021q", "VLAN_8021Q"),
            after="bridge",
        ),
        _Probe("vxlan", "overlays in a node", _link("vxlan", _VXLAN), _module("vxlan")),
        _Probe("packet sockets", "captures", _packet_socket, _module("af_packet", "PACKET")),
        _Probe("ping sockets", "ping by programs that are not root", _ping_socket),
    ),
    "nftables": (
        _Probe("libnftables", "loading a router's rules", _libnftables, _NFTABLES, True, None),
        _Probe("nf_tables", "a router's rules", _nf_tables, _nft_cure("nf_tables"), True, "libnftables"),
        _nft("ct state", "stateful firewalls", "nft_ct", _forward("ct state established,related"), needed=True),
        _nft("masquerade", "Linux's NAT", "nft_masq", _source("masquerade"), needed=True),
        _nft(
            "masquerade random", "the article's NAT", "nft_masq", _source("masquerade random,persistent"), needed=True
        ),
        _nft("reject", "firewalls that answer", "nft_reject_inet", _forward("reject")),
        _nft(
            "maps that learn",
            "NAT mappings that are refreshed and time out",
            "nft_ct",
            _map("ipv4_addr . inet_service : inet_service") + _LEARN,
        ),
        _nft(
            "snat through a map",
            "endpoint-independent and address-dependent mapping",
            "nft_nat",
            _map("ipv4_addr . inet_service . ipv4_addr : inet_service")
            + _source("snat ip to 5.5.5.5 : ip saddr . th sport . ip daddr map @m"),
        ),
        _nft(
            "dnat through a map",
            "endpoint-independent filtering, hairpinning",
            "nft_nat",
            _map("inet_service : ipv4_addr . inet_service") + _DESTINATION,
        ),
        _nft(
            "prefix translation",
            "IPv6 prefix translation (NPTv6)",
            "nft_nat",
            _source("snat ip6 prefix to ip6 saddr map { fd00:1::/64 : fd00:2::/64 }"),
        ),
        _nft(
            "numgen",
            "predictable ports",
            "nft_numgen",
            _source("snat ip to 5.5.5.5 : numgen inc mod 2 map { 0 : 5000, 1 : 5001 }"),
        ),
        _nft("fib", "what is meant for the router itself", "nft_fib_inet", _forward("fib daddr type local")),
        _nft("quota", "data allowances", "nft_quota", _forward("quota over 1 mbytes")),
        _nft("limit", "rates of new mappings", "nft_limit", _forward("limit rate 9/second")),
        _nft("ct count", "mappings per subscriber", "nft_connlimit", _SET + _forward("add @s { ip saddr ct count 9 }")),
        _nft(
            "meter", "rates per subscriber", "nft_limit", _SET + _forward("update @s { ip saddr limit rate 9/second }")
        ),
        _nft("queue", "packets judged by a program", "nft_queue", _forward("queue num 0")),
        _Probe(
            "tracing",
            "a packet's path through the rules",
            _event(_TRACE, _TRACED),
            _nft_cure("nf_tables"),
            False,
            "nf_tables",
        ),
    ),
    "Connection tracking": (
        _Probe("timers", "lifetimes of NAT mappings", _timers, _timers_cure, after="ct state"),
        _Probe(
            "events",
            "mappings as they come and go",
            _event(_NEW, _TRACKED),
            _module("nf_conntrack_netlink", "NF_CT_NETLINK"),
            after="ct state",
        ),
    ),
    "Link quality": (
        _Probe(
            "netem",
            "links that delay and lose packets, by the kernel; else by the wire",
            _qdisc("netem", _NETEM),
            _module("sch_netem", "NET_SCH_NETEM"),
            after="bridge",
        ),
        _Probe(
            "prio", "netem that spares ARP", _qdisc("prio", _PRIO), _module("sch_prio", "NET_SCH_PRIO"), after="bridge"
        ),
        _Probe(
            "egress",
            "the wire: links that delay and lose packets without netem",
            _egress,
            _nft_cure("nft_fwd_netdev"),
            after="nf_tables",
        ),
        _Probe("tbf", "rates", _qdisc("tbf", _TBF), _module("sch_tbf", "NET_SCH_TBF"), after="bridge"),
        _Probe("htb", "rates by class", _qdisc("htb", _HTB), _module("sch_htb", "NET_SCH_HTB"), after="bridge"),
        _Probe("ifb", "shaping what arrives", _link("ifb"), _module("ifb")),
    ),
    "Programs and limits": (
        _Probe(
            "ip",
            "wanlab shell; what wanlab script prints",
            _program("ip", "-V", "iproute2"),
            _install("iproute2", "iproute"),
            after=None,
        ),
        _Probe(
            "nft",
            "what wanlab script prints",
            _program("nft", "--version", "nftables"),
            _install("nftables", "nftables"),
            after=None,
        ),
        _Probe(
            "tcpdump",
            "watching packets",
            _program("tcpdump", "--version", "tcpdump"),
            _install("tcpdump", "tcpdump"),
            after=None,
        ),
        _Probe(
            "radvd",
            "router advertisements (slaac)",
            _program("radvd", "--version", "Version"),
            _install("radvd", "radvd"),
            after=None,
        ),
        _Probe("open files", "programs and sockets of a lab", _open_files, after=None),
        _Probe("room for namespaces", "labs of 1000 hosts", _room, after=None),
    ),
}
