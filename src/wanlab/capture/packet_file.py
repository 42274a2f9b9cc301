"""`PacketFile`: the packets that a Recorder hears, in a pcapng file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from wanlab.capture.capture_file import CaptureFile
from wanlab.capture.pcapng import PcapngWriter, packet_block, packet_options
from wanlab.capture.recorder import Recorded, Recorder


class PacketFile:
    """Writes packets to *path*, or to a descriptor; *most_bytes* and *files*: see CaptureFile. Raises OSError."""

    def __init__(
        self, recorder: Recorder, path: Path | int, *, most_bytes: int | None = None, files: int | None = None
    ) -> None:
        self._recorder = recorder
        self._numbers: list[int] = []
        self._file = CaptureFile(
            path, self._start, comment=f"lab {recorder.lab_name}", most_bytes=most_bytes, files=files
        )
        self._last_ns = 0
        self.taken = 0
        """How many were written."""

    def _start(self, writer: PcapngWriter) -> None:
        self._numbers = [writer.number(end) for end in self._recorder.ends]

    @property
    def place(self) -> str | None:
        """The file, the last one where there are several."""
        return None if self._file.path is None else str(self._file.path)

    def take(self, packets: Sequence[Recorded]) -> int:
        """Write some; how many they were."""
        if not packets:
            return 0
        for end in self._recorder.ends[len(self._numbers) :]:  # interfaces that the lab has got meanwhile
            self._numbers.append(self._file.writer.number(end))
        numbers = self._numbers
        self._file.extend(
            [
                packet_block(numbers[end], time_ns, data, length, packet_options(outbound, comment))
                for time_ns, end, data, length, outbound, comment in packets
            ]
        )
        self._last_ns = packets[-1][0]
        self.taken += len(packets)
        return len(packets)

    def close(self, lost: int) -> None:
        """Note how many were lost, and end the file."""
        if lost and self._recorder.ends:
            self._file.writer.add_losses(self._recorder.ends[0], self._last_ns, lost)
        self._file.close()
