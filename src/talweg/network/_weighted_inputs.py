"""Norms of the extended inputs of a stage with weighted rows, unit by unit (theory B3).

For weights w_j >= 0, one column for each hidden unit, ``|diag(w_j) H~|`` is needed for the unit
where it is largest: a rough bound for all units at the cost of one product, a sharp one for few.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from talweg.enclosure import (
    Ball,
    add_up,
    gram,
    matmul_upper,
    mul_up,
    norm_upper,
    sqrt_up,
    sum_upper,
)
from talweg.network._linearization import Linearization
from talweg.network._unit_curvature import overlaps_upper, unit_curvature_upper
from talweg.network._weight_norms import CHUNK_ENTRIES
from talweg.verified import spectral_norm_upper


class WeightedInputs:
    """Bounds that hold when row i of the extended inputs changes by at most ``changes[i]``.

    Args:
        state: The linearization on the (merged) training rows.
    """

    def __init__(self, state: Linearization) -> None:
        self._state = state
        self._squares: dict[int, Tensor] = {}
        self._grams: dict[int, Ball] = {}

    def norms_upper(self, weights: Tensor, a: int, changes: Tensor) -> Tensor:
        """``|diag(weights[:, j]) H~_{a-1}|`` for every j.

        Args:
            weights: ``(n, m)``, >= 0.
            a: The stage that reads the inputs.
            changes: ``(n,)``.

        Returns:
            ``(m,)``; inf where nothing finite could be shown.
        """
        if not bool(weights.isfinite().all()):
            return torch.full_like(weights[0], math.inf)
        inputs = self._state.extended[a]  # (n, c)
        n, c = inputs.shape
        rows = Ball.exact(weights.T.unsqueeze(2))  # (m, n, 1)
        if c <= 2 * n:
            norms = spectral_norm_upper(rows * inputs)  # (m, n, c)
        else:
            # |A|^2 = |A A^T|: wide inputs enter through their Gram matrix, formed once.
            squares = rows * self._gram(a) * Ball.exact(weights.T.unsqueeze(1))  # (m, n, n)
            norms = sqrt_up(spectral_norm_upper(squares))
        return add_up(norms, _moved(weights, changes))

    def cheap_norms_upper(self, weights: Tensor, a: int, changes: Tensor) -> Tensor:
        """The same norms, less sharply, for all units at the cost of one product.

        With A = diag(w) H~ and q = w^2: ``|A|^4 <= |A A^T|_F^2 = q^T S q``, S the entrywise square
        of ``H~ H~^T``; close when one singular value dominates, as in data with a mean. All norms
        are at most that of the largest weights; on large balls, where every unit may reach the
        supremum of its curvature, that is the maximum itself and settles it at once.

        Args:
            weights: ``(n, m)``, >= 0.
            a: The stage that reads the inputs.
            changes: ``(n,)``.
        """
        if a not in self._squares:
            overlap = self._gram(a).magnitude_upper()  # (n, n)
            self._squares[a] = mul_up(overlap, overlap)
        q = mul_up(weights, weights)  # (n, m)
        fourth = sum_upper(mul_up(q, matmul_upper(self._squares[a], q)), 0)  # (m,)
        cheap = add_up(sqrt_up(sqrt_up(fourth)), _moved(weights, changes))
        return torch.minimum(cheap, self.norms_upper(weights.amax(1, keepdim=True), a, changes))

    def curvatures_upper(self, curvature: Tensor, a: int, changes: Tensor) -> Tensor:
        """tau_j through the overlaps of the inputs, for all units of stage a.

        Args:
            curvature: s ``(n, m)``, >= 0.
            a: The stage.
            changes: ``(n,)``.
        """
        if not bool(curvature.isfinite().all()):
            return torch.full_like(curvature[0], math.inf)
        norms = norm_upper(self._state.extended[a].magnitude_upper(), 1)
        overlaps = overlaps_upper(self._gram(a).magnitude_upper(), norms, changes)
        return unit_curvature_upper(curvature, overlaps)

    def at_once(self, a: int) -> int:
        """How many units the sharp bound takes in one call."""
        n, c = self._state.extended[a].shape
        if c > 2 * n:
            return max(1, min(32, CHUNK_ENTRIES // max(n * n, 1)))
        return max(1, min(4, CHUNK_ENTRIES // max(n * c, 1)))

    def _gram(self, a: int) -> Ball:
        """``H~_{a-1} H~_{a-1}^T`` at the stored weights, ball ``(n, n)``."""
        if a not in self._grams:
            self._grams[a] = gram(self._state.extended[a], bound="norms")
        return self._grams[a]


def _moved(weights: Tensor, changes: Tensor) -> Tensor:
    """Bound of ``|diag(weights[:, j]) (H~ - H~_0)|``."""
    if not bool((changes != 0.0).any()):
        return torch.zeros_like(weights[0])
    return norm_upper(mul_up(weights, changes.reshape(-1, 1)), 0)
