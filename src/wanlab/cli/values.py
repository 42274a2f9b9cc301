"""Values of lab files on the command line: TOML, or a word without quotation marks."""

from __future__ import annotations

import tomllib
from typing import Any

_PAIRS = {"[": "]", "{": "}"}


def value(text: str) -> Any:
    """What is meant by `symmetric`, `1280`, `true`, `{preset = "home"}`."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def values(text: str) -> list[Any]:
    """The same for several with commas between them, those inside brackets and quotation marks left alone."""
    parts = [""]
    open_until: list[str] = []
    for letter in text:
        if letter == "," and not open_until:
            parts.append("")
            continue
        if open_until and letter == open_until[-1]:
            open_until.pop()
        elif letter in "\"'" and (not open_until or open_until[-1] not in "\"'"):
            open_until.append(letter)
        elif letter in _PAIRS and (not open_until or open_until[-1] not in "\"'"):
            open_until.append(_PAIRS[letter])
        parts[-1] += letter
    return [value(part.strip()) for part in parts if part.strip()]
