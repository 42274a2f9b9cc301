"""What a lab that is up costs: memory and descriptors of the process that holds it."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.ours import new_lab, star


@dataclass(frozen=True)
class Footprint:
    what: str
    nodes: int
    rss_kib: int
    """Resident, whatever is shared with others counted in full."""
    pss_kib: int
    """Resident, what is shared counted by its share."""
    descriptors: int


def star_footprints(sizes: Sequence[int]) -> Iterator[Footprint]:
    for hosts in sizes:
        with new_lab(star(hosts)) as lab:
            yield footprint(f"star of {hosts}", lab.pid, nodes=hosts + 1)


def footprint(what: str, pid: int, nodes: int) -> Footprint:
    process = Path("/proc") / str(pid)
    kib = dict(_kib(process / "smaps_rollup"))
    return Footprint(what, nodes, kib["Rss"], kib["Pss"], len(os.listdir(process / "fd")))


def _kib(smaps_rollup: Path) -> Iterator[tuple[str, int]]:
    for line in smaps_rollup.read_text().splitlines()[1:]:  # the first line is a range of addresses
        name, amount, _ = line.split()
        yield name.rstrip(":"), int(amount)
