"""How the rows of a kernel are cut into tiles."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

LARGEST_TILE = 2048
"""Rows: 32 MiB in float64, and products that take a core half a second."""

LEAST_TILE = 128
"""Rows below which moving a tile costs more than computing it."""

TILES = 16
"""Tiles in a row of a kernel that is too small for the largest ones: work for many workers."""


@dataclass(frozen=True)
class Tiling:
    """A partition of n k rows into consecutive blocks of whole samples.

    Attributes:
        edges: Where the blocks begin, and the number of rows.
        outputs: k, rows of a sample.
    """

    edges: tuple[int, ...]
    outputs: int

    @property
    def count(self) -> int:
        """Blocks."""
        return len(self.edges) - 1

    @property
    def rows(self) -> int:
        """Rows in all."""
        return self.edges[-1]

    def part(self, i: int) -> slice:
        """The rows of block i."""
        return slice(self.edges[i], self.edges[i + 1])

    def samples(self, i: int) -> tuple[int, int]:
        """The samples of block i, first and behind the last."""
        return self.edges[i] // self.outputs, self.edges[i + 1] // self.outputs

    def lower(self) -> Iterator[tuple[int, int]]:
        """Block row and block column of every tile on and below the diagonal."""
        for i in range(self.count):
            for j in range(i + 1):
                yield i, j


def tiling_of(samples: int, outputs: int) -> Tiling:
    """Tiles of at most about `LARGEST_TILE` rows, `TILES` in a row where that leaves them large.

    Args:
        samples: n.
        outputs: k.
    """
    rows = samples * outputs
    size = min(LARGEST_TILE, max(LEAST_TILE, -(-rows // TILES)))
    step = max(1, size // outputs)
    edges = (*range(0, rows, step * outputs), rows)
    return Tiling(edges, outputs)
