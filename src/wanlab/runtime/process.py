"""`Process`: a program that runs in a node, as `subprocess.Popen` is one that runs here."""

from __future__ import annotations

import contextlib
import os
import resource
import select
import selectors
import signal
import subprocess
import threading
import time
import weakref
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, TypeAlias, TypedDict, Unpack

from wanlab.errors import CommandNotFound, LabEnded
from wanlab.runtime.connection import Connection
from wanlab.runtime.record import Record
from wanlab.runtime.streams import Stream, Streams

Arguments: TypeAlias = Sequence[str | os.PathLike[str]]
"""A program and its arguments."""

Output: TypeAlias = Any
"""bytes, or str in text mode, or None for a stream that is not captured; as with `subprocess`, the call decides."""


class ProcessOptions(TypedDict, total=False):
    """How a program is started: what `subprocess.Popen` calls so, and `terminal`."""

    stdin: Stream
    stdout: Stream
    stderr: Stream
    env: Mapping[str, str] | None
    """Its environment; left out or None: this program's own. `WANLAB_NODE` is added."""
    cwd: str | os.PathLike[str] | None
    text: bool
    encoding: str | None
    errors: str | None
    terminal: bool
    """Its stdin is a terminal, which becomes its controlling one."""


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
        **options: Unpack[ProcessOptions],
    ) -> None:
        self.args = args
        self.stdin: IO[Any] | None = None
        self.stdout: IO[Any] | None = None
        self.stderr: IO[Any] | None = None
        self.returncode: int | None = None
        self.ended_with_lab = False
        """Whether it was the end of its lab that ended it, as far as anybody has asked."""
        self._connection = connection
        self._lock = threading.Lock()
        self._errors = options.get("errors")
        self._encoding = options.get("encoding") or ("utf-8" if options.get("text") or self._errors else None)
        self._pending: memoryview | None = None
        """What `communicate` has yet to write; None before it is called."""
        self._chunks: dict[IO[Any], list[bytes]] = {}
        """What `communicate` has read: it may be called again after a timeout."""
        cwd = options.get("cwd")
        try:
            argv = _argv(args)
            self.record = Record(node, tuple(argv))
            """What is left of it when this object has gone."""
            request = {
                "verb": "spawn",
                "node": node,
                "argv": argv,
                "environment": _environment(options.get("env"), node),
                "directory": os.fspath(cwd) if cwd is not None else str(Path.cwd()),
                "terminal": options.get("terminal", False),
                "umask": _umask(),
                "open_files": resource.getrlimit(resource.RLIMIT_NOFILE),
            }
            with Streams(options.get("stdin"), options.get("stdout"), options.get("stderr")) as streams:
                _, handles = connection.ask(request, streams.theirs)
                self._handle = handles[0]
                # As long as this object, not as the program: who watches the descriptor must be able to let go of it.
                weakref.finalize(self, os.close, self._handle)
                self.stdin = self._file(streams.take(0), "w")
                self.stdout = self._file(streams.take(1), "r")
                self.stderr = self._file(streams.take(2), "r")
        except BaseException as error:
            if isinstance(error, CommandNotFound):
                error.filename = os.fsdecode(args[0])
            connection.close()
            raise
        self.pid = _pid_here(self._handle)
        """Its PID as the machine sees it (inside the lab it has another one)."""
        self.record.pid = self.pid

    def _file(self, descriptor: int | None, mode: str) -> IO[Any] | None:
        if descriptor is None:
            return None
        if self._encoding:
            return open(descriptor, mode, encoding=self._encoding, errors=self._errors)
        return open(descriptor, mode + "b")

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *exception: object) -> None:
        try:
            self._close_streams()
        finally:
            self.wait()

    def fileno(self) -> int:
        """A descriptor that becomes readable when the program ends; `poll` knows the status then."""
        return self._handle

    def poll(self) -> int | None:
        """The exit status if it has ended, else None. Never waits, whatever other threads do."""
        if self._lock.acquire(blocking=False):
            with _released(self._lock):
                if self.returncode is None and _is_readable(self._handle):
                    self._hear(None)  # it has ended, so the holder is about to say how
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end; the exit status, or minus the signal. Raises subprocess.TimeoutExpired."""
        deadline = None if timeout is None else time.monotonic() + timeout
        if not self._lock.acquire(timeout=-1 if timeout is None else max(0.0, timeout)):
            raise subprocess.TimeoutExpired(self.args, timeout or 0)
        with _released(self._lock):
            if self.returncode is None:
                try:
                    self._hear(None if deadline is None else deadline - time.monotonic())
                except TimeoutError:
                    raise subprocess.TimeoutExpired(self.args, timeout or 0) from None
            assert self.returncode is not None
            return self.returncode

    def _hear(self, seconds: float | None) -> None:
        """Have the holder tell the exit status. Raises TimeoutError."""
        # Zero would make the socket non-blocking, which is what a poll wants, but with another exception.
        self._connection.set_timeout(None if seconds is None else max(seconds, 1e-6))
        try:
            self.returncode = int(self._connection.hear()[0]["exit"])
        except LabEnded:
            self.returncode = -signal.SIGKILL  # the kernel ended it with the lab
            self.ended_with_lab = True
        self.record.returncode = self.returncode
        self._connection.close()

    def send_signal(self, number: int) -> None:
        """Send it a signal; nothing happens where it has ended."""
        if self.returncode is None:
            self._connection.tell({"verb": "signal", "signal": int(number)})

    def send_signal_to_group(self, number: int) -> None:
        """Send a signal to its process group, as a terminal does: to it and what it started."""
        if self.returncode is None:
            self._connection.tell({"verb": "signal", "signal": int(number), "group": True})

    def release(self) -> None:
        """Let it outlive this program, until its lab ends. How it ends is not known then."""
        if self.returncode is None:
            self._connection.tell({"verb": "release"})

    def terminate(self) -> None:
        """Ask it to end (SIGTERM)."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it (SIGKILL)."""
        self.send_signal(signal.SIGKILL)

    def communicate(self, input: Output = None, timeout: float | None = None) -> tuple[Output, Output]:
        """Write *input*, read what it writes until it ends; (stdout, stderr), None for what is no PIPE.

        Raises subprocess.TimeoutExpired; then it still runs, and a second call goes on where the first ended.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        self._begin_to_communicate(input)
        with selectors.DefaultSelector() as selector:
            for output in self._chunks:
                if not output.closed:
                    selector.register(output, selectors.EVENT_READ)
            if self.stdin is not None and not self.stdin.closed:
                selector.register(self.stdin, selectors.EVENT_WRITE)
            while selector.get_map():
                left = None if deadline is None else deadline - time.monotonic()
                if left is not None and left <= 0:
                    raise self._expired(timeout)
                for key, _ in selector.select(left):
                    stream: Any = key.fileobj
                    if stream is self.stdin:
                        self._pending = _write_some(key.fd, self._pending or memoryview(b""))
                        done = not self._pending
                    else:
                        data = os.read(key.fd, 1 << 16)
                        self._chunks[stream].append(data)
                        done = not data
                    if done:
                        selector.unregister(stream)
                        stream.close()
        try:
            self.wait(None if deadline is None else max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            raise self._expired(timeout) from None
        self._keep_output()
        return self._decode(self.stdout), self._decode(self.stderr)

    def _keep_output(self) -> None:
        self.record.set_output(b"".join(chunk for chunks in self._chunks.values() for chunk in chunks))

    def _begin_to_communicate(self, input: Output) -> None:
        if self._pending is not None:
            if input:
                raise ValueError("input cannot be given once communication has begun")
            return
        self._pending = memoryview(self._encode(input))
        self._chunks = {stream: [] for stream in (self.stdout, self.stderr) if stream is not None}
        if self.stdin is not None and not self.stdin.closed:
            # Nobody may be reading any more; that is the program's business.
            with contextlib.suppress(BrokenPipeError):
                self.stdin.flush()  # what the caller wrote before comes first
            if self._pending:
                os.set_blocking(self.stdin.fileno(), False)
            else:
                with contextlib.suppress(BrokenPipeError):
                    self.stdin.close()

    def _expired(self, timeout: float | None) -> subprocess.TimeoutExpired:
        self._keep_output()

        def so_far(stream: IO[Any] | None) -> bytes | None:
            return None if stream is None else b"".join(self._chunks[stream]) or None

        return subprocess.TimeoutExpired(self.args, timeout or 0, so_far(self.stdout), so_far(self.stderr))

    def _close_streams(self) -> None:
        """Close our ends of its pipes; what was written and nobody reads any more does not matter."""
        for stream in (self.stdout, self.stderr, self.stdin):
            if stream is not None:
                with contextlib.suppress(BrokenPipeError):
                    stream.close()

    def _encode(self, data: Output) -> bytes:
        if data is None:
            return b""
        return data.encode(self._encoding or "utf-8") if isinstance(data, str) else bytes(data)

    def _decode(self, stream: IO[Any] | None) -> Output:
        if stream is None:
            return None
        data = b"".join(self._chunks[stream])
        if not self._encoding:
            return data
        return data.decode(self._encoding, self._errors or "strict").replace("\r\n", "\n").replace("\r", "\n")


def _argv(args: Arguments) -> list[str]:
    if isinstance(args, (str, bytes)) or not args:
        raise TypeError("args is a sequence of strings; for a shell's words: ['sh', '-c', '...']")
    argv = [os.fsdecode(argument) for argument in args]
    if any("\0" in argument for argument in argv):
        raise ValueError("embedded null byte")
    return argv


def _environment(env: Mapping[str, str] | None, node: str | None) -> dict[str, str]:
    environment = dict(os.environ if env is None else env)
    # In the child it would be too late to complain: execve(2) happily takes what nobody can read back.
    if any("=" in name for name in environment):
        raise ValueError("illegal environment variable name")
    if any("\0" in name + value for name, value in environment.items()):
        raise ValueError("embedded null byte")
    if node is not None:
        environment["WANLAB_NODE"] = node
    return environment


def _umask() -> int:
    """This process's umask, without changing it under other threads as os.umask would (proc_pid_status(5))."""
    with open("/proc/self/status", "rb") as status:
        for line in status:
            if line.startswith(b"Umask:"):
                return int(line.split()[1], 8)
    return 0o022


def _is_readable(descriptor: int) -> bool:
    poll = select.poll()  # select(2) knows no descriptors from 1024 on
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(0))


@contextlib.contextmanager
def _released(lock: threading.Lock) -> Iterator[None]:
    """Release a lock that is held already."""
    try:
        yield
    finally:
        lock.release()


def _write_some(descriptor: int, data: memoryview) -> memoryview:
    """Write what fits; returns what is left, nothing where nobody reads any more."""
    try:
        return data[os.write(descriptor, data[: 1 << 16]) :]
    except BlockingIOError:
        return data
    except BrokenPipeError:
        return data[:0]


def _pid_here(handle: int) -> int:
    """The PID behind a PID descriptor, in this process's PID namespace (proc_pid_fdinfo(5)); -1 where it has none."""
    for line in Path(f"/proc/self/fdinfo/{handle}").read_text().splitlines():
        if line.startswith("Pid:"):
            return int(line.split()[1])
    return -1
