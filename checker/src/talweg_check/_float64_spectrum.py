"""The tangent kernel in binary64, and its extreme eigenvalues by an untrusted factor.

For symmetric A, *any* t and *any* L put E = A - t I - L L^T; since L L^T >= 0,

    lambda_min(A) >= t - |E|_inf,

as in `_linear_algebra`. Here A = sign K, K is known up to a matrix whose row sums are bounded, and
E is formed in binary64: L is cut into panels of PANEL columns, each panel's product is formed on
its own and these are added, so that no term meets more than q = PANEL + (number of panels)
roundings and |fl(L L^T) - L L^T| <= gamma(q) |L| |L|^T + N ETA. Only blocks on and below the
diagonal are stored and formed; the matrices are symmetric, L has zeros above.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from talweg_check._float64 import (
    ETA,
    Floats,
    U,
    above,
    gamma,
    in_parallel,
    norms_above,
    sum_above,
)
from talweg_check._float64_network import Network64

PANEL = 256
STEP = 512  # rows of a block
ROWS = 2048  # rows of what one thread forms at once


class Kernel64:
    """K = J J^T: blocks on and below the diagonal, and bounds of the row sums of |K - this|."""

    def __init__(self, net: Network64) -> None:
        k = net.outputs
        self.size = net.samples * k
        self.step = max(STEP // k, 1) * k  # a block holds whole samples
        self.blocks = np.zeros((self.size, self.size))
        self.radius_rows = self._radius_rows(net)
        starts = range(0, self.size, self.step)

        def fill(place: tuple[int, int]) -> None:
            one, two = (np.s_[start : start + self.step] for start in place)
            self.blocks[one, two] = sum(_part(net, c, one, two) for c in net.trained)

        in_parallel(fill, ((top, left) for top in starts for left in starts if left <= top))

    def _radius_rows(self, net: Network64) -> Floats:
        """Row sums of the radius: everything in it is a sum of products f_i f'_j.

        Layer c adds P o Q with P = G G^T and Q = rows rows^T. With bounds p, a of the rows' norms
        (midpoint and radius together) and r, s of the radii's, |P| <= p p', |Q| <= a a', and

            |fl(P) - P| <= (gamma p + r) p' + p r' + w ETA,   likewise Q;

        the product and the sum over the layers are rounded once each.
        """
        k, total = net.outputs, np.zeros(self.size)
        share = (3 + len(net.trained)) * U
        for c in net.trained:
            g, h, stage = net.g[c], net.h[c - 1], net.stages[c]
            assert g is not None
            p, r = norms_above(g.magnitude(), 1), norms_above(g.radii, 1)
            a = np.repeat(net.extended_norms(c), k)
            s = np.repeat(norms_above(h.radii, 1) * stage.trains_weight, k)
            wide, deep = g.mid.shape[1], h.mid.shape[1]
            pairs = [  # (what depends on i, what depends on j)
                ((gamma(_roundings(wide)) * p + r) * a, p * a), (p * a, r * a),
                ((gamma(_roundings(deep) + 2) * a + s) * p, a * p), (a * p, s * p),
                (share * p * a, p * a), (2 * wide * ETA * a, a), (2 * deep * ETA * p, p),
            ]  # fmt: skip
            for row, column in pairs:
                total = total + above(above(row) * (sum_above(above(column), 0) * 1.001))
        return above(total + 2 * self.size * ETA)

    def smallest_eigenvalue_lower(self, shift: float, sign: float) -> tuple[float, float]:
        """A number not above lambda_min(sign K), -inf if nothing is shown; and what E costs."""
        factor = self._factor(shift, sign)
        if factor is None:
            return -np.inf, np.inf
        defect = float(above(self._defect_rows(factor, shift, sign) + self.radius_rows).max())
        bound = float(np.nextafter(shift - defect, -np.inf))
        return (bound if bound == bound else -np.inf), defect

    def tiles(self) -> Iterator[tuple[slice, list[slice]]]:
        """Block columns, and the groups of rows from the diagonal on that lie in them."""
        for column in self._columns():
            yield column, self._groups(column.start)

    def _columns(self) -> Iterator[slice]:
        for left in range(0, self.size, self.step):
            yield np.s_[left : min(left + self.step, self.size)]

    def _groups(self, first: int) -> list[slice]:
        """The rows from `first` on, some at once."""
        step = max(ROWS, self.step)
        return [np.s_[top : min(top + step, self.size)] for top in range(first, self.size, step)]

    def _factor(self, shift: float, sign: float) -> Floats | None:
        """A Cholesky factor of sign K - shift I, block column by block column; None if none."""
        factor = np.zeros((self.size, self.size))
        for column in self._columns():
            left = factor[column, : column.start].T

            def update(rows: slice, column: slice = column, left: Floats = left) -> None:
                part = sign * self.blocks[rows, column]
                part -= factor[rows, : column.start] @ left
                factor[rows, column] = part

            in_parallel(update, self._groups(column.start))
            square = factor[column, column]
            square[np.diag_indices(len(square))] -= shift
            try:
                corner = np.linalg.cholesky(np.tril(square) + np.tril(square, -1).T)
                inverse = np.linalg.inv(corner).T
            except np.linalg.LinAlgError:
                return None
            square[...] = np.tril(corner)

            def scale(rows: slice, column: slice = column, inverse: Floats = inverse) -> None:
                factor[rows, column] = factor[rows, column] @ inverse

            in_parallel(scale, self._groups(column.stop))
        return factor

    def _defect_rows(self, factor: Floats, shift: float, sign: float) -> Floats:
        """Above the row sums of |sign K - shift I - L L^T| for the stored K.

        Per tile D = fl(fl(L L^T) - sign K) is within U |D| of the difference; on the diagonal the
        shift is added to that, with one more such rounding.
        """
        rows_of, shifted = np.zeros(self.size), np.zeros(self.size)
        tiles = [(rows, column) for column, groups in self.tiles() for rows in groups]

        def measure(tile: tuple[slice, slice]) -> tuple[Floats, Floats, Floats]:
            rows, column = tile
            total = np.zeros((rows.stop - rows.start, column.stop - column.start))
            for start in range(0, column.stop, PANEL):
                panel = np.s_[start : min(start + PANEL, column.stop)]
                total += factor[rows, panel] @ factor[column, panel].T
            total -= sign * self.blocks[rows, column]
            before = np.zeros(0)
            if rows.start == column.start:
                # Of the square tile on top the part above the diagonal is not stored.
                size = total.shape[1]
                corner = total[:size]
                before = np.abs(corner.diagonal())
                corner[np.diag_indices(size)] += shift
                corner[...] = np.tril(corner)
            np.abs(total, out=total)
            down = total.sum(axis=0)
            if rows.start == column.start:
                down = down - total.diagonal()  # counted once, in its row
            return total.sum(axis=1), down, before

        for (rows, column), (across, down, before) in zip(
            tiles, in_parallel(measure, tiles), strict=True
        ):
            rows_of[rows] += across
            rows_of[column] += down
            if len(before):
                shifted[column] = before
        sizes = self._absolute_rows(factor)
        roundings = min(PANEL, self.size) + -(-self.size // PANEL) + 1
        room = 1 + 2 * gamma(4 * self.size + 4096)
        total = rows_of * (1 + 2 * U) + 2 * U * shifted + gamma(roundings) * sizes
        return above(total * room + 2.0 * self.size * self.size * ETA)

    def _absolute_rows(self, factor: Floats) -> Floats:
        """|L| (|L|^T e) to nearest; what lies above the diagonal of L is zero."""
        columns = sum(np.abs(factor[rows]).sum(axis=0) for rows in self._groups(0))
        return np.concatenate([np.abs(factor[rows]) @ columns for rows in self._groups(0)])


def _roundings(inner: int) -> int:
    return min(PANEL, inner) + -(-inner // PANEL) + 1


def _panelled(left: Floats, right: Floats) -> Floats:
    """fl(A B^T), panels of the inner dimension on their own and then added."""
    total: Floats = left[:, :PANEL] @ right[:, :PANEL].T
    for start in range(PANEL, left.shape[1], PANEL):
        panel = np.s_[start : start + PANEL]
        total += left[:, panel] @ right[:, panel].T
    return total


def _part(net: Network64, c: int, one: slice, two: slice) -> Floats:
    """What layer c adds to the kernel between two groups of entries."""
    g, k = net.g[c], net.outputs
    assert g is not None
    result = _panelled(g.mid[one], g.mid[two])
    stage, h = net.stages[c], net.h[c - 1].mid
    if stage.trains_weight:
        groups = [np.s_[group.start // k : -(-group.stop // k)] for group in (one, two)]
        grams = _panelled(h[groups[0]], h[groups[1]]) + float(stage.trains_bias)
        for axis in (0, 1):
            grams = np.repeat(grams, k, axis=axis) if k > 1 else grams
        result *= grams
    return result
