"""`wanlab doctor`: what this machine can do, and what to do where it can't."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wanlab.cli.options import Json

if TYPE_CHECKING:
    from rich.console import Console

    from wanlab.doctor.probe import Finding


def doctor(json: Json = False) -> int:
    """Say what this machine can do, and what to do where not.

    What to do are commands to copy. Everything is tried, in namespaces that are thrown away. Exits with 4 where
    something is missing that labs need.
    """
    from dataclasses import asdict

    from wanlab.cli.text import print_json
    from wanlab.doctor.examiner import examine

    findings = examine()
    works = not _missing(findings)
    if json:
        listed = [asdict(finding) for finding in findings]
        print_json({"labs_work": works, "summary": _summary(findings), "findings": listed})
    else:
        print_findings(findings)
    return 0 if works else 4  # as MachineError


def print_findings(findings: list[Finding], console: Console | None = None) -> None:
    """Print the findings by group, cures below what they cure, and the outcome."""
    from rich.console import Console
    from rich.text import Text

    console = console or Console(highlight=False)
    width = max(len(finding.name) for finding in findings)
    group = ""
    for finding in findings:
        if finding.group != group:
            group = finding.group
            console.print(Text(group, "bold"))
        mark, style = _mark(finding, console.encoding)
        line = Text(f"  {mark} ", style).append(f"{finding.name:<{width}}  ", "").append(finding.found, "dim")
        if finding.ok is False:
            line.append(f" ({'needed for' if finding.needed else 'for'} {finding.use})", "")
        console.print(line, soft_wrap=True)  # a terminal may break the line; whoever copies from it gets it whole
        for command in (finding.cure or "").splitlines():
            console.print(Text(f"      {command}", "cyan"), soft_wrap=True)
    console.print(Text(_summary(findings), "bold red" if _missing(findings) else "green"), soft_wrap=True)


def _mark(finding: Finding, encoding: str) -> tuple[str, str]:
    marks = {True: "✓", False: "✗", None: "·"} if encoding.startswith("utf") else {True: "+", False: "x", None: "-"}
    if finding.ok is not False:
        return marks[finding.ok], "green" if finding.ok else "dim"
    return marks[False], "bold red" if finding.needed else "yellow"


def _missing(findings: list[Finding]) -> list[Finding]:
    return [finding for finding in findings if finding.needed and not finding.ok]


def _summary(findings: list[Finding]) -> str:
    missing = _missing(findings)
    if not missing:
        return "labs work here"
    # What could not be tried for want of something else is not the reason.
    reasons = [finding for finding in missing if finding.ok is False] or missing[:1]
    return "labs do not work here: " + "; ".join(f"{finding.name}: {finding.found}" for finding in reasons)
