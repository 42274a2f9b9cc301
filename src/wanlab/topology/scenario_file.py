"""Scenarios as files hold them: `[[event]]` tables, in a lab's file or in one of their own. Read and written."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from wanlab.errors import Source, TopologyError
from wanlab.topology.edits import Become, Change, Heal, Link, NewAddress, Part, Plug
from wanlab.topology.lines import Lines
from wanlab.topology.network import LinkState
from wanlab.topology.scenario import Action, Event, Reboot, Redial, Say, Scenario

Table = Mapping[str, Any]

_TIME = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?|\.[0-9]+)\s*(ms|s|min|h|)\s*")
_UNITS = {"ms": 0.001, "s": 1.0, "": 1.0, "min": 60.0, "h": 3600.0}
_STATES = {"down": LinkState.DOWN, "up": LinkState.UP, "unplug": LinkState.UNPLUGGED}


def load_scenario(file: str | Path) -> Scenario:
    """The scenario of a file: TOML or YAML, with `[[event]]` tables; a lab's file will do. Raises TopologyError."""
    from wanlab.topology.complaints import check_scenario
    from wanlab.topology.files import read_tables

    data, lines = read_tables(Path(file))
    if isinstance(data, Mapping) and any(key in data for key in ("host", "router", "switch", "link")):
        from wanlab.topology.document import from_document

        events = from_document(data, lines, str(file)).events
        return _checked(Scenario(events), file)
    check_scenario(data, lines, str(file))
    where = Source(str(file))
    length = data.get("length")
    return _checked(
        Scenario(
            read_events(data.get("event", ()), lines, str(file)),
            data.get("title", ""),
            data.get("repeat", 1),
            None if length is None else seconds(length, where, "length"),
        ),
        file,
    )


def _checked(scenario: Scenario, file: str | Path) -> Scenario:
    if not scenario.events:
        raise TopologyError("no event in it", where=Source(str(file)), hint="write [[event]] tables")
    return scenario


def read_events(tables: Sequence[Table], lines: Lines, file: str) -> tuple[Event, ...]:
    """The events of these tables, whose shape has been checked. Raises TopologyError naming *file* and line."""
    return tuple(
        _event(table, lambda *keys, n=n: Source(file, lines.of(("event", n, *keys)))) for n, table in enumerate(tables)
    )


def write_events(events: Sequence[Event]) -> list[dict[str, Any]]:
    """The tables that :func:`read_events` makes equal events of."""
    return [_table(event) for event in events]


def seconds(said: str | float, where: Source | None, key: str) -> float:
    """A time in seconds, by a number or by text with a unit: 5, "5s", "500ms", "2min". Raises TopologyError."""
    if isinstance(said, int | float):
        if said < 0:
            raise TopologyError(f"{key} = {said:g}: a time before the beginning", where=where, hint="use 0 or more")
        return float(said)
    found = _TIME.fullmatch(said)
    if found is None:
        before = said.strip().startswith("-")
        what = "a time before the beginning" if before else "no time"
        raise TopologyError(f"{key} = {said!r}: {what}", where=where, hint="write it like 5s, 500ms or 2min, from 0 on")
    return float(found[1]) * _UNITS[found[2]]


# -- reading -----------------------------------------------------------------------------------------------------

_At = Callable[..., Source]

_ACTIONS = (
    *("down", "up", "unplug", "plug", "flap", "change", "ladder", "new_address", "redial", "reboot"),
    *("partition", "heal", "apply", "say", "do"),
)
_BESIDE = {"into": ("plug",), "address": ("plug", "new_address", "redial"), "off": ("reboot", "redial")}
"""Keys that go with some actions only."""


def _event(table: Table, at: _At) -> Event:
    every = table.get("every")
    return Event(
        seconds(table["at"], at("at"), "at"),
        tuple(_actions(table, at)),
        None if every is None else seconds(every, at("every"), "every"),
        table.get("times"),
        at("at"),
    )


def _actions(table: Table, at: _At) -> Iterator[Action]:
    said = [key for key in _ACTIONS if key in table]
    if len(said) != 1:
        what = "says nothing that happens" if not said else f"says several things: {', '.join(said)}"
        hint = f"give it one of {', '.join(_ACTIONS)}" if not said else "make an event of each, or a list 'do'"
        raise TopologyError(f"an event {what}", where=at(), hint=hint)
    for key, actions in _BESIDE.items():
        if key in table and said[0] not in actions:
            known = " or ".join(map(repr, actions))
            raise TopologyError(f"{key!r} goes with {known}, not with {said[0]!r}", where=at(key))
    match said[0]:
        case ("down" | "up" | "unplug") as verb:
            yield Link(_several(table[verb]), _STATES[verb])
        case "flap":
            places = _several(table["flap"])
            yield Link(places, LinkState.DOWN)
            yield Link(places, LinkState.UP)
        case "plug":
            yield Plug(table["plug"], table.get("into"), table.get("address"))
        case "change":
            yield Change(table["change"])
        case "ladder":
            ladder = table["ladder"]
            yield from (Change({ladder["node"]: {ladder["key"]: value}}) for value in ladder["values"])
        case "new_address":
            yield NewAddress(table["new_address"], table.get("address"))
        case "redial":
            yield Redial(table["redial"], table.get("address"), seconds(table.get("off", 0), at("off"), "off"))
        case "reboot":
            yield Reboot(table["reboot"], seconds(table.get("off", 0), at("off"), "off"))
        case "partition":
            yield Part(tuple(map(tuple, table["partition"])))
        case "heal":
            yield Heal(() if table["heal"] is True else _several(table["heal"]))
        case "apply":
            yield Become(_beside(table["apply"], at().file))
        case "say":
            yield Say(table["say"])
        case "do":
            for number, one in enumerate(table["do"]):
                if "do" in one:
                    raise TopologyError("a 'do' inside a 'do'", where=at("do", number), hint="write one list")
                yield from _actions(one, lambda *keys, number=number: at("do", number, *keys))


def _beside(lab: str, file: str) -> str:
    """A lab that a scenario names: one of the catalogue, or a file, beside the scenario's own where it is there."""
    near = Path(file).parent / lab
    return str(near) if not Path(lab).is_absolute() and near.is_file() else lab


def _several(said: str | Sequence[str]) -> tuple[str, ...]:
    return (said,) if isinstance(said, str) else tuple(said)


# -- writing -----------------------------------------------------------------------------------------------------


def _table(event: Event) -> dict[str, Any]:
    table: dict[str, Any] = {"at": _time(event.at_s)}
    if event.every_s is not None:
        table["every"] = _time(event.every_s)
    if event.times is not None:
        table["times"] = event.times
    actions = [_action(action) for action in event.actions]
    return table | (actions[0] if len(actions) == 1 else {"do": actions})


def _action(action: Action) -> dict[str, Any]:
    match action:
        case Link(places, state):
            verb = next(verb for verb, meant in _STATES.items() if meant is state)
            return {verb: places[0] if len(places) == 1 else list(places)}
        case Plug(place, into, address):
            said = {"plug": place, "into": into, "address": address}
            return {key: value for key, value in said.items() if value is not None}
        case Change(keys):
            return {"change": {place: dict(table) for place, table in keys.items()}}
        case Part(groups):
            return {"partition": [list(group) for group in groups]}
        case Heal(nodes):
            return {"heal": list(nodes) or True}
        case NewAddress(place, address):
            return {"new_address": place} | ({"address": address} if address is not None else {})
        case Redial(place, address, off_s):
            said = {"redial": place, "address": address, "off": _time(off_s) if off_s else None}
            return {key: value for key, value in said.items() if value is not None}
        case Reboot(node, off_s):
            return {"reboot": node} | ({"off": _time(off_s)} if off_s else {})
        case Become(lab):
            return {"apply": lab}
        case Say(text):
            return {"say": text}


def _time(value: float) -> str:
    return f"{value:.6f}".rstrip("0").rstrip(".") + "s"
