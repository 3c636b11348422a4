"""Norms of the extended inputs of a stage with weighted rows, unit by unit (theory B3).

For weights w_j >= 0, one column for each hidden unit, ``|diag(w_j) H~|`` is needed for the unit
where it is largest: a rough bound for all units, a better one for many, a sharp one for few.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from talweg.enclosure import (
    Ball,
    add_up,
    div_up,
    gram,
    mul_up,
    norm_upper,
    sqrt_up,
)
from talweg.network._linearization import Linearization
from talweg.network._unit_curvature import Overlaps, unit_curvature_upper
from talweg.network._unit_norms import frobenius_upper, power_norms_upper
from talweg.network._weight_norms import CHUNK_ENTRIES
from talweg.verified import spectral_norm_upper


class WeightedInputs:
    """Bounds that hold when row i of the extended inputs changes by at most ``changes[i]``.

    Args:
        state: The linearization on the (merged) training rows.
    """

    def __init__(self, state: Linearization) -> None:
        self._state = state
        self._grams: dict[int, Ball] = {}
        self._known_overlaps: tuple[int, Tensor, Overlaps] | None = None

    def rows(self, a: int) -> Ball:
        """``H~_{a-1}`` at the stored weights, ball ``(n, c)``."""
        return self._state.extended[a]

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
        return add_up(norms, moved_upper(weights, changes))

    def cheap_norms_upper(self, weights: Tensor, a: int, changes: Tensor) -> Tensor:
        """The same norms, less sharply, for all units at next to no cost.

        By the Frobenius norm, and by that of the largest weights; on large balls, where every unit
        may reach the supremum of its curvature, that is the maximum itself and settles it at once.

        Args:
            weights: ``(n, m)``, >= 0.
            a: The stage that reads the inputs.
            changes: ``(n,)``.
        """
        moved = moved_upper(weights, changes)
        cheap = add_up(frobenius_upper(self._state.extended[a], weights), moved)
        return torch.fmin(cheap, self.norms_upper(weights.amax(1, keepdim=True), a, changes))

    def power_norms_upper(self, weights: Tensor, a: int, changes: Tensor) -> Tensor:
        """The same norms, rather sharply, for many units at once.

        Args:
            weights: ``(n, m)``, >= 0.
            a: The stage that reads the inputs.
            changes: ``(n,)``.
        """
        if not bool(weights.isfinite().all()):
            return torch.full_like(weights[0], math.inf)
        norms = power_norms_upper(self._state.extended[a], weights)
        return add_up(norms, moved_upper(weights, changes)).nan_to_num(
            nan=math.inf, posinf=math.inf
        )

    def cheap_curvatures_upper(self, curvature: Tensor, a: int, changes: Tensor) -> Tensor:
        """As `curvatures_upper`, through the largest curvatures of all units: one column.

        ``s_ij <= r_j max_j s_ij`` with ``r_j`` the largest of these ratios, and tau is monotone.

        Args:
            curvature: s ``(n, m)``, >= 0.
            a: The stage.
            changes: ``(n,)``.
        """
        largest = curvature.amax(1, keepdim=True)
        ratio = torch.where(largest > 0.0, div_up(curvature, largest), 0.0).amax(0)
        return mul_up(ratio, self.curvatures_upper(largest, a, changes))

    def curvatures_upper(self, curvature: Tensor, a: int, changes: Tensor) -> Tensor:
        """tau_j through the overlaps of the inputs, for the units whose curvatures are given.

        Args:
            curvature: s ``(n, m)``, >= 0.
            a: The stage.
            changes: ``(n,)``.
        """
        if not bool(curvature.isfinite().all()):
            return torch.full_like(curvature[0], math.inf)
        return unit_curvature_upper(curvature, self._overlaps(a, changes))

    def at_once(self, a: int) -> int:
        """How many units the sharp bound takes in one call."""
        n, c = self._state.extended[a].shape
        if c > 2 * n:
            return max(1, min(32, CHUNK_ENTRIES // max(n * n, 1)))
        return max(1, min(4, CHUNK_ENTRIES // max(n * c, 1)))

    def _overlaps(self, a: int, changes: Tensor) -> Overlaps:
        """Theta of stage a on the ball; the last one is kept."""
        known = self._known_overlaps
        if known is None or known[0] != a or not torch.equal(known[1], changes):
            known = (a, changes, Overlaps(self._state.extended[a], changes))
            self._known_overlaps = known
        return known[2]

    def _gram(self, a: int) -> Ball:
        """``H~_{a-1} H~_{a-1}^T`` at the stored weights, ball ``(n, n)``."""
        if a not in self._grams:
            self._grams[a] = gram(self._state.extended[a], bound="norms")
        return self._grams[a]


def moved_upper(weights: Tensor, changes: Tensor) -> Tensor:
    """Bound of ``|diag(weights[:, j]) (H~ - H~_0)|``."""
    if not bool((changes != 0.0).any()):
        return torch.zeros_like(weights[0])
    return norm_upper(mul_up(weights, changes.reshape(-1, 1)), 0)
