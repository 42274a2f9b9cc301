"""The page says what the tests say, and says something about every requirement."""

from __future__ import annotations

import re

import pytest

from tests.compliance.page import PAGE, measurements, page
from tests.compliance.requirement import Document, State
from tests.compliance.requirements import DOCUMENTS

KNOWN = {document.name(each): each for document in DOCUMENTS for each in document.requirements}


def test_the_page_is_current() -> None:
    assert PAGE.read_text("utf-8") == page(), "run: python -m tests.compliance.page"


def test_a_test_measures_only_requirements_that_there_are() -> None:
    for found in measurements():
        assert found.test.startswith("test_")
        assert found.requirements
        assert set(found.requirements) <= set(KNOWN), found.test


def test_every_requirement_is_measured_or_explained_and_not_both() -> None:
    measured = {name for found in measurements() for name in found.requirements}
    for name, each in KNOWN.items():
        assert (name in measured) == (each.state is State.MEASURED), name
        assert each.state is State.MEASURED or each.why.endswith("."), name
        assert each.asks.endswith("."), name


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: str(document.rfc))
def test_no_requirement_of_an_rfc_is_left_out(document: Document) -> None:
    told: list[int] = []
    for each in document.requirements:
        numbers = [int(number) for number in re.findall(r"RE[QC]-(\d+)", each.number)]
        told += range(numbers[0], numbers[-1] + 1)
    assert sorted(set(told)) == list(range(1, document.count + 1))
    assert told == sorted(told)
