"""The tangent kernel as a symmetric matrix with one radius for each row, formed in strips.

    K = sum_l (G_l G_l^T) o (H~ H~^T)                                        (theory B2)

is what `kernel_ball` encloses entry by entry. For its spectrum the row sums of the radius are
enough, and they need no n x n array: with o, i the computed entries (a, b) of the two products,
rho and tau the row norms of midpoints and radii, v = rho + tau for G and w likewise for H~,

    |o - G_a . G_b| <= (gamma rho_a + tau_a) v_b + rho_a tau_b + d eta       (Cauchy-Schwarz)
    |o|            <= (1 + gamma) rho_a rho_b + d eta,    |G_a . G_b| <= v_a v_b,

the same for i, so that the error of one term is at most

    |o i - exact| <= |o - exact_o| w_a w_b + |o| |i - exact_i|

plus one rounding for the product and one for each sum over the layers, all sums of products of a
number of row a and a number of row b. Their row sums cost O(n).

Only entries on and below the diagonal are computed; the rest is their mirror image, which encloses
the same number because K is symmetric.
"""

from __future__ import annotations

import torch
from torch import Tensor

from talweg.enclosure import Ball, add_up, gamma, mul_up, norm_upper, sum_nonnegative_upper
from talweg.enclosure._directed import UNIT_ROUNDOFF, growth, underflow
from talweg.network._linearization import Linearization
from talweg.verified import SymmetricBall

STRIP_ROWS = 512
"""Rows of K formed at a time: two strips of it are the only temporaries."""


def symmetric_kernel(state: Linearization) -> SymmetricBall:
    """Enclosure of the tangent kernel, order N = n k, rows as in `kernel_ball`.

    Every matrix K of the stored weights is mid + E, E symmetric, row sums of |E| within the radius.

    Source: theory B2 (docs/theory/B3.md, stage form).

    Args:
        state: The linearization.
    """
    n, k = state.h[-1].shape
    stages = [s for s in range(1, state.depth + 1) if state.form.stages[s - 1].is_trainable]
    factors = [(state.cotangent_z[s].reshape(n * k, -1), state.extended[s]) for s in stages]
    device = state.h[-1].device
    kernel = torch.zeros(n * k, n * k, dtype=torch.float64, device=device)
    samples = max(1, STRIP_ROWS // k)
    for first in range(0, n, samples):
        last = min(first + samples, n)
        _fill_strip(kernel, factors, first, last, k)
    rows = torch.zeros(n * k, dtype=torch.float64, device=device)
    for outputs, inputs in factors:
        rows = add_up(rows, radius_rows(outputs, inputs, k, len(factors)))
    finite = bool(kernel.sum().isfinite()) or bool(kernel.isfinite().all())
    if not finite:
        kernel.nan_to_num_(nan=0.0, posinf=0.0, neginf=0.0)
    if not (finite and bool((rows >= 0.0).all())):
        rows = torch.full_like(rows, torch.inf)
    return SymmetricBall(kernel, rows)


def _fill_strip(
    kernel: Tensor, factors: list[tuple[Ball, Ball]], first: int, last: int, k: int
) -> None:
    """Rows of the samples first:last up to the diagonal, and their mirror image."""
    rows = slice(first * k, last * k)
    strip = kernel[rows, : last * k]
    for position, (outputs, inputs) in enumerate(factors):
        g, h = outputs.mid, inputs.mid
        shared = h[first:last] @ h[:last].T  # (m, last)
        if k == 1:
            term = (g[rows] @ g[:last].T).mul_(shared)
        else:
            product = (g[rows] @ g[: last * k].T).view(last - first, k, last, k)
            term = product.mul_(shared[:, None, :, None]).view(strip.shape)
        if position:
            strip.add_(term)
        else:
            strip.copy_(term)
    square = kernel[rows, rows]
    square.copy_(square.tril() + square.tril(-1).T)
    kernel[: first * k, rows] = kernel[rows, : first * k].T


def radius_rows(outputs: Ball, inputs: Ball, k: int, terms: int) -> Tensor:
    """Row sums of the radius of one term, with its share of the roundings of the sum.

    Args:
        outputs: G, ball ``(n k, d)``.
        inputs: H~, ball ``(n, c)``.
        k: Outputs.
        terms: Sums that a product takes part in at most.
    """
    rho, tau = _norms(outputs)
    sigma, theta = (v.repeat_interleave(k) for v in _norms(inputs))
    v, w = add_up(rho, tau), add_up(sigma, theta)
    g, h = gamma(outputs.shape[1]), gamma(inputs.shape[1])
    lift = growth(outputs.shape[1] + 4)  # >= 1 + gamma, for |o| against v_a v_b
    total = sum_nonnegative_upper(mul_up(v, w))
    # |o - exact| w w:
    rows = mul_up(mul_up(w, add_up(mul_up(rho, g), tau)), total)
    rows = add_up(rows, mul_up(mul_up(w, rho), sum_nonnegative_upper(mul_up(tau, w))))
    # |o| |i - exact|:
    other = mul_up(mul_up(v, add_up(mul_up(sigma, h), theta)), total)
    other = add_up(other, mul_up(mul_up(v, sigma), sum_nonnegative_upper(mul_up(theta, v))))
    rows = add_up(rows, mul_up(other, lift))
    # Product, and at most `terms` sums; each rounding is u times a partial sum of |o i|.
    roundings = (terms + 1) * UNIT_ROUNDOFF * 2.0
    rows = add_up(rows, mul_up(mul_up(mul_up(v, w), total), roundings))
    return add_up(rows, _underflow_rows(v, w, outputs.shape[1] + inputs.shape[1]))


def _underflow_rows(v: Tensor, w: Tensor, inner: int) -> Tensor:
    """Row sums of what underflows add: per entry at most 4 (d + 1) eta (1 + v v) (1 + w w)."""
    ones_v, ones_w = (
        add_up(mul_up(v, float(v.amax())), 1.0),
        add_up(mul_up(w, float(w.amax())), 1.0),
    )
    return mul_up(mul_up(ones_v, ones_w), 4.0 * underflow((inner + 1) * len(v)))


def _norms(ball: Ball) -> tuple[Tensor, Tensor]:
    """Row norms of midpoint and radius."""
    mid = norm_upper(ball.mid, 1)
    return mid, torch.zeros_like(mid) if ball.is_exact() else norm_upper(ball.rad, 1)
