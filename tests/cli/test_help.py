"""Help, version and completion: quick, and of every verb."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests.cli.command import WANLAB, must

VERBS = (
    "up",
    "down",
    "ls",
    "inspect",
    "exec",
    "shell",
    "ping",
    "capture",
    "trace",
    "explain",
    "top",
    "verify",
    "nat",
    "punch-grid",
    "matrix",
    "change",
    "link",
    "unplug",
    "plug",
    "partition",
    "heal",
    "new-address",
    "redial",
    "reboot",
    "apply",
    "play",
    "record",
    "script",
    "graph",
    "diagram",
    "catalog",
    "doctor",
)
HEAVY = ("rich", "pydantic", "asyncio", "yaml", "wanlab.runtime.lab", "wanlab.topology.schema")


def test_help_names_every_verb() -> None:
    printed = must("-h")
    assert printed == must("--help") == must()
    assert [line.split()[0] for line in printed.partition("Commands:")[2].split("\n  ")[1:]] == list(VERBS)
    assert "..." not in printed.partition("Commands:")[2], "a sentence that is too long for its line"


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help(verb: str) -> None:
    assert must(verb, "-h") == must(verb, "--help")
    assert must(verb, "-h").startswith(f"Usage: wanlab {verb} ")


def test_version_is_printed() -> None:
    from wanlab import __version__

    assert must("--version") == f"wanlab {__version__}\n"


def test_the_installed_command_is_the_same() -> None:
    command = Path(sys.executable).with_name("wanlab")
    if not command.exists():
        pytest.skip("wanlab is not installed beside this Python")
    assert subprocess.check_output([command, "-h"], text=True) == must("-h")


def test_help_imports_nothing_that_takes_long() -> None:
    assert not set(HEAVY) & imported_by("-h")


def test_exec_imports_not_even_typer(two_lans: None) -> None:
    assert not {*HEAVY, "typer", "click", "wanlab.cli.app"} & imported_by("exec", "alice", "true")


def imported_by(*arguments: str) -> set[str]:
    script = (
        "import sys, json, atexit\n"
        "names = open(int(sys.argv[1]), 'w')\n"
        "atexit.register(lambda: json.dump(sorted(sys.modules), names))\n"
        "from wanlab.cli import main\n"
        f"sys.argv = {['wanlab', *arguments]!r}\n"
        "sys.exit(main())\n"
    )
    with tempfile.TemporaryFile("w+") as names:
        subprocess.run(
            [sys.executable, "-c", script, str(names.fileno())],
            pass_fds=[names.fileno()], stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL, check=True,
        )  # fmt: skip
        names.seek(0)
        return set(json.load(names))


def completed(words: str) -> list[str]:
    """What bash is offered for the last of these words."""
    env = {
        **os.environ,
        "_WANLAB_COMPLETE": "complete_bash",
        "COMP_WORDS": words,
        "COMP_CWORD": str(len(words.split(" ")) - 1),
    }
    done = subprocess.run([*WANLAB], env=env, capture_output=True, text=True, check=False)
    assert done.stderr == ""
    return done.stdout.split()


def test_verbs_and_labs_of_the_catalogue_are_completed(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text("")
    assert completed("wanlab in") == ["inspect"]
    assert completed("wanlab up two-l") == ["two-lans"]
    assert "mine.toml" in completed("wanlab up ")
    assert completed("wanlab catalog c") == ["cable", "carrier", "chain"]


def test_nodes_and_labs_that_are_up_are_completed(two_lans: None) -> None:
    assert completed("wanlab exec al") == ["alice"]
    assert completed("wanlab ping home-") == ["home-a", "home-b"]
    assert completed("wanlab ping alice b") == ["bob"]
    assert completed("wanlab down --lab t") == ["two-lans"]
    must("up", "cable")
    assert completed("wanlab shell al") == []  # which lab?
    assert completed("wanlab shell --lab two-lans al") == ["alice"]


def test_completion_is_silent_where_nothing_is_up() -> None:
    assert completed("wanlab exec a") == []
    assert completed("wanlab down --lab ") == []


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_can_be_shown_for_every_shell(shell: str) -> None:
    env = {**os.environ, "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
    assert "_WANLAB_COMPLETE" in must("--show-completion", shell, env=env)
