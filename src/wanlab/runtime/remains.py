"""When the kernel frees the namespaces of a lab that has ended: not while the next one is being built.

Whoever configures a network, in whatever namespace, waits for one lock of the kernel's (rtnl). It is held while a
bridge is freed, for as long as the RCU callbacks of all processors take (rcu_barrier() in br_multicast_dev_del(),
net/bridge/br_multicast.c): some 10 to 20 ms. A lab that is built right after another, as each is in a suite of tests,
would wait for that. So descriptors hold on to the namespaces of a lab for a moment: until the next lab is built, or
nobody has ordered one. Nothing lives in them; whatever ends the process that has the descriptors frees them.
"""

from __future__ import annotations

import os
import time

_MOMENT_S = 0.1  # pytest takes a few milliseconds from one test to the next


class Remains:
    """Descriptors of the namespaces of labs that have ended."""

    def __init__(self) -> None:
        self._kept: list[int] = []
        self._until = 0.0

    def keep(self, namespaces: list[int]) -> None:
        """Hold on to these for a moment."""
        self._kept += namespaces
        self._until = time.monotonic() + _MOMENT_S

    def seconds_left(self) -> float | None:
        """For how much longer what is there is to be held; None: there is nothing."""
        return max(0.0, self._until - time.monotonic()) if self._kept else None

    def let_go_of_old(self) -> None:
        """Let the kernel free what was held for long enough."""
        if self._kept and self.seconds_left() == 0.0:
            self.let_go()

    def let_go(self) -> None:
        """Let the kernel free all of it."""
        for descriptor in self._kept:
            os.close(descriptor)
        self._kept.clear()
