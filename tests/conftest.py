"""What all tests share: labs that nobody else sees."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.labs import alone_with_many_hosts

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
    """For tests of labs with many hosts: see `alone_with_many_hosts`."""
    with alone_with_many_hosts():
        yield
