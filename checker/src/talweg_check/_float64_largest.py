"""A cheap proof that no eigenvalue of a large kernel exceeds a given number.

Let V (N, m) and D = diag(d) be *any*, R = K V - V D, S = V^T V, |S - I| <= t < 1. Every x is
V c + y with y orthogonal to V, so that (1 - t) (|c|^2 + |y|^2) <= |x|^2, and

    x^T K x = c^T (S D + V^T R) c + 2 y^T R c + y^T (K - V D V^T) y
           <= c^T (D + delta) c + 2 |y| sum_j |R_j| |c_j| + tau |y|^2,

delta >= t max|d| + |V^T R|_F and tau >= |K - V D V^T|_F. For a > tau and a > delta + max d this is
at most a (|c|^2 + |y|^2) where sum_j |R_j|^2 / (a - delta - d_j) <= a - tau (Cauchy-Schwarz and the
Schur complement). With v_j^T K v_j = d_j S_jj + (V^T R)_jj and tr (D S)^2 <= (1 + t)^2 |d|^2,

    |K - V D V^T|_F^2 <= |K|_F^2 - |d|^2 + (4 t + t^2) |d|^2 + 2 |d| |V^T R|_F.

V is made of approximate eigenvectors of the largest eigenvalues: a proof is found where the others
are small enough for tau, and costs some products of N x N with N x m instead of a factorisation.
"""

from __future__ import annotations

import numpy as np

from talweg_check._float64 import (
    ETA,
    Floats,
    U,
    above,
    gamma,
    in_parallel,
    norm_above,
    norms_above,
)
from talweg_check._float64_spectrum import Kernel64

VECTORS = 160
LEAST = 6 * VECTORS  # entries from which this is worth it
POWERS = 3
BELOW = 1 - 2.0**-46  # what a few roundings of nonnegative numbers may have added


def norm_is_at_most(kernel: Kernel64, limit: float) -> bool:
    """Whether it is shown that no eigenvalue of K exceeds `limit`; False says nothing."""
    if kernel.size < LEAST:
        return False
    try:
        vectors, d = _hint(kernel)
    except np.linalg.LinAlgError:
        return False
    return _shown(kernel, limit, vectors, d)


def _shown(kernel: Kernel64, limit: float, vectors: Floats, d: Floats) -> bool:
    size, count = vectors.shape
    frobenius, length = _frobenius(kernel), norm_above(vectors)
    top = float(np.abs(d).max())
    dust = float(size) * size * ETA

    rest = times(kernel, vectors) - vectors * d
    columns = norms_above(vectors, 0)
    # Of K v_j each entry is a sum of N products, blocks on their own; then d_j v_j, the difference.
    lost = (gamma(2 * size) * frobenius + 2 * U * top) * columns + 2 * U * norms_above(rest, 0)
    lost = above(lost + dust)
    r = above(norms_above(rest, 0) + lost)
    tilt = norm_above(vectors.T @ vectors - np.eye(count))
    t = float(above((1 + 2 * U) * tilt + gamma(size) * length * length + dust))
    inner = norm_above(vectors.T @ rest) + gamma(size) * length * norm_above(rest)
    inner = float(above(inner + length * norm_above(lost) + dust))

    tau = _rest_above(frobenius, d, t, inner)
    delta = float(above(t * top + inner))

    a = (limit - float(kernel.radius_rows.max())) * (1 - t) * BELOW
    gaps = (a - delta) * BELOW - d
    if not (t < 0.5 and a > tau and bool((gaps > 0).all())):
        return False
    needed = above((above(r * r / (gaps * BELOW))).sum() * (1 + 2 * gamma(count)))
    return bool(needed <= (a - tau) * BELOW)


def _rest_above(frobenius: float, d: Floats, t: float, inner: float) -> float:
    """Above |K - V D V^T|_F, for |K|_F, |S - I| and |V^T R|_F from above."""
    euclid = norm_above(d)
    kept = float((d * d).sum()) * (1 - 2 * gamma(len(d) + 8))
    missing = max(float(above(frobenius * frobenius)) - kept, 0.0)
    more = (4 * t + t * t) * euclid * euclid + 2 * euclid * inner
    return float(above(np.sqrt(above(missing + more))))


def _hint(kernel: Kernel64) -> tuple[Floats, Floats]:
    """Vectors near those of the largest eigenvalues, and these, by subspace iteration."""
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(kernel.size, VECTORS))
    for _ in range(POWERS):
        vectors = np.linalg.qr(times(kernel, vectors))[0]
    values, turn = np.linalg.eigh(vectors.T @ times(kernel, vectors))
    return vectors @ turn, values


def times(kernel: Kernel64, right: Floats) -> Floats:
    """The stored matrix, which is symmetric and below its diagonal not kept twice, times (N, m)."""
    result = np.zeros_like(right)
    for column, groups in kernel.tiles():

        def product(
            rows: slice, column: slice = column, wide: int = column.stop - column.start
        ) -> tuple[Floats, Floats]:
            tile = kernel.blocks[rows, column]
            if rows.start > column.start:
                return tile @ right[column], tile.T @ right[rows]
            below = tile.copy()
            below[:wide] = np.tril(tile[:wide])
            down = tile.copy()
            down[:wide] = np.tril(tile[:wide], -1)
            return below @ right[column], down.T @ right[rows]

        for rows, (across, down) in zip(groups, in_parallel(product, groups), strict=True):
            result[rows] += across
            result[column] += down
    return result


def _frobenius(kernel: Kernel64) -> float:
    """Above |K|_F for the stored K."""
    total = 0.0
    for column, groups in kernel.tiles():
        wide = column.stop - column.start
        for rows in groups:
            squares = np.square(kernel.blocks[rows, column])
            if rows.start == column.start:
                total += float(np.tril(squares[:wide]).trace())
                total += 2 * float(np.tril(squares[:wide], -1).sum())
                squares = squares[wide:]
            total += 2 * float(squares.sum())
    terms = kernel.size * kernel.size
    return float(above(np.sqrt(above(total * (1 + 2 * gamma(terms)) + terms * ETA))))
