"""wanlab: a small internet on one Linux machine."""

from wanlab.errors import WanlabError
from wanlab.topology.topology import Topology

__version__ = "0.1.0"

__all__ = ["Topology", "WanlabError", "__version__"]
