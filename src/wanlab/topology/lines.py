"""Which line of a file each of its keys is on, so that an error can name it.

`tomllib` tells no lines, so a scanner here walks over the text once more. It reads only what `tomllib` has read
already, so it may take for granted that the text is TOML; it follows tables, keys, strings and brackets.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping

Path = tuple[str | int, ...]
"""Keys and list positions from the top: `("host", "alice", "address")`."""


class Lines:
    """The line of every path of a file."""

    def __init__(self, known: Mapping[Path, int] | None = None) -> None:
        self._known = dict(known or {})

    def of(self, path: Path) -> int | None:
        """The line of *path*, or of the closest thing around it; None where not even that is known."""
        for length in range(len(path), 0, -1):
            line = self._known.get(path[:length])
            if line is not None:
                return line
        return None


def lines_of_toml(text: str) -> Lines:
    """The lines of a text that `tomllib` takes."""
    return Lines(_Scanner(text.replace("\r\n", "\n")).scan())


_SPACE = re.compile(r"(?:[ \t\n]|#[^\n]*)*")
_STRING = re.compile(
    r'"""(?:[^\\]|\\.)*?"""+'  # a multi-line string may end in quotes of its own, so in up to five
    r"|'{3}.*?'{3,5}"
    r'|"(?:[^"\\]|\\.)*"'
    r"|'[^']*'",
    re.DOTALL,
)
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_ATOM = re.compile(r"[^,\]}\n#]*")  # a number, a date, true: up to what can follow one


class _Scanner:
    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.known: dict[Path, int] = {}
        self.lengths: dict[Path, int] = {}
        """How many tables each array of tables has so far."""
        self._line, self._counted_to = 1, 0

    def scan(self) -> dict[Path, int]:
        table: Path = ()
        while self._next():
            if self._take("[["):
                *above, name = self._keys()
                array = (*self._table(above), name)
                self.lengths[array] = self.lengths.get(array, 0) + 1
                table = (*array, self.lengths[array] - 1)
                self._note(table)
                self._take("]]")
            elif self._take("["):
                table = self._table(self._keys())
                self._note(table)
                self._take("]")
            else:
                self._pair(table)
        return self.known

    def _table(self, keys: list[str]) -> Path:
        """The path of a header's keys, where an array of tables means the last of its tables."""
        path: Path = ()
        for key in keys:
            path = (*path, key)
            if path in self.lengths:
                path = (*path, self.lengths[path] - 1)
        return path

    def _pair(self, table: Path) -> None:
        path = (*table, *self._keys())
        self._note(path)
        self._take("=")
        self._value(path)

    def _keys(self) -> list[str]:
        keys = [self._key()]
        while self._take("."):
            keys.append(self._key())
        return keys

    def _key(self) -> str:
        self._next()
        if self.text[self.at] not in "\"'":
            return self._match(_BARE_KEY)
        key: str = tomllib.loads(f"key = {self._match(_STRING)}")["key"]
        return key

    def _value(self, path: Path) -> None:
        if self._take("["):
            index = 0
            while not self._take("]"):
                self._note((*path, index))
                self._value((*path, index))
                self._take(",")
                index += 1
        elif self._take("{"):
            while not self._take("}"):
                self._pair(path)
                self._take(",")
        elif self.text[self.at] in "\"'":
            self._match(_STRING)
        else:
            self._match(_ATOM)

    def _note(self, path: Path) -> None:
        self._line += self.text.count("\n", self._counted_to, self.at)
        self._counted_to = self.at
        for length in range(1, len(path) + 1):
            self.known.setdefault(path[:length], self._line)

    def _next(self) -> bool:
        """Go to what comes next; False at the end."""
        self._match(_SPACE)
        return self.at < len(self.text)

    def _take(self, what: str) -> bool:
        self._next()
        if not self.text.startswith(what, self.at):
            return False
        self.at += len(what)
        return True

    def _match(self, pattern: re.Pattern[str]) -> str:
        found = pattern.match(self.text, self.at)
        if found is None:
            raise ValueError(f"no TOML at character {self.at}")
        self.at = found.end()
        return found.group()
