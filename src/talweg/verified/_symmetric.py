"""Reading a symmetric ball matrix: checks, scaling, cheap bounds."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from talweg._errors import InputError
from talweg.enclosure import Ball, add_up, mul_up, sub_up, sum_nonnegative_upper
from talweg.enclosure._ball import is_zero

STRIP = 512  # rows looked at together, so that no n x n temporary is made


@dataclass(frozen=True, eq=False)
class SymmetricBall:
    """All symmetric matrices mid + E with sum_j |E_ij| <= radius_rows[i]: one radius for each row.

    What the spectrum of a large matrix needs of its radius, without a second n x n array.

    Args:
        mid: (n, n) float64, finite, exactly symmetric.
        radius_rows: (n,) float64, >= 0; inf means that nothing is known.

    Raises:
        InputError: shapes or dtypes differ from that, a midpoint that is not finite and symmetric,
            a radius that is negative or NaN.
    """

    mid: Tensor
    radius_rows: Tensor

    def __post_init__(self) -> None:
        mid, rows = self.mid, self.radius_rows
        square = mid.ndim == 2 and mid.shape[0] == mid.shape[1] and rows.shape == mid.shape[:1]
        if not square or mid.dtype != torch.float64 or rows.dtype != torch.float64:
            raise InputError(
                "`mid` and `radius_rows` of SymmetricBall(mid, radius_rows) must be float64 (n, n) "
                f"and (n,); got {mid.dtype} {tuple(mid.shape)} and {rows.dtype} "
                f"{tuple(rows.shape)}. Pass one radius for each row."
            )
        if not bool((rows >= 0.0).all()):
            raise InputError(
                "`radius_rows` of SymmetricBall(mid, radius_rows) must be >= 0 and not NaN; got a "
                f"minimum of {float(rows.amin())}. Check where it came from."
            )
        if not (_is_symmetric(mid) and (not len(mid) or math.isfinite(_largest_entry(mid)))):
            raise InputError(
                "`mid` of SymmetricBall(mid, radius_rows) must be finite and exactly symmetric; "
                f"got one that is not (shape {tuple(mid.shape)}). Mirror one triangle."
            )


@dataclass(frozen=True)
class SymmetricMatrix:
    """2^-exponent times a symmetric ball matrix.

    Every symmetric matrix of the original ball is 2^exponent (mid + E) with E symmetric and
    sum_j |E_ij| <= radius_rows[i].

    Args:
        mid: (n, n) float64, exactly symmetric, finite, largest entry about 1 (or 0).
        radius_rows: (n,) float64.
        exponent: a power of two.
    """

    mid: Tensor
    radius_rows: Tensor
    exponent: int

    @property
    def n(self) -> int:
        """Order of the matrix."""
        return self.mid.shape[0]


def read_symmetric(g: Ball | SymmetricBall | Tensor, call: str) -> SymmetricMatrix:
    """The scaled matrix, after checking its shape and the symmetry of its midpoint.

    Scaling by a power of two is exact except for entries that become subnormal; each of those
    moves by at most eta, which is added to the radius. A matrix whose largest entry lies in
    [2^-300, 2^300] is not scaled and not copied.

    Raises:
        InputError: not square, not 2-D, or the midpoint is not exactly symmetric.
    """
    mid, rows = (
        (g.mid, g.radius_rows) if isinstance(g, SymmetricBall) else _checked_midpoint(g, call)
    )
    n = mid.shape[0]
    largest = _largest_entry(mid) if n else 0.0
    if largest == 0.0 or 2.0**-300 <= largest <= 2.0**300:
        return SymmetricMatrix(mid, rows, 0)
    exponent = math.frexp(largest)[1]
    scaled = mid
    remaining = -exponent
    while remaining:  # at most three exact or subnormal steps
        step = max(-900, min(900, remaining))
        scaled, remaining = scaled * 2.0**step, remaining - step
        rows = mul_up(rows, 2.0**step)
    rows = add_up(rows, 4.0 * n * 2.0**-1074)
    return SymmetricMatrix(scaled, rows, exponent)


def _checked_midpoint(g: Ball | Tensor, call: str) -> tuple[Tensor, Tensor]:
    """Midpoint and row sums of the radius."""
    ball = g if isinstance(g, Ball) else Ball.exact(g)
    mid, rad = ball.mid, ball.rad
    if mid.ndim != 2 or mid.shape[0] != mid.shape[1]:
        raise InputError(
            f"`G` of {call}(G) must be a square matrix; got shape {tuple(mid.shape)}. Reshape a "
            "kernel (n, k, n, k) to (n k, n k) first."
        )
    if not _is_symmetric(mid):
        raise InputError(
            f"`G` of {call}(G) must have an exactly symmetric midpoint; got one that is not "
            f"(shape {tuple(mid.shape)}). Use Ball.symmetrized(), which widens the radius "
            "accordingly."
        )
    if is_zero(rad):
        return mid, torch.zeros(mid.shape[0], dtype=torch.float64, device=mid.device)
    return mid, sum_nonnegative_upper(rad, 1)


def _largest_entry(mid: Tensor) -> float:
    """max |G_ij|; NaN or inf where an entry is."""
    low, high = torch.aminmax(mid)
    return float(torch.maximum(high, -low))


def _is_symmetric(mid: Tensor) -> bool:
    n = mid.shape[0]
    for top in range(0, n, STRIP):
        bottom = min(top + STRIP, n)
        if not torch.equal(mid[top:bottom, :bottom], mid[:bottom, top:bottom].mT):
            return False
    return True


def absolute_rows_upper(mid: Tensor, weights: Tensor | None = None) -> Tensor:
    """Upper bounds of sum_j |G_ij| x_j, x > 0 (default 1), without an n x n temporary."""
    n = mid.shape[0]
    sums = torch.empty(n, dtype=torch.float64, device=mid.device)
    for top in range(0, n, STRIP):
        size = mid[top : top + STRIP].abs()
        if weights is not None:
            size = mul_up(size, weights)
        sums[top : top + STRIP] = sum_nonnegative_upper(size, 1)
    return sums


def gershgorin_lower(matrix: SymmetricMatrix) -> float:
    """min_i (G_ii - sum_{j != i} |G_ij| - radius_i), rounded down."""
    diagonal = matrix.mid.diagonal()
    # sum_{j != i} |G_ij| <= sum_j |G_ij| - |G_ii|, the last difference rounded up.
    off = sub_up(absolute_rows_upper(matrix.mid), diagonal.abs())
    deficit = add_up(sub_up(off, diagonal), matrix.radius_rows)
    return -float(deficit.amax())


def power_scaled(value: float, exponent: int) -> float:
    """2^exponent value, to nearest; an overflow gives an infinity."""
    try:
        return math.ldexp(value, exponent)
    except OverflowError:
        return math.copysign(math.inf, value)


def scaled_back_lower(value: float, exponent: int) -> float:
    """A float <= 2^exponent value."""
    if math.isnan(value):
        return -math.inf
    if exponent == 0 or value == 0.0 or math.isinf(value):
        return value
    return math.nextafter(power_scaled(value, exponent), -math.inf)


def scaled_back_upper(value: float, exponent: int) -> float:
    """A float >= 2^exponent value."""
    return -scaled_back_lower(-value, exponent)
