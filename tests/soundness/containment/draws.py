"""Nasty numbers, matrices, layouts and balls, and their exact values.

Exact values are whole numbers of a fixed unit: a float x is `units(x)` times 2^-1074, and the
point m + (j / 8) r of a ball is `member(m, r, j)` times 2^-1077. Sums, products and comparisons of
whole numbers are exact and need no common denominators.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction

import numpy as np
import torch
from flint import arb, fmpq
from numpy.typing import NDArray
from torch import Tensor

from talweg.enclosure import Ball

Floats = NDArray[np.float64]

ETA = 5e-324
LARGEST = 1.7976931348623157e308
CORNERS = np.array(
    [
        *(0.0, -0.0, 1.0, -1.0, 0.1, 0.5, 2.0, 3.0, 1.0 + 2.0**-52, 1.0 - 2.0**-53, 2.0**-52),
        *(ETA, 3 * ETA, 2.0**-1022, 2.0**-1022 - ETA, LARGEST, LARGEST / 2, 1e308, 2.0**1023),
        *(2.0**-537, 2.0**-538, 2.0**511, 2.0**512, 2.0**53 - 1.0, 2.0**53, 2.0**-53),
        *(1e-300, 1e300, 1e-160, 1e160),
    ]
)
RADII = np.array(
    [0.0, ETA, 1e-300, 2.0**-60, 2.0**-53, 2.0**-20, 1e-3, 0.5, 1.0, 30.0, 1e10, 1e300]
)
SCALE = 1074  # a unit is 2^-1074
MEMBER_SCALE = 1077  # of `member`


@contextmanager
def threads(seed: int) -> Iterator[None]:
    """One torch thread for an even seed, two for an odd one."""
    before = torch.get_num_threads()
    torch.set_num_threads(1 + seed % 2)
    try:
        yield
    finally:
        torch.set_num_threads(before)


# -- numbers ---------------------------------------------------------------------------------------


def gentle(rng: np.random.Generator, count: int) -> Floats:
    """Numbers of every sign whose squares are far from overflow and underflow."""
    return rng.standard_normal(count) * 2.0 ** rng.integers(-12, 13, count)


def spread(rng: np.random.Generator, count: int, width: int = 300) -> Floats:
    """Full mantissas with exponents drawn evenly from -width to width."""
    return np.ldexp(rng.uniform(-1.0, 1.0, count), rng.integers(-width, width + 1, count))


def bits(rng: np.random.Generator, count: int) -> Floats:
    """Finite floats with uniform bit patterns: every exponent, subnormals among them."""
    drawn = rng.integers(0, 2**64, count, dtype=np.uint64).view(np.float64)
    return np.where(np.isfinite(drawn), drawn, 0.0)


def ties(rng: np.random.Generator, count: int) -> Floats:
    """Few-bit mantissas and their neighbours: sums and products land on ties or just beside."""
    few = rng.integers(-64, 65, count) * 2.0 ** rng.integers(-54, 55, count)
    return np.asarray(few * (1.0 + rng.integers(-2, 3, count) * 2.0**-52), dtype=np.float64)


def numbers(rng: np.random.Generator, count: int) -> Floats:
    """A mixture of all of them, corners included, entry by entry."""
    tiny = rng.integers(-9, 10, count) * ETA * 2.0 ** rng.integers(0, 53, count)
    corners = rng.choice(CORNERS, count) * rng.choice([-1.0, 1.0], count)
    parts = [gentle(rng, count), spread(rng, count), bits(rng, count), ties(rng, count)]
    return np.choose(rng.integers(0, 6, count), [*parts, tiny, corners])


def numbers_like(rng: np.random.Generator, count: int) -> Floats:
    """Numbers of one randomly chosen family, so that a tensor has one character."""
    families = (gentle, spread, bits, ties, numbers)
    return families[int(rng.integers(len(families)))](rng, count)


# -- matrices --------------------------------------------------------------------------------------


def matrix(rng: np.random.Generator, m: int, n: int) -> Floats:
    """A nasty matrix: cancelling, graded, rank one, Hilbert, Hadamard signs, sparse, mixed."""
    kind = int(rng.integers(9))
    rows, columns = np.arange(m)[:, None], np.arange(n)[None, :]
    dense = rng.standard_normal((m, n))
    if kind == 0:
        return dense
    if kind == 1:  # halves that cancel along the rows
        half = rng.standard_normal((m, (n + 1) // 2))
        return np.concatenate([half, -half], 1)[:, :n]
    if kind == 2:  # rows and columns of wildly different scales
        scales = rng.integers(-250, 251, m)[:, None] + rng.integers(-250, 251, n)[None, :]
        return np.ldexp(dense, scales)
    if kind == 3:
        return np.asarray(dense[:, :1] * rng.standard_normal((1, n)) if n else dense)
    if kind == 4:
        return 1.0 / (rows + columns + 1.0)
    if kind == 5:  # Hadamard signs
        signs = [[(i & j).bit_count() for j in range(n)] for i in range(m)]
        return np.asarray((-1.0) ** np.array(signs, dtype=np.float64).reshape(m, n))
    if kind == 6:
        return np.where(rng.random((m, n)) < 0.7, 0.0, dense * 2.0**200)
    if kind == 7:
        return np.asarray(rng.integers(-3, 4, (m, n)), dtype=np.float64)
    return numbers_like(rng, m * n).reshape(m, n)


def relaid(rng: np.random.Generator, values: Floats) -> Tensor:
    """The same values in one of several layouts: transposed storage, every second entry, offset."""
    t = torch.from_numpy(np.ascontiguousarray(values))
    kind = int(rng.integers(5)) if t.ndim else 0
    if kind == 1:  # stored in the reverse order of dimensions
        axes = tuple(reversed(range(t.ndim)))
        return t.permute(axes).contiguous().permute(axes)
    if kind == 2:  # every second entry of the last dimension, NaN between
        wide = torch.full((*t.shape[:-1], 2 * t.shape[-1] + 1), math.nan, dtype=t.dtype)
        view = wide[..., 1::2]
        return view.copy_(t)
    if kind == 3:  # an odd offset into the storage
        flat = torch.full((t.numel() + 3,), math.nan, dtype=t.dtype)
        return flat[3:].copy_(t.reshape(-1)).reshape(t.shape)
    if kind == 4:  # every second slice of the first dimension
        tall = torch.full((2 * t.shape[0] + 1, *t.shape[1:]), math.nan, dtype=t.dtype)
        view = tall[1::2]
        return view.copy_(t)
    return t


def laid_out(rng: np.random.Generator, m: int, n: int) -> Tensor:
    """A nasty matrix in a random layout, or one row, column or number expanded (stride 0)."""
    kind = int(rng.integers(8))
    if kind == 0:
        return torch.from_numpy(matrix(rng, 1, n)).expand(m, n)
    if kind == 1:
        return torch.from_numpy(matrix(rng, m, 1)).expand(m, n)
    if kind == 2:
        return torch.from_numpy(numbers(rng, 1)).reshape(()).expand(m, n)
    return relaid(rng, matrix(rng, m, n))


# -- balls -----------------------------------------------------------------------------------------


def radii(rng: np.random.Generator, mid: Floats, *, infinite: bool = True) -> Floats:
    """Radii 0, tiny, relative to the midpoint, unrelated to it, huge and (if asked) infinite."""
    count = mid.size
    size = np.abs(mid).reshape(-1)
    relative = np.minimum(size, LARGEST / 4) * rng.choice([2.0**-53, 1e-8, 0.3, 1.0, 1.5], count)
    # The next float beside |m|: zero is an end of the ball, or just inside or outside of it.
    beside = np.nextafter(np.minimum(size, 1e307), rng.choice([0.0, np.inf], count))
    parts = [np.zeros(count), rng.choice(RADII, count), relative, beside, np.abs(bits(rng, count))]
    drawn = np.choose(rng.integers(0, 5, count), parts)
    if infinite:
        drawn = np.where(rng.random(count) < 0.02, np.inf, drawn)
    return np.asarray(drawn.reshape(mid.shape), dtype=np.float64)


def ball(rng: np.random.Generator, mid: Floats, *, infinite: bool = True) -> Ball:
    """A ball around the given midpoints: exact, one radius expanded, or a radius for each entry."""
    kind = int(rng.integers(4))
    if kind == 0:
        return Ball.exact(relaid(rng, mid))
    if kind == 1:
        one = torch.from_numpy(np.asarray(rng.choice(RADII, 1))).reshape(())
        return Ball(relaid(rng, mid), one.expand(mid.shape))
    return Ball(relaid(rng, mid), relaid(rng, radii(rng, mid, infinite=infinite)))


# -- exact values ----------------------------------------------------------------------------------


def units(x: float) -> int:
    """x / 2^-1074, a whole number."""
    numerator, denominator = x.as_integer_ratio()
    return numerator << (SCALE + 1 - denominator.bit_length())


def units_of(t: Tensor | Floats) -> list[int]:
    """`units` of every entry, in the order of reading."""
    return [units(x) for x in t.reshape(-1).tolist()]


def member(mid: float, rad: float, j: int) -> int:
    """(m + (j / 8) r) / 2^-1077 for -8 <= j <= 8; an infinite radius reaches j times 2^1000."""
    step = j << (SCALE + 1000) if math.isinf(rad) else j * units(rad)
    return (units(mid) << 3) + step


def members(rng: np.random.Generator, b: Ball) -> list[int]:
    """One `member` of every entry of a ball; the ends are drawn as often as the inside."""
    pairs = zip(b.mid.reshape(-1).tolist(), b.rad.reshape(-1).tolist(), strict=True)
    steps = rng.choice([-8, 8, -8, 8, 0, -7, 7, -3, 1, 5], b.mid.numel()).tolist()
    return [member(m, r, j) for (m, r), j in zip(pairs, steps, strict=True)]


def holds(mid: float, rad: float, value: int, scale: int) -> bool:
    """Whether |value 2^-scale - mid| <= rad, for scale >= 1074; NaN and an infinite mid fail."""
    if not (math.isfinite(mid) and rad >= 0.0):
        return False
    if math.isinf(rad):
        return True
    shift = scale - SCALE
    return abs(value - (units(mid) << shift)) <= units(rad) << shift


def at_least(bound: float, value: int, scale: int) -> bool:
    """Whether bound >= value 2^-scale, for scale >= 1074; inf does, NaN does not."""
    if math.isfinite(bound):
        return units(bound) << (scale - SCALE) >= value
    return bound == math.inf


def at_most(bound: float, value: int, scale: int) -> bool:
    """Whether bound <= value 2^-scale; -inf does, NaN does not."""
    return at_least(-bound, -value, scale)


def fraction(x: float) -> Fraction:
    """x as a rational number."""
    return Fraction(x)


def rational(x: float) -> fmpq:
    """x as a flint rational."""
    numerator, denominator = x.as_integer_ratio()
    return fmpq(numerator, denominator)


def exact_arb(x: float) -> arb:
    """x as an Arb ball of radius 0."""
    return arb(x)
