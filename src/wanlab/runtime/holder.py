"""The holder: the first process of a lab's namespaces. It builds the lab, answers its clients, and *is* the lab.

When it ends, however it ends, the kernel ends every process of its PID namespace and frees every interface.
"""

from __future__ import annotations

import contextlib
import errno
import gc
import os
import resource
import selectors
import signal
import socket
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path

from wanlab.errors import (
    ChangedMeanwhile,
    CommandNotFound,
    KernelError,
    LabEnded,
    NoSuchNode,
    WanlabError,
    did_you_mean,
)
from wanlab.kernel import nftables
from wanlab.kernel.cables import Cables
from wanlab.kernel.execute import Executor
from wanlab.kernel.syscalls import set_process_name
from wanlab.plan.change import way_back
from wanlab.plan.steps import (
    AddNamespace,
    LoadRuleset,
    LoseFrames,
    RemoveNamespace,
    Step,
    decode,
    undo,
)
from wanlab.runtime.children import CannotStart, Command, Nursery
from wanlab.runtime.counters import read_counters
from wanlab.runtime.impairer import Impairer
from wanlab.runtime.programs import end_programs
from wanlab.runtime.protocol import Frames, Message, error_message, receive, receive_some, send
from wanlab.runtime.services import Services
from wanlab.runtime.world import World

_PATIENCE = 5.0  # seconds that a client may take to read an answer

_MOST_EVENTS = 10_000  # that are remembered of a lab: an hour of flapping twice a second


class _Client:
    """A connection: one request, and whatever was started for it."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.frames = Frames()
        self.child: int | None = None
        """The PID of the program that runs for this connection."""
        self.steps: list[Step] = []
        """What was added to the lab for this connection, and goes with it."""

    def answer(self, message: Message, descriptors: list[int] | None = None) -> None:
        """Send an answer; a client that has gone does not matter."""
        with contextlib.suppress(OSError):
            send(self.connection, message, descriptors)


class Holder:
    """Builds a lab from a message of its owner, then serves."""

    def __init__(self, world: World, owner: socket.socket, listener: socket.socket, pid_outside: int) -> None:
        self._world = world
        self._owner: _Client | None = _Client(owner)
        self._listener = listener
        self._pid_outside = pid_outside
        self._started = time.time()
        self._selector = selectors.DefaultSelector()
        self._children: dict[int, _Client] = {}
        self._lab: Message = {}
        self._nodes: list[str] = []
        self._cables = Cables()
        self._guests: set[str] = set()
        """Nodes that were added for a connection: no part of what the lab is said to be."""
        self._version = 0
        """How often it was changed: who wants to change it must have heard of that."""
        self._events: deque[Message] = deque(maxlen=_MOST_EVENTS)
        self._verbs: dict[str, Callable[[_Client, Message, list[int]], None]] = {
            "info": self._info,
            "counters": self._counters,
            "impaired": self._impaired,
            "socket": self._socket,
            "execute": self._execute,
            "change": self._change,
            "spawn": self._spawn,
            "signal": self._signal,
            "release": self._release,
            "detach": self._detach,
            "down": self._down,
        }

    # -- building ------------------------------------------------------------------------------------------------

    def build(self, lab: Message, inside: Path) -> None:
        """Build the lab that the owner's message describes. Raises WanlabError; then nothing must be served."""
        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
        self._lab = lab
        steps = decode(lab["steps"])
        self._impairer = Impairer(lab.get("impairment"), self._world.namespaces, self._note)
        self._require(steps)  # before anything is made
        try:
            self._world.furnish(inside, lab["hosts"], lab["name"])
        except OSError as error:
            raise KernelError(f"making the lab's mounts: {error.strerror}", errno=error.errno or 0) from None
        self._nursery = Nursery(self._world, most)
        self._services = Services(self._world, self._nursery, inside / "services")
        self._nodes = [step.node for step in steps if isinstance(step, AddNamespace)]
        self._executor().execute(steps, self._progress(len(steps)))

    def _require(self, steps: Sequence[Step]) -> None:
        if any(isinstance(step, LoadRuleset | LoseFrames) for step in steps):
            nftables.require()
        Services.require(steps)
        self._impairer.require(steps)

    def _executor(self) -> Executor:
        return Executor(self._world.namespaces, self._services, self._impairer.wire, self._cables)

    def _progress(self, total: int) -> Callable[[int], None]:
        def tell(done: int) -> None:
            if self._owner is not None:
                try:
                    send(self._owner.connection, {"progress": done, "of": total})
                except OSError:
                    self._end()  # nobody waits for this lab any more

        return tell

    # -- serving -------------------------------------------------------------------------------------------------

    def serve(self) -> None:
        """Answer requests until the lab is to end."""
        gc.enable()
        wake, woken = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(woken, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        self._selector.register(wake, selectors.EVENT_READ, None)
        self._selector.register(self._listener, selectors.EVENT_READ, self._listener)
        if self._owner is not None:
            self._watch(self._owner)
            self._owner.answer({"up": True, "pid": self._pid_outside})
        self._reap()  # whatever ended before the handler was there
        while True:
            for key, _ in self._selector.select():
                if key.data is None:
                    with contextlib.suppress(BlockingIOError):
                        os.read(wake, 4096)
                    self._reap()
                elif key.data is self._listener:
                    self._accept()
                else:
                    self._hear(key.data)

    def _accept(self) -> None:
        try:
            connection, _ = self._listener.accept()
        except OSError:  # it hung up before its turn, or there is no descriptor left: a lab does not end by that
            return
        credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
        uid = int.from_bytes(credentials[4:8], "little")
        if uid != os.geteuid():  # ours is 0 inside; whoever is not us maps to something else
            connection.close()
            return
        self._watch(_Client(connection))

    def _watch(self, client: _Client) -> None:
        client.connection.settimeout(_PATIENCE)
        self._selector.register(client.connection, selectors.EVENT_READ, client)

    def _hear(self, client: _Client) -> None:
        try:
            alive = receive_some(client.connection, client.frames)
            while (found := client.frames.next()) is not None:
                self._obey(client, *found)
        except OSError as error:  # perhaps there was no descriptor left for what it sent: then it wants to know
            client.answer(error_message(error))
            alive = False
        except (ValueError, RecursionError):
            alive = False
        if not alive:
            self._drop(client)

    def _drop(self, client: _Client) -> None:
        """A client has gone: so does what ran for it, and with the owner the lab."""
        if client is self._owner:
            self._end()
        with contextlib.suppress(KeyError):
            self._selector.unregister(client.connection)
        if client.child is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(client.child, signal.SIGKILL)
        self._take_back(client)  # before it hears that we have hung up
        client.connection.close()
        client.frames.close()

    def _obey(self, client: _Client, message: Message, descriptors: list[int]) -> None:
        try:
            verb = self._verbs.get(message.get("verb", ""))
            if verb is None:
                raise KernelError(f"this lab does not know the request {message.get('verb')!r}")
            verb(client, message, descriptors)
        except Exception as error:  # whatever a client asks for, the others' lab stays up
            client.answer(error_message(error))
        finally:
            for descriptor in descriptors:
                os.close(descriptor)

    def _end(self) -> None:
        os._exit(0)  # the kernel does the rest

    # -- requests ------------------------------------------------------------------------------------------------

    def _info(self, client: _Client, message: Message, descriptors: list[int]) -> None:
        client.answer(
            {
                "name": self._lab["name"],
                "document": self._lab["document"],
                "kept": self._lab["kept"],
                "pid": self._pid_outside,
                "started": self._started,
                "nodes": self._nodes,
                "programs": len(self._children),
                "services": self._services.report(),
                "impairment": self._impairer.report(),
                "version": self._version,
                "events": list(self._events),
            }
        )

    def _counters(self, client: _Client, message: Message, descriptors: list[int]) -> None:
        read = read_counters(self._world.namespaces, self._nodes, self._impairer.wire)
        client.answer({"counters": [counters.to_row() for counters in read]})

    def _impaired(self, client: _Client, message: Message, descriptors: list[int]) -> None:
        in_place = list(self._impairer.in_place(self._nodes))
        client.answer({"in_place": in_place, **self._impairer.report()})

    def _note(self, what: str) -> None:
        """Remember that something has happened to the lab."""
        self._events.append({"time": time.time(), "what": what})

    def _socket(self, client: _Client, message: Message, descriptors: list[int]) -> None:
        node = self._known(message["node"])
        self._world.namespaces.enter(node)
        try:
            with socket.socket(message["family"], message["type"], message["protocol"]) as made:
                client.answer({}, [made.fileno()])
        finally:
            self._world.namespaces.enter(None)

    def _execute(self, client: _Client, message: Message, descriptors: list[int]) -> None:
        """Take further steps in the lab. What they add goes with the connection."""
        steps = decode(message["steps"])
        self._require(steps)
        executor = self._executor()
        try:
            executor.execute(steps)
        except BaseException:
            self._try(undo(executor.done))
            raise
        finally:
            for step in steps:
                if isinstance(step, RemoveNamespace):
                    self._world.forget(step.node)
        made = [step.node for step in steps if isinstance(step, AddNamespace)]
        self._guests.update(made)
        client.steps += steps
        client.answer({})

    def _change(self, client: _Client, message: Message, descriptors: list[int]) -> None:
        """Make another lab of this one. Where a step is refused, what was done is undone by the steps `back`."""
        if message["version"] != self._version:
            what = f"lab {self._lab['name']!r} has just been changed by another program"
            raise ChangedMeanwhile(what, hint="try again: nothing was done")
        steps = decode(message["steps"])
        self._require(steps)
        executor = self._executor()
        going = [step.node for step in steps if isinstance(step, RemoveNamespace)]
        namespaces = {self._world.namespaces.identity(node) for node in going}
        try:
            if message["as_far_as_needed"]:
                _execute_what_is_left(executor, steps)
            else:
                executor.execute(steps)
        except BaseException:
            self._try(way_back(decode(message["back"]), executor.done))
            raise
        for node in going:
            self._world.forget(node)
        end_programs(namespaces)
        self._lab |= {key: message[key] for key in ("document", "kept")}
        self._nodes = message["nodes"]
        self._world.rename(message["hosts"])
        self._version += 1
        self._note(message["what"])
        client.answer({"version": self._version})

    def _take_back(self, client: _Client) -> None:
        self._guests -= {step.node for step in client.steps if isinstance(step, AddNamespace)}
        self._try(undo(client.steps))
        client.steps.clear()

    def _try(self, steps: list[Step]) -> None:
        """Take each step that can be taken: somebody else may have been faster."""
        for step in steps:
            if isinstance(step, RemoveNamespace):
                self._world.forget(step.node)
            with contextlib.suppress(KernelError, OSError):
                self._executor().execute([step])

    def _spawn(self, client: _Client, message: Message, descriptors: list[int]) -> None:
        node = None if message["node"] is None else self._known(message["node"])
        command = Command(
            node,
            message["argv"],
            message["environment"],
            message["directory"],
            message["terminal"],
            message["umask"],
            (message["open_files"][0], message["open_files"][1]),
        )
        try:
            child = self._nursery.start(command, descriptors)
        except CannotStart as error:
            raise self._explain(error, command) from None
        except OSError as error:
            raise KernelError(f"entering node {node!r}: {error.strerror}", errno=error.errno or 0) from None
        client.child = child
        self._children[child] = client
        handle = os.pidfd_open(child)
        try:
            client.answer({"started": True}, [handle])
        finally:
            os.close(handle)
        self._reap()

    @staticmethod
    def _explain(error: CannotStart, command: Command) -> WanlabError:
        program = command.argv[0]
        if error.directory:
            return CommandNotFound(f"{command.directory}: {os.strerror(error.errno)}", errno=error.errno)
        # A directory of PATH that may not be entered gives EACCES, and hides nothing: a shell says "not found" then.
        somewhere = "/" in program or any(
            os.path.exists(os.path.join(directory, program)) for directory in os.get_exec_path(command.environment)
        )
        if error.errno == errno.ENOENT or not somewhere:
            return CommandNotFound(f"{program}: command not found", errno=errno.ENOENT)
        return CommandNotFound(f"{program}: {os.strerror(error.errno)}", errno=error.errno)

    def _signal(self, client: _Client, message: Message, descriptors: list[int]) -> None:
        """Signal the program of *this* connection: a PID could have been given to another one meanwhile."""
        if client.child is not None:
            deliver = os.killpg if message.get("group") else os.kill
            with contextlib.suppress(ProcessLookupError):
                deliver(client.child, int(message["signal"]))

    def _release(self, client: _Client, message: Message, descriptors: list[int]) -> None:
        """Let the program of this connection outlive it; nobody will hear how it ends."""
        client.child = None
        client.answer({})

    def _detach(self, client: _Client, message: Message, descriptors: list[int]) -> None:
        """The owner lets go: the lab stays up without it."""
        if client is self._owner:
            self._owner = None
        client.answer({})

    def _down(self, client: _Client, message: Message, descriptors: list[int]) -> None:
        client.answer({})
        self._end()

    def _known(self, node: str) -> str:
        if node not in self._nodes and node not in self._guests:
            raise NoSuchNode(f"no node {node!r} in lab {self._lab['name']!r}", hint=did_you_mean(node, self._nodes))
        return node

    def _reap(self) -> None:
        """Collect what has ended: our children, and orphans of theirs (we are their init)."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            code = os.waitstatus_to_exitcode(status)
            client = self._children.pop(pid, None)
            if client is not None:
                client.child = None
                client.answer({"exit": code})
            else:
                self._services.note_end(pid, code)
                self._impairer.note_end(pid, code)


# What the kernel says of a step that finds done what it is to do: an address or route is there, or is gone.
_DONE_ALREADY = (errno.EEXIST, errno.EADDRNOTAVAIL, errno.ESRCH)


def _execute_what_is_left(executor: Executor, steps: Sequence[Step]) -> None:
    """Take steps of which some may have been taken before. Raises KernelError for what is refused otherwise."""
    for step in steps:
        try:
            executor.execute([step])
        except KernelError as error:
            if error.errno not in _DONE_ALREADY:
                raise


def run(link: socket.socket) -> None:
    """Be a holder: prepare what every lab needs, wait on *link* for a lab to hold, hold it. Ends with the process."""
    set_process_name("wanlab-holder")
    # The first process of a PID namespace gets only the signals that it handles, and SIGKILL (pid_namespaces(7)).
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    # /proc is still the machine's: it knows us by the PID that the machine knows us by.
    pid_outside = int(os.readlink("/proc/self"))
    try:
        world: World | OSError = World()
    except OSError as error:
        world = error
    try:
        # The lock is held as long as it is open; `building` leads to the forge, which wants to know of the lab's end.
        message, (owner, listener, _lock, building) = receive(link, Frames())
    except LabEnded:
        return  # nobody wants a lab any more
    link.close()
    with socket.socket(fileno=owner) as connection:
        try:
            if isinstance(world, OSError):
                raise KernelError(f"making the lab's namespaces: {world.strerror}", errno=world.errno or 0)
            lab, _ = receive(connection, Frames())
            holder = Holder(world, connection, socket.socket(fileno=listener), pid_outside)
            holder.build({**lab, "name": message["name"]}, Path(message["inside"]))
        except Exception as error:  # a plan that makes no sense is told as well as one that the kernel refuses
            with contextlib.suppress(OSError):
                send(connection, error_message(error))
            return
        with socket.socket(fileno=building) as forge, contextlib.suppress(OSError):
            send(forge, {"built": True}, world.handles())  # suppressed: it has ended, which a detached lab may survive
        holder.serve()
