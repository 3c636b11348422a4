"""What one step of a run did: its decrease, gradient and length, enclosed (theory T12).

For f = 1/2 |r|^2 the decrease of a step from w to w' is

    f(w) - f(w') = 1/2 (r - r') . (r + r'),

which keeps the digits that the difference of two nearly equal losses would lose.
"""

from __future__ import annotations

import torch
from torch import Tensor

from talweg.enclosure import Ball, Interval, gamma, mul_down, norm_upper, sum_lower
from talweg.network._graph import Network
from talweg.network._linearization import Linearization

UNIT = 2.0**-53
SMALLEST = 2.0**-1074
LARGEST_NORM = 2.0**500
"""Above it squares may have overflowed, and a computed norm bounds nothing from below."""


def residual_ball(state: Linearization, targets: Tensor) -> Ball:
    """``r = F(w) - y`` with rows scaled by the root multiplicities, ``(n, k)``.

    Args:
        state: The linearization at w.
        targets: ``(n, k)`` targets of the merged rows, read exactly.
    """
    n, _ = state.h[-1].shape
    return (state.h[-1] - Ball.exact(targets)) * state.root.reshape(n, 1)


def half_squares_decrease_lower(before: Ball, after: Ball) -> float:
    """Lower bound of ``1/2 |r|^2 - 1/2 |r'|^2``.

    Args:
        before: Residuals r, ``(n, k)``.
        after: Residuals r', ``(n, k)``.
    """
    terms = ((before - after) * (before + after)).lower()
    return mul_down(0.5, float(sum_lower(terms)))


def half_squares_gradient_norm_upper(state: Linearization, residual: Ball) -> float:
    """Upper bound of ``|grad 1/2 |r|^2| = |J^T r|`` in the trainable parameters; J is not formed.

    Args:
        state: The linearization at w.
        residual: ``residual_ball(state, targets)``.
    """
    n, k = residual.shape
    blocks: list[Tensor] = []
    for g, inputs in zip(state.cotangent_z[1:], state.extended[1:], strict=True):
        if inputs.shape[1]:
            delta = (residual.reshape(n, 1, k) @ g).reshape(n, g.shape[2])
            gradient = delta.T @ inputs  # (d_l, c_l)
            blocks.append(gradient.magnitude_upper().reshape(-1))
    if not blocks:
        return 0.0
    return float(norm_upper(torch.cat(blocks)))


def step_length_bounds(before: Network, after: Network) -> tuple[float, float]:
    """Lower and upper bound of the distance between the trainable parameters of two networks.

    A float difference d is off by a relative 2^-53 (sums do not underflow), and the norm S of n
    floats as computed obeys  S (1 - gamma_{n+8}) - sqrt(n eta) <= |d|  unless something overflowed:
    the lower bound is 0 for S above 2^500. The upper bound is inf where a difference overflows.

    Args:
        before: Any network.
        after: The same network with other finite weights, as `set_parameters` makes it.

    Returns:
        ``(lower, upper)``, 0 <= lower <= upper; upper is 0 only if nothing moved.
    """
    moved: list[Tensor] = []
    for here, there in zip(before.trainable_slots(), after.trainable_slots(), strict=True):
        moved.append(_flat(there.tensor) - _flat(here.tensor))
    if not moved:
        return 0.0, 0.0
    d = torch.cat(moved)
    if not bool((d != 0.0).any()):
        return 0.0, 0.0
    upper = Interval.point(float(norm_upper(d))) * (1.0 + Interval.point(UNIT))
    computed = float(torch.linalg.vector_norm(d))
    if not computed <= LARGEST_NORM:
        return 0.0, upper.hi
    lower = Interval.point(computed) * (1.0 - Interval.point(gamma(len(d) + 8)))
    lower = (lower - (Interval.point(float(len(d))) * SMALLEST).sqrt()) * (1.0 - UNIT)
    return max(lower.lo, 0.0), upper.hi


def _flat(tensor: Tensor) -> Tensor:
    return tensor.detach().to(torch.float64).reshape(-1)
