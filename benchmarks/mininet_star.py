"""A star of N hosts on one LinuxBridge, built by Mininet. Prints {"up_s": SECONDS, "down_s": SECONDS}.

    mininet_star.py N

For the Python that has Debian's `mininet` package. Run it in namespaces of its own: Mininet keeps its
switch in the namespace it was started in.
"""

import json
import sys
import time

from mininet.log import setLogLevel  # type: ignore[import-not-found]
from mininet.net import Mininet  # type: ignore[import-not-found]
from mininet.nodelib import LinuxBridge  # type: ignore[import-not-found]
from mininet.topo import SingleSwitchTopo  # type: ignore[import-not-found]

PINGS = 5


def main() -> None:
    setLogLevel("warning")
    start = time.monotonic()
    net = Mininet(topo=SingleSwitchTopo(int(sys.argv[1])), switch=LinuxBridge, controller=None, ipBase="10.0.0.0/16")
    net.start()
    up = time.monotonic()
    prove(net)
    stop = time.monotonic()
    net.stop()
    down = time.monotonic()
    print(json.dumps({"up_s": up - start, "down_s": down - stop}))


def prove(net: Mininet) -> None:
    """A ping from end to end. The first one is sometimes lost; waiting for it is not in the figures."""
    ends = [net.hosts[0], net.hosts[-1]]
    if all(net.ping(ends, timeout="1") > 0 for _ in range(PINGS)):
        sys.exit("Mininet's star does not carry a ping")


if __name__ == "__main__":
    main()
