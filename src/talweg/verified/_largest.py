"""A verified upper bound of the largest eigenvalue of a symmetric matrix.

For every symmetric matrix G + E of the ball these bounds hold, and the least one found is returned:

    lambda_max <= max_i ( (|G| x)_i / x_i + sum_j rad_ij )     for any x > 0 (Collatz, Wielandt),
    lambda_max <= trace(G) + sum_i rad_ii                      if the matrix is PSD,
    lambda_max <= alpha + max_i ( sum_j |alpha I - G - L L^T|_ij + sum_j rad_ij )  for any L,

the last one because alpha I - G = L L^T + (the difference) and L L^T >= 0. The first is tight for
matrices with positive entries, as many kernels have, when x is near the top eigenvector; a fourth
one, from a few approximate eigenvectors (`_deflated.py`), where few eigenvalues dominate. A matrix
is factored only where neither is close.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from talweg.enclosure import Ball, add_up, div_up, sum_nonnegative_upper
from talweg.verified._cholesky import factor_in
from talweg.verified._defect import factor_defect_rows
from talweg.verified._deflated import deflated_upper
from talweg.verified._estimate import DENSE_ORDER, largest_ritz_approx, top_ritz_approx
from talweg.verified._symmetric import (
    SymmetricBall,
    SymmetricMatrix,
    absolute_rows_upper,
    read_symmetric,
    scaled_back_upper,
)

TIGHT = 1e-6  # relative distance from the estimate at which a bound is good enough
LARGE, CLOSE = 1024, 1e-3  # from that order on, where a factorisation is dear, that far is enough
MARGINS = (2.0**-22, 2.0**-16, 2.0**-10, 2.0**-4)
DEFLATED = 64  # approximate eigenvectors that are taken out at most


def psd_largest_eigenvalue_upper(g: Ball | SymmetricBall | Tensor) -> float:
    """A number that is certainly >= lambda_max(S) for every PSD symmetric S in the ball.

    Args:
        g: (n, n) ball with an exactly symmetric midpoint, the same with one radius for each row,
            or an exactly symmetric tensor.

    Returns:
        The bound, about 1e-6 relative above the largest eigenvalue plus the radius' row sums (for
        n >= 1024 at most 1e-3, mostly 1e-5); inf when nothing is shown; 0 for n = 0.

    Raises:
        InputError: not a square matrix, or a midpoint that is not exactly symmetric.
    """
    matrix = read_symmetric(g, "psd_largest_eigenvalue_upper")
    if matrix.n == 0:
        return 0.0
    diagonal = matrix.mid.diagonal().clamp(min=0.0)
    # rad_ii <= the row sum of the radius.
    trace = sum_nonnegative_upper(add_up(diagonal, matrix.radius_rows))
    best = _least(float(trace), largest_eigenvalue_upper(matrix))
    return max(scaled_back_upper(best, matrix.exponent), 0.0)


def largest_eigenvalue_upper(matrix: SymmetricMatrix) -> float:
    """Upper bound of the largest eigenvalue of mid + E for all E of the radius; inf if none."""
    mid, radius = matrix.mid, matrix.radius_rows
    best = _collatz(mid, torch.ones_like(radius), radius)
    if matrix.n == 1 or not best < math.inf:
        return best
    estimate, error, vectors, values = _estimated(mid)
    if not math.isfinite(estimate):
        return best
    enough = TIGHT if matrix.n < LARGE else CLOSE
    thickness = float(radius.amax())
    goal = (1.0 + enough) * estimate + thickness
    # For nonnegative entries |G| x / x is close to the largest eigenvalue near the top eigenvector,
    # to which a few powers pull x; else |G| has another top than G.
    x = vectors[:, 0].abs() if len(values) else torch.ones_like(radius)
    for _ in range(4 if bool(mid.amin() >= 0.0) else 0):
        if best <= goal:
            return best
        x = absolute_rows_upper(mid, x)
        x = x / x.amax() + 2.0**-40
        best = _least(best, _collatz(mid, x, radius))
    if best > goal and len(values):
        best = _least(best, float(add_up(deflated_upper(mid, vectors, values), thickness)))
    if best <= goal:
        return best
    for margin in MARGINS:
        alpha = estimate + max(margin, error) * abs(estimate)
        if best <= alpha + thickness:
            return best
        bound = _factored(mid, alpha, radius)
        if bound < math.inf:
            return _least(best, bound)
    return best


def _collatz(mid: Tensor, x: Tensor, radius: Tensor) -> float:
    """max_i ((|G| x)_i / x_i + radius_i), x > 0; any x gives an upper bound of rho(|G|) + |E|."""
    if not bool((x > 0.0).all()):
        return math.inf
    bound = float(div_up(absolute_rows_upper(mid, x), x).amax()) + 0.0
    return float(add_up(bound, float(radius.amax()))) if bound < math.inf else math.inf


def _estimated(mid: Tensor) -> tuple[float, float, Tensor, Tensor]:
    """Hints: the largest eigenvalue, its relative error, leading Ritz vectors and values."""
    n = len(mid)
    if n > DENSE_ORDER:
        tolerance = 1e-8 if n < LARGE else 1e-5
        return top_ritz_approx(lambda x: mid @ x, n, mid.device, DEFLATED, tolerance)
    estimate, error = largest_ritz_approx(lambda x: mid @ x, n, mid.device)
    return estimate, error, mid[:, :0], mid[0, :0]


def _factored(mid: Tensor, alpha: float, radius: Tensor) -> float:
    """alpha + |alpha I - G - L L^T|_inf, L the library's Cholesky factor of alpha I - G."""
    factor = factor_in(
        torch.empty_like(mid, memory_format=torch.contiguous_format), mid, -alpha, -1.0
    )
    if factor is None:
        return math.inf
    rows = add_up(factor_defect_rows(mid, factor, alpha, -1.0), radius)
    defect = float(rows.amax())
    return float(add_up(alpha, defect)) if defect < math.inf else math.inf


def _least(a: float, b: float) -> float:
    """The smaller bound; a NaN counts as inf."""
    a = math.inf if math.isnan(a) else a
    return b if b < a else a
