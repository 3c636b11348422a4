"""Rules of means: over windows of the last axes, and over whole axes."""

from __future__ import annotations

import math
from functools import cached_property

import torch
from torch import Tensor

from talweg.enclosure import Ball, div_up, sqrt_up
from talweg.network._graph import AveragePool, Mean
from talweg.network.rules._rule import (
    Rule,
    Tangents,
    Visit,
    as_batch,
    collected,
    readers,
    rearranged,
    unbatched,
)


class _Averages(Rule):
    """Windows of K entries of a flattened part of the input; the index S stands for padding."""

    @cached_property
    def taken(self) -> Tensor:
        """Source of coordinate and position, ``(K, P)``."""
        raise NotImplementedError

    @cached_property
    def _readers(self) -> Tensor:
        """The positions whose mean an entry is in, ``(m, S)``."""
        count, positions = self.taken.shape
        found = readers(self.taken, self._size())
        return torch.where(found == count * positions, positions, found % positions)

    def split(self, x: Tensor) -> Tensor:
        """``(b, *shape_in)`` -> ``(b, rest, S)``."""
        raise NotImplementedError

    def unsplit(self, x: Tensor) -> Tensor:
        """``(b, rest, P)`` -> ``(b, *shape)``."""
        raise NotImplementedError

    def unsplit_input(self, x: Tensor) -> Tensor:
        """``(b, rest, S)`` -> ``(b, *shape_in)``."""
        raise NotImplementedError

    def _size(self) -> int:
        raise NotImplementedError

    def _averaged(self, x: Ball) -> Ball:
        count, positions = self.taken.shape
        index = self.taken.to(x.device).flatten()

        def picked(t: Tensor) -> Tensor:
            parts = torch.nn.functional.pad(self.split(t), (0, 1))
            return parts[:, :, index].reshape(*parts.shape[:2], count, positions)

        total = rearranged(x, picked).sum(2)
        return rearranged(total / float(count), self.unsplit)

    def value(self, inputs: tuple[Ball, ...]) -> Ball:
        """The means."""
        return self._averaged(inputs[0])

    def push(self, visit: Visit, tangents: Tangents) -> Ball:
        """The means of every tangent."""
        (t,) = tangents
        assert t is not None
        return unbatched(self._averaged(as_batch(t)), t)

    def pull(self, visit: Visit, g: Ball) -> list[Ball]:
        """A share of every mean that an entry is in."""
        shares = rearranged(as_batch(g) / float(len(self.taken)), self.flattened)
        back = collected(shares, self._readers.to(g.device))
        return [unbatched(rearranged(back, self.unsplit_input), g)]

    def flattened(self, x: Tensor) -> Tensor:
        """``(b, *shape)`` -> ``(b, rest, P)``."""
        return x.reshape(len(x), -1, self.taken.shape[1])

    def slope_norms(self, visit: Visit) -> list[Tensor]:
        """``m / sqrt(K)``, m^2 the number of windows that share an entry."""
        size = self._size()
        counts = torch.bincount(self.taken.flatten(), minlength=size + 1)[:size]
        ratio = div_up(float(counts.amax()), float(len(self.taken)))
        return [visit.zero + sqrt_up(ratio)]


class AveragePoolRule(_Averages):
    """Means over windows of the last axes; zero padding counts."""

    operation: AveragePool

    @property
    def _spatial(self) -> tuple[int, ...]:
        return self.inputs[0][len(self.inputs[0]) - len(self.operation.kernel) :]

    def _size(self) -> int:
        return math.prod(self._spatial)

    @cached_property
    def taken(self) -> Tensor:
        """By the geometry of the windows."""
        op, size = self.operation, self._size()
        index, outside = torch.zeros(1, 1, dtype=torch.long), torch.zeros(1, 1, dtype=torch.bool)
        positions = self.shape[len(self.shape) - len(op.kernel) :]
        for axis, length in enumerate(self._spatial):
            starts = torch.arange(positions[axis]) * op.stride[axis] - op.padding[axis]
            at = torch.arange(op.kernel[axis])[:, None] + starts[None, :]
            bad = (at < 0) | (at >= length)
            k, p = index.shape
            index = index[:, None, :, None] * length + at[None, :, None, :]
            outside = outside[:, None, :, None] | bad[None, :, None, :]
            index = index.reshape(k * at.shape[0], p * at.shape[1])
            outside = outside.reshape(index.shape)
        return index.masked_fill(outside, size)

    def split(self, x: Tensor) -> Tensor:
        """Leading axes, then the pixels."""
        return x.reshape(len(x), -1, self._size())

    def unsplit(self, x: Tensor) -> Tensor:
        """Back to the shape of the value."""
        return x.reshape(len(x), *self.shape)

    def unsplit_input(self, x: Tensor) -> Tensor:
        """Back to the shape of the input."""
        return x.reshape(len(x), *self.inputs[0])


class MeanRule(_Averages):
    """Mean over some axes, which disappear: one window."""

    operation: Mean

    @property
    def _kept(self) -> list[int]:
        return [t for t in range(len(self.inputs[0])) if t not in self.operation.axes]

    def _size(self) -> int:
        return math.prod(self.inputs[0][axis] for axis in self.operation.axes)

    @cached_property
    def taken(self) -> Tensor:
        """All entries, one position."""
        return torch.arange(self._size()).reshape(-1, 1)

    def split(self, x: Tensor) -> Tensor:
        """Kept axes, then the others."""
        order = [*self._kept, *self.operation.axes]
        return x.permute(0, *(axis + 1 for axis in order)).reshape(len(x), -1, self._size())

    def unsplit(self, x: Tensor) -> Tensor:
        """Back to the shape of the value."""
        return x.reshape(len(x), *self.shape)

    def unsplit_input(self, x: Tensor) -> Tensor:
        """Back to the order and shape of the input."""
        order = [*self._kept, *self.operation.axes]
        turned = x.reshape(len(x), *(self.inputs[0][axis] for axis in order))
        inverse = sorted(range(len(order)), key=order.__getitem__)
        return turned.permute(0, *(axis + 1 for axis in inverse))
