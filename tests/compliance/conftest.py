"""One street for all tests of a file: each takes a home of it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.compliance.street import PRESETS, Home, street
from wanlab import Lab


@pytest.fixture(scope="module")
def presets_lab() -> Iterator[Lab]:
    """A home behind each preset."""
    with Lab(street(PRESETS), name=f"street-{os.getpid()}") as lab:
        yield lab


@pytest.fixture(params=PRESETS, ids=lambda nat: nat.name)
def home(request: pytest.FixtureRequest, presets_lab: Lab) -> Iterator[Home]:
    """Each preset's home in turn."""
    with ExitStack() as stack:
        yield Home(presets_lab, PRESETS.index(request.param), request.param, stack)
