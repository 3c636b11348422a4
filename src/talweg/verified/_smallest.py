"""A verified lower bound of the smallest eigenvalue of a symmetric matrix.

For every symmetric matrix 2^e (G + E) of the ball, |E|_inf <= the row sums of its radius, any
float s and any matrix L,

    lambda_min >= 2^e ( s - max_i ( sum_j |L L^T - (G - s I)|_ij + sum_j rad_ij ) ),

see `_defect.py`. s and L are hints: s is put slightly below an estimate of lambda_min(G) from
block inverse iteration, L is the Cholesky factor of G - s I as the library returns it. A wrong hint
gives a poor bound, never a wrong one. Two Cholesky factorisations, a few dozen triangular solves
and one triangular product are less work than one eigenvalue decomposition.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from talweg.enclosure import Ball, add_up, sub_down
from talweg.verified._cholesky import factor_in
from talweg.verified._defect import factor_defect_rows
from talweg.verified._estimate import DENSE_ORDER, largest_ritz_approx
from talweg.verified._symmetric import (
    SymmetricBall,
    SymmetricMatrix,
    gershgorin_lower,
    power_scaled,
    read_symmetric,
    scaled_back_lower,
)

# Relative distances below the estimate at which the shift is tried, one after the other.
MARGINS = (2e-4, 3e-3, 5e-2, 0.5)
SHARP_MARGIN = 1e-9  # tried first where the estimate is exact to rounding and an attempt is cheap


def smallest_eigenvalue_lower(
    g: Ball | SymmetricBall | Tensor, *, guess: float | None = None, positive: bool = False
) -> float:
    """A number that is certainly <= lambda_min(S) for every symmetric matrix S in the ball.

    Within about 3e-4 relative of lambda_min plus gamma_{256 + n/256} trace(G) plus the radius'
    row sums: at n = 5000 about 6e-4 relative for the condition number 1e8.

    Args:
        g: (n, n) ball with an exactly symmetric midpoint, the same with one radius for each row,
            or an exactly symmetric tensor.
        guess: an estimate of lambda_min from any source; it saves one factorisation and the
            inverse iteration when it is within 0.1 % above or a little below. Untrusted.
        positive: Whether only a positive bound is of use: the search ends where the midpoint has
            no Cholesky factor in floats, which costs a quarter of it.

    Returns:
        The bound, possibly negative; -inf when nothing better is shown, and for n = 0.

    Raises:
        InputError: not a square matrix, or a midpoint that is not exactly symmetric.
    """
    matrix = read_symmetric(g, "smallest_eigenvalue_lower")
    if matrix.n == 0:
        return -math.inf
    best = gershgorin_lower(matrix)
    if matrix.n > 1 and bool(matrix.radius_rows.isfinite().all()):
        found = _searched(matrix, best, guess, positive)
        best = found if found > best else best
    return scaled_back_lower(best, matrix.exponent)


def _searched(matrix: SymmetricMatrix, floor: float, guess: float | None, positive: bool) -> float:
    """The best bound over a short list of shifts, each an attempt that may fail (-inf)."""
    buffer = torch.empty_like(matrix.mid, memory_format=torch.contiguous_format)
    if guess is not None and math.isfinite(guess):
        hint = power_scaled(guess, -matrix.exponent)
        bound = _attempt(matrix, hint - MARGINS[0] * abs(hint), buffer)
        if bound > -math.inf:
            return bound
    estimate, uncertainty = _estimated(matrix, floor, buffer, positive)
    if not math.isfinite(estimate):
        return -math.inf
    sharp = (SHARP_MARGIN,) if matrix.n <= DENSE_ORDER else ()
    for margin in (*sharp, *MARGINS):
        bound = _attempt(matrix, estimate - max(margin * abs(estimate), uncertainty), buffer)
        if bound > -math.inf:
            return bound
        uncertainty *= 8.0
    return -math.inf


def _attempt(matrix: SymmetricMatrix, shift: float, buffer: Tensor) -> float:
    """shift - |E|_inf rounded down, with L the factor of G - shift I; -inf if there is none."""
    factor = factor_in(buffer, matrix.mid, shift)
    if factor is None:
        return -math.inf
    rows = add_up(factor_defect_rows(matrix.mid, factor, -shift, 1.0), matrix.radius_rows)
    defect = float(rows.amax())
    return sub_down(shift, defect) if defect < math.inf else -math.inf


def _estimated(
    matrix: SymmetricMatrix, floor: float, buffer: Tensor, positive: bool
) -> tuple[float, float]:
    """An estimate of lambda_min(G) and of its error; (nan, inf) if no factor was found.

    Inverse iteration runs on G + t I, t = 0 if G has a Cholesky factor, else growing from the
    rounding level up to the Gershgorin bound, where a factor must exist; `positive` stops at t = 0.
    """
    n = matrix.n
    scale = float(matrix.mid.diagonal().abs().amax())
    level = n * 2.0**-53 * scale
    lowest = max(-floor, 0.0) * (1.0 + 1e-10) + level
    shifts = [0.0, *(level * 10.0**k for k in range(0, 18, 3) if level * 10.0**k < lowest), lowest]
    for shift in shifts[:1] if positive else shifts:
        factor = factor_in(buffer, matrix.mid, -shift)
        if factor is not None:
            break
    else:
        return math.nan, math.inf
    lower = factor

    def solve(x: Tensor) -> Tensor:
        y: Tensor = torch.linalg.solve_triangular(lower, x, upper=False)
        z: Tensor = torch.linalg.solve_triangular(lower.mT, y, upper=True)
        return z

    inverse, error = largest_ritz_approx(solve, n, matrix.mid.device, tolerance=3e-5)
    if not inverse > 0.0:
        return math.nan, math.inf
    return 1.0 / inverse - shift, error / inverse + 4.0 * 2.0**-53 * scale
