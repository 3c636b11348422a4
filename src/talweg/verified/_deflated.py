"""A verified upper bound of the largest eigenvalue from approximate top eigenvectors.

Let V (n x m) be nearly orthonormal, |V^T V - I|_2 <= e < 1, Theta diagonal, R = G V - V Theta. In
an orthonormal basis of range(V) and its complement G has blocks A, B, C, and with
U = V (V^T V)^{-1/2}, rho = sqrt((1 + e) / (1 - e)),

    lambda_max(A) <= rho max |theta| + |V^T R| / (1 - e)                       =: a
    |A|_F >= |Theta|_F / rho - |V^T R| / (1 - e)
    |B|_2 <= |R| / sqrt(1 - e)                                                  =: b
    |C|_2 <= |C|_F <= sqrt(|G|_F^2 - |A|_F^2)                                   =: c

so that x^T G x <= a s^2 + 2 b s t + c t^2 for unit x = (s, t):

    lambda_max(G) <= (a + c) / 2 + sqrt((a - c)^2 / 4 + b^2).

The residual enters squared. c < a where few eigenvalues dominate, as in kernels: then a few
products with G replace a factorisation. V and Theta are hints.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from talweg.enclosure import Ball, Interval, matmul, norm_upper


def deflated_upper(mid: Tensor, vectors: Tensor, values: Tensor) -> float:
    """An upper bound of the largest eigenvalue of an exact symmetric matrix; inf if none.

    Args:
        mid: G (n, n) float64, symmetric, finite.
        vectors: V (n, m) float64, hints in the order of falling eigenvalues.
        values: theta (m,) float64, hints.
    """
    if not (bool(vectors.isfinite().all()) and bool(values.isfinite().all())):
        return math.inf
    size = float(norm_upper(mid))
    if not bool((values[0] > _rests_approx(values, size)).any()):
        return math.inf  # the rest outweighs the top, however good the vectors are
    image = matmul(mid, vectors, bound="norms")  # (n, m)
    return deflated_upper_from(image, size, vectors, values)


def deflated_upper_from(image: Ball, size: float, vectors: Tensor, values: Tensor) -> float:
    """The same from an enclosure of G V, for a G that is not at hand.

    Args:
        image: Ball ``(n, m)`` that holds G V.
        size: An upper bound of the Frobenius norm of G.
        vectors: V ``(n, m)`` float64, hints.
        values: theta ``(m,)`` float64, hints.
    """
    if not (bool(vectors.isfinite().all()) and bool(values.isfinite().all())):
        return math.inf
    residual = image - Ball.exact(vectors) * Ball.exact(values)
    count = _best_count(residual.mid, values, size)
    if count == 0 or not math.isfinite(size):
        return math.inf
    return _bound(vectors[:, :count], values[:count], residual[:, :count], size)


def _best_count(residual: Tensor, values: Tensor, size: float) -> int:
    """How many of the vectors give the least bound, in floats."""
    b2 = residual.square().sum(0).cumsum(0)
    gap = values[0] - _rests_approx(values, size)
    if not bool((gap > 0.0).any()):
        return 0
    return int(torch.where(gap > 0.0, b2 / gap, math.inf).argmin()) + 1


def _rests_approx(values: Tensor, size: float) -> Tensor:
    """What of |G|_F the first 1, 2, .. values leave, in floats."""
    return (size * size - values.square().cumsum(0)).clamp(min=0.0).sqrt()


def _bound(vectors: Tensor, values: Tensor, residual: Ball, size: float) -> float:
    """The formula of the module for given V and Theta; size >= |G|_F."""
    v = Ball.exact(vectors)
    products = matmul(v.T, v)
    defect = products - torch.eye(len(values), dtype=torch.float64, device=values.device)
    e = Interval.point(float(norm_upper(defect.magnitude_upper())))
    if not e.hi < 0.5:
        return math.inf
    slack = 1.0 - e
    rho = ((1.0 + e) / slack).sqrt()
    crossed = Interval.point(_norm(matmul(v.T, residual))) / slack
    top = Interval.point(float(values.abs().amax()))
    a = rho * top + crossed
    b = Interval.point(_norm(residual)) / slack.sqrt()
    # |Theta|_F from below: the squares are few, and their sum is enclosed.
    theta = Ball.exact(values).square().sum().lower()
    inner = Interval.point(max(float(theta), 0.0)).sqrt() / rho - crossed
    kept = max(inner.lo, 0.0)
    rest = (Interval.point(size) * size - Interval.point(kept) * kept).hi
    c = Interval.point(max(rest, 0.0)).sqrt()
    half = (a - c) * 0.5
    # Squares: what lies below zero is rounding, seen where they underflow.
    total = (a + c) * 0.5 + (half * half + b * b).clip_nonnegative().sqrt()
    return total.hi if not math.isnan(total.hi) else math.inf


def _norm(ball: Ball) -> float:
    return float(norm_upper(ball.magnitude_upper()))
