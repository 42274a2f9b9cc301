"""What all tests share: labs that nobody else sees."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.labs import alone_with_many_hosts

pytest_plugins = ["pytester"]

# Whoever runs the tests in the background may ignore these, and what is started inherits that: no trap would hear them.
for _number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP):
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, signal.default_int_handler if _number == signal.SIGINT else signal.SIG_DFL)


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
    """For tests of labs with many hosts: see `alone_with_many_hosts`."""
    with alone_with_many_hosts():
        yield
