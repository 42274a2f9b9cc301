"""Which names nodes and interfaces may bear."""

from __future__ import annotations

import re
import socket

from wanlab.errors import Source, TopologyError

_LABEL = re.compile(r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?\Z")  # RFC 1123, section 2.1
_INTERFACE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,14}\Z")  # 15 bytes: the kernel's IFNAMSIZ less its NUL
# `lo` is in every namespace; `all` and `default` are directories of /proc/sys/net/*/conf; `br` means broadcast to ip.
_TAKEN_INTERFACES = frozenset({"lo", "all", "default", "br"})
_TAKEN_NODES = frozenset({"localhost", "ip6-localhost", "ip6-loopback"})  # /etc/hosts says they are the node itself


def check_node_name(name: str, where: Source | None) -> None:
    """Refuse a name that cannot be a hostname or that a resolver would read as an address."""
    if not is_label(name):
        raise TopologyError(
            f"{name!r} is no hostname",
            where=where,
            hint="use letters, digits and inner hyphens, 63 at most",
        )
    if name.lower() in _TAKEN_NODES or _reads_as_address(name):
        raise TopologyError(f"{name!r} cannot be a node: resolvers give it a meaning of their own", where=where)


def check_interface_name(name: str, where: Source | None) -> None:
    """Refuse a name that Linux or iproute2 would not take for an interface."""
    if not _INTERFACE.match(name) or name in _TAKEN_INTERFACES:
        raise TopologyError(
            f"{name!r} cannot name an interface",
            where=where,
            hint="use 15 letters, digits, '_', '.', '-' at most, and not lo, all, default or br",
        )


def is_label(name: str) -> bool:
    """Whether *name* is a hostname label."""
    return bool(_LABEL.match(name))


def fits_interface(name: str) -> bool:
    """Whether *name* could name an interface."""
    return bool(_INTERFACE.match(name)) and name not in _TAKEN_INTERFACES


def _reads_as_address(name: str) -> bool:
    try:
        socket.inet_aton(name)  # takes "1" and "0x7f" too, as getaddrinfo does
    except OSError:
        return False
    return True
