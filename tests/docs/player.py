"""Runs the blocks of a page as its reader would, in a directory and a runtime directory of the page's own."""

from __future__ import annotations

import os
import pwd
import re
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

from tests.docs.pages import ROOT, Block

_PATIENCE = 30.0  # seconds for one block

# What differs from run to run. A line's words are compared, not the spaces between them.
_MASKS = (
    (re.compile(r"\b\d+(\.\d+)? ?m?s\b"), "TIME"),
    (re.compile(r"time=TIME"), "TIME"),
    (re.compile(r"(?<= [+x~t])\d+\.\d\d\b"), "TIME"),  # of a matrix's cell
    (re.compile(r"(?<== )\d[\d./]* (?=ms)|(?<== )[\d.]+(/[\d.]+)+ TIME"), "TIMES"),
    (re.compile(r"\d\d:\d\d:\d\d\.\d+"), "CLOCK"),
    (re.compile(r"(?<=process )\d+"), "PID"),
    (re.compile(r"(?<=port than )\d+"), "PORT"),
    (re.compile(r"(?<=received on )([\w.-]+) \d+"), r"\1 PORT"),
    (re.compile(r"(?<=\d)[:.]\d{3,5}\b(?![:.])"), ":PORT"),
    (re.compile(r"(?<=\bid )\d+"), "ID"),
    (re.compile(r"\bseq \d{6,}"), "seq N"),
)


class Player:
    """Plays one page's blocks, in order. Use it as a context manager: at the end everything it started is gone."""

    def __init__(self, directory: Path, runtime: Path) -> None:
        self.directory = directory
        self.environment = {
            **os.environ,
            "XDG_RUNTIME_DIR": str(runtime),
            "PATH": _path(),
            "SHELL": "/bin/bash",
            "LC_ALL": "C.UTF-8",
            "COLUMNS": "200",
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        for name in ("WANLAB_LAB", "WANLAB_NODE"):
            self.environment.pop(name, None)
        self._background: list[tuple[Block, _Running]] = []
        shutil.copytree(ROOT / "examples", directory / "examples", ignore=shutil.ignore_patterns("__pycache__"))

    def __enter__(self) -> Player:
        return self

    def __exit__(self, *exception: object) -> None:
        for _, running in self._background:
            running.end()
        self._bash("wanlab down --all")

    def play(self, block: Block) -> None:
        """Do with *block* what it asks for. Raises AssertionError naming its place."""
        if block.word == "not run" or (block.word == "needs" and not _many_ids()):
            return
        if block.word == "part of":
            self._check_extract(block)
        elif block.word == "file":
            file = self.directory / block.value
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(block.text)
        elif block.word == "background":
            self._start(block)
        elif block.language in ("console", "sh", "python"):
            self._run(block)
            self._end_background()

    def _run(self, block: Block) -> None:
        if block.language == "python":
            self._check(block, *self._call([sys.executable, "-W", "error", "-"], block.text), None)
        elif block.language == "sh":
            self._check(block, *self._bash(block.text), None)
        elif block.word == "in a shell":
            typed = "".join(command.text for command in block.commands)
            shown = "".join(command.output for command in block.commands)
            self._check(block, *self._call(shlex.split(block.value), typed), shown)
        else:
            for command in block.commands:
                self._check(block, *self._bash(command.text), command.output, command.text)

    def _start(self, block: Block) -> None:
        (command,) = block.commands
        running = _Running(self._popen(["bash", "-c", f"exec {command.text}"]))
        self._background.append((block, running))
        first = command.output.splitlines()[:1]
        running.wait_for(masked(first[0]) if first else "", str(block))

    def _end_background(self) -> None:
        for block, running in self._background:
            (command,) = block.commands
            wanted = len(command.output.splitlines())
            running.wait_for_lines(wanted)
            self._check(block, 0, running.end(), command.output, command.text)
        self._background.clear()

    def _check(self, block: Block, status: int, output: str, shown: str | None, command: str = "") -> None:
        where = f"{block}: {command or block.text}"
        # `(exit status N)` closes what a command that fails has printed
        told = re.search(r"\(exit status (\d+)\)\n\Z", shown or "")
        expected_status = int(told[1]) if told else 0
        assert status == expected_status, f"{where}\nexit status {status}\n{output}"
        if shown is not None:
            wanted = shown[: told.start()] if told else shown
            assert matches(wanted, output), f"{where}\n--- shown\n{masked(wanted)}\n--- printed\n{masked(output)}"

    def _check_extract(self, block: Block) -> None:
        """An extract's paragraphs stand in the file (or in what a command prints) that it is part of, in that order."""
        if block.value.startswith("$ "):
            status, whole = self._bash(block.value[2:])
            assert status == 0, f"{block}: {whole}"
        else:
            near = self.directory / block.value
            whole = (near if near.exists() else ROOT / block.value).read_text("utf-8")
        place = 0
        for paragraph in re.split(r"\n*^\.\.\.\n", block.text, flags=re.MULTILINE):
            found = whole.find(paragraph.strip("\n"), place)
            assert found >= 0, f"{block}: this is not in {block.value}, or not in this place:\n{paragraph}"
            place = found + len(paragraph.strip("\n"))

    def _bash(self, text: str) -> tuple[int, str]:
        return self._call(["bash", "-c", text], "")

    def _call(self, argv: list[str], text: str) -> tuple[int, str]:
        process = self._popen(argv)
        try:
            output, _ = process.communicate(text, _PATIENCE)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            output, _ = process.communicate()
            raise AssertionError(f"{argv}: not done after {_PATIENCE} s\n{text}\n{output}") from None
        return process.returncode, output

    def _popen(self, argv: list[str]) -> subprocess.Popen[str]:
        return subprocess.Popen(
            argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            cwd=self.directory, env=self.environment, start_new_session=True,
        )  # fmt: skip


class _Running:
    """A program in the background, and what it has printed so far."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self._lines: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.append(line)

    def wait_for(self, line: str, who: str) -> None:
        """Wait until it has printed *line*."""
        deadline = time.monotonic() + _PATIENCE
        while not any(masked(printed) == line for printed in list(self._lines)):
            printed = "".join(self._lines)
            assert time.monotonic() < deadline, f"{who}: waited for {line!r}, saw\n{printed}"
            assert self._process.poll() is None or self._reader.is_alive(), f"{who}: ended\n{printed}"
            time.sleep(0.01)

    def wait_for_lines(self, count: int) -> None:
        """Give it a moment to print so many lines."""
        deadline = time.monotonic() + 2
        while len(self._lines) < count and time.monotonic() < deadline and self._reader.is_alive():
            time.sleep(0.01)

    def end(self) -> str:
        """End it as Ctrl-C does; what it printed up to then."""
        printed = "".join(self._lines)
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGTERM)
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        self._reader.join()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                stream.close()
        return printed


def masked(text: str) -> str:
    """A text without what differs from run to run."""
    for pattern, word in _MASKS:
        text = pattern.sub(word, text)
    return "\n".join(" ".join(line.split()) for line in text.strip("\n").splitlines())


def matches(shown: str, printed: str) -> bool:
    """Whether *printed* is what *shown* says; a line `...` stands for any lines, and `...` in a line for anything."""
    lines = (
        r"(?:.*\n)*?" if line == "..." else re.escape(line).replace(r"\.\.\.", ".*") + r"\n"
        for line in masked(shown).splitlines()
    )
    return re.fullmatch("".join(lines), "".join(f"{line}\n" for line in masked(printed).splitlines())) is not None


def _path() -> str:
    """Where programs are, wanlab first; without what this user may not enter, which is no reader's PATH."""
    usual = f"{os.environ.get('PATH', '/usr/bin:/bin')}:/usr/sbin:/sbin"
    return ":".join(
        [str(Path(sys.executable).parent), *(each for each in usual.split(":") if os.access(each, os.X_OK))]
    )


def _many_ids() -> bool:
    """Whether programs in a lab can change their user: the rule of user namespaces, asked of this machine's files."""
    if os.geteuid() == 0:
        return True
    try:
        names = {str(os.geteuid()), pwd.getpwuid(os.geteuid()).pw_name}
        owners = {line.partition(":")[0] for line in Path("/etc/subuid").read_text().splitlines()}
    except (OSError, KeyError):
        return False
    return bool(names & owners) and shutil.which("newuidmap") is not None
