"""Operator norms of stacks of blocks, each block read once; largest eigenvalues.

A block A of balls is a floating-point H with a bound of |A - H|_F. A stack of some H is rounded to
whole numbers D times a power of two, what that misses is summed in whole numbers, and |D| is
bounded as everywhere in the checker.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from flint import arb
from numpy.typing import NDArray

from talweg_check._arrays import Balls, approx, exact, root_upper
from talweg_check._linear_algebra import _cholesky, _gram, _whole_norm_upper
from talweg_check._verdict import Incomplete

Block = tuple[NDArray[np.float64], arb]
FRACTION = 2.0**16  # parts of a unit in which what is missed is counted


def block(matrix: Balls) -> Block:
    """H and a bound of |A - H|_F; whatever H is, the difference is enclosed."""
    hint = approx(matrix)
    if not np.isfinite(hint).all():
        hint = np.zeros_like(hint)
    rest = matrix - exact(hint)
    return hint, root_upper((rest * rest).sum())


def union_norm_upper(blocks: Sequence[Block]) -> arb:
    """A number not below the operator norm of the blocks, one below the other."""
    stack = np.concatenate([hint for hint, _ in blocks])
    moved = -int(np.frexp(np.abs(stack).max())[1])  # the largest entry then lies in [1/2, 1)
    unit = np.ldexp(stack, moved)
    turned = unit if len(unit) <= len(unit.T) else unit.T
    size = float(np.sqrt(abs(np.linalg.eigvalsh(turned @ turned.T)[-1])))
    exponent = 31 - int(np.frexp(1.01 * size)[1]) + moved
    scaled = np.ldexp(stack, exponent)
    digits = np.rint(scaled).clip(-(2**31), 2**31)
    fractions = scaled - digits  # exact where it is below 1
    if not (np.abs(fractions) < 1).all():
        raise Incomplete("the norm of a matrix is beyond the reach of 64 bits")
    parts = np.abs(np.rint(fractions * FRACTION)).astype(np.int64) + 1
    missed = arb(int((parts * parts).sum())).sqrt() / arb(FRACTION)
    enclosed = sum((miss * miss for _, miss in blocks), arb(0))
    bound = _whole_norm_upper(digits.astype(np.int64)) + missed
    return arb(bound * arb(2) ** -exponent + root_upper(enclosed))


def root_eigenvalue_upper(square: Balls) -> arb:
    """A number not below lambda_max(S)^(1/2), close to it, for the symmetric S >= 0 in the balls.

    S = u G + E with whole G, and for any t and L: lambda_max(G) <= t + |t I - G - L L^T|.
    """
    hint = approx(square)
    if not np.isfinite(hint).all():
        hint = np.zeros_like(hint)
    hint = hint / 2 + hint.T / 2
    values = np.linalg.eigvalsh(hint)
    exponent = 60 - int(np.frexp(1.01 * float(np.abs(values).max()))[1])  # then |G| < 2^60
    digits = np.rint(np.ldexp(hint, exponent)).clip(-(2.0**61), 2.0**61).astype(np.int64)
    top = int(np.ldexp(max(float(values[-1]), 0.0), exponent) * (1 + 2.0**-30))
    spread = min(top, 2**61) * np.eye(len(digits), dtype=np.int64) - digits
    root = np.rint(_cholesky(spread.astype(np.float64))).astype(np.int64)
    error = np.abs(spread - _gram(root)).sum(axis=1, dtype=object).max()
    unit = arb(2) ** -exponent
    rest = square - exact(digits) * unit
    bound = (arb(min(top, 2**61)) + arb(int(error))) * unit
    return arb(root_upper(bound + root_upper((rest * rest).sum())))
