"""A node's sockets are ordinary sockets, for whoever has them: this thread, another, an event loop, a forked child."""

from __future__ import annotations

import asyncio
import os
import socket
import struct
import threading
from collections.abc import Callable
from ipaddress import ip_address
from typing import Any

import pytest

from tests.support.labs import PAIR, eventually, pair, run_program
from wanlab import Lab, LabEnded, LabNode, NoSuchLab

UDP = socket.SOCK_DGRAM


def test_a_datagram_gets_there_and_the_answer_back(lab: Lab) -> None:
    with lab["coordinator"].socket(type=UDP) as server, lab["alice"].socket(type=UDP) as client:
        server.bind(("172.16.0.100", 9000))
        server.settimeout(10)
        client.settimeout(10)
        client.sendto(b"hello", ("172.16.0.100", 9000))
        data, seen = server.recvfrom(100)
        assert data == b"hello"
        assert seen[0] == "172.16.0.1"  # the router's public address, as the article's netcat shows
        server.sendto(b"hello back", seen)
        assert client.recvfrom(100) == (b"hello back", ("172.16.0.100", 9000))


def test_a_stream_carries_a_megabyte_each_way(lab: Lab) -> None:
    data = os.urandom(1 << 20)
    with lab["coordinator"].socket() as server, lab["bob"].socket() as client:
        server.bind(("", 9000))
        server.listen()
        client.connect((str(lab["coordinator"].address), 9000))
        connection, _ = server.accept()
        with connection:
            sender = threading.Thread(target=connection.sendall, args=(data,))
            sender.start()
            threading.Thread(target=client.sendall, args=(data,)).start()
            assert _read(client, len(data)) == data
            assert _read(connection, len(data)) == data
            sender.join()


def _read(connection: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        data += connection.recv(1 << 16)
    return data


def test_a_raw_socket_pings(lab: Lab) -> None:
    packet = struct.pack("!BBHHH", 8, 0, 0, 77, 1)
    packet = packet[:2] + struct.pack("!H", 0xFFFF - sum(struct.unpack("!4H", packet))) + packet[4:]
    with lab["alice"].socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as raw:
        raw.settimeout(10)
        raw.sendto(packet, ("172.16.0.100", 0))
        answer, sender = raw.recvfrom(100)
        assert sender[0] == "172.16.0.100"
        assert struct.unpack("!BBHHH", answer[20:28])[3:] == (77, 1)


def test_a_packet_socket_sees_frames_of_its_node(lab: Lab) -> None:
    every = socket.htons(3)
    with lab["coordinator"].socket(socket.AF_PACKET, socket.SOCK_RAW, every) as packets:
        packets.bind(("eth0", 0))
        packets.settimeout(10)
        with lab["alice"].socket(type=UDP) as client:
            client.sendto(b"find this", ("172.16.0.100", 9))
            assert eventually(lambda: b"find this" in packets.recv(2000))


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_RAW])
def test_a_socket_knows_what_it_is(alice: LabNode, family: socket.AddressFamily, kind: socket.SocketKind) -> None:
    protocol = {socket.SOCK_STREAM: socket.IPPROTO_TCP, socket.SOCK_DGRAM: socket.IPPROTO_UDP}.get(kind, 1)
    with alice.socket(family, kind, protocol) as made:
        assert (made.family, made.type, made.proto) == (family, kind, protocol)
        assert made.gettimeout() is None
        assert made.getblocking()
        assert not made.get_inheritable()


def test_a_socket_takes_the_programs_default_timeout(alice: LabNode) -> None:
    socket.setdefaulttimeout(0.05)
    try:
        with alice.socket(type=UDP) as made, pytest.raises(TimeoutError):
            made.recv(1)
    finally:
        socket.setdefaulttimeout(None)


@pytest.mark.parametrize("wrong", [(2, 1, 250), (2, 77, 0), (250, 1, 0), (-1, -1, -1)])
def test_a_socket_that_cannot_be_is_the_oserror_that_socket_raises(alice: LabNode, wrong: tuple[int, int, int]) -> None:
    with pytest.raises(OSError) as local:
        socket.socket(wrong[0] if wrong[0] >= 0 else 99, *wrong[1:])
    with pytest.raises(OSError) as caught:
        alice.socket(wrong[0] if wrong[0] >= 0 else 99, *wrong[1:])
    assert type(caught.value) is type(local.value)
    assert (caught.value.errno, caught.value.strerror) == (local.value.errno, local.value.strerror)


def test_more_sockets_than_the_program_may_open_is_the_usual_error() -> None:
    run_program(
        PAIR
        + """
import errno, resource
with Lab(pair()) as lab:
    sockets = []
    lab["left"].run(["true"])
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    try:
        while len(sockets) < 100:
            sockets.append(lab["left"].socket())
    except OSError as error:
        assert error.errno == errno.EMFILE, repr(error)
    else:
        raise SystemExit("no error")
    sockets.clear()
    lab["left"].socket().close()
"""
    )


def test_a_socket_of_one_node_is_not_reached_by_the_loopback_of_another(lab: Lab) -> None:
    with lab["alice"].socket() as server, lab["bob"].socket() as client, lab["alice"].socket() as neighbour:
        server.bind(("127.0.0.1", 9000))
        server.listen()
        neighbour.connect(("127.0.0.1", 9000))
        with pytest.raises(ConnectionRefusedError):
            client.connect(("127.0.0.1", 9000))


async def test_an_event_loop_serves_and_connects_in_nodes() -> None:
    async def shout(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write((await reader.readline()).upper())
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    loop = asyncio.get_running_loop()
    async with Lab(pair()) as lab:
        listening = lab["right"].socket()
        listening.bind(("5.5.5.2", 80))
        server = await asyncio.start_server(shout, sock=listening)
        async with server:
            for n in range(10):
                connection = lab["left"].socket()
                connection.setblocking(False)
                await loop.sock_connect(connection, ("5.5.5.2", 80))
                reader, writer = await asyncio.open_connection(sock=connection)
                writer.write(b"hello %d\n" % n)
                assert await reader.read() == b"HELLO %d\n" % n
                writer.close()
                await writer.wait_closed()


async def test_datagram_endpoints_work_on_sockets_of_nodes() -> None:
    arrived: asyncio.Queue[tuple[bytes, Any]] = asyncio.Queue()

    class Listener(asyncio.DatagramProtocol):
        def datagram_received(self, data: bytes, addr: Any) -> None:
            arrived.put_nowait((data, addr))

    loop = asyncio.get_running_loop()
    async with Lab(pair()) as lab:
        receiving, sending = lab["right"].socket(type=UDP), lab["left"].socket(type=UDP)
        receiving.bind(("5.5.5.2", 53))
        sending.bind(("5.5.5.1", 5353))
        server, _ = await loop.create_datagram_endpoint(Listener, sock=receiving)
        client, _ = await loop.create_datagram_endpoint(asyncio.DatagramProtocol, sock=sending)
        client.sendto(b"question", ("5.5.5.2", 53))
        assert await asyncio.wait_for(arrived.get(), 10) == (b"question", ("5.5.5.1", 5353))
        server.close()
        client.close()


def test_twenty_threads_run_programs_and_open_sockets_at_once(lab: Lab) -> None:
    names = [node.name for node in lab.nodes]
    problems: list[Any] = []

    def work(number: int) -> None:
        try:
            node = lab[names[number % len(names)]]
            for turn in range(5):
                word = f"{number}/{turn}"
                out = node.run(["sh", "-c", "hostname; cat"], input=word, capture_output=True, text=True).stdout
                assert out == f"{node.name}\n{word}"
                with node.socket(type=UDP) as made:
                    made.bind(("127.0.0.1", 20000 + number))
                    made.sendto(word.encode(), made.getsockname())
                    made.settimeout(10)
                    assert made.recv(100) == word.encode()
        except BaseException as error:
            problems.append(error)

    _in_threads(20, work)
    assert problems == []


def test_threads_may_each_have_a_lab() -> None:
    problems: list[Any] = []

    def work(number: int) -> None:
        try:
            for _ in range(3):
                with Lab(pair()) as lab:
                    assert lab["left"].run(["hostname"], capture_output=True).stdout == b"left\n"
        except BaseException as error:
            problems.append(error)

    _in_threads(6, work)
    assert problems == []


def _in_threads(count: int, work: Callable[[int], None]) -> None:
    threads = [threading.Thread(target=work, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()


def test_a_program_with_threads_can_make_its_first_lab() -> None:
    run_program(
        PAIR
        + """
import threading
stop = threading.Event()
threads = [threading.Thread(target=stop.wait) for _ in range(10)]
for thread in threads: thread.start()
with Lab(pair()) as lab:
    lab["left"].run(["ping", "-c1", "-W5", "5.5.5.2"], check=True, capture_output=True)
stop.set()
"""
    )


def test_a_forked_child_uses_the_lab_and_does_not_end_it() -> None:
    run_program(
        PAIR
        + """
import os, sys
def forked(work):
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            work()
            code = 0
        finally:
            sys.stderr.flush()
            os._exit(code)
    assert os.waitpid(pid, 0)[1] == 0
def use():
    assert lab["left"].run(["hostname"], capture_output=True).stdout == b"left\\n"
    lab["left"].socket().close()
def own():
    with Lab(pair()) as mine:
        assert mine.name != lab.name
        assert mine["left"].run(["hostname"], capture_output=True).stdout == b"left\\n"
try:
    with Lab(pair()) as lab:
        forked(use)
        forked(own)
        pid = os.fork()
        if pid == 0:
            raise SystemExit(0)          # leaves the `with` in the child, as multiprocessing's children can
        assert os.waitpid(pid, 0)[1] == 0
        use()
finally:
    pass
"""
    )


def test_a_lab_ends_with_its_program_though_a_forked_child_lives_on() -> None:
    run_program(
        PAIR
        + """
import os, signal, time
from pathlib import Path
read, write = os.pipe()
pid = os.fork()
if pid == 0:
    lab = Lab(pair()).up()
    child = os.fork()
    if child == 0:
        os.close(write)
        time.sleep(50)
        os._exit(0)
    os.write(write, b"%d %d" % (lab.pid, child))
    time.sleep(50)
    os._exit(1)
holder, child = map(int, os.read(read, 100).split())
os.kill(pid, signal.SIGKILL)
os.waitpid(pid, 0)
deadline = time.monotonic() + 15
try:
    while Path(f"/proc/{holder}").exists():
        assert time.monotonic() < deadline, "the lab lives on"
        time.sleep(0.01)
finally:
    os.kill(child, signal.SIGKILL)
"""
    )


def test_a_socket_outlives_its_lab_and_reaches_nobody() -> None:
    with Lab(pair()) as lab:
        client = lab["left"].socket(type=UDP)
        server = lab["right"].socket(type=UDP)
        server.bind(("5.5.5.2", 9000))
        client.sendto(b"a", ("5.5.5.2", 9000))
        server.settimeout(10)
        assert server.recv(10) == b"a"
    with client, server:
        # These sockets keep the namespaces of their nodes; the cables end in that of the switch, which goes.
        server.settimeout(0.05)
        eventually(lambda: _is_cut(client, server))


def _is_cut(client: socket.socket, server: socket.socket) -> bool:
    try:
        client.sendto(b"b", ("5.5.5.2", 9000))
        server.recv(10)
    except OSError:
        return True
    return False


def test_a_lab_that_was_killed_says_so_when_used() -> None:
    with Lab(pair()) as lab:
        os.kill(lab.pid, 9)
        eventually(lambda: not os.path.exists(f"/proc/{lab.pid}"))
        with pytest.raises((NoSuchLab, LabEnded)) as caught:
            lab["left"].socket()
        assert "pair" in str(caught.value) or "ended" in str(caught.value)
        with pytest.raises((NoSuchLab, LabEnded)):
            lab["left"].run(["true"])


def test_addresses_are_address_objects(lab: Lab) -> None:
    assert lab["coordinator"].address == ip_address("172.16.0.100")
    assert lab["home-a"].address == lab["home-a"].wan.address == ip_address("172.16.0.1")
    assert lab["home-a"].lan.address == ip_address("10.1.0.254")
    assert [interface.name for interface in lab["alice"].interfaces] == ["eth0"]
