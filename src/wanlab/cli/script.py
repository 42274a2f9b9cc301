"""`wanlab script`: the commands that a person would type to build a lab."""

from __future__ import annotations

from wanlab.cli.options import LabSource


def script(lab: LabSource = None) -> None:
    """Print the commands that build a lab by hand.

    They are `ip`, `nft` and `sysctl` commands, to be run by root, and to learn from.
    """
    from wanlab.cli.target import load
    from wanlab.plan.compile import compile_network
    from wanlab.plan.script import write_script

    print(write_script(compile_network(load(lab).resolve())), end="")
