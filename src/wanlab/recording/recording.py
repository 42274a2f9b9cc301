"""`Recording`: a run directory, read: the one source of what is told and drawn of a lab that is not up any more."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from wanlab.capture.pcapng import Packet
from wanlab.capture.pcapng_reader import PcapngFile
from wanlab.errors import UsageError, WanlabError
from wanlab.measure.mappings import LiveMapping
from wanlab.recording.run_directory import FORMAT
from wanlab.topology.document import rebuild
from wanlab.topology.kept import Kept
from wanlab.topology.network import Network
from wanlab.topology.topology import Topology
from wanlab.trace.retelling import retell
from wanlab.trace.story import STORIES, Story

_Made = TypeVar("_Made")


@dataclass(frozen=True, slots=True)
class RecordedEvent:
    """Something that happened to the lab while it was recorded."""

    time_ns: int
    """When it was noticed: nanoseconds since 1970."""
    kind: str
    """`recording begins`, `link`, `addresses`, `topology`, `recording ends`, ...; readers skip what they know not."""
    about: Mapping[str, Any]
    """What else is said of it."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What the NATs remembered at one moment."""

    time_ns: int
    mappings: tuple[LiveMapping, ...]


@dataclass(frozen=True, slots=True)
class RecordedProcess:
    """A program that ran in the lab."""

    node: str | None
    args: tuple[str, ...]
    pid: int
    returncode: int | None
    """None: it ran on, or nobody has asked."""
    log: str | None
    """Its output, a file of the directory."""


class Recording:
    """A run directory. What is not in it is empty; what cannot be read raises UsageError, naming file and line."""

    def __init__(self, directory: Path, about: Mapping[str, Any]) -> None:
        self.directory = directory
        self.lab: str = about["lab"]
        """The lab's name."""
        self.outcome: str = about["outcome"]
        """How it went: a test's outcome, `recorded`, ..."""
        self.time: str = about["time"]
        """When it was written, in UTC."""
        self.problems: tuple[str, ...] = tuple(about["problems"])
        """What could not be written."""
        self._kept = about.get("kept")

    @classmethod
    def open(cls, directory: str | Path) -> Recording:
        """Read what *directory* is. Raises UsageError for what is no run directory, or one of another format."""
        path = Path(directory)
        try:
            about = json.loads((path / "run.json").read_text("utf-8"))
            found = about["format"]
            if found != FORMAT:
                raise UsageError(
                    f"{path} has format {found!r}, and this wanlab reads {FORMAT}", hint="read it with the other wanlab"
                )
            return cls(path, about)
        except (OSError, ValueError, KeyError, TypeError) as error:
            why = error.strerror if isinstance(error, OSError) else f"its run.json makes no sense: {error}"
            raise UsageError(f"{path} is no run directory: {why}", hint="record one: wanlab record DIR") from None

    @cached_property
    def topology(self) -> Topology:
        """What the lab was, at last."""
        path = self.directory / "topology.json"
        try:
            topology = rebuild(json.loads(path.read_text("utf-8")))
            if self._kept is not None:
                topology.kept = Kept.from_json(self._kept)
            return topology
        except OSError as error:
            raise UsageError(f"{path}: {error.strerror}") from None
        except (ValueError, KeyError, TypeError) as error:
            raise UsageError(f"{path} makes no sense: {error}") from None

    @cached_property
    def network(self) -> Network:
        """The same with all addresses worked out."""
        return self.topology.resolve()

    def packets(self) -> Iterator[Packet]:
        """Every packet at every link end, in order of time."""
        path = self.directory / "packets.pcapng"
        return PcapngFile(path).packets() if path.exists() else iter(())

    def stories(self) -> list[Story]:
        """What became of each packet: as it was traced, else retold from the packets."""
        traced = list(self._lines(STORIES, Story.from_json))
        return traced or retell(self.packets(), self.network)

    def mappings(self) -> Iterator[Snapshot]:
        """What the NATs remembered, from time to time."""
        return self._lines(
            "mappings.jsonl",
            lambda line: Snapshot(line["time_ns"], tuple(LiveMapping.from_json(each) for each in line["mappings"])),
        )

    def events(self) -> Iterator[RecordedEvent]:
        """What happened to the lab, in order of time: some of it was noticed after what came later."""
        lines = self._lines("events.jsonl", lambda line: RecordedEvent(line.pop("time_ns"), line.pop("event"), line))
        return iter(sorted(lines, key=lambda event: event.time_ns))

    def processes(self) -> tuple[RecordedProcess, ...]:
        """The programs that ran in it."""
        path = self.directory / "processes.json"
        try:
            listed = json.loads(path.read_text("utf-8")) if path.exists() else []
            return tuple(RecordedProcess(**{**each, "args": tuple(each["args"])}) for each in listed)
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise UsageError(f"{path} makes no sense: {error}") from None

    def _lines(self, name: str, make: Callable[[Any], _Made]) -> Iterator[_Made]:
        path = self.directory / name
        return json_lines(path, make) if path.exists() else iter(())


def stories_in(path: Path) -> list[Story]:
    """The stories that a trace has written to a file. Raises UsageError, naming the line; OSError."""
    return list(json_lines(path, Story.from_json))


def json_lines(path: Path, make: Callable[[Any], _Made]) -> Iterator[_Made]:
    """The lines of a file that is written line by line. A last one without its end was being written."""
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            if not line.endswith("\n"):
                return
            try:
                yield make(json.loads(line))
            except WanlabError:
                raise
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                raise UsageError(f"{path}:{number} makes no sense: {error!r}") from None
