"""Steps in words, for people who want to know what would be done."""

from __future__ import annotations

from wanlab.plan import steps
from wanlab.plan.steps import Step
from wanlab.topology.impairment_text import impairment_words


def in_words(step: Step) -> str:
    """What a step does, in a few words: its node first."""
    match step:
        case steps.AddNamespace(node):
            return f"{node}: a network namespace"
        case steps.SetSysctl(node, key, value):
            return f"{node}: {key} = {value}"
        case steps.AddCable(a, b):
            return f"cable: {a.node} {a.interface} -- {b.node} {b.interface}"
        case steps.AddBridge(node, interface):
            return f"{node}: bridge {interface}"
        case steps.Enslave(node, interface, bridge):
            return f"{node}: {interface} is a port of {bridge}"
        case steps.AddAddress(node, interface, address):
            return f"{node}: {interface} has address {address}"
        case steps.SetUp(node, interface):
            return f"{node}: {interface} up"
        case steps.AddRoute(node, destination, via, interface):
            to = "default route" if destination.endswith("/0") else f"route to {destination}"
            return f"{node}: {to} via {via} dev {interface}"
        case steps.LoadRuleset(node):
            return f"{node}: nftables rules"
        case steps.AwaitAddress(node, interface, address):
            return f"{node}: {interface} gives itself {address}"
        case steps.StartService(node, name):
            return f"{node}: runs {name}"
        case steps.StopService(node, name):
            return f"{node}: stops {name}"
        case steps.ForgetConnections(node):
            return f"{node}: forgets its connections"
        case steps.SetImpairment(node, interface, impairment):
            return f"{node}: {interface} sends with {impairment_words(impairment)}"
        case steps.ClearImpairment(node, interface):
            return f"{node}: {interface} sends unimpaired"
        case steps.LoseFrames(node, interfaces, _):
            lost = ", ".join(interfaces)
            return f"{node}: a partition loses frames at {lost}" if lost else f"{node}: no frames are lost any more"
        case steps.SetMtu(node, interface, mtu):
            return f"{node}: {interface} has MTU {mtu}"
        case steps.SetDown(node, interface):
            return f"{node}: {interface} down"
        case steps.RemoveRoute(node, destination, via, interface):
            to = "default route" if destination.endswith("/0") else f"route to {destination}"
            return f"{node}: no more {to} via {via} dev {interface}"
        case steps.RemoveNamespace(node):
            return f"{node}: goes"
        case steps.RemoveLink(node, interface):
            return f"{node}: {interface} goes"
        case steps.MoveLink(node, interface, to, name, _, _):
            return f"{node}: {interface} is plugged into {to} as {name}"
        case steps.RemoveAddress(node, interface, address):
            return f"{node}: {interface} loses address {address}"
