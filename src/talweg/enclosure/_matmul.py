"""Products of matrices of balls around one ordinary matrix product.

For exact A (m x k), B (k x n) the computed product obeys, in any order of summation, with or
without FMA (but not with Strassen's method, emulation or reduced precision: see `_sentinel.py`),

    |fl(A B) - A B| <= gamma_q |A| |B| + k eta        entrywise,

q = k roundings per term for one product, q = b + ceil(k / b) when the inner dimension is cut into
panels of width b whose products are formed on their own and then added. For balls add

    |m_A| r_B + r_A (|m_B| + r_B).

`bound="entries"` evaluates these with nonnegative products: |m_A| (gamma_q |m_B| + r_B) is one, and
r_A (|m_B| + r_B) one more when A is not exact. `bound="norms"` uses Cauchy-Schwarz,
(|A| |B|)_ij <= |A_i| |B_j| with row norms of A and column norms of B, for every term:

    rad_ij >= |m_Ai| (gamma_q |m_Bj| + |r_Bj|) + |r_Ai| (|m_Bj| + |r_Bj|) + k eta,

rank two, O(m n) work, and for dense rows rarely twice as wide.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from talweg._errors import InputError
from talweg.enclosure import _directed as directed
from talweg.enclosure._ball import Ball, as_ball, lift_


def matmul(
    a: Ball | Tensor,
    b: Ball | Tensor,
    *,
    bound: Literal["entries", "norms"] = "entries",
    panel: int | None = None,
) -> Ball:
    """Enclosure of the matrix product, batched as `torch.matmul`.

    Args:
        a: (..., m, k) ball or exact tensor.
        b: (..., k, n) or (k,).
        bound: "entries" is the tighter one and costs one extra product, or two when a is not
            exact; "norms" costs no extra product.
        panel: width of the panels of the inner dimension (None: one product). With k = 5000 a
            panel of 256 makes the rounding term 18 times smaller for one more pass per panel.

    Returns:
        Ball of shape (..., m, n), or (..., m) for a vector b.

    Raises:
        InputError: inner dimensions differ, a is not at least 2-D, an unknown `bound`, panel < 1.
    """
    if bound not in ("entries", "norms"):
        raise InputError(
            f'`bound` of matmul(a, b, bound=...) must be "entries" or "norms"; got {bound!r}.'
            " Choose one of the two."
        )
    if panel is not None and panel < 1:
        raise InputError(
            f"`panel` of matmul(a, b, panel=...) must be >= 1 or None; got {panel}. 256 is usual."
        )
    device = a.device
    x, y = as_ball(a, device), as_ball(b, device)
    if x.ndim < 2 or y.ndim < 1 or x.shape[-1] != y.shape[-2 if y.ndim > 1 else -1]:
        raise InputError(
            "`a` and `b` of matmul(a, b) must be (..., m, k) and (..., k, n) or (k,); got "
            f"{tuple(x.shape)} and {tuple(y.shape)}. Transpose or reshape one of them."
        )
    if y.ndim == 1:
        column = matmul(x, y.reshape(-1, 1), bound=bound, panel=panel)
        return column.reshape(column.shape[:-1])
    mid, roundings = _midpoint(x.mid, y.mid, panel)
    radius = _entry_radius if bound == "entries" else _norm_radius
    rad = radius(x, y, directed.gamma(roundings))
    return Ball._settled(mid, rad)


def gram(a: Ball | Tensor, *, bound: Literal["entries", "norms"] = "entries") -> Ball:
    """Enclosure of a a^T with a symmetric midpoint, (..., m, k) -> (..., m, m)."""
    x = as_ball(a, a.device)
    return matmul(x, x.mT, bound=bound).symmetrized()


def _midpoint(a: Tensor, b: Tensor, panel: int | None) -> tuple[Tensor, int]:
    """fl(A B) and the largest number of roundings that any term met."""
    k = a.shape[-1]
    if panel is None or panel >= k:
        return torch.matmul(a, b), k
    total = torch.matmul(a[..., :panel], b[..., :panel, :])
    for start in range(panel, k, panel):
        stop = min(start + panel, k)
        # Not addmm: it may start its sums from `total`, and then rounds it k times.
        total.add_(torch.matmul(a[..., start:stop], b[..., start:stop, :]))
    return total, panel + math.ceil(k / panel)


def _entry_radius(x: Ball, y: Ball, gamma: float) -> Tensor:
    k = x.shape[-1]
    weights = y.mid.abs().mul_(gamma)
    if not y.is_exact():
        weights.add_(y.rad)
    rad = directed.matmul_upper(x.mid.abs(), lift_(weights))
    if not x.is_exact():
        size = y.magnitude_upper()
        rad.add_(directed.matmul_upper(x.rad, size))
    return lift_(rad.add_(directed.underflow(k)))


def _norm_radius(x: Ball, y: Ball, gamma: float) -> Tensor:
    k = x.shape[-1]
    rows = directed.norm_upper(x.mid, -1)[..., :, None]  # (..., m, 1)
    columns = directed.norm_upper(y.mid, -2)[..., None, :]  # (..., 1, n)
    weights, spread = gamma * columns, columns
    if not y.is_exact():
        thickness = directed.norm_upper(y.rad, -2)[..., None, :]
        weights, spread = weights + thickness, columns + thickness
    rad = rows * lift_(weights)
    if not x.is_exact():
        rad = rad.addcmul(directed.norm_upper(x.rad, -1)[..., :, None], spread)
    return lift_(rad.add_(directed.underflow(k)))
