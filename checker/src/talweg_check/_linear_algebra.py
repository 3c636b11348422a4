"""Eigenvalue and norm bounds: a factor from NumPy is the hint, its exact residual the proof.

For a symmetric matrix A, any real s and *any* matrix L put E := A - s I - L L^T. Since
L L^T >= 0, every eigenvalue of A is at least

    s - |E|_2 >= s - |E|_inf.

LAPACK's Cholesky factor of A - s I makes E tiny; a wrong factor only makes the bound worse.
The factor is first rounded to integers times a power of two, so that L L^T is exact.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from flint import arb, arb_mat, fmpz_mat
from numpy.typing import NDArray

from talweg_check._arrays import (
    Balls,
    approx,
    exact,
    floats_above,
    from_matrix,
    full,
    largest,
    root_upper,
)  # fmt: skip
from talweg_check._verdict import Incomplete

Floats = NDArray[np.float64]
Whole = NDArray[np.int64]
BLOCK = 500  # rows of a block of the residual: limits memory and skips the zero blocks of L
BITS = 53  # of the fixed-point numbers: as many as a hint has


def smallest_eigenvalue_lower(matrix: Balls, shift: float, sign: int = 1) -> arb:
    """A number not above lambda_min(sign * matrix), matrix symmetric; sharp if shift is near it.

    `shift` should lie a little below the eigenvalue, so that the factorisation succeeds.
    """
    size = len(matrix)
    digits, exponent = _fixed_point(_cholesky(sign * approx(matrix) - shift * np.eye(size)))
    rows = full(size, 0)
    for top in range(0, size, BLOCK):
        for left in range(0, top + 1, BLOCK):
            one = digits[top : top + BLOCK, : left + BLOCK]  # the left block of L ends there
            two = digits[left : left + BLOCK, : left + BLOCK]
            product = arb_mat(_matrix(one) * _matrix(two).transpose())
            product *= arb(2) ** (-2 * exponent)
            block = matrix[top : top + BLOCK, left : left + BLOCK]
            residual = sign * block - from_matrix(product)
            if left == top:
                residual[np.diag_indices(len(residual))] -= arb(shift)
            error = abs(residual)
            rows[top : top + BLOCK] += error.sum(axis=1)
            if left < top:
                rows[left : left + BLOCK] += error.sum(axis=0)
    return arb((arb(shift) - largest(rows)).lower())


def norm_upper(matrix: Balls) -> arb:
    """A number not below the operator norm of the (m, n) matrix, close to it."""
    digits, unit, missed = _whole(matrix)
    return arb(_whole_norm_upper(digits) * unit + missed)


def scaled_norms_upper(matrix: Balls, weightings: Sequence[Balls]) -> list[arb]:
    """Numbers not below the norms of diag(w) A, close to them, for vectors w >= 0.

    With whole D and d, A = u D + R and w <= v d: |diag(w) A| <= v (u |diag(d) D| + max(d) |R|_F).
    X = diag(d) D / 2^31 rounded to whole numbers misses half of one where D is not 0. Rows may be
    of any size: powers of two are moved from them to the weights; rows of zeros get weight zero.
    """
    exponents = np.frexp(np.abs(approx(matrix)).max(axis=1))[1].tolist()
    scale = np.array([arb(2) ** exponent for exponent in exponents], dtype=object)
    digits, unit, missed = _whole(matrix / scale[:, None])
    half_units, bounds = arb(int(np.count_nonzero(digits))).sqrt() / 2, []
    scale *= ~np.all(matrix == 0, axis=1)
    for weights in weightings:
        factors, places = _whole_above(floats_above(weights * scale), 31)
        scaled = (factors.astype(np.int64)[:, None] * digits + 2**30) >> 31
        norm = (_whole_norm_upper(scaled) + half_units) * arb(2) ** 31
        bounds.append((unit * norm + arb(factors.max()) * missed) * arb(2) ** -places)
    return bounds


def _whole(matrix: Balls) -> tuple[Whole, arb, arb]:
    """Whole D of norm below 2^31, u, and a bound of |A - u D|_F."""
    hint, exponent = _fixed_point(approx(matrix))
    square = np.linalg.eigvalsh(hint.T @ hint if len(hint) > len(hint.T) else hint @ hint.T)[-1]
    surplus = int(np.frexp(1.01 * abs(square) ** 0.5)[1]) - 31
    digits = np.rint(np.ldexp(hint, -surplus)).clip(-(2**31), 2**31).astype(np.int64)
    unit = arb(2) ** (surplus - exponent)
    rest = matrix - exact(digits) * unit
    return digits, unit, root_upper((rest * rest).sum())


def _whole_norm_upper(matrix: Whole) -> arb:
    """For G = X X^T, any t and any L: |X|^2 = t - lambda_min(t I - G) <= t + |t I - G - L L^T|."""
    gram = _gram(matrix if len(matrix) <= len(matrix.T) else matrix.T)
    # A hair above the estimate, so that the Cholesky factorisation can succeed.
    hint = float(np.linalg.eigvalsh(gram.astype(np.float64))[-1]) * (1 + 2.0**-30)
    top = int(min(max(0.0, hint), 2.0**62))  # 0 for nan
    spread = top * np.eye(len(gram), dtype=np.int64) - gram
    factor = np.rint(_cholesky(spread.astype(np.float64))).astype(np.int64)
    error = np.abs(spread - _gram(factor)).sum(axis=1, dtype=object).max()  # exact integers
    return arb(root_upper(arb(top) + arb(error)))


def _gram(rows: Whole) -> Whole:
    """A A^T in int64, which computes modulo 2^64: exact where no entry can reach 2^62.

    By Cauchy-Schwarz that holds where all rows are shorter than 2^31.
    """
    if len(rows.T) < 2**20 and rows.min() > -(2**31) and rows.max() < 2**31:
        squares = ((np.abs(rows) >> 10) + 1) ** 2  # 2^-20 rows^2 from above, at most 2^42
        if squares.sum(axis=1).max() < 2**42:
            return np.asarray(np.einsum("ij,kj->ik", rows, rows), dtype=np.int64)
    raise Incomplete("the norm of a matrix is beyond the reach of 64 bits")


def nonnegative_product_upper(left: Floats, right: Balls) -> Balls:
    """Entrywise upper bounds of the product of two matrices without negative entries."""
    # As many bits as floats have: Perron vectors have small entries, by which one divides.
    one, two = _whole_above(left, 52), _whole_above(floats_above(right), 52)
    product = arb_mat(_matrix(one[0]) * _matrix(two[0])) * arb(2) ** (-one[1] - two[1])
    return from_matrix(product)


def perron_roots_upper(matrix: Floats, weights: Balls) -> Balls:
    """Per column w_j: a number not below sqrt(lambda_max(diag(w_j) matrix diag(w_j))), (m,).

    No entry is negative, the matrix is symmetric: by Collatz, lambda_max(M) <= max_i (M x)_i / x_i
    for *every* x > 0. Power iteration suggests x.
    """
    scale = approx(weights)
    x = np.ones_like(scale)
    with np.errstate(all="ignore"):
        for _ in range(8):
            x = scale * (matrix @ (scale * x))
            x = np.nan_to_num(x / x.max(axis=0), nan=1, posinf=1, neginf=1).clip(1e-9, 1)
    return root_upper(largest(weights * nonnegative_product_upper(matrix, weights * x) / x))


def _cholesky(hint: Floats) -> Floats:
    """A lower triangular factor, zeros where LAPACK finds none."""
    try:
        factor = np.tril(np.asarray(np.linalg.cholesky(hint), dtype=np.float64))
    except np.linalg.LinAlgError:
        return np.zeros_like(hint)
    return factor if np.isfinite(factor).all() else np.zeros_like(hint)


def _fixed_point(hint: Floats) -> tuple[Floats, int]:
    """Integers of at most BITS bits and an e such that 2^-e times them is near the hint."""
    if not np.isfinite(hint).all():
        hint = np.zeros_like(hint)  # useless, but as sound as any other
    exponent = BITS - int(np.frexp(np.abs(hint).max())[1])
    return np.rint(np.ldexp(hint, exponent)), exponent


def _whole_above(numbers: Floats, bits: int) -> tuple[Floats, int]:
    """Whole numbers of some bits, and an e such that 2^-e times them is above the numbers >= 0."""
    if not np.isfinite(numbers).all():
        raise Incomplete("a number that a bound needs is not finite")
    exponent = bits - int(np.frexp(numbers.max())[1])
    return np.floor(np.ldexp(numbers, exponent)) + 1, exponent


def _matrix(integers: Floats) -> fmpz_mat:
    rows, columns = integers.shape
    return fmpz_mat(rows, columns, map(int, integers.ravel().tolist()))
