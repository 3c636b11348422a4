"""Every row is in one block, and no sample is cut."""

from __future__ import annotations

import itertools

import pytest

from talweg.cluster import _tiling
from talweg.cluster._tiling import tiling_of


@pytest.mark.parametrize("outputs", [1, 3, 10, 2500])
@pytest.mark.parametrize("samples", [1, 7, 500, 3333])
def test_blocks_of_whole_samples(samples: int, outputs: int) -> None:
    tiling = tiling_of(samples, outputs)
    sizes = [b - a for a, b in itertools.pairwise(tiling.edges)]
    assert tiling.edges[0] == 0
    assert tiling.rows == samples * outputs == sum(sizes)
    assert all(size > 0 and size % outputs == 0 for size in sizes)
    assert max(sizes) <= max(_tiling.LARGEST_TILE, outputs)
    assert tiling.samples(tiling.count - 1)[1] == samples


def test_tiles_on_and_below_the_diagonal() -> None:
    assert list(tiling_of(1, 1).lower()) == [(0, 0)]
    found = tiling_of(4000, 1)
    assert len(set(found.lower())) == found.count * (found.count + 1) // 2
    assert all(i >= j for i, j in found.lower())
