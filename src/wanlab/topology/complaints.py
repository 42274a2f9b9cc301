"""What is wrong with a lab file's shape, told in one line with its place: pydantic's findings, in our words."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ValidationError

from wanlab.errors import Source, TopologyError, did_you_mean
from wanlab.topology.lines import Lines, Path
from wanlab.topology.schema import (
    FLAG,
    LIST,
    TABLE,
    TEXT,
    Action,
    Direction,
    End,
    Event,
    GeModel,
    Host,
    Impairment,
    Interface,
    Lab,
    Ladder,
    Link,
    Nat,
    Partition,
    Router,
    Scenario,
    Switch,
    SwitchLink,
)

_TABLES: dict[str, type[BaseModel]] = {
    "switch": Switch,
    "router": Router,
    "host": Host,
    "link": Link,
    "partition": Partition,
    "event": Event,
}
_MUST_BE = {
    "string_type": "text",
    "string_unicode": "text",
    "int_type": "a whole number",
    "bool_type": "true or false",
    "float_type": "a number",
    "list_type": "a list",
    "dict_type": "a table",
    "model_type": "a table",
}


def check_shape(data: object, lines: Lines, file: str) -> None:
    """Raise a TopologyError for the first thing in *data*, in the file's order, that has not the shape of a lab."""
    _check(Lab, data, lines, file)


def check_scenario(data: object, lines: Lines, file: str) -> None:
    """The same for a file that holds a scenario and no lab."""
    _check(Scenario, data, lines, file)


def _check(model: type[BaseModel], data: object, lines: Lines, file: str) -> None:
    try:
        model.model_validate(data)
    except ValidationError as found:
        errors = [_complaint(error, lines, file, model) for error in found.errors(include_url=False)]
        raise min(errors, key=_line) from None
    except RecursionError:
        raise TopologyError("nested too deeply", where=Source(file), hint="a lab has four levels at most") from None


def spoken(path: Path) -> str:
    """How an error speaks of a place in a file: `mtu of host 'alice'`."""
    match path:
        case ():
            return "the lab"
        case (("switch" | "router" | "host") as kind, name):
            return f"{kind} {short(name)}"
        case (("event" | "partition") as kind, int(index)):
            return f"{kind} {index + 1}"
        case ("link", int(index)):
            return f"link {index + 1}"
        case (*above, ("interface" | "ends") as kind, int(index)):
            return f"{'end' if kind == 'ends' else kind} {index + 1} of {spoken(tuple(above))}"
        case (*above, str(key), int(index)):
            return f"entry {index + 1} of {short(key)} of {spoken(tuple(above))}"
        case (key,):
            return short(key)
        case (*above, key):
            return f"{short(key)} of {spoken(tuple(above))}"
    return "the lab"


def short(value: object) -> str:
    """A value as an error shows it: on one line, and not all of it where it is long."""
    if isinstance(value, dict):
        return "a table"
    if isinstance(value, list):
        return "a list"
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return str(value).lower()
    try:
        text = repr(value)
    except ValueError:  # an integer of more digits than Python prints
        return "a number"
    return text if len(text) <= 60 else f"{text[:50]}...{text[-1]}"


def _complaint(error: Any, lines: Lines, file: str, model: type[BaseModel]) -> TopologyError:
    kind: str = error["type"]
    path = tuple(part for part in error["loc"] if part not in (TEXT, LIST, TABLE, FLAG))
    if path and path[-1] == "[key]":
        path = path[:-1]
        kind = "key"
    where = Source(file, lines.of(path))
    match kind:
        case "extra_forbidden":
            fields = (_table_at(path[:-1]) if path[:-1] else model).model_fields
            known = [field.alias or name for name, field in fields.items()]
            return TopologyError(
                f"unknown key {short(path[-1])} in {spoken(path[:-1])}",
                where=where,
                hint=did_you_mean(str(path[-1]), known) or f"there is {', '.join(sorted(known))}",
            )
        case "missing":
            return TopologyError(f"{spoken(path[:-1])} has no key {path[-1]!r}", where=where, hint="add it")
        case "too_short" if "ends" not in path:
            return TopologyError(f"{spoken(path)} is empty", where=where, hint="put something into it")
        case "too_short" | "too_long":
            return TopologyError(
                f"{spoken(path)} must be two, not {len(error['input'])}", where=where, hint="a cable has two ends"
            )
        case "shape":
            must = error["msg"]
        case "key":
            must = "named by text"
        case _:
            must = _MUST_BE.get(kind, f"right ({error['msg']})")
    return TopologyError(f"{spoken(path)} must be {must}, not {short(error['input'])}", where=where)


def _table_at(path: Path) -> type[BaseModel]:
    match path:
        case ("event", _, "do", _):
            return Action
        case (*_, "ladder"):
            return Ladder
        case (_, _, "ends", _):
            return End
        case (_, _, "interface", _):
            return Interface
        case ("router", _, "nat"):
            return Nat
        case (*_, "gemodel"):
            return GeModel
        case (*_, "impairment", "up" | "down"):
            return Direction
        case (*_, "impairment"):
            return Impairment
        case ("switch", _, "link", *_):
            return SwitchLink
        case (str(key), *_) if key in _TABLES:
            return _TABLES[key]
    return Lab


def _line(error: TopologyError) -> int:
    return (error.where.line if error.where else None) or 0
