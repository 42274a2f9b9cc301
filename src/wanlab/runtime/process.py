"""`Process`: a program that runs in a node, as `subprocess.Popen` is one that runs here."""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any, TypeAlias

from wanlab.errors import CommandNotFound, LabEnded
from wanlab.runtime.connection import Connection

Arguments: TypeAlias = Sequence[str | os.PathLike[str]]
"""A program and its arguments."""

Stream: TypeAlias = int | IO[Any] | None
"""What `subprocess` takes: None (the caller's), PIPE, DEVNULL, STDOUT (for stderr), a descriptor or a file."""

Output: TypeAlias = Any
"""bytes, or str in text mode, or None for a stream that is not captured; as with `subprocess`, the call decides."""


class Process:
    """A program in a node. Has what `subprocess.Popen` has: `stdin`, `stdout`, `stderr`, `pid`, `returncode`, `args`.

    It ends with the program that started it, and with the lab. `fileno()` is a PID descriptor: readable once it has
    ended.
    """

    def __init__(
        self,
        connection: Connection,
        node: str | None,
        args: Arguments,
        *,
        stdin: Stream = None,
        stdout: Stream = None,
        stderr: Stream = None,
        env: Mapping[str, str] | None = None,
        cwd: str | os.PathLike[str] | None = None,
        text: bool = False,
        encoding: str | None = None,
        errors: str | None = None,
        terminal: bool = False,
    ) -> None:
        if isinstance(args, (str, bytes)) or not args:
            raise TypeError("args is a sequence of strings; for a shell's words: ['sh', '-c', '...']")
        self.args = [os.fspath(argument) for argument in args]
        self.returncode: int | None = None
        self._connection = connection
        self._lock = threading.Lock()
        self._encoding = encoding or ("utf-8" if text or errors else None)
        self._errors = errors
        environment = dict(os.environ if env is None else env)
        if node is not None:
            environment["WANLAB_NODE"] = node
        with _Streams(stdin, stdout, stderr) as streams:
            try:
                _, handles = connection.ask(
                    {
                        "verb": "spawn",
                        "node": node,
                        "argv": self.args,
                        "environment": environment,
                        "directory": os.fspath(cwd) if cwd is not None else str(Path.cwd()),
                        "terminal": terminal,
                    },
                    streams.theirs,
                )
            except CommandNotFound as error:
                error.filename = self.args[0]
                connection.close()
                raise
            except BaseException:
                connection.close()
                raise
            self._handle = handles[0]
            self.stdin: IO[Any] | None = self._file(streams.take(0), "w")
            self.stdout: IO[Any] | None = self._file(streams.take(1), "r")
            self.stderr: IO[Any] | None = self._file(streams.take(2), "r")
        self.pid = _pid_here(self._handle)
        """Its PID as the machine sees it (inside the lab it has another one)."""

    def _file(self, descriptor: int | None, mode: str) -> IO[Any] | None:
        if descriptor is None:
            return None
        if self._encoding:
            return open(descriptor, mode, encoding=self._encoding, errors=self._errors)
        return open(descriptor, mode + "b", buffering=-1 if mode == "r" else 0)

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *exception: object) -> None:
        for stream in (self.stdin, self.stdout, self.stderr):
            if stream is not None:
                stream.close()
        self.wait()

    def fileno(self) -> int:
        """A descriptor that becomes readable when the program ends."""
        return self._handle

    def poll(self) -> int | None:
        """The exit status if it has ended, else None."""
        try:
            return self.wait(0)
        except subprocess.TimeoutExpired:
            return None

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end; the exit status, or minus the signal. Raises subprocess.TimeoutExpired."""
        with self._lock:
            if self.returncode is None:
                # Zero would make the socket non-blocking, which is what a poll wants, but with another exception.
                self._connection.set_timeout(timeout if timeout is None or timeout > 0 else 1e-6)
                try:
                    self.returncode = int(self._connection.hear()[0]["exit"])
                except LabEnded:
                    self.returncode = -signal.SIGKILL  # the kernel ended it with the lab
                except TimeoutError:
                    raise subprocess.TimeoutExpired(self.args, timeout or 0) from None
                self._connection.close()
                os.close(self._handle)
            return self.returncode

    def send_signal(self, number: int) -> None:
        """Send it a signal; nothing happens where it has ended."""
        if self.returncode is None:
            self._connection.tell({"verb": "signal", "signal": int(number)})

    def terminate(self) -> None:
        """Ask it to end (SIGTERM)."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it (SIGKILL)."""
        self.send_signal(signal.SIGKILL)

    def communicate(self, input: Output = None, timeout: float | None = None) -> tuple[Output, Output]:
        """Write *input*, read what it writes until it ends; (stdout, stderr), None for what is no PIPE.

        Raises subprocess.TimeoutExpired; then it still runs.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        pending = self._encode(input)
        chunks: dict[IO[Any], list[bytes]] = {}
        with selectors.DefaultSelector() as selector:
            for output in (self.stdout, self.stderr):
                if output is not None and not output.closed:
                    chunks[output] = []
                    selector.register(output, selectors.EVENT_READ)
            if self.stdin is not None and not self.stdin.closed:
                if pending:
                    os.set_blocking(self.stdin.fileno(), False)
                    selector.register(self.stdin, selectors.EVENT_WRITE)
                else:
                    self.stdin.close()
            while selector.get_map():
                left = None if deadline is None else deadline - time.monotonic()
                if left is not None and left <= 0:
                    raise subprocess.TimeoutExpired(self.args, timeout or 0)
                for key, _ in selector.select(left):
                    stream: Any = key.fileobj
                    if stream is self.stdin:
                        pending = _write_some(key.fd, pending)
                        done = not pending
                    else:
                        data = os.read(key.fd, 1 << 16)
                        chunks[stream].append(data)
                        done = not data
                    if done:
                        selector.unregister(stream)
                        stream.close()
        self.wait(None if deadline is None else max(0.0, deadline - time.monotonic()))
        return self._decode(self.stdout, chunks), self._decode(self.stderr, chunks)

    def _encode(self, data: Output) -> bytes:
        if data is None:
            return b""
        return data.encode(self._encoding or "utf-8") if isinstance(data, str) else bytes(data)

    def _decode(self, stream: IO[Any] | None, chunks: Mapping[IO[Any], list[bytes]]) -> Output:
        if stream is None or stream not in chunks:
            return None
        data = b"".join(chunks[stream])
        if not self._encoding:
            return data
        return data.decode(self._encoding, self._errors or "strict").replace("\r\n", "\n")


class _Streams:
    """The three descriptors to pass on, and our ends of the pipes among them."""

    def __init__(self, *streams: Stream) -> None:
        self.theirs: list[int] = []
        self._ours: dict[int, int] = {}
        self._close: list[int] = []
        try:
            for number, stream in enumerate(streams):
                self.theirs.append(self._descriptor(number, stream))
        except BaseException:
            self.__exit__()
            raise

    def _descriptor(self, number: int, stream: Stream) -> int:
        if stream is None:
            return number
        if stream == subprocess.PIPE:
            read, write = os.pipe()
            theirs, ours = (read, write) if number == 0 else (write, read)
            self._ours[number] = ours
            self._close.append(theirs)
            return theirs
        if stream == subprocess.DEVNULL:
            self._close.append(os.open(os.devnull, os.O_RDWR))
            return self._close[-1]
        if stream == subprocess.STDOUT:
            return self.theirs[1]
        return stream if isinstance(stream, int) else stream.fileno()

    def take(self, number: int) -> int | None:
        """Our end of the pipe for this stream, which is then the caller's to close."""
        return self._ours.pop(number, None)

    def __enter__(self) -> _Streams:
        return self

    def __exit__(self, *exception: object) -> None:
        for descriptor in (*self._close, *self._ours.values()):
            os.close(descriptor)


def _write_some(descriptor: int, data: bytes) -> bytes:
    """Write what fits; returns what is left, nothing where nobody reads any more."""
    try:
        return data[os.write(descriptor, data[: 1 << 16]) :]
    except BlockingIOError:
        return data
    except BrokenPipeError:
        return b""


def _pid_here(handle: int) -> int:
    """The PID behind a PID descriptor, in this process's PID namespace (proc_pid_fdinfo(5)); -1 where it has none."""
    for line in Path(f"/proc/self/fdinfo/{handle}").read_text().splitlines():
        if line.startswith("Pid:"):
            return int(line.split()[1])
    return -1
