"""Reads the pages of the documentation: their blocks of code and what is to be done with each.

What a block needs is said by an HTML comment on the line before it, which readers do not see:

    <!-- not run: WHY -->        neither run nor checked
    <!-- file: NAME -->          written to NAME in the page's directory, not run
    <!-- part of: FILE -->       an extract: each of its paragraphs is in that file of the repository, or of the page
    <!-- background -->          goes on running while the next block runs, and is ended after that
    <!-- in a shell: COMMAND --> its commands are typed into COMMAND
    <!-- needs: ids -->          left out where a user namespace has one user id only

Without one, `console` blocks are run by bash and their output compared, `sh` blocks are run, and `python` blocks too.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"

_BLOCK = re.compile(r"^( *)```(\w*)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
_COMMENT = re.compile(r"^ *<!-- (?P<word>[^:\n]+?)(?:: (?P<value>[^\n]*?))? -->\n\Z", re.MULTILINE)
_KNOWN = {"not run", "file", "part of", "background", "in a shell", "needs"}


@dataclass(frozen=True, slots=True)
class Command:
    """A line that was typed, and what it printed."""

    text: str
    output: str


@dataclass(frozen=True, slots=True)
class Block:
    """A block of code on a page."""

    page: Path
    line: int
    language: str
    text: str
    word: str | None
    """What the comment before it asks for."""
    value: str

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"

    @property
    def commands(self) -> list[Command]:
        """What a `console` block shows: each line that begins with `$ `, `> ` going on with it, and what it printed."""
        found: list[Command] = []
        for line in self.text.splitlines(keepends=True):
            if line.startswith("$ "):
                found.append(Command(line[2:], ""))
            elif line.startswith("> ") and found and not found[-1].output:
                found[-1] = Command(found[-1].text + line[2:], "")
            else:
                assert found, f"{self}: output without a command: {line!r}"
                found[-1] = Command(found[-1].text, found[-1].output + line)
        return found


def pages() -> list[Path]:
    """Every page."""
    return [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]


def blocks(page: Path) -> Iterator[Block]:
    """A page's blocks of code, in order."""
    text = page.read_text("utf-8")
    for found in _BLOCK.finditer(text):
        indent, language, body = found.groups()
        comment = _COMMENT.search(text[: found.start()])
        word = comment["word"] if comment else None
        line = text.count("\n", 0, found.start()) + 1
        assert word is None or word in _KNOWN, f"{page}:{line}: a block cannot be {word!r}"
        body = re.sub(rf"^{indent}", "", body, flags=re.MULTILINE)
        yield Block(page, line, language, body, word, (comment["value"] or "") if comment else "")


def prose(page: Path) -> str:
    """A page without its blocks of code."""
    return _BLOCK.sub("", page.read_text("utf-8"))


def links(page: Path) -> list[str]:
    """Where a page's links lead."""
    return re.findall(r"\]\(([^)\s]+)\)", prose(page))


def anchors(page: Path) -> set[str]:
    """The names of a page's headings, as GitHub makes them."""
    titles = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-") for title in titles}
