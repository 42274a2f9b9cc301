"""Labs from files: a name of the catalogue, or a TOML or YAML file."""

from __future__ import annotations

import os
import re
import tomllib
from pathlib import Path
from typing import Any

from wanlab.errors import Source, TopologyError, did_you_mean
from wanlab.topology import catalogue
from wanlab.topology.document import from_document
from wanlab.topology.lines import Lines, lines_of_toml
from wanlab.topology.topology import Topology

SUFFIXES = (".toml", ".yaml", ".yml")
_SECTIONS = ("host", "router", "switch", "link")
_SECTION = re.compile(rf"^\s*\[\[?\s*(?:{'|'.join(_SECTIONS)})\b|^(?:{'|'.join(_SECTIONS)}):", re.MULTILINE)


def load(lab: str | Path) -> Topology:
    """The lab of a catalogue name (`two-lans`, `star:100`) or of a file.

    A Path is a file, and so is text with a directory or one of `SUFFIXES` in it. Raises TopologyError.
    """
    if isinstance(lab, str) and not _names_a_file(lab):
        return _from_catalogue(lab)
    file = Path(lab)
    if file.suffix.lower() not in SUFFIXES:
        if file.is_dir():
            raise TopologyError(f"{str(file)!r} is a directory", hint="name a file in it")
        raise TopologyError(f"{str(file)!r} is no lab file", hint=f"their names end in {', '.join(SUFFIXES)}")
    return read(_text_of(file), str(file), file.suffix.lower().lstrip("."))


def read_tables(file: Path) -> tuple[Any, Lines]:
    """What a TOML or YAML file holds, and where. Raises TopologyError."""
    if file.suffix.lower() not in SUFFIXES:
        raise TopologyError(f"{str(file)!r} is no scenario file", hint=f"their names end in {', '.join(SUFFIXES)}")
    return _parse(_text_of(file), str(file), file.suffix.lower().lstrip("."))


def read(text: str, file: str, format: str) -> Topology:
    """The lab that *text* declares, written in *format*: "toml", "yaml" or "yml". *file* is what errors call it."""
    data, lines = _parse(text, file, format)
    if data is None or data == {}:
        raise TopologyError("the file is empty", where=Source(file), hint="`wanlab catalog` shows labs to begin with")
    return from_document(data, lines, file)


def default_file(directory: Path) -> Path:
    """The lab file of a directory: `wanlab.toml` (or .yaml, .yml), else the only file that looks like a lab.

    Raises TopologyError where there is none, or several.
    """
    try:
        files = sorted(file for file in directory.iterdir() if file.suffix in SUFFIXES and file.is_file())
    except OSError as error:
        raise TopologyError(f"cannot list {str(directory)!r}: {error.strerror}") from None
    found = [file for file in files if file.stem == "wanlab"] or [file for file in files if _looks_like_lab(file)]
    if not found:
        raise TopologyError(
            f"no lab file in {str(directory)!r}",
            hint="name a lab of the catalogue or a file, or write wanlab.toml",
        )
    if len(found) > 1:
        names = ", ".join(file.name for file in found)
        raise TopologyError(f"several lab files in {str(directory)!r}: {names}", hint="say which one")
    return found[0]


def _names_a_file(lab: str) -> bool:
    return os.sep in lab or lab.lower().endswith(SUFFIXES)


def _from_catalogue(lab: str) -> Topology:
    name, colon, size = lab.partition(":")
    if name not in catalogue.names():
        raise TopologyError(
            f"no lab {lab!r} in the catalogue and no such file",
            hint=did_you_mean(name, catalogue.names()) or f"there is {', '.join(catalogue.names())}",
        )
    return read(catalogue.text(lab), f"{name}-{size}.toml" if colon else f"{name}.toml", "toml")


def _text_of(file: Path) -> str:
    where = Source(str(file))
    try:
        if file.exists() and not file.is_file():  # a FIFO would block, a directory cannot be read
            raise TopologyError(f"a {'directory' if file.is_dir() else 'device'}, not a file", where=where)
        return file.read_bytes().decode("utf-8-sig")
    except (OSError, ValueError) as error:
        if isinstance(error, UnicodeDecodeError):
            line = error.object.count(b"\n", 0, error.start) + 1
            raise TopologyError(
                "not UTF-8 text", where=Source(str(file), line), hint="save the file as UTF-8"
            ) from None
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise TopologyError(f"cannot read it: {reason}", where=where) from None


def _parse(text: str, file: str, format: str) -> tuple[Any, Lines]:
    if format in ("yaml", "yml"):
        from wanlab.topology.yamlfile import read_yaml

        return read_yaml(text, file)
    if format != "toml":
        raise TopologyError(f"no lab is written in {format!r}", where=Source(file), hint="use toml or yaml")
    try:
        data = _toml(text, file)
        return data, lines_of_toml(text)
    except RecursionError:
        raise TopologyError("nested too deeply", where=Source(file), hint="a lab has four levels at most") from None


def _toml(text: str, file: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        message = str(error)
        place = re.search(r" \(at line (\d+), column \d+\)\Z", message)
        if place is not None:
            message = message[: place.start()]
        line = int(place[1]) if place else text.count("\n") + 1  # "(at end of document)"
        raise TopologyError(f"not TOML: {message}", where=Source(file, line)) from None
    except ValueError as error:  # a number of thousands of digits
        raise TopologyError(f"not TOML: {error}", where=Source(file)) from None


def _looks_like_lab(file: Path) -> bool:
    try:
        text = _text_of(file)
    except TopologyError:
        return False
    try:
        data, _ = _parse(text, str(file), file.suffix.lstrip("."))
    except TopologyError:  # a broken lab is one still: who asks for it shall be told what is wrong with it
        return _SECTION.search(text) is not None
    return isinstance(data, dict) and any(section in data for section in _SECTIONS)
