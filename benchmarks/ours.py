"""wanlab, as the benchmarks use it: only its public names."""

import socket
from typing import TYPE_CHECKING

from benchmarks.contest import Missing

if TYPE_CHECKING:
    from wanlab import Lab, Topology


def new_lab(topology: "str | Topology") -> "Lab":
    try:
        from wanlab import Lab
    except ImportError as error:
        raise Missing(f"wanlab is not installed ({error}): make setup") from error
    return Lab(topology)


def star(hosts: int) -> "Topology":
    """The floor's star: one switch, one address a host."""
    try:
        from wanlab import Topology
    except ImportError as error:
        raise Missing(f"wanlab is not installed ({error}): make setup") from error
    topology = Topology("star")
    switch = topology.switch("switch", "10.0.0.0/16")
    for number in range(hosts):
        topology.host(f"h{number}", switch)
    return topology


def prove(lab: "Lab", sender: str, receiver: str) -> None:
    """The first packet arrives: raises TimeoutError if the lab is not usable yet."""
    with (
        lab[receiver].socket(socket.AF_INET, socket.SOCK_DGRAM) as end,
        lab[sender].socket(socket.AF_INET, socket.SOCK_DGRAM) as start,
    ):
        end.bind(("0.0.0.0", 0))
        end.settimeout(4)  # a wide switch may lose the first broadcast that asks for a neighbour: asked again after 1 s
        start.sendto(b"?", (str(lab[receiver].address), end.getsockname()[1]))
        end.recv(1)
