"""Products of two values: entrywise, and of matrices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from flint import arb

from talweg_check._arrays import Balls, full, largest, magnitude, norms_upper, root_upper
from talweg_check._graph_algebra import products, unfolded_norms_upper
from talweg_check._verdict import Invalid
from talweg_check.kinds._kind import Curved, Drift, Shape, State


def _turned(x: Balls) -> Balls:
    """The transposed matrices."""
    return np.swapaxes(x, -1, -2)


class _Bilinear(Curved):
    """x y, bilinear: D_x is given by y, D_y by x; the state is (x, y).

    |Q(u)[x, x']| <= sum_j c_j (|x_j| |y'_j| + |x'_j| |y_j|), j entries or matrices, c_j the first
    array of the form; hence the root (sqrt(tau c_j) x_j, sqrt(c_j / tau) y_j) for any tau > 0.
    """

    slots = 2

    def drift(self, state: State, etas: Sequence[Balls], radius: arb) -> Drift:
        """D_x moves as y does, and the other way round."""
        left, right = self.stretches(state)
        one, two = etas
        total = left * one + right * two + one * two
        return total, [two, one], total

    def root(self, state: State, form: State, tau: Balls, tangents: Sequence[Balls]) -> Balls:
        """Both parts, one behind the other."""
        root = root_upper(tau)
        columns = next(x for x in tangents if x is not None).shape[1]
        parts = [full((len(root), columns, 0), 0)]
        for x, factor in zip(tangents, (root, 1 / root), strict=True):
            if x is not None:
                flat = x.reshape(len(root), columns, -1)
                parts.append(flat * (self._weights(form, flat.shape[2]) * factor[:, None])[:, None])
        return np.concatenate(parts, axis=2)

    def _weights(self, form: State, entries: int) -> Balls:
        """sqrt(c_j) for all entries of one factor, (n, entries)."""
        root = root_upper(form[0])
        return np.repeat(root, entries // root.shape[1], axis=1)

    def size(self, state: State, form: State) -> Balls:
        """max c_j."""
        return largest(form[0], axis=1)

    def growth(self, state: State, form: State, gamma: Balls, ball: Balls) -> Balls:
        """Q is linear in G."""
        return gamma


class Product(_Bilinear):
    """x y, entry by entry; c_j = |G e_j|."""

    def __init__(
        self, item: Mapping[str, Any], shapes: Sequence[Shape], arrays: Mapping[str, Shape]
    ) -> None:
        super().__init__(item, shapes, arrays)
        if shapes[0] != shapes[1]:
            raise Invalid("a product takes two values of one shape")
        self.shape = shapes[0]

    def words(self) -> str:
        """Without more."""
        return "product"

    def run(self, values: Sequence[Balls]) -> tuple[Balls, State]:
        """The product."""
        return values[0] * values[1], tuple(values)

    def push(self, state: State, slot: int, x: Balls) -> Balls:
        """Times the other factor."""
        return state[1 - slot][:, None] * x

    def pull(self, state: State, slot: int, g: Balls) -> Balls:
        """Times the other factor."""
        return state[1 - slot][:, None] * g

    def stretches(self, state: State) -> list[Balls]:
        """The largest entry of the other factor."""
        sizes = [largest(magnitude(v.reshape(len(v), -1)), axis=1) for v in state]
        return sizes[::-1]

    def form(self, state: State, g: Balls) -> State:
        """|G e_j|."""
        return (norms_upper(g.reshape(*g.shape[:2], -1), 1),)


class MatrixProduct(_Bilinear):
    """X_h Y_h for each of the leading axes; c_h bounds |A_h(u)|, A_h(u) = (G^T u)_h."""

    def __init__(
        self, item: Mapping[str, Any], shapes: Sequence[Shape], arrays: Mapping[str, Shape]
    ) -> None:
        super().__init__(item, shapes, arrays)
        one, two = shapes
        if not (len(one) == len(two) >= 2 and one[:-2] == two[:-2] and one[-1] == two[-2]):
            raise Invalid("a matrix product takes (*batch, a, b) and (*batch, b, c)")
        self.shape = (*one[:-1], two[-1])

    def words(self) -> str:
        """Without more."""
        return "matrix product"

    def run(self, values: Sequence[Balls]) -> tuple[Balls, State]:
        """The products."""
        return products(*values), tuple(values)

    def push(self, state: State, slot: int, x: Balls) -> Balls:
        """X' Y or X Y'."""
        return self._times(x, state[1 - slot], slot)

    def pull(self, state: State, slot: int, g: Balls) -> Balls:
        """G Y^T or X^T G."""
        return self._times(g, _turned(state[1 - slot]), slot)

    def _times(self, x: Balls, other: Balls, slot: int) -> Balls:
        """x times the other factor, or that times x; the columns of x are stacked as rows."""
        if slot == 1:
            return _turned(self._times(_turned(x), _turned(other), 0))
        rows = np.moveaxis(x, 1, -3)  # (n, *batch, columns, a, b)
        stacked = rows.reshape(*rows.shape[:-3], -1, rows.shape[-1])
        result = products(stacked, other)
        return np.moveaxis(result.reshape(*rows.shape[:-1], -1), -3, 1)

    def stretches(self, state: State) -> list[Balls]:
        """The largest Frobenius norm of a matrix of the other factor."""
        flat = [v.reshape(len(v), -1, v.shape[-2] * v.shape[-1]) for v in state]
        return [largest(norms_upper(v, 2), axis=1) for v in flat][::-1]

    def form(self, state: State, g: Balls) -> State:
        """The three unfoldings of each matrix of G."""
        blocks = g.reshape(*g.shape[:2], -1, *g.shape[-2:])
        return (unfolded_norms_upper(np.moveaxis(blocks, 2, 1)),)
