"""Convolutions over one or two axes."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from flint import arb

from talweg_check._arrays import Balls, exact, full, matmul
from talweg_check._linear_algebra import norm_upper
from talweg_check._verdict import Incomplete, Invalid
from talweg_check.kinds._kind import Shape, State, entries, times, whole, wholes, windows
from talweg_check.kinds._parametric import Parametric

DENSE = 5 * 10**7  # entries of a convolution written as a matrix, and of its patches


class Convolution(Parametric):
    """Cross-correlation of (c_in, *spatial) with zero padding; patches are windows."""

    keys = (*Parametric.keys, "stride", "padding", "dilation", "groups")

    def __init__(
        self, item: Mapping[str, Any], shapes: Sequence[Shape], arrays: Mapping[str, Shape]
    ) -> None:
        super().__init__(item, shapes, arrays)
        weight, axes = arrays["weight"], len(shapes[0]) - 1
        if axes not in (1, 2) or len(weight) != 2 + axes:
            raise Invalid("a convolution takes (c_in, *spatial) with one or two spatial axes, "
                          "its weight is (c_out, c_in / groups, *kernel)")  # fmt: skip
        self.stride, self.padding, self.dilation = (
            wholes(item, "stride", axes, 1), wholes(item, "padding", axes),
            wholes(item, "dilation", axes, 1),
        )  # fmt: skip
        self.groups = whole(item, "groups", 1)
        channels, self.extents = shapes[0][0], shapes[0][1:]
        if weight[0] % self.groups or weight[1] * self.groups != channels:
            raise Invalid("'groups' does not divide the channels as the weight says")
        if arrays.get("bias", weight[:1]) != weight[:1]:
            raise Invalid("the bias must be (c_out)")
        self.stored_shape, self.kernel = weight, weight[2:]
        sizes = zip(
            self.extents, self.kernel, self.stride, self.padding, self.dilation, strict=True
        )
        self.out = tuple(windows(*size) for size in sizes)
        self.shape = (weight[0], *self.out)
        room = zip(self.extents, self.padding, strict=True)
        self.work = channels * math.prod(extent + 2 * pad for extent, pad in room)
        self.work += channels * math.prod(self.kernel) * entries(self.out)

    def words(self) -> str:
        """With the shape of the weight, the windows and training."""
        return (
            f"convolution {times(self.stored_shape)} (stride {times(self.stride)}, "
            f"padding {times(self.padding)}, dilation {times(self.dilation)}, "
            f"groups {self.groups}, {self.training('weight', 'bias')})"
        )

    @property
    def overlap(self) -> int:  # type: ignore[override]
        """The most windows that hold one entry, exactly: axis by axis."""
        most = 1
        for axis, extent in enumerate(self.extents):
            read = np.zeros(extent + 2 * self.padding[axis], dtype=np.int64)
            for place in self._places(axis):
                read[place] += 1
            most *= int(read[self.padding[axis] : self.padding[axis] + extent].max())
        return most

    def _places(self, axis: int) -> list[slice]:
        """For each entry of the kernel the places that it takes along the padded axis."""
        step, count = self.stride[axis], self.out[axis]
        starts = (at * self.dilation[axis] for at in range(self.kernel[axis]))
        return [slice(at, at + (count - 1) * step + 1, step) for at in starts]

    def _padded(self, lead: Shape) -> tuple[Balls, tuple[Any, ...]]:
        """Zeros of the padded size, and where the input stands in them."""
        ends = zip(self.extents, self.padding, strict=True)
        inner = tuple(slice(pad, pad + extent) for extent, pad in ends)
        sizes = (d + 2 * pad for d, pad in zip(self.extents, self.padding, strict=True))
        return full((*lead, self.shapes[0][0], *sizes), 0), (..., *inner)

    def patches(self, x: Balls) -> Balls:
        """The windows: (m, groups, pixels, channels of the group x kernel)."""
        padded, inner = self._padded(x.shape[:1])
        padded[inner] = x
        windows = itertools.product(*(self._places(axis) for axis in range(len(self.kernel))))
        parts = [padded[(..., *window)].reshape(*padded.shape[:2], -1) for window in windows]
        taken = np.stack(parts, axis=2)  # (m, c_in, kernel, pixels)
        taken = taken.reshape(len(x), self.groups, -1, taken.shape[3])
        return np.swapaxes(taken, 2, 3)

    def unfolded(self, g: Balls) -> Balls:
        """Pixels last."""
        return g.reshape(*g.shape[:2], self.groups, -1, entries(self.out))

    def _matrices(self) -> Balls:
        """W_g, (groups, o, c)."""
        return self.weight.reshape(self.groups, self.shape[0] // self.groups, -1)

    def _apply(self, x: Balls) -> Balls:
        """(m, *shape of the input) to (m, *shape), without the bias."""
        q = self.patches(x)
        parts = [
            matmul(q[:, group].reshape(-1, q.shape[3]), matrix.T).reshape(len(x), q.shape[2], -1)
            for group, matrix in enumerate(self._matrices())
        ]
        return np.swapaxes(np.concatenate(parts, axis=2), 1, 2).reshape(len(x), *self.shape)

    def run(self, values: Sequence[Balls]) -> tuple[Balls, State]:
        """The windows times the weight, and the bias."""
        value = self._apply(values[0])
        if self.bias is not None:
            value = value + self.bias.reshape(-1, *[1] * len(self.out))
        return value, self.remembered(values[0])

    def push(self, state: State, slot: int, x: Balls) -> Balls:
        """The same without the bias."""
        return self._apply(x.reshape(-1, *x.shape[2:])).reshape(*x.shape[:2], *self.shape)

    def pull(self, state: State, slot: int, g: Balls) -> Balls:
        """Every patch gets its share."""
        cotangents = self.unfolded(g).reshape(-1, *self.unfolded(g).shape[2:])  # (m, g, o, P)
        padded, inner = self._padded((len(cotangents),))
        share = self.shapes[0][0] // self.groups
        for group, matrix in enumerate(self._matrices()):
            flat = np.swapaxes(cotangents[:, group], 1, 2).reshape(-1, matrix.shape[0])
            back = matmul(flat, matrix).reshape(len(cotangents), *self.out, share, -1)
            back = np.moveaxis(back, (-2, -1), (1, 2))  # (m, channels, kernel, *out)
            target = padded[:, group * share : (group + 1) * share]
            windows = itertools.product(*(self._places(axis) for axis in range(len(self.kernel))))
            for at, window in enumerate(windows):
                target[(..., *window)] += back[:, :, at]
        return padded[inner].reshape(*g.shape[:2], *self.shapes[0])

    def stretch(self) -> arb:
        """The norm of the matrix of the convolution."""
        size = entries(self.shapes[0])
        if size * max(self.work, entries(self.shape)) > DENSE:
            raise Incomplete(f"a convolution, written as a matrix, needs more than {DENSE} numbers")
        units = exact(np.eye(size)).reshape(size, *self.shapes[0])
        return norm_upper(self._apply(units).reshape(size, -1))
