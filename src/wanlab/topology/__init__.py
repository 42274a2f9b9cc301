"""What a lab is: pure data, without Linux and without privileges."""

from wanlab.topology.nat import ARTICLE, LINUX, NATS, Filtering, Mapping, Nat, Ports
from wanlab.topology.network import Interface, Kind, Link, Network, Node, Route, Segment
from wanlab.topology.topology import Topology

__all__ = [
    "ARTICLE",
    "LINUX",
    "NATS",
    "Filtering",
    "Interface",
    "Kind",
    "Link",
    "Mapping",
    "Nat",
    "Network",
    "Node",
    "Ports",
    "Route",
    "Segment",
    "Topology",
]
