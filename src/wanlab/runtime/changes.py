"""How a lab that is up becomes another one: the half of `Lab` that changes things."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from wanlab.errors import ChangedMeanwhile, NoSuchNode, UsageError, WanlabError
from wanlab.plan.change import forget, reboot
from wanlab.plan.counters import with_counters
from wanlab.plan.hosts import hosts_file
from wanlab.plan.rehearsal import Next, next_of
from wanlab.plan.steps import Step, encode
from wanlab.topology.document import rebuild
from wanlab.topology.edits import Change, Edit, Heal, Link, NewAddress, Part
from wanlab.topology.kept import Kept
from wanlab.topology.network import LinkState, Network
from wanlab.topology.places import split
from wanlab.topology.topology import Topology

_Taken = TypeVar("_Taken")

if TYPE_CHECKING:
    from wanlab.runtime.connection import Connection
    from wanlab.runtime.play import Happened, Play
    from wanlab.topology.scenario import Scenario


@dataclass(frozen=True, slots=True)
class Changed:
    """A change that a lab has seen."""

    time: float
    """When it had happened, in seconds since 1970."""
    what: str


def description(topology: Topology) -> dict[str, Any]:
    """What a holder knows of its lab."""
    return {"document": topology.to_document(), "kept": topology.kept.to_json()}


def described(info: Mapping[str, Any]) -> Topology:
    """The topology of a lab that is up, by what its holder says of it."""
    topology = rebuild(info["document"])
    topology.kept = Kept.from_json(info["kept"])
    return topology


class Changing:
    """What `Lab` inherits: it changes, and notices what other programs change."""

    topology: Topology
    network: Network
    _count_rules: bool
    _version: int
    """How often the lab had been changed when we last heard of it."""
    _changing: threading.RLock
    """Held while it is being changed by this program: one change at a time."""

    def _connect(self) -> Connection:
        raise NotImplementedError

    def _became(self, topology: Topology, network: Network) -> None:
        raise NotImplementedError

    def apply(self, lab: str | Path | Topology) -> tuple[Step, ...]:
        """Make another lab of this one by the fewest steps, which are returned.

        What stays as it is notices nothing, programs and sockets on it included; addresses that were chosen are kept. A
        NAT that changes, or gets another external address, forgets its mappings. Raises TopologyError for what is no
        lab, KernelError for a step that is refused; then the lab is what it was.
        """
        wanted = lab if isinstance(lab, Topology) else Topology.load(lab)
        what = f"becomes {wanted.name}"
        return self._until_taken(lambda: self._take_over(next_of(self.topology, self.network, wanted), what))

    def edit(self, edit: Edit) -> tuple[Step, ...]:
        """The same by an edit: see :mod:`wanlab.topology.edits`. Raises NoSuchNode, UsageError, and as `apply`."""
        return self._until_taken(lambda: self._take_over(self.after(edit), str(edit)))

    def after(self, edit: Edit) -> Next:
        """What this lab would become by an edit. Raises NoSuchNode, UsageError, TopologyError."""
        return next_of(self.topology, self.network, edit.applied(self.topology, self.network))

    def changed_to(self, lab: str | Path | Topology) -> Topology:
        """That lab as :meth:`apply` would make it of this one: with the addresses that this one has already."""
        topology = rebuild((lab if isinstance(lab, Topology) else Topology.load(lab)).to_document())
        topology.kept = Kept.of(self.network)
        return topology

    def change(self, node: str, **keys: Any) -> tuple[Step, ...]:
        """Change keys of a node, or of an interface of it, named and written as in a lab file. See :meth:`apply`::

        lab.change("home-a", nat="symmetric")
        lab.change("home-a", address="5.5.5.9")
        lab.change("laptop:wifi", state="down")

        None takes a key away.
        """
        return self.edit(Change({node: keys}))

    def with_changes(self, node: str, keys: Mapping[str, Any]) -> Topology:
        """This lab's topology with other keys for a node or an interface. Raises NoSuchNode, TopologyError."""
        return Change({node: keys}).applied(self.topology, self.network)

    def partition(self, *groups: str | Sequence[str]) -> tuple[Step, ...]:
        """Keep groups of hosts and routers from one another, from now on; one group alone: from everybody else::

        lab.partition(["alice"], ["bob", "carol"])

        Nothing that a node sends reaches, or passes through, one of another group: ARP and what belongs to connections
        that stand included. It is lost in silence. A router that has an uplink stands for all behind it. See `apply`.
        """
        return self.edit(Part(tuple((group,) if isinstance(group, str) else tuple(group) for group in groups)))

    def heal(self, *nodes: str) -> tuple[Step, ...]:
        """End all partitions, or those that name one of *nodes*. Raises NoSuchNode. See `apply`."""
        return self.edit(Heal(nodes))

    def new_address(self, place: str, address: str | Sequence[str] | None = None) -> tuple[Step, ...]:
        """Give a router's uplink, or an interface, another address, as a new DHCP lease does; the link stays up.

        *address*: one, or one for each family; the next free ones of the subnet where it is not given. What was sent
        from the old one dies with it: a NAT forgets its mappings and connections. See `apply`.
        """
        return self.edit(NewAddress(place, address))

    def redial(self, place: str, address: str | Sequence[str] | None = None, *, down_s: float = 0.0) -> None:
        """Take a link down and, *down_s* seconds later, up with another address, as a PPP line that is dialled anew.

        *place* and *address* as for `new_address`; the address that it had may be given. A NAT forgets everything as
        the link goes down. Raises NoSuchNode, UsageError, TopologyError before anything happens; KernelError. Where
        the address has been taken by somebody else meanwhile, the link comes up with the old one, and the error is
        raised.
        """
        _require_time(down_s)

        def hang_up() -> None:
            self.after(NewAddress(place, address))  # it can be
            following, node = self.after(Link((place,), LinkState.DOWN)), self.network[split(place)[0]]
            if node.uplink is not None and split(place)[1] in (None, node.uplink):
                following = replace(following, steps=(*following.steps, *forget(following.network, node.name)))
            self._take_over(following, f"{place}: redials")

        with self._changing:
            self._until_taken(hang_up)
            try:
                time.sleep(down_s)
            finally:
                try:
                    self.edit(NewAddress(place, address))
                except WanlabError:
                    self.edit(Link((place,), LinkState.UP))
                    raise

    def reboot(self, node: str, *, down_s: float = 0.0) -> None:
        """Turn a node off and, *down_s* seconds later, on again: it remembers no connection and no mapping.

        Its programs run on, but for what belongs to the lab. A node that was left off, since the program that turned it
        off was killed, is on again after this. Raises NoSuchNode, UsageError, KernelError.
        """
        _require_time(down_s)

        def turn(on: bool) -> None:
            off_steps, on_steps = reboot(self.network, self.network[node].name)
            steps, what = (on_steps, f"{node}: on") if on else (off_steps, f"{node}: off")
            self._take(steps, (), self.topology, self.network, what, as_far_as_needed=True)

        with self._changing:
            self._until_taken(lambda: turn(False))
            try:
                time.sleep(down_s)
            finally:
                with contextlib.suppress(NoSuchNode):  # somebody has taken it away meanwhile
                    self._until_taken(lambda: turn(True))

    @property
    def events(self) -> tuple[Changed, ...]:
        """What has happened to the lab since it came up, by whichever program; the last of it where it is much."""
        return tuple(Changed(event["time"], event["what"]) for event in self._info()["events"])

    def update(self) -> None:
        """Learn what other programs have made of the lab. Every change does so first. Raises LabEnded."""
        with self._changing:
            info = self._info()
            if info["version"] != self._version:
                topology = described(info)
                self._became(topology, topology.resolve())
                self._version = info["version"]

    def follow(self, following: Next, edit: Edit) -> tuple[Step, ...]:
        """An edit whose steps were worked out before; anew, where the lab is another one meanwhile. As `edit`."""

        def take() -> tuple[Step, ...]:
            still = following.old is self.topology
            return self._take_over(following if still else self.after(edit), str(edit))

        return self._until_taken(take)

    def play(
        self,
        scenario: Scenario | str | Path | None = None,
        tell: Callable[[Happened], None] = lambda happened: None,
    ) -> tuple[Happened, ...]:
        """Play a scenario, or a file that has one, or the lab's own timeline, to its end. What happened is returned.

        All of it is gone through on paper first: raises TopologyError where an event cannot be, and then nothing
        happens. *tell* hears of each event when it has happened. Raises KernelError where a step is refused: then the
        lab is what it was before that event, and the rest is not played.
        """
        with self.start_play(scenario, tell) as playing:
            return playing.wait()

    def start_play(
        self,
        scenario: Scenario | str | Path | None = None,
        tell: Callable[[Happened], None] = lambda happened: None,
    ) -> Play:
        """The same beside this program, which goes on: in a `with`, whose end stops the play, or until `Play.stop`."""
        from wanlab.runtime.play import Play, scenario_for

        self.update()
        return Play(self, scenario_for(self, scenario), tell)

    def _info(self) -> dict[str, Any]:
        return self._ask("info")

    def _ask(self, verb: str) -> dict[str, Any]:
        """What the holder answers to a verb that needs no more words."""
        connection = self._connect()
        try:
            answer, _ = connection.ask({"verb": verb})
        finally:
            connection.close()
        return answer

    def _until_taken(self, change: Callable[[], _Taken]) -> _Taken:
        """Do what makes of the lab, as it is now, another one; anew where another program was faster."""
        with self._changing:
            while True:
                self.update()
                try:
                    return change()
                except ChangedMeanwhile:
                    continue  # each time somebody else has got on, so it ends

    def _take_over(self, following: Next, what: str) -> tuple[Step, ...]:
        if following.steps or following.topology.to_document() != self.topology.to_document():
            self._take(following.steps, following.back, following.topology, following.network, what)
        self._became(following.topology, following.network)
        return following.steps

    def _take(
        self,
        steps: Sequence[Step],
        back: Sequence[Step],
        topology: Topology,
        network: Network,
        what: str,
        *,
        as_far_as_needed: bool = False,
    ) -> None:
        """Have the holder make *topology* of the lab by *steps*; by *back* it goes back where one is refused.

        *as_far_as_needed*: a step that finds done already what it is to do is not refused.
        """
        connection = self._connect()
        try:
            answer, _ = connection.ask(
                {
                    "verb": "change",
                    "steps": encode(self._counted(steps)),
                    "back": encode(self._counted(back)),
                    "hosts": hosts_file(network),
                    "nodes": list(network.nodes),
                    "version": self._version,
                    "what": what,
                    "as_far_as_needed": as_far_as_needed,
                    **description(topology),
                }
            )
        finally:
            connection.close()
        self._version = answer["version"]

    def _counted(self, steps: Sequence[Step]) -> Sequence[Step]:
        return with_counters(steps) if self._count_rules else steps


def _require_time(seconds: float) -> None:
    if seconds < 0:
        raise UsageError(f"down_s = {seconds:g}: no time", hint="use 0 or more seconds")
