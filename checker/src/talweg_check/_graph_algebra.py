"""Norms and products of stacks of small matrices."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from flint import arb

from talweg_check._arrays import Balls, approx, exact, matmul, norms_upper, root_upper
from talweg_check._linear_algebra import norm_upper


def stacked(found: list[Balls], shape: tuple[int, ...]) -> Balls:
    """An object array of that shape from its entries in order."""
    result = np.empty(len(found), dtype=object)
    result[:] = found
    return result.reshape(shape)


def products(left: Balls, right: Balls) -> Balls:
    """(*batch, a, b) times (*batch, b, c)."""
    batch = left.shape[:-2]
    result = np.empty((*batch, left.shape[-2], right.shape[-1]), dtype=object)
    for place in np.ndindex(*batch):
        result[place] = matmul(left[place], right[place])
    return result


def operator_norms_upper(matrices: Balls) -> Balls:
    """Upper bounds of the operator norms of (*batch, a, b), (*batch,)."""
    batch, size = matrices.shape[:-2], matrices.shape[-2:]
    if min(size) == 1:
        return norms_upper(matrices.reshape(*batch, -1), -1)
    flat = matrices.reshape(-1, *size)
    return stacked([norm_upper(matrix) for matrix in flat], batch)


def unfolded_norms_upper(arrays: Balls) -> Balls:
    """Upper bounds of sup |sum_o u_o A_o| over unit u for (n, h, k, a, b), A_o the (a, b); (n, h).

    The operator norms of the matrices k x ab, ka x b and a x kb are three; the least counts.
    """
    n, h, k, a, b = arrays.shape
    if k == 1 or a == 1 or b == 1:  # one of them is smallest, see below
        # k = 1: ka x b. a = 1: k x ab. b = 1: k x ab. The others are the same or Frobenius norms.
        shape = (k * a, b) if k == 1 else (k, a * b)
        return operator_norms_upper(arrays.reshape(n, h, *shape))
    turned = np.swapaxes(arrays, 2, 3)
    first = operator_norms_upper(arrays.reshape(n, h, k, a * b))
    second = operator_norms_upper(arrays.reshape(n, h, k * a, b))
    third = operator_norms_upper(turned.reshape(n, h, a, k * b))
    return smaller(smaller(first, second), third)


smaller: Callable[[Balls, Balls], Balls] = np.frompyfunc(arb.min, 2, 1)


def grams(matrices: Balls) -> Balls:
    """A A^T for (*batch, a, b)."""
    return products(matrices, np.swapaxes(matrices, -1, -2))


def factor(square: Balls) -> tuple[Balls, arb]:
    """A matrix L of exact numbers and a bound of |S - L L^T|_F for symmetric S: S <= L L^T + it.

    NumPy suggests L from the eigenvalues; whatever it is, the difference is enclosed.
    """
    hint = np.nan_to_num(approx(square), nan=0, posinf=0, neginf=0)
    values, vectors = np.linalg.eigh(hint / 2 + hint.T / 2)
    root = exact(vectors * np.sqrt(np.maximum(values, 0)))
    rest = square - matmul(root, root.T)
    return root, root_upper((rest * rest).sum())
