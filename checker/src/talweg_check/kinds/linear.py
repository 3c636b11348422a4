"""Linear maps of the last axis."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from flint import arb

from talweg_check._arrays import Balls, matmul
from talweg_check._linear_algebra import norm_upper
from talweg_check._verdict import Invalid
from talweg_check.kinds._kind import Shape, State
from talweg_check.kinds._parametric import Parametric


class Linear(Parametric):
    """x W^T + b along the last axis: one group, the other axes are the positions."""

    def __init__(
        self, item: Mapping[str, Any], shapes: Sequence[Shape], arrays: Mapping[str, Shape]
    ) -> None:
        super().__init__(item, shapes, arrays)
        weight = arrays["weight"]
        if len(weight) != 2 or not shapes[0] or weight[1] != shapes[0][-1]:
            raise Invalid("the weight must be (d_out, d_in), d_in the last axis of the input")
        if arrays.get("bias", weight[:1]) != weight[:1]:
            raise Invalid("the bias must be (d_out)")
        self.high, self.wide = weight
        self.shape = (*shapes[0][:-1], self.high)

    def words(self) -> str:
        """With sizes and training."""
        return f"linear {self.wide}->{self.high} ({self.training('weight', 'bias')})"

    def _apply(self, x: Balls, matrix: Balls) -> Balls:
        flat = matmul(x.reshape(-1, x.shape[-1]), matrix)
        return flat.reshape(*x.shape[:-1], matrix.shape[1])

    def run(self, values: Sequence[Balls]) -> tuple[Balls, State]:
        """x W^T + b."""
        value = self._apply(values[0], self.weight.T)
        return value if self.bias is None else value + self.bias, self.remembered(values[0])

    def push(self, state: State, slot: int, x: Balls) -> Balls:
        """x W^T."""
        return self._apply(x, self.weight.T)

    def pull(self, state: State, slot: int, g: Balls) -> Balls:
        """G W."""
        return self._apply(g, self.weight)

    def stretch(self) -> arb:
        """|W|."""
        return norm_upper(self.weight)

    def patches(self, x: Balls) -> Balls:
        """The last axis."""
        return x.reshape(len(x), 1, -1, self.wide)

    def unfolded(self, g: Balls) -> Balls:
        """Positions behind the rows."""
        return np.swapaxes(g.reshape(*g.shape[:2], 1, -1, self.high), 3, 4)
