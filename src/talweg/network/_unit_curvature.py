"""How strongly one hidden unit can bend all outputs at once (theory B3, the norms tau_j).

The unit j of a stage enters the second derivative through sum_i c_i h~_i h~_i^T, where
|c_i| <= |u_i| s_ij for the direction u of the outputs. By the Frobenius norm

    |sum_i c_i h~_i h~_i^T|^2 <= sum_{i,i'} |u_i| |u_i'| s_ij s_i'j <h~_i, h~_i'>^2
                              <= |u|^2 lambda_max(diag(s_j) Theta diag(s_j)),

Theta_{ii'} >= <h~_i, h~_i'>^2. All entries are nonnegative, so Collatz and Wielandt bound the
eigenvalue through any positive vector, and one product serves all units. Theta is formed in strips
of rows, so that no array of n x n float64 numbers is needed.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor

from talweg.enclosure import (
    Ball,
    add_up,
    div_up,
    gamma,
    matmul_upper,
    mul_up,
    norm_upper,
    sqrt_up,
    sum_nonnegative_upper,
)
from talweg.enclosure._directed import growth, underflow

ITERATIONS = 8
"""Power iterations for the positive vector; on digits three are within 1e-4 of the eigenvalue."""

FLOOR = 1e-9
"""Least entry of the positive vector, relative to its largest."""

STRIP = 256
"""Rows of Theta formed at a time."""

STORED_HINT = 1 << 29
"""Entries up to which an approximate Theta is kept for the power iterations: 2 GiB in float32."""

STORED = 1 << 24
"""Entries up to which Theta itself is kept for the next units: 128 MiB."""

ROUNDINGS = 20
"""More than an entry of Theta has met."""

DOUBLE_HINT = 1024
"""Order up to which that one is in float64."""


class Overlaps:
    """Theta_{ii'} >= <h_i, h_i'>^2 for all rows within ``changes`` of those of a ball.

    With nu, tau the row norms of midpoint and radius and t = tau + changes,

        |<h_i, h_i'>| <= |fl| + (gamma nu_i + t_i)(nu_i' + t_i') + nu_i t_i' + c eta.

    Args:
        rows: ``(n, c)``.
        changes: ``(n,)``.
    """

    def __init__(self, rows: Ball, changes: Tensor) -> None:
        self._mid = rows.mid
        nu = norm_upper(rows.mid, 1)
        tau = torch.zeros_like(nu) if rows.is_exact() else norm_upper(rows.rad, 1)
        t = add_up(tau, changes)
        left = add_up(mul_up(nu, gamma(rows.shape[1])), t)
        self._left = torch.stack([left, nu], 1)  # (n, 2)
        self._right = torch.stack([add_up(nu, t), t])  # (2, n)
        self._floor = underflow(rows.shape[1])
        self._hint: list[Tensor] = []
        self._kept: list[Tensor] = []

    def __len__(self) -> int:
        return len(self._mid)

    def strip(self, start: int, stop: int) -> Tensor:
        """Upper bounds of the rows start:stop, ``(stop - start, n)``."""
        return _raised(self._squares(start, stop))

    def product_upper(self, x: Tensor) -> Tensor:
        """Upper bounds of Theta x, x ``(n, m)`` >= 0; what raises the entries raises the sums."""
        products = torch.cat([matmul_upper(strip, x) for strip in self._strips()])
        floor = mul_up(sum_nonnegative_upper(x, 0), 2.0**-1059)
        return add_up(mul_up(products, growth(ROUNDINGS)), floor)

    def _strips(self) -> Iterable[Tensor]:
        """`_squares` of all rows, kept where there is room."""
        n = len(self)
        made = (self._squares(i, min(i + STRIP, n)) for i in range(0, n, STRIP))
        if n * n > STORED:
            return made
        if not self._kept:
            self._kept = list(made)
        return self._kept

    def _squares(self, start: int, stop: int) -> Tensor:
        """Rows of Theta up to `ROUNDINGS` roundings and an underflow of 2^-1060."""
        at_start = (self._mid[start:stop] @ self._mid.T).abs_()
        return _squared(at_start, self._left[start:stop], self._right, self._floor)

    def product_approx(self, x: Tensor) -> Tensor:
        """Theta x in plain floating point: a hint."""
        n = len(self)
        dtype = torch.float64 if n <= DOUBLE_HINT else torch.float32
        if self._kept and dtype == torch.float64:
            return torch.cat([strip @ x for strip in self._kept])
        y = x.to(dtype)
        if not self._hint and n * n <= STORED_HINT:
            self._hint = [self._strip_approx(i, dtype) for i in range(0, n, STRIP)]
        strips = self._hint or (self._strip_approx(i, dtype) for i in range(0, n, STRIP))
        return torch.cat([strip @ y for strip in strips]).to(x.dtype)

    def _strip_approx(self, start: int, dtype: torch.dtype) -> Tensor:
        rows = self._mid.to(dtype)
        part = slice(start, start + STRIP)
        strip = (rows[part] @ rows.T).abs_()
        return strip.addmm_(self._left[part].to(dtype), self._right.to(dtype)).square_()


def unit_curvature_upper(curvature: Tensor, overlaps: Tensor | Overlaps) -> Tensor:
    """``sqrt(lambda_max(diag(s_j) Theta diag(s_j)))`` from above, for every unit j.

    Args:
        curvature: s ``(n, m)`` float64, >= 0.
        overlaps: Theta ``(n, n)`` float64, >= 0, symmetric, as an array or in strips.

    Returns:
        ``(m,)``; inf where nothing finite could be shown.
    """
    x = torch.ones_like(curvature)
    for _ in range(ITERATIONS):  # from ones, as the checker does: other vectors may be better
        x = curvature * _product_approx(overlaps, curvature * x)
        x = (x / x.amax(0)).nan_to_num(nan=1.0, posinf=1.0).clamp(FLOOR, 1.0)
    weighted = mul_up(curvature, x)
    if isinstance(overlaps, Tensor):
        products = matmul_upper(overlaps, weighted)
    else:
        products = overlaps.product_upper(weighted)
    largest = div_up(mul_up(curvature, products), x).amax(0)
    return sqrt_up(largest).nan_to_num(nan=math.inf, posinf=math.inf)


def _product_approx(overlaps: Tensor | Overlaps, x: Tensor) -> Tensor:
    return overlaps @ x if isinstance(overlaps, Tensor) else overlaps.product_approx(x)


def overlaps_upper(overlaps_at_start: Tensor, norms: Tensor, changes: Tensor) -> Tensor:
    """Theta on a ball: squares of ``|<h~_i, h~_i'>|`` when row i changes by at most ``changes[i]``.

    Args:
        overlaps_at_start: ``|<h~_i, h~_i'>|`` ``(n, n)``.
        norms: ``|h~_i|`` ``(n,)``.
        changes: ``(n,)``.
    """
    left = torch.stack([changes, norms], 1)
    right = torch.stack([add_up(norms, changes), changes])
    return _raised(_squared(overlaps_at_start.clone(), left, right, 0.0))


def _squared(at_start: Tensor, left: Tensor, right: Tensor, floor: float) -> Tensor:
    """``(at_start + left right + floor)^2`` to nearest, all numbers >= 0; overwrites ``at_start``.

    At most 6 roundings before the square, 2 * 6 + 1 after it; the square may underflow, and what
    underflows before it is covered by 2^-1060 added there.
    """
    return at_start.addmm_(left, right).add_(floor + 2.0**-1060).square_()


def _raised(squares: Tensor) -> Tensor:
    """Upper bounds from what `_squared` returns; overwrites it."""
    return squares.mul_(growth(ROUNDINGS)).add_(2.0**-1060)
