"""Binary64 arrays with rounding bounds: midpoints and radii, sums, products, matrix products.

Assumed: IEEE 754 binary64, rounding to nearest, with subnormal numbers; square roots within one
unit in the last place; matrix products and sums that are sums of products in some order, with or
without fused multiply-add. `_float64_sentinel` tries these on planted problems.

With U = 2^-53, ETA = 2^-1074 and gamma(k) = k U / (1 - k U), one rounded operation is off by at
most U of its result (plus ETA / 2 where it underflows), and a sum of k products by
gamma(k) sum |a_i b_i| + k ETA. What nothing is known about is inf or nan, and every comparison with
a claim is written so that these confirm nothing.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Item = TypeVar("Item")
Result = TypeVar("Result")
Number = TypeVar("Number", float, Floats)

U = 2.0**-53
ETA = 2.0**-1074
GROWTH = 1 + 2.0**-46
DUST = 2.0**-1064
CHUNK = 1024  # rows handled at once


def gamma(count: int) -> float:
    """A float above count U / (1 - count U); numerator and denominator are exact."""
    return float(np.nextafter(count * U / (1 - count * U), np.inf))


def above(value: Number) -> Number:
    """Above the real value of an expression of nonnegative floats with up to 64 roundings.

    Sums, products, quotients, square roots and maxima of nonnegative numbers: (1 + U)^64 < GROWTH,
    and DUST is above what 64 underflows lose, if nothing after an underflow multiplies by more
    than 1 or divides by less.
    """
    return value * GROWTH + DUST


def sum_above(values: Floats, axis: int) -> Floats:
    """Above the sums of nonnegative numbers along one axis, added in any order."""
    total: Floats = values.sum(axis=axis)
    return above(total * (1 + 2 * gamma(values.shape[axis])))


def norms_above(values: Floats, axis: int) -> Floats:
    """Above the Euclidean norms along one axis; squares may underflow, which ETA each makes up."""
    squares = sum_above(values * values, axis) + 2 * values.shape[axis] * ETA
    return above(np.sqrt(squares))


def norm_above(values: Floats) -> float:
    """Above the Euclidean norm of all entries."""
    return float(norms_above(values.reshape(1, -1), 1)[0])


def product_above(left: Floats, right: Floats) -> Floats:
    """Above the matrix product of nonnegative matrices: 1 / (1 - gamma) <= 1 + 2 gamma."""
    inner = left.shape[-1]
    product: Floats = left @ right
    return above((product + 2 * inner * ETA) * (1 + 2 * gamma(inner + 1)))


@dataclass(frozen=True, eq=False)
class MidRad:
    """Real numbers within `rad` of `mid`, entry by entry; `rad` is an array or one number >= 0."""

    mid: Floats
    rad: Floats | float = 0.0

    @property
    def radii(self) -> Floats:
        """The radii in the shape of the midpoints."""
        return np.broadcast_to(np.asarray(self.rad, dtype=np.float64), self.mid.shape)

    @property
    def is_exact(self) -> bool:
        """Whether every radius is known to be zero."""
        return np.ndim(self.rad) == 0 and bool(self.rad == 0)

    def magnitude(self) -> Floats:
        """sup |x|, from above."""
        return above(np.abs(self.mid) + self.rad)

    def lower(self) -> Floats:
        """Floats below everything enclosed."""
        return np.nextafter(self.mid - self.rad, -np.inf)

    def upper(self) -> Floats:
        """Floats above everything enclosed."""
        return np.nextafter(self.mid + self.rad, np.inf)

    def rows(self, group: slice) -> MidRad:
        """Some of the rows."""
        return MidRad(self.mid[group], self.rad if self.is_exact else self.radii[group])

    def times(self, other: MidRad) -> MidRad:
        """The product, entry by entry (shapes are broadcast)."""
        mid = self.mid * other.mid
        spread = np.abs(self.mid) * other.rad + self.rad * (np.abs(other.mid) + other.rad)
        return MidRad(mid, above(spread + U * np.abs(mid)))

    def plus(self, other: MidRad) -> MidRad:
        """The sum, entry by entry (shapes are broadcast)."""
        mid = self.mid + other.mid
        return MidRad(mid, above(self.rad + other.rad + U * np.abs(mid)))

    def widened(self, radius: Floats | float) -> MidRad:
        """The same midpoints, with a further radius."""
        return MidRad(self.mid, above(np.asarray(self.rad + radius)))


def matmul(left: MidRad, right: MidRad) -> MidRad:
    """The matrix product of (m, k) and (k, n), rounded hardly more than once.

    Rows of the left and columns of the right midpoint are cut into b leading bits, whole numbers
    times a power of two, and a rest 2^-b as large. The product of the leading parts has no rounding
    error: its sums stay below k 2^2b <= 2^53 units.
    """
    parts = in_parallel(lambda at: _matmul(left.rows(np.s_[at : at + CHUNK]), right),
                        range(0, len(left.mid), CHUNK))  # fmt: skip
    return joined(parts)


def joined(parts: list[MidRad]) -> MidRad:
    """Enclosures one below the other."""
    if len(parts) == 1:
        return parts[0]
    mid = np.concatenate([part.mid for part in parts])
    if all(part.is_exact for part in parts):
        return MidRad(mid)
    return MidRad(mid, np.concatenate([part.radii for part in parts]))


def _matmul(left: MidRad, right: MidRad) -> MidRad:
    inner = left.mid.shape[1]
    bits = (53 - inner.bit_length()) // 2
    lead, rest = _cut(left.mid, bits, 1)
    top, bottom = _cut(right.mid, bits, 0)
    small = (lead @ bottom + rest @ top) + rest @ bottom
    mid = lead @ top + small
    sizes = [norms_above(part, 1)[:, None] for part in (lead, rest)]
    others = [norms_above(part, 0)[None, :] for part in (top, bottom)]
    # By Cauchy-Schwarz; each term of `small` meets at most inner + 2 roundings.
    missed = sizes[0] * others[1] + sizes[1] * others[0] + sizes[1] * others[1]
    rad = U * np.abs(mid) + gamma(inner + 3) * missed + 8 * inner * ETA
    if not (left.is_exact and right.is_exact):
        spread = product_above(left.radii, above(np.abs(right.mid) + right.rad))
        if not right.is_exact:
            spread = spread + product_above(np.abs(left.mid), right.radii)
        rad = rad + spread
    return MidRad(mid, above(rad))


def _cut(matrix: Floats, bits: int, axis: int) -> tuple[Floats, Floats]:
    """The leading bits along one axis, and the rest; their sum is the matrix, exactly."""
    exponents = np.frexp(np.abs(matrix).max(axis=axis, keepdims=True))[1]
    lead = np.ldexp(np.rint(np.ldexp(matrix, bits - exponents)), exponents - bits)
    return lead, matrix - lead


def in_parallel(task: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
    """task(item) for every item, in threads: NumPy's products release Python's lock."""
    items = list(items)
    count = min(workers(), len(items))
    if count < 2:
        return [_quietly(task, item) for item in items]
    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(lambda item: _quietly(task, item), items))


def _quietly(task: Callable[[Item], Result], item: Item) -> Result:
    """Overflow ends in inf or nan, which confirm nothing; NumPy need not warn of it."""
    with np.errstate(all="ignore"):
        return task(item)


def workers() -> int:
    """How many processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
