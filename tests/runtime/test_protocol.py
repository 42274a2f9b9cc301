"""What goes over a lab's socket; and what must not hurt it."""

from __future__ import annotations

import errno
import json
import os
import socket
import struct
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.labs import eventually, pair
from wanlab import CommandNotFound, KernelError, Lab, LabEnded, LabExists, MachineError, NoSuchNode, WanlabError
from wanlab.runtime.protocol import Frames, error_message, raise_if_error, receive, send


def frame(message: Any) -> bytes:
    body = json.dumps(message).encode()
    return struct.pack("!I", len(body)) + body


@given(st.lists(st.dictionaries(st.text(), st.text() | st.integers(), max_size=3), max_size=5), st.data())
def test_messages_arrive_whole_and_in_order_however_the_stream_is_cut(
    messages: list[dict[str, Any]], data: Any
) -> None:
    messages = [{key: value for key, value in message.items() if key != "descriptors"} for message in messages]
    stream = b"".join(frame(message) for message in messages)
    frames, found = Frames(), []
    while stream:
        cut = data.draw(st.integers(1, len(stream)))
        frames.feed(stream[:cut], [])
        stream = stream[cut:]
        while (got := frames.next()) is not None:
            found.append(got[0])
    assert found == messages


@pytest.mark.parametrize(
    "nonsense",
    [b"\xff\xff\xff\xff", frame([]), frame(1), struct.pack("!I", 3) + b"{{{", struct.pack("!I", 2) + b"\xff\xff",
     frame({"descriptors": "many"}), frame({"descriptors": [1]}), frame({"descriptors": None})],
)  # fmt: skip
def test_nonsense_is_a_value_error(nonsense: bytes) -> None:
    frames = Frames()
    frames.feed(nonsense, [])
    with pytest.raises(ValueError):
        frames.next()


def test_descriptors_arrive_with_the_message_they_were_sent_with() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        pipes = [os.pipe() for _ in range(3)]
        send(ours, {"n": 1}, [pipes[0][0], pipes[1][0]])
        send(ours, {"n": 2})
        send(ours, {"n": 3}, [pipes[2][0]])
        frames = Frames()
        got = [receive(theirs, frames) for _ in range(3)]
        assert [(message["n"], len(descriptors)) for message, descriptors in got] == [(1, 2), (2, 0), (3, 1)]
        flat = [descriptor for _, descriptors in got for descriptor in descriptors]
        for (read, write), arrived in zip(pipes, flat, strict=True):
            os.write(write, b"x")
            assert os.read(arrived, 1) == b"x"
            assert not os.get_inheritable(arrived)
            for descriptor in (read, write, arrived):
                os.close(descriptor)


def test_a_message_larger_than_any_buffer_arrives() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        pid = os.fork()
        if pid == 0:
            send(ours, {"big": "x" * 5_000_000})
            os._exit(0)
        assert len(receive(theirs, Frames())[0]["big"]) == 5_000_000
        os.waitpid(pid, 0)


def test_the_end_of_the_stream_is_the_end_of_the_lab() -> None:
    ours, theirs = socket.socketpair()
    ours.sendall(frame({"a": 1})[:-1])
    ours.close()
    with theirs, pytest.raises(LabEnded):
        receive(theirs, Frames())


@pytest.mark.parametrize(
    "error",
    [
        WanlabError("no"), KernelError("no", errno=17, hint="do"), CommandNotFound("x: not found", errno=errno.ENOENT),
        MachineError("no", hint="do"), LabExists("no", hint="do"), NoSuchNode("no", hint="which?"), LabEnded("no"),
        OSError(errno.EMFILE, "Too many open files"),
    ],
)  # fmt: skip
def test_an_error_arrives_as_it_was_raised(error: Exception) -> None:
    message = json.loads(json.dumps(error_message(error)))
    with pytest.raises(type(error)) as caught:
        raise_if_error(message)
    assert type(caught.value) is type(error)
    assert str(caught.value) == str(error)
    assert getattr(caught.value, "errno", None) == getattr(error, "errno", None)


NONSENSE: list[Any] = [
    b"", b"\0", b"GET / HTTP/1.1\r\n\r\n", b"\xff" * 100, frame([]), frame({}), frame({"verb": "no"}),
    frame({"verb": ["a"]}),
    frame({"verb": None}), frame({"verb": "spawn"}), frame({"verb": "socket", "node": "left"}),
    frame({"verb": "socket", "node": ["left"], "family": 2, "type": 1, "protocol": 0}),
    frame({"verb": "socket", "node": "left", "family": 1 << 70, "type": "x", "protocol": 0}),
    frame({"verb": "socket", "node": "left", "family": 2, "type": 1 << 70, "protocol": 0}),
    frame({"verb": "socket", "node": "../left", "family": 2, "type": 1, "protocol": 0}),
    frame({"verb": "signal"}), frame({"verb": "signal", "signal": 1 << 80}), frame({"verb": "info", "descriptors": 3}),
    frame({"verb": "spawn", "node": "left", "argv": [], "environment": {}, "directory": "/", "terminal": False,
           "umask": 0, "open_files": [10, 10]}),
    frame({"verb": "spawn", "node": "left", "argv": ["true"], "environment": {"a": 1}, "directory": 7, "terminal": 1,
           "umask": "x", "open_files": []}),
    frame({"verb": "no"}) + b"\0\0\0\x02{]", frame({"verb": "no"}) + frame([1]), b"\0\x01\0\0" + b"[" * 65536,
]  # fmt: skip


def test_no_nonsense_of_a_client_hurts_the_lab(runtime: Path) -> None:
    with Lab(pair(), name="tough") as lab:
        for nonsense in NONSENSE:
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(str(runtime / "tough" / "socket"))
                client.sendall(nonsense)
                client.shutdown(socket.SHUT_WR)
                client.settimeout(10)
                try:
                    while client.recv(1 << 16):
                        pass
                except ConnectionError:
                    pass
            assert lab["left"].run(["hostname"], stdout=subprocess.PIPE).stdout == b"left\n", nonsense


def test_a_silent_client_keeps_nobody_waiting(runtime: Path) -> None:
    with Lab(pair(), name="tough") as lab:
        silent = [socket.socket(socket.AF_UNIX) for _ in range(30)]
        for n, client in enumerate(silent):
            client.connect(str(runtime / "tough" / "socket"))
            client.sendall(b"\0\0\0\x10{" if n % 2 else b"")
        assert lab["left"].run(["true"], timeout=4).returncode == 0
        for client in silent:
            client.close()


def test_a_client_that_goes_before_its_answer_leaves_no_program_behind(runtime: Path) -> None:
    with Lab(pair(), name="tough") as lab:
        for _ in range(20):
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(str(runtime / "tough" / "socket"))
                request = {
                    "verb": "spawn", "node": "left", "argv": ["sleep", "777"], "directory": "/", "terminal": False,
                    "environment": {"PATH": os.environ["PATH"]}, "umask": 18, "open_files": [256, 256],
                }  # fmt: skip
                null = os.open(os.devnull, os.O_RDWR)
                send(client, request, [null] * 3)
                os.close(null)

        def gone() -> bool:
            seen = lab["right"].run(["ps", "-eo", "args="], stdout=subprocess.PIPE, text=True).stdout
            return "sleep 777" not in seen

        eventually(gone)
