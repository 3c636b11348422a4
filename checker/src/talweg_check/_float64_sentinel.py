"""A short test that binary64 arithmetic here is what `_float64` assumes.

Each promise is tried on a planted problem whose answer is known exactly. Passing is evidence, not
proof; failing is a proof that nothing may be confirmed with it.

* rounding to nearest, ties to even, in one step (no extended precision), subnormal numbers kept;
* products of whole numbers whose sums stay below 2^53 are exact in every order of summation: lost
  operand bits (single precision, TF32) or a short accumulator show; rows and columns of very
  different size, and 2^200 that meets a row of zeros, show Strassen's method and emulation by
  slices; a large product is compared with whole-number arithmetic modulo 2^64;
* products of full mantissas lie within the bound, around Arb's.
"""

from __future__ import annotations

import math

import numpy as np
from flint import arb, arb_mat, ctx

from talweg_check._float64 import ETA, Floats, gamma, in_parallel, workers
from talweg_check._verdict import Incomplete

LARGE = 1100  # rows of the large product: enough for blocks, threads and recursions


def require_sound_arithmetic() -> None:
    """Raises Incomplete where a planted problem is answered wrongly."""
    tests = {
        "binary64 is not rounded to nearest in one step": _rounds,
        "subnormal numbers are flushed to zero": _keeps_subnormals,
        "subnormal numbers are flushed to zero in threads": _keeps_subnormals_in_threads,
        "quotients or square roots are not within their bounds": _divides,
        "a sum is outside its bound": _adds,
        "a matrix product is outside its bound": _multiplies,
        "a large matrix product is outside its bound": _multiplies_at_large,
        "nextafter misses the neighbouring number": _steps,
    }
    with np.errstate(all="ignore"), ctx.workprec(256):
        for failure, holds in tests.items():
            if not holds():
                raise Incomplete(f"this machine's arithmetic cannot be used: {failure}")


def _repeated(*numbers: float) -> Floats:
    """Enough copies for vector instructions."""
    return np.repeat(np.array(numbers, dtype=np.float64), 37)


def _product(left: Floats, right: Floats) -> Floats:
    """The product under test."""
    result: Floats = left @ right
    return result


def _rounds() -> bool:
    one = _repeated(1.0)
    small = one * 2.0**-53
    above = one + 2.0**-30
    return bool(
        (one + small == 1).all()
        and (one + 1.5 * small == 1 + 2.0**-52).all()
        and (-one - 1.5 * small == -1 - 2.0**-52).all()
        and (one - 0.5 * small == 1).all()
        # Extended precision would keep the last bit until the difference.
        and ((one + small) - 1 == 0).all()
        and (above * above == 1 + 2.0**-29).all()
        and (-above * above == -1 - 2.0**-29).all()
        # In two steps, first to 64 bits, this would be a tie and go down.
        and ((one + 2.0**-52) + (small + 2.0**-66) == 1 + 2.0**-51).all()
    )


def _keeps_subnormals() -> bool:
    least, normal = _repeated(ETA), _repeated(2.0**-1022)
    rows = np.full((64, 16), 2.0**-537)
    return bool(
        (least + least == 2 * ETA).all()
        and (normal / 2 == 2.0**-1023).all()
        and (normal / 2 * 2 == 2.0**-1022).all()
        and (normal * 1.5 - normal == 2.0**-1023).all()
        and (least.sum() == 37 * ETA)
        and (_product(rows, rows.T) == 16 * ETA).all()
        and (_product(rows, np.full((16, 5), 2.0**-537)) == 16 * ETA).all()
    )


def _keeps_subnormals_in_threads() -> bool:
    return all(in_parallel(lambda _: _keeps_subnormals(), range(workers())))


def _divides() -> bool:
    whole = _scattered(200, 53)
    left, right = whole[:100].astype(np.float64), whole[100:].astype(np.float64)
    quotients = [a / b for a, b in zip(left.tolist(), right.tolist(), strict=True)]
    roots = np.array([math.sqrt(a) for a in left.tolist()])
    third = arb(float((_repeated(1.0) / 3)[0])) - arb(1) / 3
    return bool(
        (left / right == quotients).all()
        and (np.abs(np.sqrt(left) - roots) <= 2.0**-52 * roots).all()
        and abs(third) <= arb(2) ** -55
    )


def _adds() -> bool:
    whole = _scattered(5000, 40)
    floats = whole.astype(np.float64)
    grid, table = whole.reshape(50, 100), floats.reshape(50, 100)
    return bool(
        floats.sum() == int(whole.sum())
        and all((table.sum(axis=axis) == grid.sum(axis=axis)).all() for axis in (0, 1))
    )


def _multiplies() -> bool:
    m, k = 96, 320
    p, q = _scattered(m * k, 22).reshape(m, k), _scattered(m * k + 1, 22)[1:].reshape(k, m)
    q[:, ::3] -= 2**21  # columns that cancel
    exact = np.einsum("ij,jk->ik", p, q).astype(np.float64)
    a = np.concatenate([np.full((m, 1), 2.0**200), p.astype(np.float64)], axis=1)
    b = np.concatenate([np.zeros((1, m)), q.astype(np.float64)])
    rows = np.where(np.arange(m) % 2, 2.0**60, 1.0)[:, None]
    columns = np.where(np.arange(m) < m // 2, 1.0, 2.0**-90)
    a, b, exact = a * rows, b * columns, exact * rows * columns
    full = [_scattered(12 * 40, 53).reshape(12, 40).astype(np.float64) * sign for sign in (1, -1)]
    full[1][:, ::2] *= -(2.0**-7)
    product = _product(full[0], full[1].T)
    near = arb_mat(full[0].tolist()) * arb_mat(full[1].T.tolist())
    size = arb_mat(np.abs(full[0]).tolist()) * arb_mat(np.abs(full[1].T).tolist())
    return bool(
        (_product(a, b) == exact).all()
        and (_product(b.T, a.T) == exact.T).all()
        and (_product(np.asfortranarray(a), b) == exact).all()
        and (_product(a, b[:, 5]) == exact[:, 5]).all()
        and (_product(a[:1], b) == exact[:1]).all()
        and all(
            abs(arb(float(product[i, j])) - near[i, j]) <= arb(gamma(40)) * size[i, j]
            for i in range(12)
            for j in range(12)
        )
    )


def _multiplies_at_large() -> bool:
    """A B v = A (B v) modulo 2^64 for whole numbers, v odd: a wrong entry shows in its row."""
    n = LARGE
    a, b = (_scattered(n * n + i, 20)[i:].reshape(n, n) - 2**19 for i in (0, 1))
    mid = n // 2
    floats = [a.astype(np.float64), b.astype(np.float64)]
    # Entries of 2^200 meet zeros only; sums with other blocks would swallow the rest.
    floats[0][:, mid], floats[1][mid] = 2.0**200, 0.0
    a[:, mid], b[mid] = 0, 0
    product = _product(floats[0], floats[1])
    gram = _product(floats[1], floats[1].T)
    bound = 2.0**53
    if not ((np.abs(product) < bound).all() and (np.abs(gram) < bound).all()):
        return False
    v = _scattered(n, 63)
    return bool(
        (product == np.rint(product)).all()
        and (product.astype(np.int64) @ v == a @ (b @ v)).all()
        and (gram.astype(np.int64) @ v == b @ (b.T @ v)).all()
    )


def _steps() -> bool:
    starts = [0.0, ETA, -ETA, 1.0, -1.0, 2.0**-1022, 1.5e300]
    return all(
        float(np.nextafter(np.float64(x), to)) == math.nextafter(x, to)
        for x in starts
        for to in (math.inf, -math.inf)
    )


def _scattered(count: int, bits: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Odd whole numbers below 2^bits, scattered by a multiplicative hash."""
    with np.errstate(over="ignore"):
        hashed = np.arange(1, count + 1, dtype=np.int64) * np.int64(-7046029254386353131)
    return ((hashed >> (64 - bits)) & ((1 << bits) - 1)) | 1
