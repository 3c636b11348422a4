"""NumPy object arrays whose entries are Arb balls.

Every entry encloses a real number; `+`, `-`, `*` and `/` on such arrays are Arb's, entry by entry.
An *upper bound* of a quantity, here and in all modules, is a ball that holds some number not below
it; sums, products and maxima of such balls are again upper bounds, and a claim is confirmed only
where the whole ball lies below it. What is named `approx` leaves the enclosures behind: it may
suggest a factor, never a bound.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
from flint import arb, arb_mat, fmpq
from numpy.typing import NDArray

Balls = Any  # numpy.ndarray of dtype object, entries flint.arb
PRECISION = 128  # working bits of Arb: a matter of width, never of validity

lower = np.frompyfunc(arb.lower, 1, 1)
upper = np.frompyfunc(arb.upper, 1, 1)
magnitude = np.frompyfunc(arb.abs_upper, 1, 1)  # sup |x|, an exact number
root_upper = np.frompyfunc(lambda x: x.abs_upper().sqrt(), 1, 1)  # of what is >= 0
hull = np.frompyfunc(arb.union, 2, 1)
_larger = np.frompyfunc(arb.max, 2, 1)
_exact = np.frompyfunc(arb, 1, 1)


def exact(numbers: NDArray[Any]) -> Balls:
    """The binary64 or integer numbers themselves, without radius."""
    return _exact(numbers.astype(object))


def rational(number: Fraction) -> arb:
    """The rational number, at the working precision."""
    return arb(fmpq(number.numerator, number.denominator))


def full(shape: int | tuple[int, ...], value: Any) -> Balls:
    """An array of one value."""
    result = np.empty(shape, dtype=object)
    result[...] = arb(value)
    return result


def largest(balls: Balls, axis: int = 0) -> Balls:
    """The maximum over one axis, of the positive parts."""
    return _larger.reduce(balls, axis=axis, initial=arb(0))


def norms_upper(balls: Balls, axis: int) -> Balls:
    """Upper bounds of the Euclidean norms along one axis."""
    return root_upper((balls * balls).sum(axis=axis))


def matmul(left: Balls, right: Balls) -> Balls:
    """The matrix product of two-dimensional arrays."""
    return from_matrix(arb_mat(left.tolist()) * arb_mat(right.tolist()))


def from_matrix(matrix: Any) -> Balls:
    """A flint matrix as an array."""
    return np.fromiter(matrix.entries(), object).reshape(matrix.nrows(), matrix.ncols())


def floats_above(balls: Balls) -> NDArray[np.float64]:
    """Floating-point numbers that are not below what the balls hold."""
    return np.nextafter(approx(upper(balls)), np.inf)


def approx(balls: Balls) -> NDArray[np.float64]:
    """Floating-point numbers near the midpoints: hints only."""
    return np.asarray(balls, dtype=object).astype(np.float64)
