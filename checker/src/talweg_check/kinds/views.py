"""Values whose entries are moved: reshape, permute, slice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from flint import arb

from talweg_check._arrays import Balls, full
from talweg_check._verdict import Invalid
from talweg_check.kinds._kind import (
    Kind,
    Shape,
    State,
    axis_of,
    entries,
    times,
    whole,
    wholes,
)  # fmt: skip


class View(Kind):
    """Some entries of the input, each at most once: |D| <= 1."""

    def run(self, values: Sequence[Balls]) -> tuple[Balls, State]:
        """The entries."""
        return self._view(values[0], 1), ()

    def push(self, state: State, slot: int, x: Balls) -> Balls:
        """The same entries of the tangents."""
        return self._view(x, 2)

    def stretches(self, state: State) -> list[Balls]:
        """1."""
        return [arb(1)]

    def _view(self, x: Balls, lead: int) -> Balls:
        """The entries of an array with `lead` axes more in front."""
        raise NotImplementedError


class Reshape(View):
    """The same entries, row-major, in another shape."""

    keys = ("shape",)

    def __init__(
        self, item: Mapping[str, Any], shapes: Sequence[Shape], arrays: Mapping[str, Shape]
    ) -> None:
        super().__init__(item, shapes, arrays)
        self.shape = wholes(item, "shape", least=1)
        if entries(self.shape) != entries(shapes[0]):
            raise Invalid(f"a value of shape {times(shapes[0])} cannot become {times(self.shape)}")

    def words(self) -> str:
        """With the shape."""
        return f"reshape({times(self.shape)})"

    def _view(self, x: Balls, lead: int) -> Balls:
        return x.reshape(*x.shape[:lead], *self.shape)

    def pull(self, state: State, slot: int, g: Balls) -> Balls:
        """Back to the shape of the input."""
        return g.reshape(*g.shape[:2], *self.shapes[0])


class Permute(View):
    """The axes in another order."""

    keys = ("axes",)

    def __init__(
        self, item: Mapping[str, Any], shapes: Sequence[Shape], arrays: Mapping[str, Shape]
    ) -> None:
        super().__init__(item, shapes, arrays)
        self.axes = wholes(item, "axes")
        if sorted(self.axes) != list(range(len(shapes[0]))):
            raise Invalid(f"'axes' must be those of a value of shape {times(shapes[0])}")
        self.shape = tuple(shapes[0][axis] for axis in self.axes)

    def words(self) -> str:
        """With the axes."""
        return f"permute({', '.join(map(str, self.axes))})"

    def _view(self, x: Balls, lead: int) -> Balls:
        return x.transpose(*range(lead), *(lead + axis for axis in self.axes))

    def pull(self, state: State, slot: int, g: Balls) -> Balls:
        """The inverse order."""
        return g.transpose(0, 1, *(2 + int(axis) for axis in np.argsort(self.axes)))


class Slice(View):
    """The entries start, start + step, ... below stop along an axis."""

    keys = ("axis", "start", "stop", "step")

    def __init__(
        self, item: Mapping[str, Any], shapes: Sequence[Shape], arrays: Mapping[str, Shape]
    ) -> None:
        super().__init__(item, shapes, arrays)
        self.axis = axis_of(item, shapes[0])
        start, stop = whole(item, "start"), whole(item, "stop", 1)
        self.range = range(start, stop, whole(item, "step", 1))
        if not start < stop <= shapes[0][self.axis]:
            raise Invalid("'start' must lie below 'stop', and that within the axis")
        shape = list(shapes[0])
        shape[self.axis] = len(self.range)
        self.shape = tuple(shape)

    def words(self) -> str:
        """With the axis and the range."""
        r = self.range
        return f"slice(axis {self.axis}, {r.start}:{r.stop}:{r.step})"

    def _place(self, lead: int) -> tuple[slice, ...]:
        r = self.range
        return (slice(None),) * (lead + self.axis) + (slice(r.start, r.stop, r.step),)

    def _view(self, x: Balls, lead: int) -> Balls:
        return x[self._place(lead)]

    def pull(self, state: State, slot: int, g: Balls) -> Balls:
        """Zero elsewhere."""
        result = full((*g.shape[:2], *self.shapes[0]), 0)
        result[self._place(2)] = g
        return result
