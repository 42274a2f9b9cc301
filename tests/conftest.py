"""What all tests share: labs that nobody else sees."""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest_plugins = ["pytester"]


@pytest.fixture(autouse=True)
def runtime(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where this test's labs are found. Not below tmp_path: the name of a Unix socket ends at 107 bytes."""
    directory = Path(tempfile.mkdtemp(prefix="wl"))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(directory))
    monkeypatch.setenv("PATH", f"{os.environ['PATH']}:/usr/sbin:/sbin")
    monkeypatch.delenv("WANLAB_LAB", raising=False)
    yield directory / "wanlab"
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture
def crowd() -> Iterator[None]:
    """For tests of labs with hundreds of hosts: one at a time on this machine, whoever runs them.

    All namespaces share one table of neighbours, with room for 1024. A lock by a name that needs no file, so that the
    tests as root and those as an ordinary user, which run side by side, can both take it.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as lock:
        deadline = time.monotonic() + 100
        while True:
            try:
                lock.bind("\0wanlab-tests-crowd")
                break
            except OSError:
                assert time.monotonic() < deadline, "another test with a large lab does not end"
                time.sleep(0.1)
        yield
