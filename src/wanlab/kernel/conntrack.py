"""The connections that the kernel tracks in a network namespace (include/uapi/linux/netfilter/nfnetlink*.h)."""

from __future__ import annotations

import os
import socket
import struct

_NETLINK_NETFILTER = 12
_CTNETLINK, _CT_DELETE = 1, 2  # NFNL_SUBSYS_CTNETLINK, IPCTNL_MSG_CT_DELETE
_REQUEST, _ACK = 0x1, 0x4
_ERROR = 2


def forget_all() -> None:
    """Forget all connections of the namespace that the caller is in. Raises OSError."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_NETFILTER) as link:
        family_version_resource = struct.pack("!BBH", socket.AF_UNSPEC, 0, 0)
        header = struct.pack("=IHHII", 20, _CTNETLINK << 8 | _CT_DELETE, _REQUEST | _ACK, 1, 0)
        link.send(header + family_version_resource)  # no tuple: all of them
        answer = link.recv(4096)
    kind, number = struct.unpack_from("=4xH10xi", answer)
    if kind == _ERROR and number:
        raise OSError(-number, os.strerror(-number))
