"""A plan as a topology file of containerlab: for those who go on with containers, as root and with Docker.

Every node is a container of kind `linux` without a management network, and types the commands of `wanlab script` that
concern it. A switch is one too, with a bridge in it: containerlab's kind `bridge` wants bridges that somebody has made
on the machine before.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from wanlab.errors import UsageError
from wanlab.plan.script import words_inside
from wanlab.plan.steps import (
    AddCable,
    AddNamespace,
    AwaitAddress,
    End,
    LoadRuleset,
    Plan,
    SetSysctl,
    StartService,
    Step,
)

IMAGE = "nicolaka/netshoot:latest"
"""What the nodes run: an image that has ip, nft, sysctl and tc."""

_HOSTS = "LAB_HOSTS"
"""The variable of every node's environment that holds the names of all."""
_MOST_BYTES = 100_000  # of a command: the kernel takes 128 KiB in one argument (MAX_ARG_STRLEN)
# What containerlab takes these names of nodes for is the machine itself, its management network, and kinds of links.
_TAKEN = frozenset({"host", "mgmt-net", "macvlan"})


def write_containerlab(plan: Plan, *, image: str = IMAGE) -> str:
    """The file, in YAML. Raises UsageError for a lab that containerlab could not have."""
    import yaml

    class Dumper(yaml.SafeDumper):
        """Writes what has several lines as several lines."""

    def several_lines(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
        return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)

    Dumper.add_representer(str, several_lines)
    document = topology_document(plan, image=image)
    text: str = yaml.dump(document, Dumper=Dumper, sort_keys=False, width=1 << 20, allow_unicode=True)
    return _heading(plan) + text


def topology_document(plan: Plan, *, image: str = IMAGE) -> dict[str, Any]:
    """The file's contents."""
    nodes = [step.node for step in plan.steps if isinstance(step, AddNamespace)]
    for node in nodes:
        if node in _TAKEN:
            raise UsageError(f"containerlab has another meaning for a node {node!r}", hint="give it another name")
    ends = [end for step in plan.steps if isinstance(step, AddCable) for end in (step.a, step.b)]
    interfaces = {node: [end.interface for end in ends if end.node == node] for node in nodes}
    # Docker switches IPv6 off in containers that have no network of its own.
    commands = {node: ["sysctl -qw net.ipv6.conf.all.disable_ipv6=0"] for node in nodes}
    for step in plan.steps:
        for node, words in _commands(step, interfaces):
            commands[node].append(shlex.join(words))
    names = ["sh", "-c", f'echo "${_HOSTS}" >> /etc/hosts']
    topology: dict[str, Any] = {
        "defaults": {"kind": "linux", "image": image, "network-mode": "none", "env": {_HOSTS: plan.hosts}},
        "nodes": {node: {"exec": [*commands[node], shlex.join(names)]} for node in nodes},
    }
    links = [
        {"endpoints": [f"{end.node}:{end.interface}" for end in (step.a, step.b)]}
        for step in plan.steps
        if isinstance(step, AddCable)
    ]
    if links:
        topology["links"] = links
    return {"name": plan.lab, "topology": topology}


def _commands(step: Step, interfaces: Mapping[str, Sequence[str]]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """What is typed for a step, and in which node; *interfaces* are those that are there before anything is typed."""
    match step:
        case AddNamespace() | AwaitAddress() | StartService():
            return
        case AddCable(a, b):
            for end in (a, b):
                yield end.node, _looks(end)
        case LoadRuleset(node, text):
            if len(text.encode()) > _MOST_BYTES:
                raise UsageError(
                    f"the rules of router {node!r} are longer than a command may be", hint="choose a simpler NAT for it"
                )
            yield node, ("nft", text.replace("\t", "    "))
        case SetSysctl(node, key, value) if ".conf.default." in key:  # which is for those that come later
            yield from words_inside(step)
            for name in interfaces[node]:
                own = key.replace(".", "/").replace("/conf/default/", f"/conf/{name}/")  # names may have dots
                yield node, ("sysctl", "-qw", f"{own}={value}")
        case _:
            yield from words_inside(step)


def _looks(end: End) -> tuple[str, ...]:
    """containerlab makes its cables for frames of 9500 bytes, and leaves the addresses to chance."""
    mac = () if end.mac is None else ("address", end.mac)
    return ("ip", "link", "set", "dev", end.interface, "mtu", str(end.mtu), *mac)


def _heading(plan: Plan) -> str:
    missing = sorted({step.name for step in plan.steps if isinstance(step, StartService)})
    lines = [f"lab {plan.lab}, for containerlab: sudo containerlab deploy -t THIS-FILE"]
    if missing:
        lines.append(f"Not in here, since the image need not have it: {', '.join(missing)}")
    return "".join(f"# {line}\n" for line in lines)
