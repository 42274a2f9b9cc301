"""What several probes do to the kernel."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from wanlab.doctor.probe import Lacking
from wanlab.kernel.netlink import Netlink

LO = 1  # the index of `lo`


@contextmanager
def netlink_socket() -> Iterator[Netlink]:
    """A socket whose messages are sent, and answered, at the end."""
    netlink = Netlink()
    try:
        yield netlink
        netlink.flush(lambda which, number, words: OSError(number, words))
    finally:
        netlink.close()


def write_and_read(key: str, value: str) -> None:
    """Set a sysctl. Raises Lacking where it takes the value and does not keep it."""
    file = Path("/proc/sys", key)
    file.write_text(value)
    if file.read_text().split() != value.split():
        raise Lacking(f"{key} does not keep what is written to it")
