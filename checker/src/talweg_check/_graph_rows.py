"""The maps of an operation with one position, on its numbers, by a few directions of its rows.

For one position and one group Z E = Z X h, X the numbers and h the row of a sample. With any V,
D = V^T V - I and e >= |D|, g = (I - D) V^T h and r = h - V V^T h: X h = (X V) g + (X - X V V^T) r,
and the squares of both factors add up to (1 + e (1 + e)) |X|^2 at most. So, with omega^2 the
largest eigenvalue of N of a sample, the square of the bound of a pair is

    (1 + e (1 + e)) (lambda_max(sum_i N_i x g_i g_i^T) + |diag(omega) (r_i)_i|^2).
"""

from __future__ import annotations

import numpy as np
from flint import arb
from numpy.typing import NDArray

from talweg_check._arrays import Balls, approx, exact, matmul, root_upper
from talweg_check._graph_norms import root_eigenvalue_upper
from talweg_check._linear_algebra import norm_upper

DIRECTIONS = 8  # columns of V
COLUMNS = 128  # entries of the value up to which rows are split


class SplitRows:
    """Rows (samples, c) along V and across it, and the sum for one pair."""

    def __init__(self, rows: Balls) -> None:
        hint = approx(rows)
        hint = np.where(np.isfinite(hint), hint, 0.0)
        # The weights keep directions apart where all rows are alike; the size is for overflows.
        size = np.abs(hint).max() or 1.0
        hint = hint / size * (1 + np.arange(len(hint)) / len(hint))[:, None]
        v = exact(np.linalg.eigh(hint.T @ hint)[1][:, -DIRECTIONS:])
        defect = matmul(v.T, v) - exact(np.eye(len(v.T)))
        e = root_upper((defect * defect).sum())
        self.growth = 1 + e * (1 + e)
        seen = matmul(rows, v)
        self.along = seen - matmul(seen, defect)
        self.across = rows - matmul(seen, v.T)

    def part(self, grams: Balls, first: int) -> Balls:
        """The sum for some samples from a first one on; grams (samples, columns, columns).

        All factors are symmetric: entries on and above the diagonals are enough.
        """
        g = self.along[first : first + len(grams)]
        outer = g[:, :, None] * g[:, None, :]
        return matmul(_half(grams).T, _half(outer))

    def norm_upper(self, total: Balls, sizes: Balls) -> arb:
        """The bound, from the sum for all samples and omega (samples,)."""
        columns, r = (int(np.sqrt(2 * count)) for count in total.shape)
        square = total[_places(columns)[:, :, None, None], _places(r)]
        along = root_eigenvalue_upper(square.transpose(0, 2, 1, 3).reshape(columns * r, -1))
        across = norm_upper(self.across * sizes[:, None])
        return arb(root_upper((along * along + across * across) * self.growth))


def _half(matrices: Balls) -> Balls:
    """The entries on and above the diagonals of (m, d, d), (m, d (d + 1) / 2)."""
    first, second = np.triu_indices(matrices.shape[1])
    return matrices[:, first, second]


def _places(d: int) -> NDArray[np.int64]:
    """Where each entry of a symmetric (d, d) matrix stands among these."""
    found = np.zeros((d, d), dtype=np.int64)
    first, second = np.triu_indices(d)
    found[first, second] = found[second, first] = np.arange(len(first))
    return found
