"""The figures as one table, for a terminal, for docs/performance.md and for programs."""

import datetime
import os
import platform
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.contest import Contest, Samples, Unit
from benchmarks.footprint import Footprint
from benchmarks.nat_crowd import Held

BEGIN = "<!-- benchmarks: begin (written by `python -m benchmarks --write`) -->"
END = "<!-- benchmarks: end -->"

Row = tuple[str, ...]


@dataclass(frozen=True)
class Machine:
    """What the figures depend on, and nothing that tells whose machine it is."""

    processor: str
    cores: int
    kernel: str
    python: str
    date: str

    def __str__(self) -> str:
        return f"{self.processor}, {self.cores} cores, Linux {self.kernel}, Python {self.python}, {self.date}"


@dataclass(frozen=True)
class Report:
    machine: Machine
    contests: Sequence[Contest]
    footprints: Sequence[Footprint]
    crowds: Sequence[Held]


def this_machine() -> Machine:
    return Machine(
        processor=_processor(),
        cores=os.cpu_count() or 1,
        kernel=platform.release(),
        python=platform.python_version(),
        date=datetime.datetime.now(datetime.UTC).date().isoformat(),
    )


def as_json(report: Report) -> dict[str, Any]:
    return {
        "machine": asdict(report.machine),
        "contests": [_contest_as_json(contest) for contest in report.contests],
        "footprints": [asdict(footprint) for footprint in report.footprints],
        "crowds": [asdict(crowd) for crowd in report.crowds],
    }


def as_markdown(report: Report) -> str:
    parts = [f"Measured on: {report.machine}. Medians; the ratio is the median of the turns' own ratios."]
    if report.contests:
        parts.append("\n".join(_table(_CONTEST_HEAD, [_contest_row(contest) for contest in report.contests])))
    parts.extend(sorted({f"Not measured: {reason}." for contest in report.contests for reason in _missing(contest)}))
    if report.footprints:
        parts.append("\n".join(_table(_FOOTPRINT_HEAD, [_footprint_row(each) for each in report.footprints])))
    if report.crowds:
        parts.append("\n".join(_table(_CROWD_HEAD, [_crowd_row(each) for each in report.crowds])))
    return "\n\n".join(parts) + "\n"


def write_into(page: Path, report: Report) -> None:
    """Replace what stands between the two marks in `page`; raises ValueError if it has none."""
    before, begin, rest = page.read_text().partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"{page}: no place for the table; add the lines {BEGIN!r} and {END!r}")
    page.write_text(f"{before}{BEGIN}\n\n{as_markdown(report)}\n{END}{after}")


_CONTEST_HEAD = ("what", "wanlab", "against", "its figure", "wanlab / it", "goal", "")
_FOOTPRINT_HEAD = (
    "the process that holds a",
    "RSS",
    "PSS",
    "PSS a node",
    "descriptors",
    "descriptors a node",
)

_CROWD_HEAD = (
    "UDP mappings at once",
    "wanted",
    "stand",
    "the server's answer comes in",
    "a stranger's packet comes in",
    "astray",
    "made in",
    "flows at the end, of at most",
    "kernel memory",
)


def _contest_row(contest: Contest) -> Row:
    ratio = contest.ratio
    verdict = "" if ratio is None or contest.goal is None else "met" if contest.goal.met_by(ratio) else "MISSED"
    return (
        contest.what,
        _median(contest.wanlab, contest.unit),
        contest.rival.name,
        _median(contest.rival, contest.unit),
        "-" if ratio is None else f"{ratio:.3g}",
        str(contest.goal or ""),
        verdict,
    )


def _footprint_row(footprint: Footprint) -> Row:
    return (
        footprint.what,
        f"{footprint.rss_kib / 1024:.1f} MiB",
        f"{footprint.pss_kib / 1024:.1f} MiB",
        f"{footprint.pss_kib / footprint.nodes:.1f} KiB",
        str(footprint.descriptors),
        f"{footprint.descriptors / footprint.nodes:.2f}",
    )


def _crowd_row(crowd: Held) -> Row:
    return (
        crowd.what,
        *(str(count) for count in (crowd.wanted, crowd.mapped, crowd.answered, crowd.called, crowd.astray)),
        f"{crowd.made_s:.1f} s",
        f"{crowd.flows} of {crowd.most_flows}",
        f"{crowd.memory_kib / 1024:.0f} MiB",
    )


def _missing(contest: Contest) -> Iterator[str]:
    for samples in contest.wanlab, contest.rival:
        if samples.missing:
            yield f"{samples.name} ({samples.missing})"


def _median(samples: Samples[float], unit: Unit) -> str:
    if not samples.values:
        return "-"
    value = statistics.median(samples.values)
    if unit is Unit.BITS_PER_SECOND:
        return f"{value / 1e9:.2f} Gbit/s"
    if unit in (Unit.PACKETS_PER_SECOND, Unit.FLOWS_PER_SECOND):
        return f"{value / 1e3:.0f} k {unit.value}"
    if unit is Unit.RATIO:
        return f"{value:.2f}"
    return f"{value:.2f} s" if value >= 1 else f"{value * 1e3:.1f} ms"


def _table(head: Row, rows: Sequence[Row]) -> Iterator[str]:
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]
    for row in (head, tuple("-" * width for width in widths), *rows):
        yield "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |"


def _contest_as_json(contest: Contest) -> dict[str, Any]:
    return {
        "what": contest.what,
        "unit": contest.unit.value,
        "wanlab": asdict(contest.wanlab),
        "rival": asdict(contest.rival),
        "ratio": contest.ratio,
        "goal": str(contest.goal) if contest.goal else None,
    }


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "model name":
            return value.strip()
    return platform.machine()  # many ARM kernels name no model
