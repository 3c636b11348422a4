"""Products of matrices, as many as the leading axes have entries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from talweg_check._arrays import Balls, largest, norms_upper
from talweg_check._graph_algebra import products, unfolded_norms_upper
from talweg_check._verdict import Invalid
from talweg_check.kinds._kind import Shape, State
from talweg_check.kinds.products import Bilinear


def _turned(x: Balls) -> Balls:
    """The transposed matrices."""
    return np.swapaxes(x, -1, -2)


class MatrixProduct(Bilinear):
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

    def paired(self, g: Balls, x: Balls, slot: int) -> Balls:
        """G Y'^T or X'^T G."""
        return _turned(self._times(x, _turned(g), slot))
