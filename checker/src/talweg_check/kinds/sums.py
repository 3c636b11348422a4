"""Sums with signs, and concatenation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from flint import arb

from talweg_check._arrays import Balls, full, root_upper
from talweg_check._verdict import Invalid
from talweg_check.kinds._kind import Drift, Kind, Shape, State, axis_of


class Sum(Kind):
    """The sum of two or more values of one shape, each with a sign."""

    keys = ("signs",)
    slots = None

    def __init__(
        self, item: Mapping[str, Any], shapes: Sequence[Shape], arrays: Mapping[str, Shape]
    ) -> None:
        super().__init__(item, shapes, arrays)
        signs = item["signs"]
        if len(shapes) < 2 or len(set(shapes)) != 1:
            raise Invalid("a sum takes two or more values of one shape")
        if not isinstance(signs, list) or len(signs) != len(shapes):
            raise Invalid("'signs' must be a list with one entry for each input")
        if not all(type(sign) is int and abs(sign) == 1 for sign in signs):
            raise Invalid("'signs' must be 1 or -1")
        self.signs, self.shape = signs, shapes[0]

    def words(self) -> str:
        """With the signs."""
        return f"sum({', '.join('+' if sign > 0 else '-' for sign in self.signs)})"

    def run(self, values: Sequence[Balls]) -> tuple[Balls, State]:
        """The sum."""
        terms = [sign * value for sign, value in zip(self.signs, values, strict=True)]
        return sum(terms[1:], terms[0]), ()

    def push(self, state: State, slot: int, x: Balls) -> Balls:
        """With the sign."""
        return x if self.signs[slot] > 0 else -x

    def pull(self, state: State, slot: int, g: Balls) -> Balls:
        """With the sign."""
        return self.push(state, slot, g)

    def stretches(self, state: State) -> list[Balls]:
        """1 each."""
        return [arb(1) for _ in self.signs]


class Concatenate(Kind):
    """Values one behind the other along an axis."""

    keys = ("axis",)
    slots = None

    def __init__(
        self, item: Mapping[str, Any], shapes: Sequence[Shape], arrays: Mapping[str, Shape]
    ) -> None:
        super().__init__(item, shapes, arrays)
        self.axis = axis_of(item, shapes[0])
        for shape in shapes:
            if len(shape) != len(shapes[0]) or any(
                a != b for axis, (a, b) in enumerate(zip(shape, shapes[0], strict=True))
                if axis != self.axis
            ):  # fmt: skip
                raise Invalid("the values to concatenate differ beside 'axis'")
        lengths = [shape[self.axis] for shape in shapes]
        self.ends = np.cumsum([0, *lengths]).tolist()
        self.shape = (*shapes[0][: self.axis], self.ends[-1], *shapes[0][self.axis + 1 :])

    def words(self) -> str:
        """With the axis."""
        return f"concatenate(axis {self.axis})"

    def run(self, values: Sequence[Balls]) -> tuple[Balls, State]:
        """One behind the other."""
        return np.concatenate(list(values), axis=1 + self.axis), ()

    def _place(self, slot: int) -> tuple[slice, ...]:
        return (slice(None),) * (2 + self.axis) + (slice(self.ends[slot], self.ends[slot + 1]),)

    def push(self, state: State, slot: int, x: Balls) -> Balls:
        """Zero elsewhere."""
        result = full((*x.shape[:2], *self.shape), 0)
        result[self._place(slot)] = x
        return result

    def pull(self, state: State, slot: int, g: Balls) -> Balls:
        """The part that belongs to the slot."""
        return g[self._place(slot)]

    def stretches(self, state: State) -> list[Balls]:
        """1 each."""
        return [arb(1) for _ in self.shapes]

    def drift(self, state: State, etas: Sequence[Balls], radius: arb) -> Drift:
        """The parts are orthogonal."""
        squares = [eta * eta for eta in etas]
        total = root_upper(sum(squares[1:], squares[0]))
        return total, [0 * eta for eta in etas], total
