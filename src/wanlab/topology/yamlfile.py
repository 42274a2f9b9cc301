"""YAML lab files: plain data and its lines.

Only what TOML could say as well: tables, lists, text, numbers, true and false. So words mean what they mean in YAML 1.2
(`no` is text), a key given twice is an error, and tags and aliases are refused, which also keeps a small file small.
"""

from __future__ import annotations

import re
from typing import Any

import yaml

from wanlab.errors import Source, TopologyError
from wanlab.topology.lines import Lines, Path

_PREFIX = "tag:yaml.org,2002:"
_MAX_DIGITS = 100  # int() of a text takes quadratic time, and Python refuses thousands of digits


class _Loader(yaml.SafeLoader):
    """SafeLoader with YAML 1.2's core schema: PyYAML's own reads `no` as false and 1:20 as 80."""


_Loader.yaml_implicit_resolvers = {}  # its own, and empty: not those of SafeLoader
_Loader.add_implicit_resolver(f"{_PREFIX}bool", re.compile(r"(?:true|True|TRUE|false|False|FALSE)\Z"), list("tTfF"))
_Loader.add_implicit_resolver(f"{_PREFIX}int", re.compile(r"[-+]?[0-9]+\Z"), list("-+0123456789"))
_Loader.add_implicit_resolver(
    f"{_PREFIX}float",
    re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+\.[0-9]*)(?:[eE][-+]?[0-9]+)?\Z"),
    list("-+.0123456789"),
)
_Loader.add_implicit_resolver(f"{_PREFIX}null", re.compile(r"(?:~|null|Null|NULL|)\Z"), ["~", "n", "N", ""])


def read_yaml(text: str, file: str) -> tuple[Any, Lines]:
    """The data of a YAML text and the lines of its keys. Raises TopologyError naming file and line."""
    try:
        root = yaml.compose(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else None
        raise TopologyError(f"not YAML: {error.problem or error.context}", where=Source(file, line)) from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise TopologyError(f"not YAML: {error.reason}", where=Source(file, line)) from None
    except RecursionError:
        raise _too_deep(file) from None
    except (ValueError, OverflowError):  # an escape such as "\UFFFFFFFF"
        raise TopologyError("not YAML: an escape in a text is no character", where=Source(file)) from None
    reader = _Reader(file)
    try:
        data = None if root is None else reader.read(root, ())
    except RecursionError:
        raise _too_deep(file) from None
    return data, Lines(reader.lines)


class _Reader:
    def __init__(self, file: str) -> None:
        self.file = file
        self.lines: dict[Path, int] = {}
        self.seen: set[int] = set()

    def read(self, node: yaml.Node, path: Path) -> Any:
        where = self._where(node)
        self.lines.setdefault(path, node.start_mark.line + 1)
        if id(node) in self.seen:
            raise TopologyError("an alias", where=where, hint="write out what it stands for")
        self.seen.add(id(node))
        if isinstance(node, yaml.MappingNode) and node.tag == f"{_PREFIX}map":
            return self._table(node, path)
        if isinstance(node, yaml.SequenceNode) and node.tag == f"{_PREFIX}seq":
            return [self.read(entry, (*path, index)) for index, entry in enumerate(node.value)]
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node)
        raise self._tagged(node)

    def _table(self, node: yaml.MappingNode, path: Path) -> dict[str, Any]:
        table: dict[str, Any] = {}
        for key, value in node.value:
            where = self._where(key)
            if not isinstance(key, yaml.ScalarNode):
                raise TopologyError("a key that is no text", where=where, hint="write `key: value`")
            if key.value in table:
                raise TopologyError(
                    f"key {key.value!r} is there twice",
                    where=where,
                    hint=f"the other is in line {self.lines[(*path, key.value)]}",
                )
            self.lines[(*path, key.value)] = key.start_mark.line + 1
            table[key.value] = self.read(value, (*path, key.value))
        return table

    def _scalar(self, node: yaml.ScalarNode) -> Any:
        text: str = node.value
        try:
            match node.tag.removeprefix(_PREFIX):
                case "str":
                    return text
                case "bool" if text.lower() in ("true", "false"):
                    return text.lower() == "true"
                case "int" if len(text) <= _MAX_DIGITS:
                    return int(text)
                case "float" if len(text) <= _MAX_DIGITS:
                    return float(text)
                case "null":
                    return None
        except ValueError:
            pass
        raise self._tagged(node)

    def _tagged(self, node: yaml.Node) -> TopologyError:
        return TopologyError(
            f"a value of YAML's type {node.tag.removeprefix(_PREFIX)!r}, or said to be one",
            where=self._where(node),
            hint="use text, whole numbers, true and false, lists and tables",
        )

    def _where(self, node: yaml.Node) -> Source:
        return Source(self.file, node.start_mark.line + 1)


def _too_deep(file: str) -> TopologyError:
    return TopologyError("nested too deeply", where=Source(file), hint="a lab has four levels at most")
