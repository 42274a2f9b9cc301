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


# What is the same whoever runs it. Where root runs the tests twice, these are run by the ordinary user only.
SAME_FOR_ALL = ("cli", "docs", "drawing", "examples", "plan", "topology")
NOT_THE_SAME = ("test_up_down.py", "test_exec.py", "test_changes.py", "test_verify.py")  # of cli
HERE = Path(__file__).parent
SOME_ARE_ELSEWHERE = os.environ.get("WANLAB_TESTS") == "as-root-too"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if SOME_ARE_ELSEWHERE:
        config.hook.pytest_deselected(items=[item for item in items if _is_same_for_all(item.path)])
        items[:] = [item for item in items if not _is_same_for_all(item.path)]


def _is_same_for_all(path: Path) -> bool:
    return path.relative_to(HERE).parts[0] in SAME_FOR_ALL and path.name not in NOT_THE_SAME


def pytest_report_header() -> str | None:
    if not SOME_ARE_ELSEWHERE:
        return None
    return f"left to the other run, as it is the same there: most of {', '.join(SAME_FOR_ALL)}"


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
