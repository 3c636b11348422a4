"""Eigenvalue and norm bounds: a factor from NumPy is the hint, its exact residual the proof.

For a symmetric matrix A, any real s and *any* matrix L put E := A - s I - L L^T. Since
L L^T >= 0, every eigenvalue of A is at least

    s - |E|_2 >= s - |E|_inf.

LAPACK's Cholesky factor of A - s I makes E tiny; a wrong factor only makes the bound worse.
The factor is first rounded to integers times a power of two, so that L L^T is exact.
"""

from __future__ import annotations

import numpy as np
from flint import arb, arb_mat, fmpz_mat
from numpy.typing import NDArray

from talweg_check._arrays import Balls, approx, floats_above, from_matrix, full, largest, root_upper

Floats = NDArray[np.float64]
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
    bound: arb = (arb(shift) - largest(rows)).lower()
    return bound


def norm_upper(matrix: Balls) -> arb:
    """A number not below the operator norm of the (m, n) matrix, close to it.

    With A = D + R, D of fixed-point numbers: |A| <= |D| + |R|_F and |D|^2 = lambda_max(D^T D);
    D^T D and the residual of t I - D^T D are computed in integers.
    """
    thin = matrix if matrix.shape[0] >= matrix.shape[1] else matrix.T
    digits, exponent = _fixed_point(approx(thin))
    unit = arb(2) ** -exponent
    left = _matrix(digits)
    rest = thin - from_matrix(arb_mat(left) * unit)
    hint = digits.T @ digits
    # A hair above the estimate, so that the Cholesky factorisation can succeed.
    top = int(np.linalg.eigvalsh(hint)[-1] * (1 + 2.0**-30))
    right = _matrix(np.rint(_cholesky(float(top) * np.eye(len(hint)) - hint)))
    rows = (left.transpose() * left + right * right.transpose()).tolist()
    for index, row in enumerate(rows):
        row[index] -= top
    error = max(sum(map(abs, row)) for row in rows)
    bound: arb = root_upper(arb(top + error)) * unit + root_upper((rest * rest).sum())
    return bound


def nonnegative_product_upper(left: Floats, right: Balls) -> Balls:
    """Entrywise upper bounds of the product of two matrices without negative entries."""
    factors, unit = [], arb(1)
    for matrix in (left, floats_above(right)):
        if not np.isfinite(matrix).all():
            return full((len(left), right.shape[1]), arb.nan())
        # As many bits as floats have: Perron vectors have small entries, by which one divides.
        exponent = 52 - int(np.frexp(matrix.max())[1])
        factors.append(_matrix(np.floor(np.ldexp(matrix, exponent)) + 1))
        unit *= arb(2) ** -exponent
    return from_matrix(factors[0] * factors[1]) * unit


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


def _matrix(integers: Floats) -> fmpz_mat:
    rows, columns = integers.shape
    return fmpz_mat(rows, columns, map(int, integers.ravel().tolist()))
