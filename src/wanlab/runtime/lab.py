"""`Lab`: a topology that is up, and its nodes."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import itertools
import os
import socket
import subprocess
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from wanlab.errors import KernelError, LabExists, UsageError, WanlabError
from wanlab.kernel.means import means_wanted
from wanlab.plan.compile import compile_network
from wanlab.plan.steps import Step, encode
from wanlab.runtime.changes import Changing, described, description
from wanlab.runtime.connection import Connection, connect, default_lab, forge, wait_until_cleared
from wanlab.runtime.counters import Counters
from wanlab.runtime.directory import check_lab_name, runtime_directory
from wanlab.runtime.faults import faults
from wanlab.runtime.process import Arguments, Output, Process, ProcessOptions
from wanlab.runtime.record import Log, Record
from wanlab.runtime.server import Ready, Server, start, stop_all
from wanlab.runtime.threads import in_thread
from wanlab.topology.edits import Link, Plug
from wanlab.topology.network import Interface, IPAddress, Kind, LinkState, Network, Node, Route
from wanlab.topology.topology import Topology

if TYPE_CHECKING:
    from wanlab.capture.capture import Capture
    from wanlab.measure.mappings import LiveMapping
    from wanlab.measure.verify import Report
    from wanlab.trace.trace import Trace

Progress = Callable[[int, int], None]
"""Told how many of how many steps are done, on large labs."""

_numbers = itertools.count(1)

_MOST_RECORDS = 200  # of programs that ran in a lab; a loop that starts thousands is not to fill the memory


class Lab(Changing):
    """A lab. As a context manager it is up inside the `with` and gone after it::

        with Lab("two-lans") as lab:
            lab["alice"].run(["ping", "-c1", "172.16.0.100"], check=True)

    *lab* is a catalogue name, a file, or a :class:`Topology`. Whatever ends the program ends the lab too, SIGKILL
    included. *name* is what `wanlab ls` shows; chosen if left out, so that labs never clash. Its methods may be called
    from any thread; `async with` works as well. *count_rules*: each rule of its routers that decides has a counter,
    for those who look at them (`nft list ruleset`). *impairment*: "netem" or "wire", what impairs links; chosen by what
    the kernel can where it is left out, and the environment does not say (`WANLAB_IMPAIRMENT`).
    """

    def __init__(
        self,
        lab: str | Path | Topology,
        *,
        name: str | None = None,
        count_rules: bool = False,
        impairment: str | None = None,
    ) -> None:
        self.topology = lab if isinstance(lab, Topology) else Topology.load(lab)
        self.network = self.topology.resolve()
        if name is not None:
            check_lab_name(name)
        self._name = name
        self._count_rules = count_rules
        self._impairment = means_wanted(impairment)
        self._directory: Path | None = None
        self._owner: Connection | None = None
        self._nodes: dict[str, LabNode] = {}
        self._processes: list[Process] = []
        self._processes_lock = threading.Lock()
        self._many_processes = 16
        self._records: deque[Record] = deque(maxlen=_MOST_RECORDS)
        self._servers: list[Server] = []
        self._on_death: list[Callable[[Server], None]] = []
        self._process = os.getpid()
        """Whose lab it is: a forked child may use it, and does not end it."""
        self._attached = False
        self._version = 0
        self._changing = threading.RLock()
        self.pid = 0
        """The PID of the process that holds the lab, while it is up."""

    @classmethod
    def attach(cls, name: str | None = None) -> Lab:
        """A lab that is up already: the one of that name, or that this program runs in, or the only one.

        Closing it leaves the lab up. Raises NoSuchLab.
        """
        directory = runtime_directory()
        name = name or default_lab(directory)
        connection = connect(directory, name)
        try:
            info, _ = connection.ask({"verb": "info"})
        finally:
            connection.close()
        lab = cls(described(info), name=name)
        lab._directory = directory
        lab._attached = True
        lab.pid = info["pid"]
        lab._version = info["version"]
        return lab

    @property
    def name(self) -> str:
        """What `wanlab ls` calls it."""
        return self._name or self.network.name

    # -- up and down ---------------------------------------------------------------------------------------------

    def up(self, *, detach: bool = False, progress: Progress | None = None) -> Lab:
        """Build the lab. With *detach* it stays up after this program, until `down`.

        Raises LabExists, MachineError, KernelError; then nothing is left of it.
        """
        if self._directory is not None:
            raise UsageError(f"lab {self.name!r} is up already")
        directory = runtime_directory()
        plan = compile_network(self.network)
        order = {
            **description(self.topology),
            "hosts": plan.hosts,
            "steps": encode(self._counted(plan.steps)),
            "impairment": self._impairment,
        }
        while True:
            # A name of our own choice is never an obstacle: another process may have chosen the same one.
            name = self._name or f"{self.network.name}.{os.getpid()}-{next(_numbers)}"
            owner = forge.order(directory, name)
            try:
                self._build(owner, order, progress)
                break
            except LabExists:
                owner.close()
                if self._name:
                    raise
            except (WanlabError, OSError) as error:
                owner.wait_for_end()  # until nothing is left of it
                owner.close()
                if isinstance(error, OSError):
                    raise KernelError(f"making lab {name!r}: {error.strerror}", errno=error.errno or 0) from None
                raise
            except BaseException:
                owner.close()
                raise
        self._name = name
        self._directory = directory
        self._owner = owner
        if detach:
            self.detach()
        return self

    def detach(self) -> None:
        """Let go of the lab: it stays up after this program, until `down`."""
        if self._owner is not None:
            self._owner.ask({"verb": "detach"})
            self._owner.close()
            self._owner = None

    def _build(self, owner: Connection, order: Mapping[str, Any], progress: Progress | None) -> None:
        message, _ = owner.ask(dict(order))
        while "up" not in message:
            if progress is not None:
                progress(message["progress"], message["of"])
            message, _ = owner.hear()
        self.pid = message["pid"]

    def down(self) -> None:
        """Take the lab down; returns when its processes, namespaces and socket are gone.

        The servers that it was told to `serve` are stopped first.
        """
        if self._directory is None or (self._owner is not None and self._process != os.getpid()):
            return
        try:
            stop_all(self._servers)
        finally:
            self._end()

    def _end(self) -> None:
        assert self._directory is not None
        directory, self._directory = self._directory, None
        self.pid = 0
        if self._owner is not None:
            self._owner.wait_for_end()
            self._owner.close()
            self._owner = None
        else:
            connection = connect(directory, self.name)
            connection.ask({"verb": "down"})
            connection.close()
            if not wait_until_cleared(directory, self.name):
                raise KernelError(f"lab {self.name!r} does not end")
        with self._processes_lock:
            ended, self._processes = self._processes, []
        for process in ended if self._process == os.getpid() else ():
            process.wait()

    def __enter__(self) -> Lab:
        return self if self._attached else self.up()

    def __exit__(self, *exception: object) -> None:
        if not self._attached:
            self.down()

    async def __aenter__(self) -> Lab:
        rising = asyncio.ensure_future(in_thread(self.__enter__))
        try:
            return await asyncio.shield(rising)
        except asyncio.CancelledError:
            # It comes up all the same: let it, to take it down again.
            with contextlib.suppress(WanlabError):
                await rising
                await in_thread(self.__exit__)
            raise

    async def __aexit__(self, *exception: object) -> None:
        await in_thread(self.__exit__)

    # -- what is in it -------------------------------------------------------------------------------------------

    @property
    def nodes(self) -> tuple[LabNode, ...]:
        """All nodes: switches, routers, hosts."""
        return tuple(self[node.name] for node in self.network)

    def __getitem__(self, name: str) -> LabNode:
        """The node called *name*. Raises NoSuchNode (a KeyError)."""
        node = self._nodes.get(name)
        if node is None:
            node = self._nodes.setdefault(name, LabNode(self, self.network[name]))
        return node

    def __iter__(self) -> Iterator[LabNode]:
        return iter(self.nodes)

    def __contains__(self, name: object) -> bool:
        return name in self.network.nodes

    @property
    def records(self) -> tuple[Record, ...]:
        """The programs that this object has run in the lab, the last of them where they are many."""
        return tuple(self._records)

    @property
    def servers(self) -> tuple[Server, ...]:
        """What was started by `serve`, in that order, also what has ended."""
        return tuple(self._servers)

    def watch_servers(self, died: Callable[[Server], None]) -> None:
        """Have *died* called as soon as a server started from now on ends by itself; in a thread of its own."""
        self._on_death.append(died)

    def counters(self) -> tuple[Counters, ...]:
        """How much each interface has sent and received, and what was dropped, by cause."""
        return tuple(Counters(*row) for row in self._ask("counters")["counters"])

    def impairment_faults(self) -> dict[tuple[str, str], str]:
        """The interfaces, by node and name, that are to be impaired and are not as they should be, and what they do.

        A program in a node may have taken away what impairs its links; `reboot` puts it back.
        """
        return faults(self.network, self._ask("impaired"))

    def verify(self) -> Report:
        """Prove by packets that the lab is what its topology says. See :mod:`wanlab.measure.verify`."""
        from wanlab.measure.verify import verify

        return verify(self)

    def capture(self, *ends: str, filter: str = "", snap_bytes: int = 65535, most_bytes: int = 64 << 20) -> Capture:
        """Keep the packets that pass from now on at these nodes or interfaces (`home-a:wan`), or everywhere.

        *filter*: which, in tcpdump's words. To be used in a `with`; then see the Capture's `packets` and `write`.
        Raises NoSuchNode, UsageError.
        """
        from wanlab.capture.capture import Capture

        return Capture(self, ends or None, filter=filter, snap_bytes=snap_bytes, most_bytes=most_bytes)

    def trace(self, *senders: str, filter: str = "") -> Trace:
        """Follow the packets that are sent from now on, by these nodes or by all, and tell what became of each.

        *filter*: which, in tcpdump's words. To be used in a `with`; after it see `stories`. Raises NoSuchNode,
        UsageError, MachineError.
        """
        from wanlab.trace.trace import Trace

        return Trace(self, senders=senders, filter=filter)

    def shell(self, args: Arguments, **options: Unpack[ProcessOptions]) -> Process:
        """Start a program of no node, in a view where `ip netns exec alice ...` reaches the nodes."""
        process = Process(self._connect(), None, args, **options)
        self._keep(process)
        return process

    @contextlib.contextmanager
    def added(self, steps: Sequence[Step]) -> Iterator[None]:
        """Take further *steps*; the nodes, cables, bridges and addresses that they add go at the end of the `with`.

        And with this program, however it ends. Raises KernelError; then nothing of them is left.
        """
        connection = self._connect()
        try:
            connection.ask({"verb": "execute", "steps": encode(steps)})
            yield
        finally:
            connection.wait_for_end()  # until all of it has gone
            connection.close()

    def sockets(
        self, nodes: Sequence[str], family: int = socket.AF_INET, type: int = socket.SOCK_STREAM, proto: int = 0
    ) -> list[socket.socket]:
        """A socket of each of these nodes, for less than they cost one by one. Raises as `socket`; then there is none.

        A node may be in it several times.
        """
        made: list[socket.socket] = []
        connection = self._connect()
        try:
            for node in nodes:
                _, descriptors = connection.ask(
                    {"verb": "socket", "node": node, "family": int(family), "type": int(type), "protocol": proto}
                )
                made.append(socket.socket(fileno=descriptors[0]))
        except BaseException:
            for each in made:
                each.close()
            raise
        finally:
            connection.close()
        return made

    def socket(
        self, node: str, family: int = socket.AF_INET, type: int = socket.SOCK_STREAM, proto: int = 0
    ) -> socket.socket:
        """A socket of any node, also of one that was :meth:`added`. See :meth:`LabNode.socket`."""
        return self.sockets([node], family, type, proto)[0]

    def watch(self) -> Connection:
        """A connection that can be read when the lab has ended, to be closed by the caller. Raises NoSuchLab."""
        return self._connect()

    def _became(self, topology: Topology, network: Network) -> None:
        self.topology, self.network = topology, network
        self._nodes.clear()

    def _connect(self) -> Connection:
        if self._directory is None:
            raise UsageError(f"lab {self.network.name!r} is not up", hint="use it inside `with Lab(...) as lab:`")
        return connect(self._directory, self.name)

    def _keep(self, process: Process) -> None:
        """Hold on to a process, since what nobody holds on to is closed, and closing ends it."""
        with self._processes_lock:
            self._processes = [known for known in self._processes if known.returncode is None]
            if len(self._processes) >= self._many_processes:  # now and then: asking each one takes a system call
                self._processes = [known for known in self._processes if known.poll() is None]
                self._many_processes = 2 * len(self._processes) + 16
            self._processes.append(process)
            self._records.append(process.record)

    def _keep_server(self, server: Server) -> None:
        self._servers.append(server)
        for died in self._on_death:
            server.watch(died)


class LabNode:
    """A node of a lab that is up: what it is, and what can be done in it."""

    def __init__(self, lab: Lab, node: Node) -> None:
        self._lab = lab
        self._node = node

    def __repr__(self) -> str:
        return f"<{self.kind.value} {self.name!r} of lab {self._lab.name!r}>"

    @property
    def name(self) -> str:
        """Its name."""
        return self._node.name

    @property
    def kind(self) -> Kind:
        """Host, router or switch."""
        return self._node.kind

    @property
    def address(self) -> IPAddress:
        """The address its name stands for: a router's on its uplink, else that of the first interface that has one."""
        return self._node.address

    @property
    def interfaces(self) -> tuple[Interface, ...]:
        """All interfaces but `lo`."""
        return self._node.interfaces

    @property
    def routes(self) -> tuple[Route, ...]:
        """Its routes, but those that its addresses bring."""
        return self._node.routes

    @property
    def wan(self) -> Interface:
        """A router's interface to its uplink. Raises LookupError where there is none."""
        return self._node.interface(self._node.uplink or "wan")

    @property
    def lan(self) -> Interface:
        """A router's interface to its own LAN. Raises LookupError where there is none."""
        return self._node.interface("lan")

    def interface(self, name: str) -> Interface:
        """The interface called *name*. Raises LookupError where there is none."""
        return self._node.interface(name)

    # -- its links -----------------------------------------------------------------------------------------------

    def link_down(self, interface: str | None = None) -> tuple[Step, ...]:
        """Switch an interface off: its routes go, and the other end of its cable loses its carrier. See `Lab.apply`.

        Which one must be said where there are several; of a router it is the uplink where nothing is. A port of a
        switch can be named too. Raises UsageError, KernelError.
        """
        return self._link(interface, LinkState.DOWN)

    def link_up(self, interface: str | None = None) -> tuple[Step, ...]:
        """Switch an interface on again, or plug its cable in again: as it was."""
        return self._link(interface, LinkState.UP)

    def unplug(self, interface: str | None = None) -> tuple[Step, ...]:
        """Take the cable out: the interface has no carrier, and keeps its addresses and routes."""
        return self._link(interface, LinkState.UNPLUGGED)

    def plug(
        self, into: str | None = None, interface: str | None = None, *, address: str | Sequence[str] | None = None
    ) -> tuple[Step, ...]:
        """Plug an interface in again: where it was, or *into* another switch or router, with another address there.

        The interface is the same one all along. *address* is chosen where it is not given. Raises TopologyError for
        what it cannot be plugged into, UsageError, KernelError.
        """
        return self._lab.edit(Plug(self._place(interface), into, address))

    def _link(self, interface: str | None, state: LinkState) -> tuple[Step, ...]:
        return self._lab.edit(Link((self._place(interface),), state))

    def _place(self, interface: str | None) -> str:
        return self.name if interface is None else f"{self.name}:{interface}"

    # -- sockets and programs ------------------------------------------------------------------------------------

    def socket(self, family: int = socket.AF_INET, type: int = socket.SOCK_STREAM, proto: int = 0) -> socket.socket:
        """An ordinary socket that lives in this node: bind, connect and use it from here, also with asyncio.

        Raw and packet sockets too. Raises NoSuchLab or LabEnded where the lab has gone, OSError as `socket.socket`.
        """
        return self._lab.socket(self.name, family, type, proto)

    def popen(self, args: Arguments, **options: Unpack[ProcessOptions]) -> Process:
        """Start a program in this node, as `subprocess.Popen` would here; it ends with this program or the lab.

        Raises CommandNotFound (an OSError).
        """
        process = Process(self._lab._connect(), self.name, args, **options)
        self._lab._keep(process)
        return process

    def peek(self, args: Arguments, **options: Unpack[ProcessOptions]) -> Process:
        """`popen` for a program that only looks: it is not among `Lab.records`, and ends when it is closed."""
        return Process(self._lab._connect(), self.name, args, **options)

    def mappings(self) -> tuple[LiveMapping, ...]:
        """What this router's NAT remembers now, as `wanlab nat --mappings` shows it.

        Empty for what does not translate. Raises KernelError where the node cannot be looked at.
        """
        from wanlab.measure.mappings import mappings

        return mappings(self._lab, [self.name])

    def run(
        self,
        args: Arguments,
        *,
        input: Output = None,
        capture_output: bool = False,
        timeout: float | None = None,
        check: bool = False,
        **options: Unpack[ProcessOptions],
    ) -> subprocess.CompletedProcess[Any]:
        """Run a program in this node to its end, as `subprocess.run` would here; *options* are those of `popen`.

        Raises subprocess.TimeoutExpired (the program is killed first), subprocess.CalledProcessError with *check*,
        CommandNotFound.
        """
        return self._run(
            args,
            lambda process: None,
            input=input,
            capture_output=capture_output,
            timeout=timeout,
            check=check,
            **options,
        )

    def _run(
        self,
        args: Arguments,
        started: Callable[[Process], None],
        *,
        input: Output = None,
        capture_output: bool = False,
        timeout: float | None = None,
        check: bool = False,
        **options: Unpack[ProcessOptions],
    ) -> subprocess.CompletedProcess[Any]:
        if input is not None:
            if options.get("stdin") is not None:
                raise ValueError("give 'input' or 'stdin', not both")
            options["stdin"] = subprocess.PIPE
        if capture_output:
            if options.get("stdout") is not None or options.get("stderr") is not None:
                raise ValueError("give 'capture_output' or 'stdout' and 'stderr', not both")
            options["stdout"] = options["stderr"] = subprocess.PIPE
        with self.popen(args, **options) as process:
            started(process)
            try:
                output, problems = process.communicate(input, timeout)
            except BaseException:
                process.kill()
                raise
        code = process.wait()
        if check and code:
            raise subprocess.CalledProcessError(code, process.args, output, problems)
        return subprocess.CompletedProcess(process.args, code, output, problems)

    def serve(
        self,
        args: Arguments,
        *,
        tcp_port: int | None = None,
        udp_port: int | None = None,
        log_line: str | None = None,
        command: Arguments | None = None,
        timeout_s: float = 10.0,
        log: str | os.PathLike[str] | None = None,
        env: Mapping[str, str] | None = None,
        cwd: str | os.PathLike[str] | None = None,
    ) -> Server:
        """Start a server in this node, in the foreground, and wait until it is ready.

        It is when all of these hold that are given: something in the node has *tcp_port* open for connections, or
        *udp_port* for packets; a line of its output matches the regular expression *log_line*; *command*, run in the
        node, ends with 0. Its output, stdout and stderr, goes to a file that `Server.log` reads; *log* is a name for
        it. It runs until `Server.stop`, or the end of the lab.

        Raises ServerFailed, with its output, where it ends or is not ready within *timeout_s*; then it does not run.
        Raises CommandNotFound.
        """
        ready = Ready(tcp_port, udp_port, log_line, command, timeout_s)
        server = start(self, args, ready, Log(None if log is None else Path(log)), {"env": env, "cwd": cwd})
        self._lab._keep_server(server)
        return server

    async def serve_async(self, args: Arguments, **options: Any) -> Server:
        """`serve`, without holding up the event loop."""
        return await in_thread(functools.partial(self.serve, args, **options))

    async def run_async(self, args: Arguments, **options: Any) -> subprocess.CompletedProcess[Any]:
        """`run`, without holding up the event loop. Being cancelled kills the program."""
        cancelled = threading.Event()
        running: list[Process] = []

        def started(process: Process) -> None:
            running.append(process)
            if cancelled.is_set():
                process.kill()

        try:
            return await in_thread(functools.partial(self._run, args, started, **options))
        except asyncio.CancelledError:
            cancelled.set()
            for process in running:
                process.kill()
            raise
