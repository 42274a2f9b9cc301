"""A scenario gone through without a lab: what it makes of a topology, step by step, before anything happens. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from wanlab.errors import NoSuchNode, TopologyError, UsageError
from wanlab.plan.change import change
from wanlab.plan.steps import Step
from wanlab.topology.document import rebuild
from wanlab.topology.kept import Kept
from wanlab.topology.network import Network
from wanlab.topology.scenario import Cue, Reboot, Redial, Say, Scenario
from wanlab.topology.topology import Topology


@dataclass(frozen=True, slots=True)
class Next:
    """What a lab becomes: what it was, what it shall be, and the steps there and back."""

    old: Topology
    topology: Topology
    network: Network
    steps: tuple[Step, ...]
    back: tuple[Step, ...]


def next_of(topology: Topology, network: Network, wanted: Topology) -> Next:
    """*wanted* as it follows *topology*, with the addresses that were chosen there. Raises TopologyError."""
    after = rebuild(wanted.to_document())
    after.kept = Kept.of(network)
    resolved = after.resolve()
    return Next(topology, after, resolved, change(network, resolved), change(resolved, network))


def rehearse(scenario: Scenario, topology: Topology, network: Network) -> list[tuple[Cue, Next | None]]:
    """Each cue with what the lab becomes by it; None where it stays what it is, or it takes more than one change.

    Raises TopologyError for the first event that cannot be, naming it and its line.
    """
    found: list[tuple[Cue, Next | None]] = []
    for cue in scenario.cues():
        try:
            following = None
            if isinstance(cue.action, Reboot):
                network[cue.action.node]  # that there is one
            elif not isinstance(cue.action, Say):
                edit = cue.action.edit if isinstance(cue.action, Redial) else cue.action
                after = next_of(topology, network, edit.applied(topology, network))
                topology, network = after.topology, after.network
                following = None if isinstance(cue.action, Redial) else after
        except (TopologyError, UsageError, NoSuchNode) as error:
            raise TopologyError(
                f"event {cue.event}, at {cue.at_s:g} s ({cue.action}): {error.what}", where=cue.source, hint=error.hint
            ) from None
        found.append((cue, following))
    return found
