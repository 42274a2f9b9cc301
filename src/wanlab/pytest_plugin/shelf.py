"""Where the plugin's labs are kept while tests use them: a shelf for each scope, and the keeper of all shelves."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

from wanlab.capture.capture import Capture, capture_in_case
from wanlab.errors import MachineError, WanlabError
from wanlab.matrix.variation import Cell
from wanlab.pytest_plugin import _NO_LAB
from wanlab.pytest_plugin.death_watch import DeathWatch
from wanlab.recording.run_directory import record_run
from wanlab.runtime.lab import Lab
from wanlab.topology.topology import Topology

_LONGEST_NAME = 120  # of a run directory; file systems allow 255 bytes

_asked = pytest.StashKey[set["Shelf"]]()
"""The shelves that a test had its lab from without naming their fixtures."""

Source = Topology | str | Path


@dataclass(frozen=True, slots=True)
class Settings:
    """What the command line and the ini file say."""

    capture: str
    """`failed`, `always` or `never`."""
    keep: bool
    require: bool
    directory: Path

    @classmethod
    def of(cls, config: pytest.Config) -> Settings:
        """Those of a session. Raises pytest.UsageError."""
        capture = config.getoption("--wanlab-capture") or config.getini("wanlab_capture")
        if capture not in ("failed", "always", "never"):
            raise pytest.UsageError(f"wanlab_capture: {capture!r} is none of failed, always, never")
        return cls(
            capture,
            config.getoption("--wanlab-keep"),
            config.getoption("--wanlab-require") or config.getini("wanlab_require"),
            config.rootpath / (config.getoption("--wanlab-dir") or config.getini("wanlab_dir")),
        )


class UsedLab:
    """A lab that is up for tests, and what is recorded of it."""

    def __init__(self, lab: Lab, settings: Settings) -> None:
        self.lab = lab
        self.failed = False
        """Whether a test that used it has failed."""
        self.records = settings.capture != "never"
        self._always = settings.capture == "always"
        self.capture = self._start() if self.records else None

    def _start(self) -> Capture | None:
        return capture_in_case(self.lab, however_large=self._always)

    def begin(self) -> None:
        """Another test begins: what was seen is not of it."""
        if self.capture is not None:
            self.capture.forget()

    def record(self, directory: Path, outcome: str) -> list[tuple[str, str]]:
        """Write a run directory, and return what a report shows. Never raises what a lab or a disk can do."""
        with contextlib.suppress(OSError):
            shutil.rmtree(directory)  # an earlier session's
        run = record_run(self.lab, directory if self.records else None, outcome, self.capture)
        if self.capture is not None:
            with contextlib.suppress(WanlabError, OSError):
                self.capture = self._start()  # others may go on using the lab
        parts = run.parts
        if run.files:
            parts = [*parts, ("recorded in", str(directory))]
        return parts + ([("problems", "\n".join(run.problems))] if run.problems else [])

    def close(self, *, keep: bool) -> None:
        """Take it down, or leave it up."""
        if self.capture is not None:
            self.capture.stop()
        if not keep:
            self.lab.down()
            return
        for server in self.lab.servers:
            server.release()
        self.lab.detach()


class Shelf:
    """The labs of one scope: what the fixture `make_lab` is. Call it with what `Lab` takes."""

    def __init__(self, keeper: Keeper, scope: str) -> None:
        self.scope = scope
        self.keeper = keeper
        self.labs: list[UsedLab] = []
        self._shared: dict[object, Lab] = {}

    def __call__(self, lab: Source, *, name: str | None = None) -> Lab:
        """A lab that is up until the end of the scope. Skips the test where this machine can have none."""
        return self.make(lab, None, name=name)

    def make(self, lab: Source, variation: Cell | None, *, name: str | None = None) -> Lab:
        """The same, of a topology that is varied."""
        settings = self.keeper.settings
        problem: WanlabError
        try:
            topology = lab if isinstance(lab, Topology) else Topology.load(lab)
            if variation is not None:
                topology = variation.apply(topology)
            made = Lab(topology, name=name, count_rules=settings.capture != "never").up()
        except WanlabError as error:
            problem = error
        else:
            return self._keep(made)
        # Not in the clause above: pytest would show both exceptions, and the problem twice.
        if not isinstance(problem, MachineError):
            pytest.fail(f"wanlab: {problem}", pytrace=False)
        if settings.require:
            pytest.fail(f"{_NO_LAB}{problem}", pytrace=False)
        pytest.skip(f"{_NO_LAB}{problem}")

    def _keep(self, made: Lab) -> Lab:
        try:
            made.watch_servers(self.keeper.watch.died)
            self.labs.append(UsedLab(made, self.keeper.settings))
        except BaseException:
            made.down()
            raise
        return made

    def share(self, lab: Source, variation: Cell | None) -> Lab:
        """The same lab for all tests of the scope that ask for the same."""
        key = (json.dumps(lab.to_document()) if isinstance(lab, Topology) else str(lab), variation)
        if key not in self._shared:
            self._shared[key] = self.make(lab, variation)
        return self._shared[key]

    def close(self) -> None:
        """Take the labs down, the last one first; those that failed are left up where that is asked for."""
        self.keeper.shelves.remove(self)
        with contextlib.ExitStack() as stack:
            for used in self.labs:
                stack.callback(used.close, keep=used.failed and self.keeper.settings.keep)


class Keeper:
    """All shelves of a session, and what happens to labs when a test fails."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.shelves: list[Shelf] = []
        self.watch = DeathWatch()

    @classmethod
    def of(cls, config: pytest.Config) -> Keeper:
        """The one of a session."""
        return cls(Settings.of(config))

    def open(self, scope: str) -> Shelf:
        """A new shelf."""
        shelf = Shelf(self, scope)
        self.shelves.append(shelf)
        return shelf

    def note(self, item: pytest.Item, shelf: Shelf) -> None:
        """A test has a lab from that shelf."""
        item.stash.setdefault(_asked, set()).add(shelf)

    def begin(self) -> None:
        """A test begins."""
        for shelf in self.shelves:
            for used in shelf.labs:
                used.begin()

    def report(self, item: pytest.Item, report: pytest.TestReport) -> None:
        """A phase of a test is over: record what is to be recorded, and add to the report what it should hold."""
        if report.when == "teardown" or not (report.failed or (report.passed and self._always(report))):
            return
        labs = [used for shelf in self._shelves_of(item) for used in shelf.labs]
        directory = self.settings.directory / _file_name(item.nodeid)
        for number, used in enumerate(labs):
            place = directory if len(labs) == 1 else directory / f"{number + 1}-{used.lab.network.name}"
            parts = used.record(place, report.outcome)
            if report.failed:
                used.failed = True
                title = f"lab {used.lab.name}"
                report.sections += [(f"{title}: {part}", text) for part, text in parts]
                if self.settings.keep:
                    report.sections.append((f"{title}: kept", _how_to_go_in(used.lab)))
        if labs:
            self._ignore_runs()

    def _always(self, report: pytest.TestReport) -> bool:
        return self.settings.capture == "always" and report.when == "call"

    def _shelves_of(self, item: pytest.Item) -> list[Shelf]:
        """Those that the test can have had labs from."""
        names = getattr(item, "fixturenames", ())
        asked = item.stash.get(_asked, set())
        return [shelf for shelf in self.shelves if shelf in asked or fixture_of(shelf.scope) in names]

    def _ignore_runs(self) -> None:
        ignore = self.settings.directory / ".gitignore"
        with contextlib.suppress(OSError):
            if self.settings.directory.is_dir() and not ignore.exists():
                ignore.write_text("*\n")


def fixture_of(scope: str) -> str:
    """The name of the fixture that has a scope's shelf."""
    return "make_lab" if scope == "function" else f"make_{scope}_lab"


def _how_to_go_in(lab: Lab) -> str:
    node = next(iter(lab.network)).name
    return f"wanlab shell --lab {lab.name} {node}\nwanlab down --lab {lab.name}"


def _file_name(node_id: str) -> str:
    """A directory's name for a test: what file systems and shells and artefact stores take."""
    name = re.sub(r"[^A-Za-z0-9_.+-]+", "-", node_id).strip("-.")
    if len(name) <= _LONGEST_NAME:
        return name
    return f"{name[: _LONGEST_NAME - 9]}-{hashlib.sha256(node_id.encode()).hexdigest()[:8]}"
