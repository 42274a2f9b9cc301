"""Labs for the command line's tests: whatever a test does, nothing may be left of them afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.command import adopt_orphans, bury_orphans, must, nothing_left, wanlab
from tests.support.labs import eventually
from wanlab.runtime.connection import forge


@pytest.fixture(autouse=True)
def clean(runtime: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """A directory of its own to be in; at the end no lab is up and nothing of one is left."""
    monkeypatch.chdir(tmp_path)
    forge.stop()  # tests of other directories have made labs in this process, and their forge is still warm
    for name in ("PROMPT_COMMAND", "ENV", "BASH_ENV"):
        monkeypatch.delenv(name, raising=False)
    adopt_orphans(True)
    try:
        yield
        wanlab("down", "--all")
        eventually(lambda: nothing_left(runtime), "processes and directories of labs are gone")
    finally:
        adopt_orphans(False)
        bury_orphans()


@pytest.fixture
def two_lans() -> None:
    """The lab `two-lans` is up."""
    must("up", "two-lans")
