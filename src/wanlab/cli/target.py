"""Which lab a verb is about: one that is up, or one to be read from a file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wanlab.runtime.connection import default_lab
from wanlab.runtime.directory import runtime_directory

if TYPE_CHECKING:
    from wanlab.runtime.lab import Lab
    from wanlab.topology.topology import Topology


def lab_name(given: str | None) -> str:
    """The lab that is up: the one that was named, or the one we are in (`wanlab shell`), or the only one.

    Raises NoSuchLab where nothing says which.
    """
    return given or default_lab(runtime_directory())


def attach(given: str | None) -> Lab:
    """The same as a `Lab`. Raises NoSuchLab."""
    from wanlab.runtime.lab import Lab

    return Lab.attach(lab_name(given))


def load(given: str | None) -> Topology:
    """The topology of a catalogue name or a file; None: of the lab file in this directory. Raises TopologyError."""
    from pathlib import Path

    from wanlab.topology.files import default_file
    from wanlab.topology.topology import Topology

    return Topology.load(given if given is not None else default_file(Path()))
