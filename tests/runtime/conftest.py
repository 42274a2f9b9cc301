"""Labs for the tests of this room."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.shapes import two_lans
from wanlab import Lab, LabNode


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Lab(two_lans()) as lab:
        yield lab


@pytest.fixture
def alice(lab: Lab) -> LabNode:
    return lab["alice"]
