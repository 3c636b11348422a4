"""Two small maxima of the Lipschitz bound: over hidden units, and over directions of all layers."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from talweg.enclosure import div_up, mul_up, sum_upper

SETTLED = 2.0**-23
"""Relative looseness at which a maximum is taken as found: that of the norms themselves."""

FIRST = 8
"""Default of `largest_refined`."""


Refinement = tuple[Callable[[Tensor], Tensor], int]
"""Indices -> better upper bounds, and how many indices one call gets."""


def largest_of(cheap: Tensor, exact: Callable[[Tensor], Tensor], at_once: int) -> float:
    """Upper bound of the maximum of m numbers, each with a cheap and a dear upper bound.

    Args:
        cheap: ``(m,)``.
        exact: Indices -> better upper bounds.
        at_once: How many indices one call gets.
    """
    return largest_refined(cheap, [(exact, at_once)])


def largest_refined(cheap: Tensor, refinements: Sequence[Refinement], first: int = FIRST) -> float:
    """Upper bound of the maximum of m numbers, each with ever better and dearer upper bounds.

    The number that may be largest is refined next, together with those behind it that have come as
    far, until no bound left exceeds the maximum of the fully refined ones: what is skipped is
    below it.

    Args:
        cheap: ``(m,)``.
        refinements: From the cheapest to the dearest.
        first: How many are refined at once before one of them is known: it may settle all others.
    """
    bounds = cheap.clone()
    level = torch.zeros(len(bounds), dtype=torch.int64, device=bounds.device)
    if bool(bounds.isnan().any()):
        return math.inf
    while True:
        done = level == len(refinements)
        largest = float(bounds[done].amax()) if bool(done.any()) else 0.0
        order = torch.argsort(bounds, descending=True)
        order = order[~done[order] & (bounds[order] > largest * (1.0 + SETTLED))]
        if not len(order):
            return max(largest, float(bounds.amax())) if len(bounds) else 0.0
        stage = int(level[order[0]])
        function, at_once = refinements[stage]
        count = at_once if stage or largest > 0.0 else min(at_once, first)
        units = order[level[order] == stage][:count]
        best = torch.minimum(bounds[units], function(units))
        if bool(best.isnan().any()):
            return math.inf
        bounds[units] = best
        level[units] += 1


def nonnegative_norm_upper(matrix: Tensor) -> float:
    """Upper bound of the spectral norm of a symmetric entrywise nonnegative matrix.

    Collatz and Wielandt: for every positive v, the largest eigenvalue is at most
    ``max_i (T v)_i / v_i``; v is a perturbed Perron vector, or, where LAPACK finds none, the row
    sums.

    Args:
        matrix: ``(L, L)`` float64, symmetric, entries >= 0.
    """
    if matrix.numel() == 0 or not bool(matrix.isfinite().all()):
        return 0.0 if matrix.numel() == 0 else math.inf
    if float(matrix.amax()) == 0.0:
        return 0.0
    try:
        hint = torch.linalg.eigh(matrix).eigenvectors[:, -1].abs()
    except RuntimeError:  # its iteration can fail on matrices graded to the extreme
        hint = (matrix / matrix.amax()).sum(1)
    v = hint.nan_to_num() + 1e-9
    return float(div_up(sum_upper(mul_up(matrix, v), 1), v).amax())
