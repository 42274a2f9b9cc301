"""Networks that nobody thought of, for drawings to be tried with."""

from __future__ import annotations

from hypothesis import HealthCheck, assume, settings
from hypothesis import strategies as st

from wanlab.errors import TopologyError
from wanlab.topology.network import Kind, Network
from wanlab.topology.topology import Host, Router, Switch, Topology

patiently = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # on busy machines, too


@st.composite
def networks(draw: st.DrawFn) -> Network:
    """Any network that can be declared with a handful of nodes; few of them alike, so none are counted together."""
    t = Topology()
    nodes: list[Switch | Router | Host] = []
    for n in range(draw(st.integers(1, 10))):
        kind = draw(st.sampled_from(Kind))
        name = f"{kind.value}-{chr(97 + n)}"
        try:
            if kind is Kind.SWITCH:
                nodes.append(t.switch(name))
            elif kind is Kind.HOST:
                nodes.append(t.host(name))
            else:
                ups = [node for node in nodes if node.kind is not Kind.HOST]
                up = draw(st.sampled_from([None, *ups]))
                nodes.append(t.router(name, up, nat="none" if up is None else draw(st.sampled_from(["none", "linux"]))))
        except TopologyError:
            assume(False)
    for _ in range(draw(st.integers(0, 14))):
        one, other = draw(st.sampled_from(nodes)), draw(st.sampled_from(nodes))
        try:
            one.connect(other)
            t.resolve()
        except TopologyError:
            if one.ports:
                one.ports.pop()
    try:
        return t.resolve()
    except TopologyError:
        assume(False)
        raise
