"""`LabRecorder`: a run directory that is written while things happen, until one has seen enough.

Packets are written as they come. A second thread looks from time to time at what the NATs remember, at links and
addresses, and at whether the lab has been changed; what has become different is an event.
"""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from wanlab.capture.packet_file import PacketFile
from wanlab.capture.recorder import Recorder
from wanlab.drawing.scene import AS_DECLARED, Condition
from wanlab.errors import LabEnded, NoSuchLab, UsageError, WanlabError
from wanlab.measure.condition import condition
from wanlab.measure.mappings import mappings
from wanlab.recording.run_directory import Run, change_line, conclude, mappings_line, write_topology
from wanlab.runtime.changes import Changed
from wanlab.runtime.connection import connect
from wanlab.runtime.directory import runtime_directory
from wanlab.runtime.lab import Lab

if TYPE_CHECKING:
    from wanlab.drawing.forest import End

_READ_S = 0.5  # how long one wait for packets lasts: no longer than this goes by until an end is noticed


class LabRecorder:
    """Records a lab that is up, from now on until `close`; as a context manager it closes itself.

    *directory* is made; one that has something in it is refused. *interval_s*: between two looks. *snap_bytes*: how
    much of each packet is kept. Raises UsageError, OSError, LabEnded.
    """

    def __init__(self, lab: Lab, directory: Path, *, interval_s: float = 1.0, snap_bytes: int = 65535) -> None:
        if interval_s <= 0:
            raise UsageError(f"an interval of {interval_s:g} s", hint="use more than 0")
        directory.mkdir(parents=True, exist_ok=True)
        if any(directory.iterdir()):
            raise UsageError(f"{directory} has something in it", hint="name a directory that is empty, or not there")
        self.lab = lab
        self.run = Run(directory)
        self.looks = 0
        """How often it has looked."""
        self.failure: Exception | None = None
        """What has ended the looking."""
        self._interval_s = interval_s
        self._seen = AS_DECLARED
        self._document = lab.topology.to_document()
        self._recorder = Recorder(lab, snap_bytes=snap_bytes)
        self._packets = PacketFile(self._recorder, directory / "packets.pcapng")
        self.run.files.append("packets.pcapng")
        self._mappings = self._open("mappings.jsonl")
        self._events = self._open("events.jsonl")
        write_topology(self.run, lab)
        conclude(self.run, lab, "being recorded")
        self._told = time.time()
        """When the last change was that is in there."""
        self._event("recording begins")
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True, name=f"wanlab records {lab.name}")
        self._thread.start()

    def __enter__(self) -> LabRecorder:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    @property
    def packets(self) -> int:
        """How many packets were written, each at every link end that it passed."""
        return self._packets.taken

    @property
    def lab_ended(self) -> bool:
        """Whether the lab has gone."""
        return self._recorder.lab_ended

    def write(self, wake: int | None = None) -> None:
        """Write the packets that have come, after waiting for some; *wake* ends the waiting. To be called in a loop."""
        self._packets.take(self._recorder.read(_READ_S, wake=wake))

    def close(self) -> None:
        """Write what is left, and what the directory is. Doing it twice does nothing."""
        if self._stop.is_set():
            return
        self._stop.set()
        self._thread.join()
        try:
            self._packets.take(self._recorder.finish())
        finally:
            lost = self._recorder.lost
            self._packets.close(lost)
            self._recorder.close()
        self._event("lab ends" if self.lab_ended else "recording ends", packets=self.packets, lost=lost)
        self._mappings.close()
        self._events.close()
        write_topology(self.run, self.lab)  # as it is now
        self.run.files = list(dict.fromkeys(self.run.files))
        conclude(self.run, self.lab, "the lab ended" if self.lab_ended else "recorded")

    def _open(self, name: str) -> TextIO:
        assert self.run.directory is not None
        self.run.files.append(name)
        return (self.run.directory / name).open("w", encoding="utf-8", buffering=1)  # whole lines, at once

    def _event(self, event: str, **about: Any) -> None:
        self._events.write(json.dumps({"time_ns": time.time_ns(), "event": event, **about}) + "\n")

    # -- the thread --------------------------------------------------------------------------------------------------

    def _look(self) -> None:
        try:
            while True:
                self._look_once()
                self.looks += 1
                if self._stop.wait(self._interval_s):
                    return
        except (LabEnded, NoSuchLab):
            pass  # whoever waits for packets notices
        except (WanlabError, OSError) as error:
            self.failure = error
            self.run.problems.append(f"looking at the lab has ended: {error}")

    def _look_once(self) -> None:
        connection = connect(runtime_directory(), self.lab.name)
        try:
            info, _ = connection.ask({"verb": "info"})
        finally:
            connection.close()
        for change in (Changed(**event) for event in info["events"]):
            if change.time > self._told:
                self._events.write(change_line(change))
                self._told = change.time
        if info["document"] != self._document:
            self._document = info["document"]
            self.lab = Lab.attach(self.lab.name)
            self._event("topology", document=self._document)
        self._compare(condition(self.lab))
        found = mappings(self.lab)
        self._mappings.write(mappings_line(time.time_ns(), found))

    def _compare(self, now: Condition) -> None:
        for end in sorted(now.down ^ self._seen.down):
            self._event("link", end=_name(end), down=end in now.down)
        ends = set(now.addresses) | set(self._seen.addresses)
        for end in sorted(ends):
            if now.addresses.get(end) != self._seen.addresses.get(end):
                interface = self.lab.network[end[0]].interface(end[1])
                addresses = now.addresses.get(end, interface.addresses)
                self._event("addresses", end=_name(end), addresses=[str(address) for address in addresses])
        self._seen = now


def _name(end: End) -> str:
    return f"{end[0]}:{end[1]}"
