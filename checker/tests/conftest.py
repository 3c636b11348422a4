"""A certificate that every test may spoil."""

import copy

import pytest
from generator import Draft, make


@pytest.fixture(scope="session")
def _trained() -> Draft:
    return Draft(make([4, 10, 1])).measure().conclude()


@pytest.fixture
def draft(_trained: Draft) -> Draft:
    """A small T11 certificate that every test may spoil."""
    result = copy.copy(_trained)
    result.claims = copy.deepcopy(_trained.claims)
    result.arrays = dict(_trained.arrays)
    result.counts = dict(_trained.counts)
    return result
