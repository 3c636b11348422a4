"""Means: over windows of the last axes, and over whole axes."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from flint import arb

from talweg_check._arrays import Balls, full
from talweg_check._verdict import Invalid
from talweg_check.kinds._kind import Kind, Shape, State, entries, times, wholes, windows


class AveragePool(Kind):
    """Means over windows of the last axes; padding counts as zeros."""

    keys = ("kernel", "stride", "padding")

    def __init__(
        self, item: Mapping[str, Any], shapes: Sequence[Shape], arrays: Mapping[str, Shape]
    ) -> None:
        super().__init__(item, shapes, arrays)
        self.kernel = wholes(item, "kernel", least=1)
        axes = len(self.kernel)
        if not 1 <= axes <= len(shapes[0]):
            raise Invalid(f"'kernel' has {axes} entries, the input {len(shapes[0])} axes")
        self.stride = wholes(item, "stride", axes, 1)
        self.padding = wholes(item, "padding", axes)
        self.lead, self.extents = shapes[0][:-axes], shapes[0][-axes:]
        sizes = zip(self.extents, self.kernel, self.stride, self.padding, strict=True)
        self.shape = (*self.lead, *(windows(*size, 1) for size in sizes))
        room = zip(self.extents, self.padding, strict=True)
        self.work = entries(self.lead) * math.prod(extent + 2 * pad for extent, pad in room)
        self.work += entries(self.shape) * math.prod(self.kernel)

    def words(self) -> str:
        """With the windows."""
        return (
            f"average pool(kernel {times(self.kernel)}, stride {times(self.stride)}, "
            f"padding {times(self.padding)})"
        )

    def _offsets(self) -> list[tuple[slice, ...]]:
        """For each entry of the window the places that it takes in the padded input."""
        out = self.shape[len(self.lead) :]
        return [
            tuple(
                slice(at, at + (count - 1) * step + 1, step)
                for at, count, step in zip(offset, out, self.stride, strict=True)
            )
            for offset in itertools.product(*map(range, self.kernel))
        ]

    def _padded(self, lead: Shape) -> tuple[Balls, tuple[Any, ...]]:
        """Zeros of the padded size, and where the input stands in them."""
        sizes = tuple(d + 2 * p for d, p in zip(self.extents, self.padding, strict=True))
        inner = (slice(p, p + d) for d, p in zip(self.extents, self.padding, strict=True))
        return full((*lead, *sizes), 0), (..., *inner)

    def run(self, values: Sequence[Balls]) -> tuple[Balls, State]:
        """The means."""
        return self.push((), 0, values[0]), ()

    def push(self, state: State, slot: int, x: Balls) -> Balls:
        """The same means of the tangents."""
        padded, inner = self._padded(x.shape[: x.ndim - len(self.kernel)])
        padded[inner] = x
        parts = [padded[(..., *offset)] for offset in self._offsets()]
        return sum(parts[1:], parts[0]) / math.prod(self.kernel)

    def pull(self, state: State, slot: int, g: Balls) -> Balls:
        """Every entry of a window gets its share."""
        padded, inner = self._padded(g.shape[: g.ndim - len(self.kernel)])
        share = g / math.prod(self.kernel)
        for offset in self._offsets():
            padded[(..., *offset)] += share
        return padded[inner]

    def stretches(self, state: State) -> list[Balls]:
        """m / sqrt(K): by Cauchy-Schwarz in each window, entries being in at most m^2."""
        overlap = 1
        for axis, extent in enumerate(self.extents):
            times_read = np.zeros(extent + 2 * self.padding[axis], dtype=np.int64)
            for at in range(self.kernel[axis]):
                last = at + (self.shape[len(self.lead) + axis] - 1) * self.stride[axis]
                times_read[at : last + 1 : self.stride[axis]] += 1
            pad = self.padding[axis]
            overlap *= int(times_read[pad : pad + extent].max())
        return [(arb(overlap) / math.prod(self.kernel)).sqrt()]


class Mean(Kind):
    """The mean over some axes, which disappear."""

    keys = ("axes",)

    def __init__(
        self, item: Mapping[str, Any], shapes: Sequence[Shape], arrays: Mapping[str, Shape]
    ) -> None:
        super().__init__(item, shapes, arrays)
        self.axes = wholes(item, "axes")
        axes = set(self.axes)
        if not axes or len(axes) != len(self.axes) or max(axes) >= len(shapes[0]):
            raise Invalid(f"'axes' must be distinct axes of a value of shape {times(shapes[0])}")
        self.shape = tuple(d for axis, d in enumerate(shapes[0]) if axis not in axes)
        self.count = entries(shapes[0]) // entries(self.shape)

    def words(self) -> str:
        """With the axes."""
        return f"mean(axes {', '.join(map(str, self.axes))})"

    def run(self, values: Sequence[Balls]) -> tuple[Balls, State]:
        """The mean."""
        return values[0].sum(axis=tuple(1 + axis for axis in self.axes)) / self.count, ()

    def push(self, state: State, slot: int, x: Balls) -> Balls:
        """The mean of the tangents."""
        return x.sum(axis=tuple(2 + axis for axis in self.axes)) / self.count

    def pull(self, state: State, slot: int, g: Balls) -> Balls:
        """Every entry gets its share."""
        share = np.expand_dims(g / self.count, tuple(2 + axis for axis in self.axes))
        return np.broadcast_to(share, (*g.shape[:2], *self.shapes[0]))

    def stretches(self, state: State) -> list[Balls]:
        """1 / sqrt(K)."""
        return [1 / arb(self.count).sqrt()]
