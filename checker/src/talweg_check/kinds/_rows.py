"""Norms of extended inputs: matrices with one row for every sample and position, per group."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from flint import arb

from talweg_check._arrays import Balls, full, largest, root_upper
from talweg_check._graph_algebra import operator_norms_upper
from talweg_check._linear_algebra import scaled_norms_upper


class Rows:
    """Rows (n, groups, positions, c); for c at most 2 their Gram matrices are enough."""

    def __init__(self, rows: Balls) -> None:
        self.rows = rows
        self.few = rows.shape[3] <= 2
        if self.few:  # x x, x y and y y summed over the positions, each (n, groups)
            x, y = rows[..., 0], rows[..., -1] * (rows.shape[3] - 1)
            self.squares = [(one * two).sum(axis=2) for one, two in ((x, x), (x, y), (y, y))]

    def each(self) -> Balls:
        """The norm for each sample, the largest over the groups, (n,)."""
        if self.few:
            return largest(_two_by_two(*self.squares), axis=1)
        return largest(operator_norms_upper(self.rows), axis=1)

    def norms_upper(self, weightings: Sequence[Balls]) -> list[arb]:
        """For weights (n,) on the samples: the largest norm of a group, all samples together."""
        if self.few:
            squares = [weights * weights for weights in weightings]
            return [
                arb(largest(_two_by_two(*(weights @ part for part in self.squares))))
                for weights in squares
            ]
        n, groups, positions, c = self.rows.shape
        spread = [np.repeat(weights, positions) for weights in weightings]
        found = [
            scaled_norms_upper(self.rows[:, group].reshape(n * positions, c), spread)
            for group in range(groups)
        ]
        return [arb(largest(np.array(bounds, dtype=object))) for bounds in zip(*found, strict=True)]


class ChosenRows(Rows):
    """Unit vectors, given by the places of their ones (n, positions) among v."""

    def __init__(self, places: Sequence[Sequence[int]], size: int) -> None:
        self.counts = full((len(places), size), 0)
        for counts, sample in zip(self.counts, places, strict=True):
            for place in sample:
                counts[place] += 1

    def each(self) -> Balls:
        """The root of how often the most frequent one occurs."""
        return root_upper(largest(self.counts, axis=1))

    def norms_upper(self, weightings: Sequence[Balls]) -> list[arb]:
        """The Gram matrix is diagonal."""
        found = ((weights * weights) @ self.counts for weights in weightings)
        return [arb(root_upper(largest(square))) for square in found]


def _two_by_two(xx: Balls, xy: Balls, yy: Balls) -> Balls:
    """The roots of the larger eigenvalues of [[xx, xy], [xy, yy]]."""
    half = (xx - yy) / 2
    return root_upper((xx + yy) / 2 + root_upper(half * half + xy * xy))
