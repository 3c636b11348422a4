"""How strongly one hidden unit can bend all outputs at once (theory B3, the norms tau_j).

The unit j of a stage enters the second derivative through sum_i c_i h~_i h~_i^T, where
|c_i| <= |u_i| s_ij for the direction u of the outputs. By the Frobenius norm

    |sum_i c_i h~_i h~_i^T|^2 <= sum_{i,i'} |u_i| |u_i'| s_ij s_i'j <h~_i, h~_i'>^2
                              <= |u|^2 lambda_max(diag(s_j) Theta diag(s_j)),

Theta_{ii'} >= <h~_i, h~_i'>^2. All entries are nonnegative, so Collatz and Wielandt bound the
eigenvalue through any positive vector, and one product serves all units.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from talweg.enclosure import add_up, div_up, matmul_upper, mul_up, sqrt_up

ITERATIONS = 8
"""Power iterations for the positive vector; on digits three are within 1e-4 of the eigenvalue."""

FLOOR = 1e-9
"""Least entry of the positive vector, relative to its largest."""


def unit_curvature_upper(curvature: Tensor, overlaps: Tensor) -> Tensor:
    """``sqrt(lambda_max(diag(s_j) Theta diag(s_j)))`` from above, for every unit j.

    Args:
        curvature: s ``(n, m)`` float64, >= 0.
        overlaps: Theta ``(n, n)`` float64, >= 0, symmetric.

    Returns:
        ``(m,)``; inf where nothing finite could be shown.
    """
    x = torch.ones_like(curvature)
    for _ in range(ITERATIONS):
        x = curvature * (overlaps @ (curvature * x))
        x = (x / x.amax(0)).nan_to_num(nan=1.0, posinf=1.0).clamp(FLOOR, 1.0)
    product = mul_up(curvature, matmul_upper(overlaps, mul_up(curvature, x)))
    largest = div_up(product, x).amax(0)
    return sqrt_up(largest).nan_to_num(nan=math.inf, posinf=math.inf)


def overlaps_upper(overlaps_at_start: Tensor, norms: Tensor, changes: Tensor) -> Tensor:
    """Theta on a ball: squares of ``|<h~_i, h~_i'>|`` when row i changes by at most ``changes[i]``.

    Args:
        overlaps_at_start: ``|<h~_i, h~_i'>|`` ``(n, n)``.
        norms: ``|h~_i|`` ``(n,)``.
        changes: ``(n,)``.
    """
    crossed = mul_up(changes.reshape(-1, 1), norms.reshape(1, -1))
    both = mul_up(changes.reshape(-1, 1), changes.reshape(1, -1))
    overlaps = add_up(add_up(overlaps_at_start, add_up(crossed, crossed.T)), both)
    return mul_up(overlaps, overlaps)
