"""wanlab: a small internet on one Linux machine.

>>> from wanlab import Lab, Topology
>>> with Lab("two-lans") as lab:
...     lab["alice"].run(["ping", "-c1", "172.16.0.100"], check=True)

Names are imported when they are first used, so that a client pays only for what it needs.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from wanlab.errors import (
        CommandNotFound,
        KernelError,
        LabEnded,
        LabExists,
        MachineError,
        NoSuchLab,
        NoSuchNode,
        ServerFailed,
        TopologyError,
        UsageError,
        WanlabError,
    )
    from wanlab.measure.verify import Check, Report
    from wanlab.recording.recording import Recording
    from wanlab.runtime.lab import Lab, LabNode
    from wanlab.runtime.process import Process
    from wanlab.runtime.server import Server
    from wanlab.topology.impairment import Impairment, LinkImpairment
    from wanlab.topology.nat import Nat
    from wanlab.topology.network import Interface, Kind, Network, Node, Route
    from wanlab.topology.scenario import Event, Scenario
    from wanlab.topology.topology import Topology

__version__ = "0.1.0"

_HOMES = {
    "Check": "wanlab.measure.verify",
    "Report": "wanlab.measure.verify",
    "Recording": "wanlab.recording.recording",
    "Kind": "wanlab.topology.network",
    "Route": "wanlab.topology.network",
    "Lab": "wanlab.runtime.lab",
    "LabNode": "wanlab.runtime.lab",
    "Process": "wanlab.runtime.process",
    "Server": "wanlab.runtime.server",
    "Topology": "wanlab.topology.topology",
    "Impairment": "wanlab.topology.impairment",
    "LinkImpairment": "wanlab.topology.impairment",
    "Event": "wanlab.topology.scenario",
    "Scenario": "wanlab.topology.scenario",
    "Nat": "wanlab.topology.nat",
    "Interface": "wanlab.topology.network",
    "Network": "wanlab.topology.network",
    "Node": "wanlab.topology.network",
    "WanlabError": "wanlab.errors",
    "TopologyError": "wanlab.errors",
    "UsageError": "wanlab.errors",
    "NoSuchLab": "wanlab.errors",
    "NoSuchNode": "wanlab.errors",
    "LabExists": "wanlab.errors",
    "MachineError": "wanlab.errors",
    "KernelError": "wanlab.errors",
    "LabEnded": "wanlab.errors",
    "ServerFailed": "wanlab.errors",
    "CommandNotFound": "wanlab.errors",
}

__all__ = [
    "Check",
    "CommandNotFound",
    "Event",
    "Impairment",
    "Interface",
    "KernelError",
    "Kind",
    "Lab",
    "LabEnded",
    "LabExists",
    "LabNode",
    "LinkImpairment",
    "MachineError",
    "Nat",
    "Network",
    "NoSuchLab",
    "NoSuchNode",
    "Node",
    "Process",
    "Recording",
    "Report",
    "Route",
    "Scenario",
    "Server",
    "ServerFailed",
    "Topology",
    "TopologyError",
    "UsageError",
    "WanlabError",
    "__version__",
]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'wanlab' has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(home), name)
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
