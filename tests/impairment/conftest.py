"""Each test of a link's impairment is held by every means that this machine has."""

from __future__ import annotations

import functools

import pytest

from tests.impairment.link import link
from wanlab import Lab, MachineError


@functools.cache
def refusal(means: str) -> str:
    """Why links cannot be impaired by that means here; nothing where they can."""
    try:
        with Lab(link({"delay": "1ms"}), impairment=means):
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
