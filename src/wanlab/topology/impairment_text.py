"""What people say of a link's impairment: a profile's name, or a table of tc's words and units. Read and written."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import fields
from enum import Enum
from typing import Any

from wanlab.errors import Source, TopologyError, did_you_mean
from wanlab.topology.impairment import Bursts, Distribution, Impairment, LinkImpairment, QueueUnit
from wanlab.topology.profiles import PROFILES

Said = str | Mapping[str, Any] | Impairment | LinkImpairment | None
"""A profile's name, a table as a file has it, both directions, or one that is meant for both."""

At = Callable[..., Source | None]
"""The place that a key of the table was written at; without a key, the table's."""

_NUMBER = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?|\.[0-9]+)\s*([a-z%]*)\s*", re.IGNORECASE)
_TIMES = {"us": 0.001, "usec": 0.001, "ms": 1.0, "msec": 1.0, "s": 1000.0, "sec": 1000.0}  # in milliseconds
_RATES = {"bit": 1, "kbit": 10**3, "mbit": 10**6, "gbit": 10**9, "tbit": 10**12}
_SIZES = {"b": 1, "kb": 1 << 10, "mb": 1 << 20, "gb": 1 << 30}  # tc's: a kilobyte has 1024 bytes
_BYTES = {"bps", "kbps", "mbps", "gbps", "tbps"}  # tc reads these as bytes a second

_NAMED = ["none", *PROFILES]

BURST_KEYS = ("p", "r", "1-h", "1-k")


def parse_impairment(said: Said, at: At, who: str) -> LinkImpairment | None:
    """Both directions of the link that *who* has. Raises TopologyError, at the key's own place."""
    if said is None:
        return None
    if isinstance(said, Impairment):
        return LinkImpairment(said, said).or_none
    if isinstance(said, LinkImpairment):
        return said.or_none
    return _Reader(at, who).read(said).or_none


class _Reader:
    def __init__(self, at: At, who: str) -> None:
        self.at = at
        self.who = who

    def read(self, said: str | Mapping[str, Any]) -> LinkImpairment:
        if isinstance(said, str):
            return self._profile(said, self.at())
        table = dict(said)
        base = LinkImpairment(None, None)
        if "profile" in table:
            base = self._profile(table.pop("profile"), self.at("profile"))
        ways: dict[str, Any] = {way: table.pop(way, None) for way in ("up", "down")}
        common = self._fields(table, ())
        made = {}
        for way, own in ways.items():
            known = getattr(base, way)
            values = {} if known is None else {name: getattr(known, name) for name in _FIELDS}
            _override(values, common)
            if way == "down" and "seed" in common:
                values["seed"] = (common["seed"] + 1) % 2**64  # else what one way loses, the other would lose too
            _override(values, self._fields(own or {}, (way,)))
            try:
                made[way] = Impairment(**values)
            except TopologyError as error:
                raise self._error(error.what, self.at(*([way] if own else [])), error.hint) from None
        return LinkImpairment(made["up"], made["down"])

    def _profile(self, name: str, where: Source | None) -> LinkImpairment:
        if name == "none":
            return LinkImpairment(None, None)
        profile = PROFILES.get(str(name))
        if profile is None:
            raise self._error(
                f"impairment {name!r} is not known",
                where,
                did_you_mean(str(name), _NAMED) or f"there is {', '.join(_NAMED)}",
            )
        return LinkImpairment(profile.up, profile.down)

    def _fields(self, table: Mapping[str, Any], above: tuple[str, ...]) -> dict[str, Any]:
        """The values of a table of keys, by the names of Impairment's fields."""
        values: dict[str, Any] = {}
        if not isinstance(table, Mapping):
            raise self._error(f"impairment: {above[0]!r} must be a table", self.at(*above), None)
        for key, value in table.items():
            where = self.at(*above, key)
            match key:
                case "delay" | "jitter":
                    values[f"{key}_ms"] = self._amount(key, value, _TIMES, "20ms", where)
                case "loss" | "duplicate" | "corrupt" | "reorder":
                    values[f"{key}_percent"] = self._percent(key, value, where)
                case "gemodel":
                    values["bursts"] = self._bursts(value, (*above, key))
                case "rate":
                    values["rate_bps"] = self._rate(value, where)
                case "queue":
                    values["queue"], values["queue_unit"] = self._queue(value, where)
                case "distribution":
                    words = [word.value for word in Distribution]
                    if value not in words:
                        raise self._error(
                            f"distribution {value!r} is not known", where, did_you_mean(str(value), words)
                        )
                    values[key] = Distribution(value)
                case "seed" | "hit_arp":
                    kind = int if key == "seed" else bool
                    if type(value) is not kind:
                        must = "a whole number" if kind is int else "true or false"
                        raise self._error(f"{key} {value!r} is not {must}", where, None)
                    values[key] = value
                case _:
                    raise self._error(f"impairment: unknown key {key!r}", where, did_you_mean(key, KEYS))
            self._try(values, key, where)
        return values

    def _try(self, values: Mapping[str, Any], key: str, where: Source | None) -> None:
        """Refuse what is wrong by itself where it was written."""
        if key in ("jitter", "distribution", "queue", "reorder"):
            return  # not without the others
        name = next((name for name in _NAMES_OF[key] if name in values), None)
        if name is not None:
            try:
                Impairment(**{name: values[name]})
            except TopologyError as error:
                raise self._error(error.what, where, error.hint) from None

    def _amount(self, key: str, text: Any, units: Mapping[str, float], like: str, where: Source | None) -> float:
        found = _NUMBER.fullmatch(text) if isinstance(text, str) else None
        unit = found[2].lower() if found else ""
        if found is None or (unit not in units and not (unit == "" and float(found[1]) == 0)):
            raise self._error(
                f"{key} {text!r} is not understood", where, f'write it like "{like}"; units are {", ".join(units)}'
            )
        return _short(float(found[1]) * units.get(unit, 0))

    def _percent(self, key: str, text: Any, where: Source | None) -> float:
        return self._amount(key, text, {"%": 1.0}, "1%", where)

    def _rate(self, text: Any, where: Source | None) -> int:
        found = _NUMBER.fullmatch(text) if isinstance(text, str) else None
        if found and found[2].lower() in _BYTES:
            unit = found[2].lower()
            bits = f"{_short(float(found[1])):g}{unit[:-3]}bit"
            raise self._error(
                f"rate {text!r} is ambiguous: tc means bytes by it, others bits", where, f'if bits are meant, "{bits}"'
            )
        return round(self._amount("rate", text, _RATES, "10mbit", where))

    def _queue(self, said: Any, where: Source | None) -> tuple[float, QueueUnit]:
        if isinstance(said, int) and not isinstance(said, bool):
            return said, QueueUnit.PACKETS
        found = _NUMBER.fullmatch(said) if isinstance(said, str) else None
        unit = found[2].lower() if found else ""
        if unit in _TIMES:
            return self._amount("queue", said, _TIMES, "", where), QueueUnit.MS
        if unit in _SIZES:
            return self._amount("queue", said, _SIZES, "", where), QueueUnit.BYTES
        raise self._error(
            f"queue {said!r} is not understood", where, 'write packets (100), bytes ("64kb") or a time ("50ms")'
        )

    def _bursts(self, table: Any, path: tuple[str, ...]) -> Bursts:
        if not isinstance(table, Mapping) or "p" not in table or "r" not in table or set(table) - set(BURST_KEYS):
            raise self._error(
                "gemodel is not understood", self.at(*path), 'write it like {p = "1%", r = "25%", 1-h = "90%"}'
            )
        percents = {key: self._percent(key, value, self.at(*path, key)) for key, value in table.items()}
        return Bursts(percents["p"], percents["r"], percents.get("1-h", 100.0), percents.get("1-k", 0.0))

    def _error(self, what: str, where: Source | None, hint: str | None) -> TopologyError:
        return TopologyError(f"{self.who}: {what}", where=where, hint=hint)


def _override(values: dict[str, Any], others: Mapping[str, Any]) -> None:
    values.update(others)
    if "bursts" in others and "loss_percent" not in others:
        values["loss_percent"] = 0.0
    if "loss_percent" in others and "bursts" not in others:
        values["bursts"] = None


_FIELDS = tuple(field.name for field in fields(Impairment))
_DEFAULTS = Impairment()
_KEY_OF = {
    "delay_ms": "delay",
    "jitter_ms": "jitter",
    "distribution": "distribution",
    "loss_percent": "loss",
    "bursts": "gemodel",
    "rate_bps": "rate",
    "queue": "queue",
    "duplicate_percent": "duplicate",
    "corrupt_percent": "corrupt",
    "reorder_percent": "reorder",
    "seed": "seed",
    "hit_arp": "hit_arp",
}
KEYS = tuple(_KEY_OF.values())
_NAMES_OF = {key: [name for name, other in _KEY_OF.items() if other == key] for key in KEYS}


def impairment_table(link: LinkImpairment | None) -> str | dict[str, Any] | None:
    """The inverse of :func:`parse_impairment`: what a file would say."""
    if link is None:
        return None
    for profile in PROFILES.values():
        if link == LinkImpairment(profile.up, profile.down):
            return profile.name
    up, down = (direction_table(way) for way in (link.up, link.down))
    # A seed that is said for both is another one for each.
    same = {key: value for key, value in up.items() if down.get(key) == value and key != "seed"}
    table: dict[str, Any] = dict(same)
    for name, way in (("up", up), ("down", down)):
        own = {key: value for key, value in way.items() if key not in same}
        if own:
            table[name] = own
    return table


def direction_table(way: Impairment | None) -> dict[str, Any]:
    """One direction in a file's words: what is not as it would be if nothing were said."""
    if way is None:
        return {}
    return {key: _text(way, name) for name, key in _KEY_OF.items() if getattr(way, name) != getattr(_DEFAULTS, name)}


def impairment_words(way: Impairment) -> str:
    """One direction on a line: `delay 20ms, jitter 5ms, loss 1%`."""
    table = direction_table(way)
    if way.bursts is not None:
        table["gemodel"] = " ".join(f"{key} {percent}" for key, percent in table["gemodel"].items())
    return ", ".join(key if value is True else f"{key} {value}" for key, value in table.items())


def _text(way: Impairment, name: str) -> Any:
    value = getattr(way, name)
    match name:
        case "delay_ms" | "jitter_ms":
            return f"{plain(value)}ms"
        case "bursts":
            return {key: f"{plain(percent)}%" for key, percent in zip(BURST_KEYS, value, strict=True)}
        case "rate_bps":
            return rate_text(value)
        case "queue":
            unit = {QueueUnit.BYTES: "b", QueueUnit.MS: "ms"}.get(way.queue_unit)
            return int(value) if unit is None else f"{plain(value)}{unit}"
    if name.endswith("_percent"):
        return f"{plain(value)}%"
    return value.value if isinstance(value, Enum) else value


def rate_text(bps: int) -> str:
    """A rate in tc's words: 1500000 is `1500kbit`."""
    for unit, worth in reversed(_RATES.items()):
        if bps >= worth and bps % worth == 0:
            return f"{bps // worth}{unit}"
    return f"{bps}bit"


def _short(value: float) -> float:
    """Without what binary fractions add: 0.1ms are 0.1, and not 0.10000000000000001."""
    return round(value, 9)


def plain(value: float) -> str:
    """A number without an exponent, which tc's units do not know."""
    return f"{value:.9f}".rstrip("0").rstrip(".")
