"""Writes docs/nat-compliance.md from the requirements and from the tests that are marked to measure them.

python -m tests.compliance.page
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.compliance.requirement import Document, Requirement, State
from tests.compliance.requirements import DOCUMENTS
from wanlab.topology.nat import NATS

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "nat-compliance.md"
_PRESETS = [nat for nat in NATS.values() if nat is not None]

_HEAD = """\
<!-- Written by: python -m tests.compliance.page -->
# NATs and the RFCs

What the RFCs ask of NATs, in our own words (theirs count), which [presets](reference/nat.md) do it, and the tests that
have measured it with real packets. A preset that is not named breaks the requirement on purpose, as what it
imitates does, and the tests hold it to that.
"""


@dataclass(frozen=True, slots=True)
class Measurement:
    """A test that measures requirements."""

    file: Path
    test: str
    requirements: tuple[str, ...]

    @property
    def link(self) -> str:
        """The test's sentence, leading to its file."""
        sentence = self.test.removeprefix("test_").replace("_", " ")
        return f"[{sentence}](../{self.file.relative_to(ROOT)})"


def measurements() -> list[Measurement]:
    """All marked tests, in the order of their files."""
    return [found for file in sorted((ROOT / "tests").rglob("test_*.py")) for found in _in_file(file)]


def _in_file(file: Path) -> Iterator[Measurement]:
    for statement in ast.parse(file.read_text("utf-8")).body:
        if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef):
            for mark in statement.decorator_list:
                if isinstance(mark, ast.Call) and isinstance(mark.func, ast.Name) and mark.func.id == "requirement":
                    yield Measurement(file, statement.name, tuple(ast.literal_eval(name) for name in mark.args))


def page() -> str:
    """The whole page."""
    tests = measurements()
    return "\n".join([_HEAD, *(_section(document, tests) for document in DOCUMENTS)])


def _section(document: Document, tests: list[Measurement]) -> str:
    lines = [f"## RFC {document.rfc}: {document.title}", ""]
    lines += [document.preface, ""] if document.preface else []
    lines += ["| | asks | who does | measured by |", "|---|---|---|---|"]
    for each in document.requirements:
        measured = [test.link for test in tests if document.name(each) in test.requirements]
        lines.append(f"| {each.number} | {each.asks} | {_who(each)} | {'; '.join(measured) or '-'} |")
    return "\n".join(lines) + "\n"


def _who(each: Requirement) -> str:
    words = []
    if each.state is not State.MEASURED:
        words.append(f"{each.state.value[0].upper()}{each.state.value[1:]}.")
    elif each.obeyed is not None:
        obey = [f"`{nat.name}`" for nat in _PRESETS if each.obeyed(nat)]
        rest = [f"`{nat.name}`" for nat in _PRESETS if not each.obeyed(nat)]
        if not rest:
            words.append("All.")
        elif len(obey) > len(rest):
            words.append(f"All but {', '.join(rest)}.")
        else:
            words.append(f"{', '.join(obey)}.")
    return " ".join([*words, each.why]).strip() or "Every router."


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
