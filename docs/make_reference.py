"""Writes reference/python.md from the docstrings of wanlab's public names; a test checks that the page is current.

python docs/make_reference.py
"""

from __future__ import annotations

import ast
import re
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

_PACKAGE = Path(__file__).resolve().parents[1] / "src" / "wanlab"
_PAGE = Path(__file__).resolve().parent / "reference" / "python.md"
_Definition = TypeVar("_Definition", ast.ClassDef, ast.FunctionDef)
_WIDTH = 96  # of a signature on one line


@dataclass(frozen=True, slots=True)
class _Class:
    module: str
    name: str
    constructor: bool = False
    """Whether users call it."""
    importable: bool = True
    """Whether it is one of the names that `from wanlab import ...` knows."""


@dataclass(frozen=True, slots=True)
class _Section:
    title: str
    text: str
    classes: tuple[_Class, ...]
    functions: tuple[tuple[str, str], ...] = ()
    """Module and name of each."""


_SECTIONS = (
    _Section(
        "Declaring a lab",
        "A `Topology` says what there is. Nothing is built, and nothing needs Linux.",
        (
            _Class("topology/topology.py", "Topology", constructor=True),
            _Class("topology/topology.py", "Declared", importable=False),
            _Class("topology/topology.py", "Switch", importable=False),
            _Class("topology/topology.py", "Host", importable=False),
            _Class("topology/topology.py", "Router", importable=False),
        ),
    ),
    _Section(
        "A lab that is up",
        "",
        (
            _Class("runtime/lab.py", "Lab", constructor=True),
            _Class("runtime/changes.py", "Changing", importable=False),
            _Class("runtime/changes.py", "Changed", importable=False),
            _Class("runtime/lab.py", "LabNode"),
            _Class("runtime/process.py", "Process"),
            _Class("runtime/process.py", "ProcessOptions", importable=False),
            _Class("runtime/server.py", "Server"),
            _Class("runtime/record.py", "Record", importable=False),
            _Class("runtime/record.py", "Log", importable=False),
        ),
    ),
    _Section(
        "Scenarios",
        "What happens to a lab and when: see [play a scenario](../howto/play-a-scenario.md).",
        (
            _Class("topology/scenario.py", "Scenario", constructor=True),
            _Class("topology/scenario.py", "Event", constructor=True),
            _Class("topology/scenario.py", "Reboot", importable=False),
            _Class("topology/scenario.py", "Say", importable=False),
            _Class("topology/edits.py", "Change", importable=False),
            _Class("topology/edits.py", "Link", importable=False),
            _Class("topology/edits.py", "Plug", importable=False),
            _Class("topology/edits.py", "Part", importable=False),
            _Class("topology/edits.py", "Heal", importable=False),
            _Class("topology/edits.py", "Become", importable=False),
            _Class("runtime/play.py", "Play", importable=False),
            _Class("runtime/play.py", "Happened", importable=False),
        ),
    ),
    _Section(
        "Proof",
        "What `Lab.verify()` returns.",
        (
            _Class("measure/verify.py", "Report"),
            _Class("measure/verify.py", "Check"),
        ),
    ),
    _Section(
        "What a NAT remembers",
        "What `LabNode.mappings()` returns.",
        (
            _Class("measure/mappings.py", "LiveMapping", importable=False),
            _Class("measure/mappings.py", "LiveEndpoint", importable=False),
            _Class("measure/mappings.py", "Peer", importable=False),
        ),
    ),
    _Section(
        "Matrices",
        "A command in a fresh lab for each combination of what is varied: [how to](../howto/test-every-nat.md). "
        "`from wanlab.matrix import ...` knows these names.",
        (
            _Class("matrix/variation.py", "Axis", importable=False),
            _Class("matrix/variation.py", "Cell", importable=False),
            _Class("matrix/matrix.py", "Matrix", importable=False),
            _Class("matrix/results.py", "Results", importable=False),
            _Class("matrix/results.py", "Result", importable=False),
            _Class("matrix/results.py", "Attempt", importable=False),
            _Class("matrix/results.py", "State", importable=False),
            _Class("matrix/run.py", "Progress", importable=False),
        ),
        (("matrix/run.py", "run_matrix"), ("matrix/run.py", "read_results"), ("matrix/report.py", "write_reports")),
    ),
    _Section(
        "What was recorded",
        "A [run directory](run-directory.md), read.",
        (
            _Class("recording/recording.py", "Recording"),
            _Class("recording/recording.py", "RecordedEvent", importable=False),
            _Class("recording/recording.py", "Snapshot", importable=False),
            _Class("recording/recording.py", "RecordedProcess", importable=False),
            _Class("recording/lab_recorder.py", "LabRecorder", constructor=True, importable=False),
            _Class("trace/story.py", "Story", importable=False),
            _Class("trace/story.py", "Crossing", importable=False),
            _Class("capture/headers.py", "Header", importable=False),
            _Class("trace/story.py", "Fate", importable=False),
        ),
    ),
    _Section(
        "Packets",
        "What `Lab.capture()` returns; what follows packets and tells their stories; what "
        "`wanlab.trace.explain.explain()` returns: [how to](../howto/see-packets.md).",
        (
            _Class("capture/capture.py", "Capture", importable=False),
            _Class("trace/trace.py", "Trace", constructor=True, importable=False),
            _Class("trace/explain.py", "Explanation", importable=False),
            _Class("trace/explain.py", "Obstacle", importable=False),
        ),
    ),
    _Section(
        "A network with everything worked out",
        "What `Topology.resolve()` returns, and `Lab.network` is: addresses, routes and names are all there. "
        "Addresses are objects of the standard library's `ipaddress`.",
        (
            _Class("topology/network.py", "Network"),
            _Class("topology/network.py", "Node"),
            _Class("topology/network.py", "Interface"),
            _Class("topology/network.py", "Route"),
            _Class("topology/network.py", "Link", importable=False),
            _Class("topology/network.py", "Segment", importable=False),
            _Class("topology/network.py", "Kind"),
        ),
    ),
    _Section(
        "NAT behaviour",
        "In the words of RFC 4787. A router is given one by name: `none`, `linux` or `article`.",
        (
            _Class("topology/nat.py", "Nat"),
            _Class("topology/nat.py", "Mapping", importable=False),
            _Class("topology/nat.py", "Filtering", importable=False),
            _Class("topology/nat.py", "Ports", importable=False),
        ),
    ),
    _Section(
        "Links as bad as real ones",
        "In tc-netem's words. Mostly a profile's name or a dictionary is enough: see [impairment](file.md#impairment).",
        (
            _Class("topology/impairment.py", "Impairment", constructor=True),
            _Class("topology/impairment.py", "LinkImpairment", constructor=True),
            _Class("topology/impairment.py", "Bursts", importable=False),
            _Class("topology/impairment.py", "Distribution", importable=False),
            _Class("topology/impairment.py", "QueueUnit", importable=False),
        ),
    ),
    _Section(
        "Errors",
        "Each says what is wrong, where (node, file and line) and what to do about it. "
        "The command line ends with the exit code shown: see [exit codes](exit-codes.md).",
        tuple(
            _Class("errors.py", name, importable=name != "Source")
            for name in (
                "WanlabError",
                "TopologyError",
                "UsageError",
                "NoSuchLab",
                "NoSuchNode",
                "LabExists",
                "MachineError",
                "KernelError",
                "LabEnded",
                "ServerFailed",
                "CommandNotFound",
                "Source",
            )
        ),
    ),
)


_TYPES = """\
| in signatures | is |
|---|---|
| `Texts` | one text, several (a list), or None |
| `Arguments` | a program and its arguments: a list of texts or paths |
| `Stream` | what `subprocess` takes: None (the caller's), `PIPE`, `DEVNULL`, `STDOUT`, a descriptor, a file |
| `Output` | bytes; text with `text=True`; None for what is not captured |
| `Progress` | a function that is told how many of how many steps are done |
| `IPAddress`, `IPInterface`, `IPNetwork` | the IPv4 or the IPv6 class of `ipaddress` |"""


def page() -> str:
    """The whole page."""
    parts = [
        "<!-- Written by docs/make_reference.py from the docstrings: change those, and run it. -->",
        "# Python reference",
        "`from wanlab import ...` knows the classes of this page, but for those with a module below their name: they "
        "are what the others take and return. What is not on this page may change at any time.",
        _TYPES,
    ]
    for section in _SECTIONS:
        parts.append(f"## {section.title}")
        if section.text:
            parts.append(section.text)
        for function in section.functions:
            parts += _free_function(*function)
        for chosen in section.classes:
            parts += _class(chosen)
    return "\n\n".join(parts) + "\n"


def documented_names() -> set[str]:
    """The names on the page that `wanlab` exports."""
    return {chosen.name for section in _SECTIONS for chosen in section.classes if chosen.importable}


def _class(chosen: _Class) -> Iterator[str]:
    found = _find(chosen.module, chosen.name, ast.ClassDef)
    bases = ", ".join(ast.unparse(base) for base in found.bases)
    yield f"### {chosen.name}" + ("" if chosen.importable else f"\n\n<sub>of `{_module(chosen.module)}`</sub>")
    if bases and bases != "Exception":
        yield f"Is a `{bases.replace(', ', '` and a `')}`."
    text = _text(ast.get_docstring(found))
    if text:
        yield text
    entries: list[str] = []
    for node in found.body:
        if isinstance(node, ast.FunctionDef) and node.name == "__init__" and chosen.constructor:
            yield _code(_signature(chosen.name, node, "def"))
    for node, following in zip(found.body, [*found.body[1:], None], strict=True):
        entries += _member(node, following)
    if entries:
        yield "\n".join(entries)


def _free_function(module: str, name: str) -> Iterator[str]:
    found = _find(module, name, ast.FunctionDef)
    yield f"### {name}\n\n<sub>of `{_module(module)}`</sub>"
    yield _text(ast.get_docstring(found))
    yield _code(_signature(name, found, "def"))


def _find(module: str, name: str, kind: type[_Definition]) -> _Definition:
    tree = ast.parse((_PACKAGE / module).read_text("utf-8"))
    for node in tree.body:
        if isinstance(node, kind) and node.name == name:
            return node
    raise LookupError(f"{module} has no {name}")


def _member(node: ast.stmt, following: ast.stmt | None) -> Iterator[str]:
    """One entry of a class's list: a method, a property, a field or an enumeration's value."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        if node.name == "__getitem__":
            returns = ast.unparse(node.returns) if node.returns else ""
            text = _text(ast.get_docstring(node)) or "The one of that name."
            yield f"- **`[{_arguments(node)[0]}] -> {returns}`**{_appended(text)}"
        elif not node.name.startswith("_"):
            yield _function(node)
    elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
        yield from _field(node.target.id, f": {ast.unparse(node.annotation)}", _string(following))
    elif isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant):
        yield from _field(ast.unparse(node.targets[0]), f" = {node.value.value!r}", _string(following))


def _function(node: ast.FunctionDef | ast.AsyncFunctionDef) -> str:
    decorators = {ast.unparse(decorator) for decorator in node.decorator_list}
    text = _text(ast.get_docstring(node))
    if decorators & {"property", "cached_property"}:
        returns = f": {ast.unparse(node.returns)}" if node.returns else ""
        return f"- **`{node.name}{returns}`**{_appended(text)}"
    kind = "async def" if isinstance(node, ast.AsyncFunctionDef) else "def"
    marks = " (class method)" if "classmethod" in decorators else ""
    signature = _signature(node.name, node, kind)
    if "\n" not in signature:
        return f"- **`{signature.removeprefix('def ')}`**{marks}{_appended(text)}"
    block = textwrap.indent(_code(signature), "  ")
    return f"- **`{node.name}`**{marks}{_appended(text)}\n\n{block}\n"


def _field(name: str, what: str, text: str | None) -> Iterator[str]:
    if not name.startswith("_") and what != ": bool = field(repr=False)":
        yield f"- `{name}{what}`{_appended(_text(text))}"


def _appended(text: str) -> str:
    """A docstring after its entry's first line: its first paragraph beside it, the others below, indented."""
    if not text:
        return ""
    first, _, rest = text.partition("\n\n")
    return f": {first}" + (f"\n\n{textwrap.indent(rest, '  ')}" if rest else "")


def _signature(name: str, node: ast.FunctionDef | ast.AsyncFunctionDef, kind: str) -> str:
    arguments = _arguments(node)
    returns = f" -> {ast.unparse(node.returns)}" if node.returns and node.name != "__init__" else ""
    start = name if node.name == "__init__" else f"{kind} {name}"
    line = f"{start}({', '.join(arguments)}){returns}"
    if len(line) <= _WIDTH:
        return line
    return f"{start}(\n{''.join(f'    {argument},{chr(10)}' for argument in arguments)}){returns}"


def _arguments(node: ast.FunctionDef | ast.AsyncFunctionDef) -> list[str]:
    """A function's arguments as one writes them, without `self` and without where a declaration stands."""
    spec = node.args
    defaults = [*[None] * (len(spec.args) - len(spec.defaults)), *spec.defaults]
    found = [_argument(each, default) for each, default in zip(spec.args, defaults, strict=True)]
    if spec.vararg:
        found.append(f"*{_argument(spec.vararg, None)}")
    elif spec.kwonlyargs:
        found.append("*")
    found += [_argument(each, default) for each, default in zip(spec.kwonlyargs, spec.kw_defaults, strict=True)]
    if spec.kwarg:
        found.append(f"**{_argument(spec.kwarg, None)}")
    return [each for each in found if each not in ("self", "cls") and not each.startswith(("source:", "where: Source"))]


def _argument(argument: ast.arg, default: ast.expr | None) -> str:
    kind = f": {ast.unparse(argument.annotation)}" if argument.annotation else ""
    return argument.arg + kind + (f" = {ast.unparse(default)}" if default else "")


def _code(signature: str) -> str:
    return f"<!-- not run: a signature -->\n```python\n{signature}\n```"


def _example(code: str) -> str:
    """An example from a docstring, as a program that runs."""
    names = [name for name in ("Lab", "Topology") if f"{name}(" in code]
    return f"```python\nfrom wanlab import {', '.join(names)}\n\n{code}\n```"


def _string(node: ast.stmt | None) -> str | None:
    """The docstring below a field."""
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
        return node.value.value
    return None


def _text(docstring: str | None) -> str:
    """A docstring as Markdown."""
    if docstring is None:
        return ""
    text = textwrap.dedent(docstring).strip()
    text = re.sub(r":(?:meth|class|data|mod|func):`~?([^`]+)`", lambda found: f"`{found[1]}`", text)
    paragraphs = []
    for paragraph in text.split("\n\n"):
        if paragraph.lstrip().startswith(">>>"):
            paragraph = _example(re.sub(r"(?m)^(>>>|[.]{3}) ?", "", textwrap.dedent(paragraph)))
        elif paragraph.startswith("    "):
            paragraph = _example(textwrap.dedent(paragraph))
        else:
            paragraph = re.sub(r"::$", ":", " ".join(paragraph.split("\n")))
            paragraph = re.sub(r"(?<!\w)\*(\w+)\*(?!\w)", r"`\1`", paragraph)  # *argument*
        paragraphs.append(paragraph)
    return "\n\n".join(paragraphs)


def _module(path: str) -> str:
    return "wanlab." + path.removesuffix(".py").replace("/", ".")


if __name__ == "__main__":
    _PAGE.write_text(page(), "utf-8")
    print(f"{_PAGE}: written", file=sys.stderr)
