"""`wanlab shell`: a shell in a node, or in the lab with a view of all nodes."""

from __future__ import annotations

import os
from pathlib import Path
from shlex import quote

from wanlab.cli.options import OptionalNode, UpLab


def shell(node: OptionalNode = None, lab: UpLab = None) -> int:
    """Open a shell in a node, or in the lab.

    Without a node it is a shell in which `ip netns exec NODE ...` works as typed. The program is $SHELL; its exit
    status is passed on, as by `wanlab exec`.
    """
    from wanlab.cli.program import run_program
    from wanlab.cli.target import lab_name

    program = os.environ.get("SHELL") or "/bin/sh"
    name = lab_name(lab)
    return run_program(name, node, [program], _prompt(program, node or name))


def _prompt(program: str, place: str) -> dict[str, str]:
    """Variables that make a shell's prompt tell where it is, where that costs nothing. The hostname tells, too."""
    match Path(program).name:
        case "bash":
            # Its startup files come after the environment and mostly set PS1; this runs once, after them.
            usual = os.environ.get("PROMPT_COMMAND")
            after = f"PROMPT_COMMAND={quote(usual)}; eval {quote(usual)}" if usual else "unset PROMPT_COMMAND"
            tell = rf"case $PS1 in *\\[hH]*) ;; *) PS1={quote(f'({place}) ')}$PS1 ;; esac"
            return {"PROMPT_COMMAND": f"{tell}; {after}"}
        case "sh" | "dash" | "ash" | "ksh" | "mksh":
            return {"PS1": f"{place}# "}
    return {}
