"""Every command, program and file that the documentation shows works, every link leads somewhere."""

from __future__ import annotations

import inspect
import json
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

import wanlab
from tests.docs.pages import DOCS, ROOT, anchors, blocks, links, pages
from tests.docs.player import Player
from wanlab.drawing.svg import draw_svg
from wanlab.topology.document import json_schema


@pytest.fixture
def player(tmp_path: Path, runtime: Path) -> Iterator[Player]:
    with Player(tmp_path, runtime.parent) as player:
        yield player


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", [page for page in pages() if list(blocks(page))], ids=name_of)
def test_what_a_page_shows_happens(page: Path, player: Player) -> None:
    for block in blocks(page):
        player.play(block)


@pytest.mark.parametrize("page", pages(), ids=name_of)
def test_links_lead_somewhere(page: Path) -> None:
    for link in links(page):
        if link.startswith(("https://", "http://")):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{name_of(page)}: {link} leads nowhere"
        if anchor:
            assert anchor in anchors(target), f"{name_of(page)}: {name_of(target)} has no heading for #{anchor}"


def test_every_page_is_in_the_index() -> None:
    listed = {(DOCS / link).resolve() for link in links(DOCS / "README.md")}
    missing = [name_of(page) for page in DOCS.rglob("*.md") if page.resolve() not in listed | {DOCS / "README.md"}]
    assert not missing


def test_blocks_are_in_languages_that_are_looked_at() -> None:
    looked_at = {"console", "sh", "python", "toml", "yaml", "text", "json"}
    assert {block.language for page in pages() for block in blocks(page)} <= looked_at


@pytest.mark.parametrize("example", sorted((ROOT / "examples").rglob("*.toml")), ids=name_of)
def test_example_labs_are_what_they_say(example: Path) -> None:
    with wanlab.Lab(example) as lab:
        assert lab.network.title
        assert not lab.verify().failed


def test_the_example_in_python_runs() -> None:
    program = ROOT / "examples" / "udp_hello" / "hello.py"
    done = subprocess.run([sys.executable, "-W", "error", program], capture_output=True, text=True, check=True)
    assert re.search(r"^alice: I am 10[.]1[.]0[.]1:\d+; coordinator sees me as 172[.]16[.]0[.]1:", done.stdout)


# -- the file's reference --------------------------------------------------------------------------------------------


def tables_of_the_schema() -> Iterator[tuple[str, Mapping[str, Any]]]:
    schema = json_schema()
    yield "lab", schema["properties"]
    for name, table in schema["$defs"].items():
        if name == "Direction":  # its keys are Impairment's
            continue
        yield name.lower(), table["properties"]


def documented_keys(table: str) -> dict[str, str]:
    """The rows of the table under the heading of that name: key and the rest of the line."""
    text = (DOCS / "reference" / "file.md").read_text("utf-8")
    section = re.search(rf"^## {table.title()}\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    assert section is not None, f"docs/reference/file.md has no section for {table}"
    return dict(re.findall(r"^\| `([\w-]+)` \|(.*)\|$", section[1], re.MULTILINE))


@pytest.mark.parametrize(("table", "keys"), list(tables_of_the_schema()), ids=lambda value: str(value)[:10])
def test_file_reference_has_every_key_and_no_other(table: str, keys: Mapping[str, Any]) -> None:
    documented = documented_keys(table)
    assert set(documented) == set(keys)
    assert all(row.count("|") == 1 and all(cell.strip() for cell in row.split("|")) for row in documented.values())


def test_published_schema_is_that_of_the_code() -> None:
    assert json.loads((ROOT / "schema" / "wanlab.schema.json").read_text()) == json_schema()


# -- Python's reference ----------------------------------------------------------------------------------------------


def make_reference() -> dict[str, Any]:
    import runpy

    return runpy.run_path(str(DOCS / "make_reference.py"))


def test_python_reference_is_current() -> None:
    written = (DOCS / "reference" / "python.md").read_text("utf-8")
    assert make_reference()["page"]() == written, "run: python docs/make_reference.py"


def test_python_reference_has_every_public_name() -> None:
    public = {name for name in wanlab.__all__ if inspect.isclass(getattr(wanlab, name))}
    assert make_reference()["documented_names"]() == public


# -- pictures --------------------------------------------------------------------------------------------------------


def test_the_picture_of_two_lans_is_current() -> None:
    picture = draw_svg(wanlab.Topology.load("two-lans").resolve())
    assert (DOCS / "images" / "two-lans.svg").read_text("utf-8") == picture, (
        "run: wanlab graph two-lans -o docs/images/two-lans.svg"
    )


# -- the command line's reference ------------------------------------------------------------------------------------


def help_of(*words: str) -> str:
    command = [sys.executable, "-m", "wanlab", *words, "-h"]
    return subprocess.run(command, capture_output=True, text=True, check=True, env={"COLUMNS": "100"}).stdout


def verbs() -> list[str]:
    commands = help_of().partition("\nCommands:\n")[2]
    found = re.findall(r"^  (\w+) ", commands, re.MULTILINE)
    assert len(found) > 5
    return found


def options_in(text: str) -> set[str]:
    """Long options, and short ones that have no long one beside them."""
    return set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", text))


def cli_sections() -> dict[str, str]:
    text = (DOCS / "reference" / "cli.md").read_text("utf-8")
    return dict(re.findall(r"^## wanlab (\w+)\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL))


def test_cli_reference_has_every_verb_and_no_other() -> None:
    assert list(cli_sections()) == verbs()


def test_cli_reference_has_every_option_and_no_other() -> None:
    for verb, section in cli_sections().items():
        rows = "\n".join(re.findall(r"^\| `-.*$", section, re.MULTILINE))
        offered = options_in(help_of(verb).partition("\nOptions:\n")[2]) - {"--help"}
        assert options_in(re.sub(r"\|[^|]*\|$", "", rows, flags=re.MULTILINE)) == offered, verb


def test_cli_reference_has_every_argument() -> None:
    for verb, section in cli_sections().items():
        arguments = help_of(verb).partition("\nArguments:\n")[2].partition("\nOptions:\n")[0]
        for name in re.findall(r"^  ([A-Z]+) ", arguments, re.MULTILINE):
            assert re.search(rf"\b{name}\b", section), f"{verb}: {name}"
