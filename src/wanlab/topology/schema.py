"""The shape of a lab file: which keys there are, what they hold, what they mean.

These models check a file's shape and describe it to editors (`document.json_schema`); nothing else reads them, and this
is the only room that imports pydantic, which takes longer to import than a small lab takes to come up.
What the values mean together is `Topology`'s business.
"""

from __future__ import annotations

from enum import Enum
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag

from wanlab.topology import nat
from wanlab.topology.impairment import Distribution
from wanlab.topology.ipv6 import Ipv6
from wanlab.topology.network import LinkState
from wanlab.topology.parse import MAX_MTU, MIN_MTU
from wanlab.topology.profiles import PROFILES

# Which of several shapes a value has. pydantic puts these into the path of an error; `complaints` takes them out.
TEXT, LIST, TABLE, FLAG = "<text>", "<list>", "<table>", "<flag>"

# The default of a key that may be left out. pydantic checks no defaults, so `mtu:` without a value is still refused.
ABSENT: Any = None


def _shape(value: object) -> str | None:
    if isinstance(value, str):
        return TEXT
    if isinstance(value, list):
        return LIST
    return TABLE if isinstance(value, dict | BaseModel) else None


Texts = Annotated[
    Annotated[str, Tag(TEXT)] | Annotated[list[str], Tag(LIST)],
    Discriminator(_shape, custom_error_type="shape", custom_error_message="text or a list of texts"),
]


Mtu = Annotated[int, Field(json_schema_extra={"minimum": MIN_MTU, "maximum": MAX_MTU})]


State = Annotated[str, Field(json_schema_extra={"enum": [state.value for state in LinkState]})]


_PRESETS = list(nat.NATS)


def _choice(words: type[Enum], description: str) -> Any:
    return Field(ABSENT, description=description, json_schema_extra={"enum": [word.value for word in words]})


class Table(BaseModel):
    """A table of the file. Unknown keys are refused, and nothing is converted: "1500" is no number."""

    model_config = ConfigDict(extra="forbid", strict=True)


class GeModel(Table):
    """Loss in bursts, by the model of Gilbert and Elliott: a good and a bad state."""

    p: str = Field(description="The chance, at each packet, to go from the good state to the bad one (1%).")
    r: str = Field(description="The chance to come back (25%). The mean length of a burst is its inverse.")
    lost_when_bad: str = Field(
        ABSENT, alias="1-h", description="The chance of a packet to be lost in the bad state. 100% where not given."
    )
    lost_when_good: str = Field(
        ABSENT, alias="1-k", description="The chance of a packet to be lost in the good state. 0% where not given."
    )


def _queue_shape(value: object) -> str | None:
    if isinstance(value, int) and not isinstance(value, bool):
        return FLAG
    return TEXT if isinstance(value, str) else None


class Direction(Table):
    """What becomes of the packets of one direction, in tc-netem's words."""

    delay: str = Field(ABSENT, description="How long each packet takes (20ms), one way.")
    jitter: str = Field(ABSENT, description="How much the delay varies (5ms); not more than the delay.")
    distribution: str = _choice(
        Distribution, "How the delays lie around the middle. uniform where not given: none is off by more than jitter."
    )
    loss: str = Field(ABSENT, description="Each packet's chance to be lost (1%), whatever became of the others.")
    gemodel: GeModel = Field(ABSENT, description="Loss in bursts, in place of loss.")
    rate: str = Field(ABSENT, description="The most that is carried (10mbit), with Ethernet headers.")
    queue: Annotated[
        Annotated[int, Tag(FLAG)] | Annotated[str, Tag(TEXT)],
        Discriminator(_queue_shape, custom_error_type="shape", custom_error_message="a whole number or text"),
    ] = Field(
        ABSENT,
        description="The most that waits for its turn, beside what is under way: packets (100), bytes (64kb) or a "
        "time (50ms). Goes with rate. 1000 packets where not given.",
    )
    duplicate: str = Field(ABSENT, description="Each packet's chance to arrive twice (1%).")
    corrupt: str = Field(ABSENT, description="Each packet's chance to have one bit turned round (0.1%).")
    reorder: str = Field(
        ABSENT, description="Each packet's chance to be sent at once, before those that are being delayed (25%)."
    )
    seed: int = Field(
        ABSENT, description="What chance starts from: the same seed and the same packets, the same losses."
    )
    hit_arp: bool = Field(ABSENT, description="Whether ARP and neighbour discovery suffer too. false: they are spared.")


class Impairment(Direction):
    """What a link does to packets. Keys beside up and down are for both directions."""

    profile: str = Field(ABSENT, description="What to start from.", json_schema_extra={"enum": ["none", *PROFILES]})
    up: Direction = Field(ABSENT, description="What differs for what this end sends.")
    down: Direction = Field(ABSENT, description="What differs for what this end receives.")


ImpairmentOrName = Annotated[
    Annotated[str, Tag(TEXT), Field(json_schema_extra={"enum": ["none", *PROFILES]})]
    | Annotated[Impairment, Tag(TABLE)],
    Discriminator(_shape, custom_error_type="shape", custom_error_message="the name of a profile or a table"),
]


class Interface(Table):
    """One more interface of a host or a router."""

    link: str = Field(description="What it is plugged into: a switch, or a router, whose LAN is meant.")
    name: str = Field(ABSENT, description="Its name; eth0, eth1, ... where none is given.")
    address: Texts = Field(
        ABSENT,
        description="Its address, or several; with a prefix length (10.1.0.1/24) or without. Chosen where not given.",
    )
    mtu: Mtu = Field(ABSENT, description="Its MTU in bytes; that of what it is plugged into where not given.")
    metric: Annotated[int, Field(json_schema_extra={"minimum": 0})] = Field(
        ABSENT, description="The metric of its default route: of several the lowest is used. 0, 100, 200 in order."
    )
    state: State = Field(ABSENT, description="up; down: switched off in its node; unplugged: its cable is out.")
    impairment: ImpairmentOrName = Field(
        ABSENT, description="What its link does to packets; up is what this node sends. Nothing where not given."
    )


class SwitchLink(Table):
    """A link between two switches."""

    switch: str = Field(description="The other switch.")
    state: State = Field(ABSENT, description="What became of this switch's end: up, down or unplugged.")
    impairment: ImpairmentOrName = Field(
        ABSENT, description="What the link does to packets; up is what this switch sends. Nothing where not given."
    )


SwitchLinks = Annotated[
    Annotated[str, Tag(TEXT)]
    | Annotated[SwitchLink, Tag(TABLE)]
    | Annotated[
        list[
            Annotated[
                Annotated[str, Tag(TEXT)] | Annotated[SwitchLink, Tag(TABLE)],
                Discriminator(_shape, custom_error_type="shape", custom_error_message="a switch's name or a table"),
            ]
        ],
        Tag(LIST),
    ],
    Discriminator(_shape, custom_error_type="shape", custom_error_message="text, a table or a list of them"),
]


class Switch(Table):
    """A switch: one broadcast domain, a bridge."""

    subnet: Texts = Field(
        ABSENT,
        description="Its subnet, or one for each family (IPv4, IPv6). Chosen where not given: a public one, "
        "or a private one where it is the inside of a router.",
    )
    mtu: Mtu = Field(ABSENT, description="The MTU, in bytes, of all that is plugged in. 1500 where not given.")
    link: SwitchLinks = Field(ABSENT, description="Other switches that it is linked to; they become one network.")


class Nat(Table):
    """A NAT by what it does, in RFC 4787's words: a preset, and what differs from it."""

    preset: str = Field(
        ABSENT, description="What to start from. home where not given.", json_schema_extra={"enum": [*_PRESETS]}
    )
    name: str = Field(ABSENT, description="What to call it.")
    mapping: str = _choice(nat.Mapping, "Which destinations share one external port.")
    filtering: str = _choice(nat.Filtering, "From whom a mapping lets packets in.")
    ports: str = _choice(nat.Ports, "How the external port of a new mapping is chosen.")
    overloading: bool = Field(ABSENT, description="One external port for two hosts, while their destinations differ.")
    parity: bool = Field(ABSENT, description="Even ports stay even, odd ones odd.")
    first_port: int = Field(ABSENT, description="The first external port that is given out.")
    last_port: int = Field(ABSENT, description="The last external port that is given out.")
    block: int = Field(ABSENT, description="How many ports each inside host has for itself.")
    addresses: int = Field(ABSENT, description="How many external addresses it has.")
    pooling: str = _choice(nat.Pooling, "Whether a host keeps one external address of several.")
    hairpin: str = _choice(
        nat.Hairpin, "What becomes of packets from inside to an external port of another inside host."
    )
    unsolicited: str = _choice(nat.Unsolicited, "What becomes of packets to the router itself that nobody asked for.")
    udp_timeout_s: int = Field(ABSENT, description="Seconds that an idle UDP mapping lives.")
    tcp_established_s: int = Field(ABSENT, description="Seconds that an idle TCP connection lives.")
    tcp_transitory_s: int = Field(ABSENT, description="Seconds that a TCP connection lives that opens or closes.")
    icmp_timeout_s: int = Field(ABSENT, description="Seconds that an ICMP query's mapping lives.")
    inbound_refresh: bool = Field(ABSENT, description="Whether packets from outside keep a UDP mapping alive too.")
    limit: int = Field(ABSENT, description="The most mappings of one inside host at a time.")
    udp_ports: list[int] = Field(ABSENT, description="The only UDP ports outside that may be talked to.")
    tcp_ports: list[int] = Field(ABSENT, description="The only TCP ports outside that may be talked to.")
    port_mapping: str = _choice(nat.PortMapping, "How inside hosts may ask for a port that leads to them.")


NatOrName = Annotated[
    Annotated[str, Tag(TEXT)] | Annotated[Nat, Tag(TABLE)],
    Discriminator(_shape, custom_error_type="shape", custom_error_message="the name of a preset or a table"),
]


def _firewall_shape(value: object) -> str | None:
    if isinstance(value, bool):
        return FLAG
    return TEXT if isinstance(value, str) else None


FirewallOrKind = Annotated[
    Annotated[bool, Tag(FLAG)]
    | Annotated[str, Tag(TEXT), Field(json_schema_extra={"enum": [word.value for word in nat.Filtering]})],
    Discriminator(_firewall_shape, custom_error_type="shape", custom_error_message="true, false or a filtering"),
]


class Router(Table):
    """A router: forwards between its uplink, its LAN and its other interfaces."""

    uplink: str = Field(
        ABSENT,
        description="The switch, or the router (whose LAN is meant), that its interface `wan` is plugged into. "
        "Without one it is a core router, which forwards between all its interfaces.",
    )
    address: Texts = Field(ABSENT, description="Its address, or several, at the uplink. Chosen where not given.")
    lan: Texts = Field(
        ABSENT,
        description="Its own address in its LAN with the prefix length (10.1.0.254/24), or just the subnet "
        "(10.1.0.0/24); one for each family. Chosen where not given and something is plugged in.",
    )
    slaac: bool = Field(
        ABSENT,
        description="Whether it sends router advertisements to its inside, by which hosts without an IPv6 address of "
        "their own get one (RFC 4862). false: addresses are chosen.",
    )
    nat: NatOrName = Field(
        ABSENT,
        description="How it translates from the LAN to the uplink: the name of a preset, or a table that starts from "
        "one and says what differs. linux (a plain masquerade) where there is an uplink.",
    )
    firewall: FirewallOrKind = Field(
        ABSENT,
        description="Whether it drops what comes in by the uplink unasked; or whom it lets in, where no NAT decides "
        "that, to a host's port that has sent (RFC 6092). true where there is an uplink: who was sent to.",
    )
    ipv6: str = _choice(
        Ipv6, "What becomes of IPv6 at the uplink. route where not given: hosts are known by their own addresses."
    )
    ipv6_prefix: str = Field(
        ABSENT,
        description="With prefix-translation: the prefix that stands for the inside's (2a00:5:1::/48). Chosen where "
        "not given.",
    )
    mtu: Mtu = Field(ABSENT, description="The MTU of its uplink in bytes.")
    impairment: ImpairmentOrName = Field(
        ABSENT, description="What its uplink does to packets; up is what the router sends. Nothing where not given."
    )
    state: State = Field(ABSENT, description="What became of its uplink: up, down (switched off) or unplugged.")
    interface: list[Interface] = Field(
        ABSENT, description="Further interfaces. The nodes on their switches send through this router."
    )


class Host(Table):
    """A host. One interface is described beside it, several each in a table of its own."""

    link: str = Field(
        ABSENT, description="What its first interface is plugged into: a switch, or a router, whose LAN is meant."
    )
    address: Texts = Field(
        ABSENT,
        description="The address of its first interface, or several; with a prefix length or without. "
        "Chosen where not given.",
    )
    mtu: Mtu = Field(ABSENT, description="The MTU of its first interface in bytes.")
    state: State = Field(
        ABSENT, description="What became of its first interface: up, down (switched off) or unplugged."
    )
    impairment: ImpairmentOrName = Field(
        ABSENT, description="What its first interface's link does to packets; up is what the host sends."
    )
    interface: Annotated[
        Annotated[str, Tag(TEXT)] | Annotated[list[Interface], Tag(LIST)],
        Discriminator(_shape, custom_error_type="shape", custom_error_message="text or tables"),
    ] = Field(
        ABSENT, description="The name of its first interface (eth0 where not given), or tables: further interfaces."
    )


class End(Table):
    """One end of a cable."""

    node: str = Field(description="The host or router that it is plugged into.")
    name: str = Field(ABSENT, description="The interface's name; eth0, eth1, ... where none is given.")
    address: Texts = Field(
        ABSENT,
        description="The interface's address, or several; with a prefix length (172.16.0.1/24) or without. "
        "Chosen where not given.",
    )
    state: State = Field(ABSENT, description="What became of this end: up, down (switched off) or unplugged.")


class Link(Table):
    """A cable of its own between two hosts, two routers, or a host and a router."""

    ends: list[
        Annotated[
            Annotated[str, Tag(TEXT)] | Annotated[End, Tag(TABLE)],
            Discriminator(_shape, custom_error_type="shape", custom_error_message="a node's name or a table"),
        ]
    ] = Field(description="Its two ends: names of nodes, or tables that say more.", min_length=2, max_length=2)
    subnet: Texts = Field(ABSENT, description="Its subnet, or one for each family. Chosen where not given.")
    mtu: Mtu = Field(ABSENT, description="The MTU of both ends in bytes. 1500 where not given.")
    impairment: ImpairmentOrName = Field(
        ABSENT, description="What it does to packets; up is what the first end sends. Nothing where not given."
    )


class Partition(Table):
    """Nodes that are kept from one another: nothing that one sends reaches or passes the other."""

    groups: list[list[str]] = Field(
        description="Hosts and routers, in groups. One group alone is kept from everybody else."
    )


def _time_shape(value: object) -> str | None:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return FLAG
    return TEXT if isinstance(value, str) else None


Time = Annotated[
    Annotated[float, Tag(FLAG)] | Annotated[str, Tag(TEXT)],
    Discriminator(_time_shape, custom_error_type="shape", custom_error_message="a time"),
]


class Ladder(Table):
    """Values that a key goes through."""

    node: str = Field(description="Whose: a node (home-a) or an interface (laptop:wifi).")
    key: str = Field(description="The key, as it stands in a lab file.")
    values: list[Any] = Field(description="What it is set to, one after the other.", min_length=1)


def _heal_shape(value: object) -> str | None:
    return FLAG if value is True else _shape(value)


HealWhom = Annotated[
    Annotated[bool, Tag(FLAG)] | Annotated[str, Tag(TEXT)] | Annotated[list[str], Tag(LIST)],
    Discriminator(_heal_shape, custom_error_type="shape", custom_error_message="true, a node or a list of them"),
]


class Action(Table):
    """What happens. One of these, and what goes with it."""

    down: Texts = Field(ABSENT, description="Links that are switched off: nodes (alice) or interfaces (laptop:wifi).")
    up: Texts = Field(ABSENT, description="Links that are switched on, or plugged in, again.")
    unplug: Texts = Field(ABSENT, description="Links whose cable is taken out.")
    plug: str = Field(ABSENT, description="A link that is plugged in again, where it was or into another node.")
    into: str = Field(ABSENT, description="With plug: the switch or router that it is plugged into.")
    address: Texts = Field(
        ABSENT, description="With plug, new_address and redial: the address there. Chosen where not given."
    )
    new_address: str = Field(
        ABSENT, description="An interface (a router's: its uplink) that has another address, as by a new DHCP lease."
    )
    redial: str = Field(
        ABSENT, description="A link that goes down and comes up with another address, as a PPP line; NATs forget."
    )
    change: dict[str, dict[str, Any]] = Field(
        ABSENT, description="Other keys of nodes or interfaces, as in a lab file."
    )
    reboot: str = Field(ABSENT, description="A node that reboots.")
    off: Time = Field(ABSENT, description="With reboot and redial: how long it is off.")
    apply: str = Field(ABSENT, description="Another lab that this one becomes: of the catalogue, or a file.")
    partition: list[list[str]] = Field(ABSENT, description="Groups of nodes that are kept from one another.")
    heal: HealWhom = Field(ABSENT, description="true: no partition is left; or nodes whose partitions are to go.")
    say: str = Field(ABSENT, description="A line that is printed.")
    flap: Texts = Field(ABSENT, description="Links that go down, and up again the next time.")
    ladder: Ladder = Field(ABSENT, description="A key that is set to one value after the other.")


class Event(Action):
    """Something that happens at a time."""

    at: Time = Field(description="When, since the beginning: 5s, 500ms, 2min, or seconds.")
    every: Time = Field(ABSENT, description="How long it is to the next time, where there are several.")
    times: int = Field(ABSENT, description="How often. Once for each thing that happens, where not given.")
    do: list[Action] = Field(ABSENT, description="Several things in turn, one each time.", min_length=1)


class Scenario(Table):
    """What happens to a lab, and when."""

    title: str = Field(ABSENT, description="What it is, in a line.")
    repeat: int = Field(ABSENT, description="How often all of it is played. 1 where not given.")
    length: Time = Field(ABSENT, description="How long one playing takes. Until the last event where not given.")
    event: list[Event] = Field(ABSENT, description="What happens.")


class Lab(Table):
    """A lab: switches, routers, hosts and the cables between them."""

    name: str = Field(ABSENT, description="The lab's name, a hostname label. The file's name where not given.")
    title: str = Field(ABSENT, description="What the lab is, in a line.")
    overlapping_lans: bool = Field(
        ABSENT, description="Whether LANs behind different NATs may use one subnet, as homes in the world do."
    )
    switch: dict[str, Switch | None] = Field(ABSENT, description="The switches, by name.")
    router: dict[str, Router | None] = Field(ABSENT, description="The routers, by name.")
    host: dict[str, Host | None] = Field(ABSENT, description="The hosts, by name.")
    link: list[Link] = Field(ABSENT, description="The cables between two hosts, two routers, or one of each.")
    partition: list[Partition] = Field(ABSENT, description="Nodes that are kept from one another.")
    event: list[Event] = Field(ABSENT, description="What happens to the lab when `wanlab play` plays its timeline.")


def json_schema() -> dict[str, Any]:
    """The JSON schema of a lab file."""
    schema = Lab.model_json_schema()
    for table in (schema, *schema["$defs"].values()):
        del table["title"]  # pydantic's are the names of these classes
        for value in table["properties"].values():
            value.pop("title", None)
            value.pop("default", None)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "A lab of wanlab", **schema}
