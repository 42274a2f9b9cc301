"""Writes what is to be read of a matrix: for programs, for CI systems, for people."""

from __future__ import annotations

import json
from pathlib import Path

from wanlab.matrix.directory import REPORTS, write
from wanlab.matrix.junit import junit
from wanlab.matrix.page import page
from wanlab.matrix.results import Results


def write_reports(results: Results) -> tuple[Path, ...]:
    """Write results.json, junit.xml and index.html into the matrix's directory. Raises KernelError."""
    texts = (json.dumps(results.to_json(), indent=2) + "\n", junit(results), page(results))
    files = tuple(results.directory / name for name in REPORTS)
    for file, text in zip(files, texts, strict=True):
        write(file, text)
    return files
