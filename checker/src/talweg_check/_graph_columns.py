"""The maps between two operations, the numbers of the second one along a few directions.

A map z of a sample takes the numbers D (o x c) of b to <D, z>. With any V (c x r), d = V^T V - I,
e >= |d| and Q = I - V V^T: <D, z> = <D V, z V (I - d)> + <D Q, z Q>, and the squares of D V and D Q
add up to (1 + e (1 + e)) |D|^2 at most. So the square of the bound of a pair is

    (1 + e (1 + e)) (lambda_max(M) + tau^2),     M = sum_i y_i^T (E_i E_i^T) y_i,  y = z V (I - d),

M of order o r, and tau the bound of the pair with (z Q)(z Q)^T = N - (z V) y^T in place of N.
"""

from __future__ import annotations

import numpy as np
from flint import arb
from numpy.typing import NDArray

from talweg_check._arrays import Balls, approx, exact, full, matmul, root_upper
from talweg_check._graph_norms import root_eigenvalue_upper
from talweg_check.kinds._parametric import Parametric

DIRECTIONS = 16  # columns of V at most,
ORDER = 256  # and as many as keep M at this order
APART = 1e-4  # of the mean size of the columns


class SplitColumns:
    """The numbers of b along V and across it, and M for one pair (a, b)."""

    def __init__(self, kind: Parametric, rows: Balls, outputs: int) -> None:
        """For b, its rows (samples, P, c) and the number o of its outputs."""
        self.kind = kind
        hint = approx(rows)
        hint = np.where(np.isfinite(hint), hint, 0.0).reshape(-1, rows.shape[2])
        hint = hint / (np.abs(hint).max() or 1.0)  # for overflows
        square = hint.T @ hint
        # Directions that rows tell no better apart are those of the first numbers.
        spread = APART * np.trace(square) * np.arange(len(square), 0, -1) / len(square) ** 2
        few = min(DIRECTIONS, ORDER // outputs)
        self.v = exact(np.linalg.eigh(square + np.diag(spread))[1][:, -few:])
        self.defect = matmul(self.v.T, self.v) - exact(np.eye(len(self.v.T)))
        e = root_upper((self.defect * self.defect).sum())
        self.growth = 1 + e * (1 + e)
        self.order = outputs * len(self.v.T)
        self.sums: list[Balls] = []

    def seen(self, columns: int, g: Balls, rows: Balls, x: Balls, change: Balls) -> Balls:
        """z V, (columns, k', o, r).

        Of one sample: g (k', o, P) the cotangent at b, its rows (P, c), x (columns, *shape) the
        tangents of its input or None, and change (columns, k', o, P) of the cotangent or None.
        """
        parts, r = [], self.v.shape[1]
        outputs, o, positions = g.shape
        if x is not None:
            q = self.kind.patches(x)[:, 0]  # (columns, P, c)
            c = q.shape[2]
            short = matmul(q.reshape(-1, c), self.v[:c]).reshape(columns, positions, r)
            short = short.transpose(1, 0, 2).reshape(positions, -1)
            product = matmul(g.reshape(-1, positions), short)
            parts.append(product.reshape(outputs, o, columns, r).transpose(2, 0, 1, 3))
        if change is not None:
            product = matmul(change.reshape(-1, positions), matmul(rows, self.v))
            parts.append(product.reshape(-1, outputs, o, r))
        return sum(parts[1:], parts[0]) if parts else full((columns, outputs, o, r), 0)

    def across(self, seen: Balls, own: Balls, order: NDArray[np.int64]) -> Balls:
        """(z V) y^T of one sample; M grows by this sample.

        `own` are the rows of a, (P, c), where the columns are the entries of its value, which
        `order` lists by row and position; or None, where they are its numbers.
        """
        columns, _, o, r = seen.shape
        y = seen - matmul(seen.reshape(-1, r), self.defect).reshape(seen.shape)
        y = y.reshape(columns, -1)
        spread = placed = y
        if own is not None:
            placed = y[order.ravel()]
            by_place = placed.reshape(*order.shape, -1).transpose(1, 0, 2)
            spread = matmul(matmul(own, own.T), by_place.reshape(len(by_place), -1))
            spread = spread.reshape(by_place.shape).transpose(1, 0, 2)
        part = matmul(placed.reshape(-1, o * r).T, spread.reshape(-1, o * r))
        self.sums = [part + before for before in self.sums] or [part]
        return matmul(seen.reshape(columns, -1), y.T)

    def norm_upper(self, across: Balls) -> arb:
        """The bound, from tau."""
        along = root_eigenvalue_upper(self.sums[0])
        return arb(root_upper((along * along + across * across) * self.growth))
