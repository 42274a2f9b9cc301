"""Each test of a link's impairment is held by every means that this machine has."""

from __future__ import annotations

import functools
from typing import Any

import pytest

from tests.impairment.link import link
from wanlab import Lab, MachineError


@functools.cache
def _plain_refusal(means: str) -> str:
    return refusal(means, {"delay": "1ms"})


def refusal(means: str, impairment: Any = None) -> str:
    """Why links cannot be impaired by that means here; nothing where they can."""
    if impairment is None:
        return _plain_refusal(means)
    try:
        with Lab(link(impairment), impairment=means):
            return ""
    except MachineError as error:
        return str(error)


@pytest.fixture(params=["netem", "wire"])
def means(request: pytest.FixtureRequest) -> str:
    """What impairs the links of the test."""
    word: str = request.param
    why = refusal(word)
    if why:
        pytest.skip(why)
    return word
