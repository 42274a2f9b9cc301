"""`python -m benchmarks`: measure wanlab and its rivals by turns, in one run, and print one table."""

import argparse
import json
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

from benchmarks.capture_speed import captures
from benchmarks.commands import run_in_host, whole_processes
from benchmarks.contest import Contest, Missing
from benchmarks.footprint import Footprint, star_footprints
from benchmarks.matrix import matrix
from benchmarks.nat_crowd import Held, crowd
from benchmarks.nat_speed import nats
from benchmarks.path import path
from benchmarks.pytest_suite import suite
from benchmarks.report import Report, as_json, as_markdown, this_machine, write_into
from benchmarks.startup import stars, two_lans

FOOTPRINT = "footprint"
CROWD = "crowd"


def main() -> None:
    options = _options()
    contests: dict[str, Callable[[], Iterable[Contest]]] = {
        "two-lans": lambda: two_lans(options.turns),
        "star": lambda: stars(options.sizes, options.turns),
        "path": lambda: path(options.turns),
        "nats": lambda: nats(options.turns),
        "captures": lambda: captures(options.turns),
        "pytest": lambda: suite(options.turns),
        "matrix": lambda: matrix(options.turns),
        "exec": lambda: run_in_host(options.turns),
        "processes": lambda: whole_processes(options.turns),
    }
    wanted = options.only or [*contests, FOOTPRINT, CROWD]
    found = [contest for name, run in contests.items() if name in wanted for contest in run()]
    footprints = _footprints(options.sizes) if FOOTPRINT in wanted else []
    crowds = _crowds() if CROWD in wanted else []
    report = Report(this_machine(), found, footprints, crowds)
    print(json.dumps(as_json(report), indent=2) if options.json else as_markdown(report))
    if options.write:
        write_into(options.write, report)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "--only",
        action="append",
        choices=(
            "two-lans",
            "star",
            "path",
            "nats",
            "captures",
            "pytest",
            "matrix",
            "exec",
            "processes",
            FOOTPRINT,
            CROWD,
        ),
        help="measure this alone; may be given several times",
    )
    parser.add_argument("--sizes", type=int, nargs="+", default=[10, 100, 1000], metavar="N", help="hosts in a star")
    parser.add_argument("--turns", type=int, default=9, help="how often each is measured (default: 9)")
    parser.add_argument("--json", action="store_true", help="every sample, as JSON")
    parser.add_argument("--write", type=Path, metavar="PAGE", help="put the table into docs/performance.md as well")
    return parser.parse_args()


def _footprints(sizes: Iterable[int]) -> list[Footprint]:
    try:
        return list(star_footprints(list(sizes)))
    except Missing as error:
        print(f"footprint: {error}", file=sys.stderr)
        return []


def _crowds() -> list[Held]:
    try:
        return list(crowd())
    except Missing as error:
        print(f"crowd: {error}", file=sys.stderr)
        return []


if __name__ == "__main__":
    main()
