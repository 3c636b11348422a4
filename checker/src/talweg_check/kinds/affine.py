"""Entrywise factors and offsets that are stored: affine, shift, standardize."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from flint import arb

from talweg_check._arrays import Balls, full, largest, magnitude
from talweg_check._file import number
from talweg_check._verdict import Invalid
from talweg_check.kinds._kind import Shape, State, axis_of, entries, times
from talweg_check.kinds._parametric import Parametric

_root: Any = np.frompyfunc(arb.sqrt, 1, 1)


class Affine(Parametric):
    """w x + b, w at the axes axis, axis + 1, ...: every entry of w is a group of one row.

    The positions are the axes that w lacks.
    """

    keys = (*Parametric.keys, "axis")

    def __init__(
        self, item: Mapping[str, Any], shapes: Sequence[Shape], arrays: Mapping[str, Shape]
    ) -> None:
        super().__init__(item, shapes, arrays)
        self.inner = arrays["weight"]
        self.axis = axis_of(item, shapes[0])
        end = self.axis + len(self.inner)
        if shapes[0][self.axis : end] != self.inner:
            raise Invalid("the weight must have the shape of the input from 'axis' on")
        if arrays.get("bias", self.inner) != self.inner:
            raise Invalid("the bias must have the shape of the weight")
        self.shape = shapes[0]
        self.before, self.after = entries(shapes[0][: self.axis]), entries(shapes[0][end:])

    def words(self) -> str:
        """With shape, place and training."""
        training = self.training("weight", "bias")
        return f"affine {times(self.inner)} at axis {self.axis} ({training})"

    def _spread(self, w: Balls) -> Balls:
        """A stored array against the shape of the value."""
        return w.reshape(*w.shape, *[1] * (len(self.shape) - self.axis - w.ndim))

    def run(self, values: Sequence[Balls]) -> tuple[Balls, State]:
        """w x + b."""
        value = values[0] * self._spread(self.weight)
        if self.bias is not None:
            value = value + self._spread(self.bias)
        return value, self.remembered(values[0])

    def push(self, state: State, slot: int, x: Balls) -> Balls:
        """w x."""
        return x * self._spread(self.weight)

    def pull(self, state: State, slot: int, g: Balls) -> Balls:
        """g w."""
        return g * self._spread(self.weight)

    def stretch(self) -> arb:
        """max |w|."""
        return arb(largest(magnitude(self.weight.ravel())))

    def _grouped(self, x: Balls, lead: int) -> Balls:
        """(..., groups, positions)."""
        cut = x.reshape(*x.shape[:lead], self.before, entries(self.inner), self.after)
        moved = np.moveaxis(cut, lead + 1, lead)
        return moved.reshape(*moved.shape[: lead + 1], -1)

    def patches(self, x: Balls) -> Balls:
        """The one entry."""
        return self._grouped(x, 1)[..., None]

    def unfolded(self, g: Balls) -> Balls:
        """One row for each group."""
        return self._grouped(g, 2)[:, :, :, None]


class Shift(Affine):
    """x + w; the patch is the constant 1, which does not move."""

    keys = ("weight", "weight_trainable", "axis")
    stored = ("weight",)
    overlap = 0

    def words(self) -> str:
        """With shape, place and training."""
        return f"shift {times(self.inner)} at axis {self.axis} ({self.training('weight')})"

    def run(self, values: Sequence[Balls]) -> tuple[Balls, State]:
        """x + w."""
        return values[0] + self._spread(self.weight), self.remembered(values[0])

    def push(self, state: State, slot: int, x: Balls) -> Balls:
        """x itself."""
        return x

    def pull(self, state: State, slot: int, g: Balls) -> Balls:
        """g itself."""
        return g

    def stretch(self) -> arb:
        """1."""
        return arb(1)

    def patches(self, x: Balls) -> Balls:
        """1."""
        return full((len(x), entries(self.inner), self.before * self.after, 1), 1)


class Standardize(Affine):
    """(x - weight) / sqrt(bias + epsilon) by channel, axis 0; both frozen."""

    keys = ("weight", "bias", "epsilon")

    def __init__(
        self, item: Mapping[str, Any], shapes: Sequence[Shape], arrays: Mapping[str, Shape]
    ) -> None:
        if len(arrays["weight"]) != 1:
            raise Invalid("the weight must have one axis, the channels")
        super().__init__({**item, "axis": 0}, shapes, arrays)
        self.epsilon = number(item["epsilon"], "'epsilon'")
        if self.epsilon < 0:
            raise Invalid("'epsilon' must not be negative")

    def words(self) -> str:
        """With the constant."""
        return f"standardize {times(self.inner)} (epsilon {self.epsilon!r})"

    def load(self, arrays: Mapping[str, Balls]) -> None:
        """The factor takes the place of the weight, the offset that of the bias."""
        super().load(arrays)
        variance: Balls = arrays[self.names["bias"]] + arb(self.epsilon)
        if not all(entry > 0 for entry in variance):
            raise Invalid("a variance of 'standardize' and its epsilon are not positive together")
        factor: Balls = 1 / _root(variance)
        self.weight, self.bias = factor, -self.weight * factor
