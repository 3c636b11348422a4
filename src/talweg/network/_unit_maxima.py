"""The hidden unit that bends the outputs most, or passes most on (theory B3).

Three maxima over the units j of a stage, in upper bounds: of sigma_j = |diag(w_j) H~|, of tau_j,
the norm of sum_i c_i h~_i h~_i^T for |c_i| <= |u_i| s_ij, |u| <= 1, and of both together. Each
starts from bounds of all units at next to no cost and refines only units that may be the largest.

What is found for sigma at the stored weights serves on a ball: with (.)_+ the positive part and t_i
the change of h~_i there,

    |diag(w_j) H~_0| + |diag(w_j) t| <= sigma_j^0 + |diag((w_j - w_j^0)_+) H~_0|_F + |diag(w_j) t|,

because the norm grows with the weights and is subadditive in them. The left side is what a
refinement would give, so the maximum stays the one that the checker finds.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from talweg.enclosure import add_up, mul_up, sqrt_up, sub_up
from talweg.network._maxima import FIRST, largest_refined
from talweg.network._unit_curvature import STORED
from talweg.network._unit_norms import frobenius_upper
from talweg.network._weighted_inputs import WeightedInputs, moved_upper

MANY, SOME = 512, 64
"""Hidden units that one call of a middling bound gets, and of a dearer one."""


@dataclass(frozen=True)
class _Found:
    """Weights of all units at the stored weights, ``(n, m)``, and the norms found, ``(m,)``."""

    weights: Tensor
    bounds: Tensor


class UnitMaxima:
    """Largest norms and bends over the units of a stage.

    Args:
        inputs: The extended inputs of all stages.
        rough: Whether the bounds at next to no cost are enough.
    """

    def __init__(self, inputs: WeightedInputs, *, rough: bool) -> None:
        self._inputs = inputs
        self._rough = rough
        self._norms: dict[int, _Found] = {}

    def norm_upper(self, weights: Tensor, a: int, changes: Tensor) -> float:
        """``max_j sigma_j``.

        Args:
            weights: w ``(n, m)``, >= 0.
            a: The stage that reads the inputs.
            changes: t ``(n,)``.
        """
        inputs = self._inputs
        norms = self._cheap_norms(weights, a, changes)
        if self._rough:
            return float(norms.amax())

        def by_powers(units: Tensor) -> Tensor:
            return _improved(norms, units, inputs.power_norms_upper(weights[:, units], a, changes))

        def sharply(units: Tensor) -> Tensor:
            return _improved(norms, units, inputs.norms_upper(weights[:, units], a, changes))

        largest = largest_refined(norms, [(by_powers, MANY), (sharply, inputs.at_once(a))])
        _keep(self._norms, a, changes, weights, norms)
        return largest

    def bend_upper(self, curvature: Tensor, reach: Tensor, a: int, changes: Tensor) -> float:
        """``max_j tau_j``.

        Args:
            curvature: s ``(n, m)``, >= 0.
            reach: ``|h~_i|`` on the ball ``(n,)``.
            a: The stage.
            changes: t ``(n,)``.
        """
        inputs = self._inputs
        weights = mul_up(curvature, reach.reshape(-1, 1))
        bends = self._cheap_bends(curvature, weights, a, changes)
        if self._rough:
            return float(bends.amax())

        def by_overlaps(units: Tensor) -> Tensor:
            return _improved(bends, units, inputs.curvatures_upper(curvature[:, units], a, changes))

        def sharply(units: Tensor) -> Tensor:
            return _improved(bends, units, inputs.norms_upper(weights[:, units], a, changes))

        refinements = [(by_overlaps, MANY), (sharply, inputs.at_once(a))]
        return largest_refined(bends, refinements, self._first(len(curvature)))

    def combined_upper(
        self, curvature: Tensor, reach: Tensor, weights: Tensor, a: int, changes: Tensor
    ) -> float:
        """``max_j (tau_j + sqrt(tau_j^2 + 4 sigma_j^2)) / 2``.

        Args:
            curvature: s ``(n, m)``, >= 0.
            reach: ``|h~_i|`` on the ball ``(n,)``.
            weights: w of sigma ``(n, m)``, >= 0.
            a: The stage.
            changes: t ``(n,)``.
        """
        inputs = self._inputs
        bent = mul_up(curvature, reach.reshape(-1, 1))  # (n, m)
        bends = self._cheap_bends(curvature, bent, a, changes)
        norms = self._cheap_norms(weights, a, changes)

        def combined(units: Tensor) -> Tensor:
            t, s = bends[units], norms[units]
            root = sqrt_up(add_up(mul_up(t, t), mul_up(mul_up(s, s), 4.0)))
            return mul_up(add_up(t, root), 0.5)

        def by_powers(units: Tensor) -> Tensor:
            _improved(norms, units, inputs.power_norms_upper(weights[:, units], a, changes))
            return combined(units)

        def by_overlaps(units: Tensor) -> Tensor:
            _improved(bends, units, inputs.curvatures_upper(curvature[:, units], a, changes))
            return combined(units)

        def sharply(units: Tensor) -> Tensor:
            _improved(norms, units, inputs.norms_upper(weights[:, units], a, changes))
            _improved(bends, units, inputs.norms_upper(bent[:, units], a, changes))
            return combined(units)

        cheap = combined(torch.arange(len(bends), device=bends.device))
        if self._rough:
            return float(cheap.amax())
        refinements = [(by_powers, MANY), (by_overlaps, SOME), (sharply, inputs.at_once(a))]
        largest = largest_refined(cheap, refinements, self._first(len(curvature)))
        _keep(self._norms, a, changes, weights, norms)
        return largest

    @staticmethod
    def _first(n: int) -> int:
        """Few units at first; where the overlaps are formed anew for each call, as many as fit."""
        return FIRST if n * n <= STORED else MANY

    def _cheap_norms(self, weights: Tensor, a: int, changes: Tensor) -> Tensor:
        """sigma of every unit, less sharply."""
        cheap = self._inputs.cheap_norms_upper(weights, a, changes)
        found = self._norms.get(a)
        if found is None:
            return cheap
        grown = frobenius_upper(self._inputs.rows(a), _growth(weights, found.weights))
        known = add_up(add_up(found.bounds, grown), moved_upper(weights, changes))
        return torch.fmin(cheap, known)

    def _cheap_bends(self, curvature: Tensor, weights: Tensor, a: int, changes: Tensor) -> Tensor:
        """tau of every unit, less sharply; roughly means without the overlaps of the inputs."""
        cheap = self._inputs.cheap_norms_upper(weights, a, changes)
        if self._rough:
            return cheap
        return torch.fmin(cheap, self._inputs.cheap_curvatures_upper(curvature, a, changes))


def _growth(weights: Tensor, before: Tensor) -> Tensor:
    """``(w - w^0)_+`` rounded up; inf - inf is nothing known."""
    return sub_up(weights, before).clamp(min=0.0).nan_to_num(nan=torch.inf, posinf=torch.inf)


def _improved(bounds: Tensor, units: Tensor, found: Tensor) -> Tensor:
    """The lesser of both at the units, kept in `bounds`."""
    bounds[units] = torch.fmin(bounds[units], found)
    return bounds[units]


def _keep(
    known: dict[int, _Found], a: int, changes: Tensor, weights: Tensor, bounds: Tensor
) -> None:
    """Remember what was found at the stored weights, where nothing has changed."""
    if not bool((changes != 0.0).any()):
        known[a] = _Found(weights, bounds.clone())
