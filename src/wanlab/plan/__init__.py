"""How a lab is built: pure steps, compiled from a network. Runs anywhere, unprivileged."""

from wanlab.plan.compile import compile_network
from wanlab.plan.steps import Plan, Stage, Step

__all__ = ["Plan", "Stage", "Step", "compile_network"]
