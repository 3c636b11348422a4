"""Rows of a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from flint import arb

from talweg_check._arrays import Balls, approx, exact, full
from talweg_check._verdict import Invalid
from talweg_check.kinds._kind import Shape, State, entries
from talweg_check.kinds._parametric import Parametric
from talweg_check.kinds._rows import ChosenRows, Rows


class Embedding(Parametric):
    """Row x of the weight (v, d) for every whole number x of the input, a constant of the data."""

    keys = ("weight", "weight_trainable")
    stored = ("weight",)
    overlap = 0

    def __init__(
        self, item: Mapping[str, Any], shapes: Sequence[Shape], arrays: Mapping[str, Shape]
    ) -> None:
        super().__init__(item, shapes, arrays)
        if len(arrays["weight"]) != 2:
            raise Invalid("the weight must be a matrix")
        self.choices, self.wide = arrays["weight"]
        self.shape = (*shapes[0], self.wide)
        self.work = self.choices

    def words(self) -> str:
        """With sizes and training."""
        return f"embedding {self.choices}->{self.wide} ({self.training('weight')})"

    def places(self, x: Balls) -> list[list[int]]:
        """The rows that a sample takes; the inputs are whole numbers, which was checked."""
        return approx(x).reshape(len(x), -1).astype(int).tolist()

    def run(self, values: Sequence[Balls]) -> tuple[Balls, State]:
        """The rows."""
        value = self.weight[np.array(self.places(values[0]), dtype=int)]
        return value.reshape(len(value), *self.shape), self.remembered(values[0])

    def stretch(self) -> arb:
        """0: its input does not move."""
        return arb(0)

    def patches(self, x: Balls) -> Balls:
        """Unit vectors."""
        places = np.array(self.places(x), dtype=int)
        return exact((places[:, None, :, None] == np.arange(self.choices)).astype(int))

    def unfolded(self, g: Balls) -> Balls:
        """As in a linear layer: the entries of the input are the positions."""
        return np.swapaxes(g.reshape(*g.shape[:2], 1, -1, self.wide), 3, 4)

    def rows(self, x: Balls) -> Rows:
        """Unit vectors."""
        return ChosenRows(self.places(x), self.choices)

    def gradient(self, key: str, x: Balls, g: Balls) -> Balls:
        """The cotangents of the places that took a row."""
        n, k = g.shape[:2]
        flat = g.reshape(n, k, entries(self.shapes[0]), self.wide)
        result = full((n, k, self.choices, self.wide), 0)
        for sample, places, cotangents in zip(result, self.places(x), flat, strict=True):
            for position, place in enumerate(places):
                sample[:, place] += cotangents[:, position]
        return result.reshape(n, k, -1)
