"""Eigenvalues and operator norms of many small matrices in binary64, from above.

For a symmetric G and *any* matrix V with S = V^T V, |I - S| <= t < 1, and C = V^T G V: every x is
V c, and x^T G x = c^T C c <= |C| |c|^2 while |x|^2 = c^T S c >= (1 - t) |c|^2. So

    lambda_max(G) <= (max_i C_ii + |C - diag C|_F) / (1 - t)      where the numerator is positive.

LAPACK suggests V. What rounding does to S and C is bounded by Frobenius norms.
"""

from __future__ import annotations

import numpy as np

from talweg_check._float64 import (
    ETA,
    Floats,
    MidRad,
    U,
    above,
    gamma,
    norms_above,
)


def frobenius_above(matrices: Floats) -> Floats:
    """Above the Frobenius norms of (..., m, k) matrices."""
    return norms_above(matrices.reshape(*matrices.shape[:-2], -1), -1)


def largest_eigenvalues_above(grams: Floats, off: Floats) -> Floats:
    """Above max(lambda_max(G + E), 0) for symmetric G (..., m, m) and all |E| <= off (...)."""
    size = grams.shape[-1]
    if size == 1:
        return above(np.maximum(grams[..., 0, 0], 0.0) + off)
    scale = _powers_of_two(grams)
    if not np.isfinite(grams / scale).all():
        return np.full(grams.shape[:-2], np.inf)
    grams, off = grams / scale, off / scale[..., 0, 0]  # by powers of two
    vectors = np.linalg.eigh(grams)[1]
    turned = np.swapaxes(vectors, -1, -2)
    product = grams @ vectors
    core = turned @ product
    length = frobenius_above(vectors)
    inexact = gamma(size) * (length * frobenius_above(product)
                             + length * length * frobenius_above(grams))  # fmt: skip
    diagonal = np.einsum("...ii->...i", core)
    rest = core - diagonal[..., None] * np.eye(size)
    top = np.maximum(diagonal.max(axis=-1), 0.0) + frobenius_above(rest)
    tilt = frobenius_above(turned @ vectors - np.eye(size))
    tilt = above(tilt + gamma(size) * length * length + 2 * U * size + size**2 * ETA)
    scaled = above((top + inexact + 4 * size**3 * ETA + above(off)) / (1 - tilt))
    # Where 1 - tilt is not clearly positive nothing is known; its rounding is within `above`.
    scaled = np.where(tilt < 0.5, above(scaled), np.inf)
    result: Floats = above(scaled * scale[..., 0, 0])
    return result


def operator_norms_above(matrices: MidRad) -> Floats:
    """Above the operator norms of (..., m, k) matrices: |A| <= |mid| + |rad|_F."""
    scale = _powers_of_two(matrices.mid)
    scaled = matrices.mid / scale
    length = frobenius_above(scaled)
    if min(scaled.shape[-2:]) == 1:
        norms = length
    else:
        turned = np.swapaxes(scaled, -1, -2)
        grams = scaled @ turned if scaled.shape[-2] <= scaled.shape[-1] else turned @ scaled
        grams = (grams + np.swapaxes(grams, -1, -2)) / 2  # the library need not keep it symmetric
        inner = max(scaled.shape[-2:])
        off = above((gamma(inner + 2) * length + ETA) * length + inner * inner * ETA)
        norms = np.sqrt(largest_eigenvalues_above(grams, off))
    result: Floats = above(above(norms) * scale[..., 0, 0])
    if not matrices.is_exact:
        result = above(result + frobenius_above(matrices.radii))
    return result


def _powers_of_two(matrices: Floats) -> Floats:
    """By which (..., m, k) matrices are divided, so that their largest entries are below one."""
    exponents = np.frexp(np.abs(matrices).max(axis=(-2, -1), keepdims=True))[1]
    powers: Floats = np.ldexp(1.0, np.clip(exponents, -1000, 1000))
    return powers
