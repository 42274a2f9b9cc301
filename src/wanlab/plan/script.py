"""A plan as the `ip`, `nft` and `sysctl` commands that a person would type, one for each step.

Names of interfaces follow `dev` or `name` everywhere: iproute2 would read a port called `up`, or just `a`, as a word
of its own.
"""

from __future__ import annotations

import shlex
import textwrap
from collections.abc import Iterable, Iterator, Sequence

from wanlab.plan.steps import (
    AddAddress,
    AddBridge,
    AddCable,
    AddNamespace,
    AddRoute,
    AwaitAddress,
    ClearImpairment,
    Enslave,
    ForgetConnections,
    LoadRuleset,
    LoseFrames,
    MoveLink,
    Plan,
    RemoveAddress,
    RemoveLink,
    RemoveNamespace,
    RemoveRoute,
    SetDown,
    SetImpairment,
    SetMtu,
    SetSysctl,
    SetUp,
    StartService,
    Step,
    StopService,
)
from wanlab.plan.traffic_control import clear_command, impair_commands
from wanlab.topology.network import DEFAULT_MTU

_WIDTH = 100

_HEADER = """\
#!/bin/bash
# The lab {lab!r}, made by hand. Run this as root; how to take it all down is said at the end.
set -e # stop at the first command that fails
"""

# Said once, before the first command that sets the key.
_WHY = {
    "net.ipv4.conf.all.rp_filter": "Several interfaces: take packets in from where replies would not go out, too",
    "net.ipv6.conf.default.disable_ipv6": "No IPv6 addresses here: keep its chatter off the cables",
    "net.ipv6.conf.default.accept_dad": "No waiting for others to say that they have an address already: nobody has",
    "net.bridge.bridge-nf-call-iptables": "What the bridge switches is none of the firewall's business",
    "net.ipv4.ip_forward": "From now on it forwards: it is a router",
    "net.ipv6.conf.all.forwarding": "The same for IPv6",
}

_NAMES = "Names: `ip netns exec` puts the files in /etc/netns/NODE over those in /etc"

_USE = """\
# The lab is up. Run anything in a node of it:
#   ip netns exec {node} COMMAND
#
# To take it all down; with a namespace go its interfaces, routes and rules:
"""


def write_script(plan: Plan) -> str:
    """The bash script that builds what *plan* builds. The same plan always gives the same text."""
    nodes = [step.node for step in plan.steps if isinstance(step, AddNamespace)]
    paragraphs = [_HEADER.format(lab=plan.lab)]
    why = dict(_WHY)
    paragraphs += [_paragraph(stage.title, _commands(stage.steps, why)) for stage in plan.stages if stage.steps]
    if nodes:
        serves = any(isinstance(step, StartService) for step in plan.steps)
        paragraphs += [_names(nodes, plan.hosts), _end(nodes, serves)]
    return "\n".join(paragraphs)


def _paragraph(title: str, commands: Iterable[str]) -> str:
    comment = textwrap.wrap(title, _WIDTH, initial_indent="# ", subsequent_indent="# ")
    return "\n".join([*comment, *commands]) + "\n"


def _commands(steps: Iterable[Step], why: dict[str, str]) -> Iterator[str]:
    """The commands, and before some of them the reason; a reason that was given leaves *why*."""
    for step in steps:
        if isinstance(step, SetSysctl) and step.key in why:
            yield f"# {why.pop(step.key)}"
        yield _command(step)


def _command(step: Step) -> str:
    match step:
        case AddNamespace(node):
            return _line("ip", "netns", "add", node)
        case AddCable(a, b):
            near = ("name", a.interface, *_looks(a.mac, a.mtu), "netns", a.node)
            far = ("name", b.interface, *_looks(b.mac, b.mtu), "netns", b.node)
            return _line("ip", "link", "add", *near, "type", "veth", "peer", *far)
        case LoadRuleset(node, text) | LoseFrames(node, _, text):
            return _line("ip", "netns", "exec", node, "nft", "-f", "-") + _here_document(text)
        case AwaitAddress(node, interface, address):
            shown = _line("ip", "-n", node, "-6", "address", "show", "dev", interface, "to", address)
            return f"until {shown} | grep -q inet6; do sleep 0.1; done"
        case StartService():
            return _start(step)
        case StopService(node, name):
            return f"kill $(cat {_service_directory(node, name)}/pid)"
        case RemoveNamespace(node):
            return _line("ip", "netns", "del", node)
        case _:
            return "\n".join(_line(*_in_node(node, words)) for node, words in words_inside(step))


def _in_node(node: str, words: tuple[str, ...]) -> tuple[str, ...]:
    """A command as it is typed outside of its node."""
    program, *rest = words
    return (program, "-n", node, *rest) if program in ("ip", "tc") else ("ip", "netns", "exec", node, *words)


def words_inside(step: Step) -> Iterator[tuple[str, tuple[str, ...]]]:
    """The commands for a step that concerns one node only, as they are typed inside of it; and which node that is."""
    match step:
        case SetSysctl(node, key, value):
            how = "-qew" if key.startswith("net.bridge.") else "-qw"  # e: not every kernel has these
            yield node, ("sysctl", how, f"{key}={value}")
        case AddBridge(node, interface, mac, mtu):
            yield node, ("ip", "link", "add", "name", interface, *_looks(mac, mtu), "type", "bridge")
        case Enslave(node, interface, bridge):
            yield node, ("ip", "link", "set", "dev", interface, "master", bridge)
        case AddAddress(node, interface, address):
            yield node, ("ip", "address", "add", address, *_manner(address), "dev", interface)
        case SetUp(node, interface):
            yield node, ("ip", "link", "set", "dev", interface, "up")
        case AddRoute() | RemoveRoute():
            yield step.node, _route(step)
        case ForgetConnections(node):
            yield node, ("conntrack", "--flush")
        case SetImpairment(node):
            yield from ((node, words) for words in impair_commands(step))
        case ClearImpairment(node, interface):
            yield node, clear_command(interface)
        case SetMtu(node, interface, mtu):
            yield node, ("ip", "link", "set", "dev", interface, "mtu", str(mtu))
        case SetDown(node, interface):
            yield node, ("ip", "link", "set", "dev", interface, "down")
        case RemoveLink(node, interface):
            yield node, ("ip", "link", "del", "dev", interface)
        case MoveLink(node, interface, to, name, mac, mtu):
            looks = _looks(mac, mtu)
            yield node, ("ip", "link", "set", "dev", interface, "netns", to, "name", name, *looks, "down")
        case RemoveAddress(node, interface, address):
            yield node, ("ip", "address", "del", address, "dev", interface)


def _route(step: AddRoute | RemoveRoute) -> tuple[str, ...]:
    verb = "add" if isinstance(step, AddRoute) else "del"
    family = ("-6",) if ":" in step.destination else ()
    rank = ("metric", str(step.metric)) if step.metric else ()
    to = "default" if step.destination.endswith("/0") else step.destination
    return ("ip", *family, "route", verb, to, "via", step.via, "dev", step.interface, *rank)


def _service_directory(node: str, name: str) -> str:
    return f"/run/wanlab/{node}/{name}"


def _start(step: StartService) -> str:
    """Its files, then the program in the background."""
    place = _service_directory(step.node, step.name)
    lines = [_line("mkdir", "-p", place)]
    for name, text in step.files:
        lines.append(f"cat > {shlex.quote(f'{place}/{name}')}" + _here_document(text.replace("{files}", place)))
    words = (word.replace("{files}", place) for word in step.argv)
    lines.append(f"{_line('ip', 'netns', 'exec', step.node, *words)} > {place}/log 2>&1 < /dev/null &")
    return "\n".join([*lines, f"echo $! > {place}/pid"])


def _looks(mac: str | None, mtu: int) -> Iterator[str]:
    """What is said about a new interface, where it is not as Linux would make it."""
    if mac is not None:
        yield from ("address", mac)
    if mtu != DEFAULT_MTU:
        yield from ("mtu", str(mtu))


def _manner(address: str) -> tuple[str, ...]:
    if ":" in address:
        return ("nodad",)  # no second of waiting for a duplicate that cannot be
    # RFC 3021: a /31 has no broadcast address, and neither has a /32.
    return ("brd", "+") if int(address.partition("/")[2]) < 31 else ()


def _names(nodes: Sequence[str], hosts: str) -> str:
    write = '  mkdir -p "/etc/netns/$node"\n  cat > "/etc/netns/$node/hosts"' + _here_document(hosts)
    return _paragraph(_NAMES, [f"for node in {_several(nodes, '  ')}; do", write, "done"])


def _end(nodes: Sequence[str], serves: bool) -> str:
    commands = [
        f"for node in {_several(nodes, '    ')}; do",
        *(['  ip netns pids "$node" | xargs -r kill'] if serves else []),
        '  ip netns del "$node"; rm -r "/etc/netns/$node"',
        "done",
        *(["rm -r /run/wanlab"] if serves else []),
    ]
    return _USE.format(node=nodes[-1]) + textwrap.indent("\n".join(commands) + "\n", "#   ")


def _several(names: Sequence[str], indent: str) -> str:
    # No break inside a name: hostnames may hold hyphens.
    lines = textwrap.wrap(
        " ".join(map(shlex.quote, names)), _WIDTH - 20, break_on_hyphens=False, break_long_words=False
    )
    return f" \\\n{indent}".join(lines)


def _here_document(text: str) -> str:
    end = "EOF"
    while end in text.splitlines():
        end += "F"
    return f" <<'{end}'\n{text if text.endswith(chr(10)) else text + chr(10)}{end}"


def _line(*words: str) -> str:
    return shlex.join(words)
