"""Two small maxima of the Lipschitz bound: over hidden units, and over directions of all layers."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from talweg.enclosure import div_up, mul_up, sum_upper

SETTLED = 2.0**-23
"""Relative looseness at which a maximum is taken as found: that of the norms themselves."""


def largest_of(cheap: Tensor, exact: Callable[[Tensor], Tensor], at_once: int) -> float:
    """Upper bound of the maximum of m numbers, each with a cheap and a dear upper bound.

    The dear bound is evaluated in the order of the cheap ones and stops when no cheap bound left
    exceeds the maximum so far: what is skipped is below it.

    Args:
        cheap: ``(m,)``.
        exact: Indices -> better upper bounds.
        at_once: How many indices one call gets.
    """
    order = torch.argsort(cheap, descending=True)
    largest = 0.0
    for start in range(0, len(order), at_once):
        units = order[start : start + at_once]
        rest = float(cheap[units[0]])
        if rest <= largest * (1.0 + SETTLED):
            return max(largest, rest)  # nothing left is above `rest`
        best = torch.minimum(cheap[units], exact(units))
        if bool(best.isnan().any()):
            return math.inf
        largest = max(largest, float(best.amax()))
    return largest


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
