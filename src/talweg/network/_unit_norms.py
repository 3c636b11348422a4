"""Norms of one matrix with its rows weighted in many ways, all at once (theory B3).

For A_j = diag(w_j) H, one weight column for each hidden unit, M_j = A_j^T A_j (or A_j A_j^T, if
that is smaller) is formed for a whole batch of units, and, because |B|^2 = |B B^T| <= |B B^T|_F,

    |A_j|^2 <= |M_j| + |error|,     |M_j| = |M_j^{2^q}|^{2^-q} <= |M_j^{2^q}|_F^{2^-q},

q squarings, each scaled to norm one, with the rounding of each product. For q = 4 the bound is
((sum_i lambda_i^32) / lambda_1^32)^{1/32} times the eigenvalue: within 1e-3 where the second
eigenvalue is a tenth smaller. The product of order c and inner length n has the error

    |fl(M_j) - M_j|_F <= gamma_{n + 4} sum_i w_ij^2 |h_i|^2 + (underflows).
"""

from __future__ import annotations

import torch
from torch import Tensor

from talweg.enclosure import (
    Ball,
    add_up,
    gamma,
    matmul_upper,
    mul_up,
    norm_upper,
    sqrt_up,
)
from talweg.enclosure._directed import power_of_two, underflow

SQUARINGS = 4
BATCH_ENTRIES = 1 << 24
"""Entries of the matrices held at once: 128 MiB a copy."""

PAIRED_UNITS = 32
"""From so many units on, the products of all pairs of columns are formed once for all of them."""


def frobenius_upper(rows: Ball, weights: Tensor) -> Tensor:
    """``|diag(w_j) H|_F`` for every j.

    Args:
        rows: H ``(n, c)``.
        weights: ``(n, m)``, >= 0.
    """
    norms = norm_upper(rows.magnitude_upper(), 1)  # (n,)
    squares = matmul_upper(mul_up(norms, norms).reshape(1, -1), mul_up(weights, weights))
    return sqrt_up(squares[0])


def power_norms_upper(rows: Ball, weights: Tensor) -> Tensor:
    """``|diag(w_j) H|`` for every j, close where one singular value leads.

    Args:
        rows: H ``(n, c)``.
        weights: ``(n, m)``, >= 0, finite.

    Returns:
        ``(m,)``; inf or NaN where nothing finite could be shown.
    """
    n, c = rows.shape
    size = frobenius_upper(rows, weights)
    order = min(n, c)
    step = max(1, BATCH_ENTRIES // max(order * order, 1))
    norms = [
        _spectral_upper(_squares(rows.mid, weights[:, part : part + step]))
        for part in range(0, weights.shape[1], step)
    ]
    error = mul_up(mul_up(size, size), gamma(max(n, c) + 4))
    # An underflow in w w, w h or h h is multiplied by h h, w h or w w.
    room = add_up(
        add_up(norm_upper(weights, 0).square(), size), add_up(norm_upper(rows.mid).square(), 1.0)
    )
    error = add_up(error, mul_up(room, underflow(16 * (n + c) * order)))
    total = sqrt_up(add_up(torch.cat(norms), error))
    if rows.is_exact():
        return total
    return add_up(total, norm_upper(mul_up(weights, norm_upper(rows.rad, 1).reshape(-1, 1)), 0))


def _squares(h: Tensor, weights: Tensor) -> Tensor:
    """A_j^T A_j, or A_j A_j^T, whichever is smaller, to nearest: ``(m, s, s)``."""
    n, c = h.shape
    if n < c:
        columns = weights.T  # (m, n)
        return (h @ h.T) * columns[:, :, None] * columns[:, None, :]
    if weights.shape[1] >= PAIRED_UNITS:
        return _paired(h, weights * weights)
    scaled = weights.T.unsqueeze(2) * h  # (m, n, c)
    return scaled.mT @ scaled


def _paired(h: Tensor, squares: Tensor) -> Tensor:
    """sum_i q_ij h_i h_i^T through the products of pairs of columns, in panels of rows."""
    n, c = h.shape
    first, second = torch.triu_indices(c, c, device=h.device)
    total = torch.zeros(len(first), squares.shape[1], dtype=h.dtype, device=h.device)
    panel = max(1, BATCH_ENTRIES // len(first))
    columns = h.T.contiguous()
    for start in range(0, n, panel):
        here = columns[:, start : start + panel]
        # In its own memory and then added: no term meets more than n roundings.
        total += (here[first] * here[second]) @ squares[start : start + panel]
    matrices = torch.empty(squares.shape[1], c, c, dtype=h.dtype, device=h.device)
    matrices[:, first, second] = total.T
    matrices[:, second, first] = total.T
    return matrices


def _spectral_upper(matrices: Tensor) -> Tensor:
    """Upper bounds of the spectral norms of ``(m, s, s)``; NaN or inf where they are not finite."""
    order = matrices.shape[-1]
    scales: list[Tensor] = []
    sizes: list[Tensor] = []
    current = matrices
    for squaring in range(SQUARINGS + 1):
        size = norm_upper(current, (-2, -1))
        exponent = torch.frexp(size.nan_to_num(posinf=1.0)).exponent.clamp(-1000, 1000)
        scales.append(power_of_two(exponent))
        sizes.append(mul_up(size, power_of_two(-exponent)))
        if squaring < SQUARINGS:
            scaled = current * power_of_two(-exponent)[:, None, None]
            current = scaled @ scaled.mT
    norm = mul_up(sizes[-1], scales[-1])
    floor = underflow(4 * order * order)
    for size, scale in zip(reversed(sizes[:-1]), reversed(scales[:-1]), strict=True):
        # |B|^2 <= |fl(B B^T)| + gamma |B|_F^2 + underflows, B scaled to |B|_F < 1.
        error = add_up(mul_up(mul_up(size, size), gamma(order)), floor)
        norm = mul_up(add_up(sqrt_up(add_up(norm, error)), floor), scale)
    # Underflows would enter through four roots.
    zero = (matrices == 0.0).flatten(1).all(1)
    return torch.where(zero, 0.0, norm)
