"""Symmetric and rectangular matrices for eigenvalue and norm bounds, and radii around them."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import hadamard, hilbert
from tests.soundness.containment.draws import numbers_like

Floats = NDArray[np.float64]
Rng = np.random.Generator

SCALES = (0.0, 0.0, 0.0, 3.0, -3.0, 100.0, -100.0, 300.0, -300.0, -310.0, -322.0, 307.0)
"""Decimal exponents that a whole matrix is multiplied with."""


def symmetric(rng: Rng, n: int) -> Floats:
    """A symmetric matrix of one of many characters, exactly symmetric."""
    kind = int(rng.integers(17))
    if kind == 0:
        return mirrored(rng.standard_normal((n, n)))
    if kind in (1, 2):  # positive semidefinite, often of deficient rank, exact in integers
        b = rng.integers(-3, 4, (n, int(rng.integers(1, n + 2)))).astype(float)
        return b @ b.T
    if kind == 3:
        b = rng.standard_normal((n, int(rng.integers(1, n + 3))))
        return mirrored(b @ b.T)
    if kind == 4:
        return np.asarray(hilbert(n), dtype=float)
    if kind == 5:
        h = np.asarray(hadamard(1 << max(n - 1, 0).bit_length()), dtype=float)[:n, :n]
        return h * float(rng.choice([1.0, -1.0]))
    if kind == 6:
        return np.eye(n) * float(rng.standard_normal()) * float(rng.choice([1.0, 0.0, -1.0]))
    if kind == 7:
        return np.diag(rng.standard_normal(n) * 10.0 ** rng.integers(-12, 12, n))
    if kind == 8:  # graded
        d = 2.0 ** rng.integers(-30, 31, n)
        b = rng.integers(-3, 4, (n, n + 1)).astype(float)
        return np.asarray((b @ b.T) * d[:, None] * d[None, :])
    if kind == 9:
        b = rng.standard_normal((n, n))
        return -mirrored(b @ b.T)
    if kind == 10:
        return np.full((n, n), float(rng.choice([1.0, -1.0, 0.1])))
    if kind == 11:  # one eigenvalue far below the others
        q, _ = np.linalg.qr(rng.standard_normal((n, n)))
        values = 10.0 ** rng.uniform(-14, 0, n) * rng.choice([1.0, 1.0, 1.0, -1.0], n)
        return mirrored((q * values) @ q.T)
    if kind == 12:  # a path: singular, with positive rows
        a = 2.0 * np.eye(n) - np.eye(n, k=1) - np.eye(n, k=-1)
        a[0, 0] = a[-1, -1] = 1.0
        return a
    if kind == 13:  # equal eigenvalues up to rounding
        return np.eye(n) + 2.0**-52 * mirrored(rng.integers(-4, 5, (n, n)).astype(float))
    if kind == 14:
        return mirrored(numbers_like(rng, n * n).reshape(n, n))
    if kind == 15:  # inverses near overflow
        a = np.diag(rng.choice([1.0, 1e-308, 6e-309, 1e-300, 1e-160, 1e200], n))
        if n > 1:
            a[0, 1] = a[1, 0] = 1e-310
        return a
    a = np.diag(rng.standard_normal(n))  # an arrow
    a[0, :] = a[:, 0] = rng.standard_normal(n)
    return a


def rectangular(rng: Rng, m: int, n: int) -> Floats:
    """A matrix for the norm."""
    kind = int(rng.integers(7))
    if kind == 0:
        return rng.standard_normal((m, n))
    if kind == 1:  # rank one, exact
        return np.outer(rng.integers(-3, 4, m), rng.integers(-3, 4, n)).astype(float)
    if kind == 2:
        size = 1 << max(max(m, n) - 1, 0).bit_length()
        return np.asarray(hadamard(size), dtype=float)[:m, :n]
    if kind == 3:
        return np.asarray(hilbert(max(m, n)), dtype=float)[:m, :n]
    if kind == 4:
        return numbers_like(rng, m * n).reshape(m, n)
    if kind == 5:
        return np.eye(m, n) * float(rng.standard_normal())
    return np.asarray(rng.standard_normal((m, n)) * 10.0 ** rng.integers(-9, 9, (m, 1)))


def dominant(mid: Floats, rad: Floats | None) -> Floats:
    """With a larger diagonal, which makes the ball's members semidefinite if nothing overflows."""
    with np.errstate(over="ignore", invalid="ignore"):
        off = np.abs(mid) + (0.0 if rad is None else np.where(np.isfinite(rad), rad, 0.0))
        raised = mid + np.diag(off.sum(1) - mid.diagonal())
    return np.where(np.isfinite(raised), raised, mid)


def scaled(rng: Rng, a: Floats) -> Floats:
    """The matrix times a power of ten, without overflow; entries may underflow."""
    largest = float(np.abs(a).max(initial=0.0))
    factor = 10.0 ** float(rng.choice(SCALES))
    if not math.isfinite(largest * factor) or largest * factor == 0.0:
        return a
    return a * factor


def radius(rng: Rng, mid: Floats) -> Floats | None:
    """Radii of one kind, or None for an exact matrix; now and then not symmetric."""
    kind = int(rng.integers(10))
    largest = float(np.abs(mid).max(initial=0.0))
    noise = rng.uniform(0.0, 1.0, mid.shape)
    if kind < 5:
        return None
    if kind == 5:
        return noise * largest * 2.0**-52
    if kind == 6:
        return noise * min(largest, 1e300) * float(rng.choice([1e-9, 1e-3, 1.0, 10.0]))
    if kind == 7:
        return np.full(mid.shape, 5e-324)
    if kind == 8:
        return np.where(noise < 0.2, largest * 0.1, 0.0)
    return np.where(noise < 0.1, rng.choice([np.inf, 1e300, 1.0]), 0.0)


def mirrored(a: Floats) -> Floats:
    return np.asarray(np.tril(a) + np.tril(a, -1).T)
