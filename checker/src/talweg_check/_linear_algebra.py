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

from talweg_check._arrays import (
    Balls,
    approx,
    exact,
    from_matrix,
    full,
    largest,
    magnitude,
    root_upper,
    upper,
)

Floats = NDArray[np.float64]
BLOCK = 500  # rows of a block of the residual: limits memory and skips the zero blocks of L
BITS = 53  # of the fixed-point numbers; factors of their Gram matrices then fit into int64


def smallest_eigenvalue_lower(matrix: Balls, shift: float, sign: int = 1) -> arb:
    """A number not above lambda_min(sign * matrix), matrix symmetric; sharp if shift is near it.

    `shift` should lie a little below the eigenvalue, so that the factorisation succeeds.
    """
    size = len(matrix)
    factor = _cholesky(sign * approx(matrix) - shift * np.eye(size))
    exponent = _exponent(factor)
    digits = _integers(np.ldexp(factor, exponent))
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
            error = magnitude(residual)
            rows[top : top + BLOCK] += error.sum(axis=1)
            if left < top:
                rows[left : left + BLOCK] += error.sum(axis=0)
    bound: arb = arb(shift) - largest(rows)
    return bound


def norm_upper(matrix: Balls) -> arb:
    """A number not below the operator norm of the (m, n) matrix, close to it.

    With A = D + R, D of fixed-point numbers: |A| <= |D| + |R|_F and |D|^2 = lambda_max(D^T D);
    D^T D and the residual of t I - D^T D are computed in integers.
    """
    thin = matrix if matrix.shape[0] >= matrix.shape[1] else matrix.T
    hint = approx(thin)
    if not np.isfinite(hint).all():
        return arb.nan()
    exponent = _exponent(hint)
    scaled = np.ldexp(hint, exponent)
    digits = _integers(scaled)
    unit = arb(2) ** -exponent
    rest = thin - exact(digits) * unit
    gram_hint = scaled.T @ scaled
    # A hair above the estimate, so that the Cholesky factorisation can succeed.
    top = int(np.linalg.eigvalsh(gram_hint)[-1] * (1 + 2.0**-30))
    factor = _integers(_cholesky(float(top) * np.eye(len(gram_hint)) - gram_hint))
    left, right = _matrix(digits), _matrix(factor)
    rows = (left.transpose() * left + right * right.transpose()).tolist()
    for index, row in enumerate(rows):
        row[index] -= top
    error = max(sum(map(abs, row)) for row in rows)
    bound: arb = root_upper(arb(top + error)) * unit + root_upper((rest * rest).sum())
    return bound


def nonnegative_product_upper(left: Balls, right: Balls) -> Balls:
    """Entrywise upper bounds of the product of two matrices without negative entries."""
    factors, unit = [], arb(1)
    for matrix in (left, right):
        above = np.nextafter(approx(upper(matrix)), np.inf)
        if not np.isfinite(above).all():
            return full((len(left), right.shape[1]), arb.nan())
        exponent = 30 - int(np.frexp(above.max())[1])
        factors.append(_matrix((np.floor(np.ldexp(above, exponent)) + 1).astype(np.int64)))
        unit *= arb(2) ** -exponent
    return from_matrix(factors[0] * factors[1]) * unit


def perron_roots_upper(matrix: Balls, weights: Balls) -> Balls:
    """Per column w_j: a number not below sqrt(lambda_max(diag(w_j) matrix diag(w_j))), (m,).

    No entry is negative, the matrix is symmetric: by Collatz, lambda_max(M) <= max_i (M x)_i / x_i
    for *every* x > 0. Power iteration suggests x.
    """
    hint, scale = approx(matrix), approx(weights)
    x = np.ones_like(scale)
    with np.errstate(all="ignore"):
        for _ in range(8):
            x = scale * (hint @ (scale * x))
            x = np.nan_to_num(x / x.max(axis=0), nan=1, posinf=1, neginf=1).clip(1e-9, 1)
    vector = exact(x)
    quotients = weights * nonnegative_product_upper(matrix, weights * vector) / vector
    return root_upper(largest(quotients, axis=0))


def _cholesky(hint: Floats) -> Floats:
    try:
        return np.tril(np.asarray(np.linalg.cholesky(hint), dtype=np.float64))
    except np.linalg.LinAlgError:
        return np.zeros_like(hint)


def _exponent(hint: Floats) -> int:
    """e such that 2^e times the entries stays below 2^BITS."""
    return BITS - int(np.frexp(np.abs(hint).max())[1])


def _integers(scaled: Floats) -> NDArray[np.int64]:
    if not (np.abs(scaled) < 2.0**62).all():
        return np.zeros(scaled.shape, dtype=np.int64)  # a useless hint, but a sound one
    return np.rint(scaled).astype(np.int64)


def _matrix(digits: NDArray[np.int64]) -> fmpz_mat:
    rows, columns = digits.shape
    return fmpz_mat(rows, columns, digits.ravel().tolist())
