"""Rules of a convolution with zero padding over one or two axes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property
from typing import Literal

import torch
from torch import Tensor

from talweg.enclosure import Ball, matmul
from talweg.network._graph import Convolution
from talweg.network.rules._rule import (
    Tangents,
    Visit,
    as_batch,
    collected,
    readers,
    rearranged,
    unbatched,
)
from talweg.network.rules._shared import SharedRule, Window, exact_weight
from talweg.verified import spectral_norm_upper


class ConvolutionRule(SharedRule):
    """Cross-correlation; patches by an index into the padded input."""

    operation: Convolution

    @cached_property
    def _kernel(self) -> tuple[int, ...]:
        return tuple(int(s) for s in self.operation.weight.shape[2:])

    @cached_property
    def _taken(self) -> Tensor:
        """Source of kernel coordinate and position, ``(K, P)``; the size S stands for padding."""
        op, spatial = self.operation, self.inputs[0][1:]
        size = math.prod(spatial)
        index = torch.zeros(1, 1, dtype=torch.long)
        outside = torch.zeros(1, 1, dtype=torch.bool)
        for axis, length in enumerate(spatial):
            offsets = torch.arange(self._kernel[axis]) * op.dilation[axis]
            starts = torch.arange(self.shape[1 + axis]) * op.stride[axis] - op.padding[axis]
            at = offsets[:, None] + starts[None, :]  # (k, positions along this axis)
            bad = (at < 0) | (at >= length)
            k, p = index.shape
            index = index[:, None, :, None] * length + at[None, :, None, :]
            outside = outside[:, None, :, None] | bad[None, :, None, :]
            index = index.reshape(k * at.shape[0], p * at.shape[1])
            outside = outside.reshape(k * at.shape[0], p * at.shape[1])
        return index.masked_fill(outside, size).to(op.weight.device)

    @cached_property
    def _readers(self) -> Tensor:
        """Coordinates and positions that take an entry, ``(m, S)``."""
        return readers(self._taken, math.prod(self.inputs[0][1:]))

    @cached_property
    def overlap(self) -> float:  # type: ignore[override]
        """Root of the largest number of positions that take one entry, rounded up."""
        size = math.prod(self.inputs[0][1:])
        counts = torch.bincount(self._taken.flatten(), minlength=size + 1)[:size]
        root = math.sqrt(int(counts.amax()))
        return root if root.is_integer() else math.nextafter(root, math.inf)

    def _unfolded(self, x: Ball) -> Ball:
        """``(b, c_in, *spatial)`` -> ``(b, g, c_in / g, K, P)``."""
        groups, (size, count) = self.operation.groups, self._taken.shape
        b, channels = x.shape[:2]

        def taken(t: Tensor) -> Tensor:
            padded = torch.nn.functional.pad(t.reshape(b, channels, -1), (0, 1))
            picked = padded[:, :, self._taken.flatten()]
            return picked.reshape(b, groups, channels // groups, size, count)

        return rearranged(x, taken)

    def _matrices(self) -> Ball:
        """The weight by groups, ``(g, o, c K)``."""
        weight, groups = self.operation.weight, self.operation.groups
        return exact_weight(weight).reshape(groups, weight.shape[0] // groups, -1)

    def _applied(self, x: Ball, bound: Literal["entries", "norms"] = "entries") -> Ball:
        unfolded = self._unfolded(x)
        b, groups, channels, size, count = unfolded.shape
        columns = unfolded.reshape(b, groups, channels * size, count)
        if groups == 1:
            # One large product instead of b small ones.
            flat = rearranged(columns, lambda t: t[:, 0].permute(1, 0, 2).reshape(len(t[0, 0]), -1))
            z = matmul(self._matrices()[0], flat, bound=bound).reshape(self.shape[0], b, count)
            z = rearranged(z, lambda t: t.transpose(0, 1))
        else:
            z = matmul(self._matrices(), columns, bound=bound)  # (b, g, o, P)
        return z.reshape(b, *self.shape)

    def value(self, inputs: tuple[Ball, ...]) -> Ball:
        """``(n, c_out, *positions)``."""
        z = self._applied(inputs[0])
        bias = self.operation.bias
        if bias is None:
            return z
        return z + exact_weight(bias).reshape(-1, *(1,) * (len(self.shape) - 1))

    def push(self, visit: Visit, tangents: Tangents) -> Ball:
        """The convolution of every tangent."""
        (t,) = tangents
        assert t is not None
        return unbatched(self._applied(as_batch(t), "norms"), t)

    def pull(self, visit: Visit, g: Ball) -> list[Ball]:
        """The transposed convolution: every entry collects from the windows that hold it."""
        groups = self.operation.groups
        b = g.shape[0] * g.shape[1]
        channels = self.inputs[0][0]
        by_group = g.reshape(b, groups, self.shape[0] // groups, -1)  # (b, g, o, P)
        columns = matmul(self._matrices().mT, by_group, bound="norms")  # (b, g, c K, P)
        back = collected(columns.reshape(b, channels, -1), self._readers)
        return [back.reshape(*g.shape[:2], *self.inputs[0])]

    def patches(self, x: Ball) -> Ball:
        """Windows with all channels of the group."""
        unfolded = self._unfolded(x)
        b, groups, channels, size, count = unfolded.shape
        return unfolded.reshape(b, groups, channels * size, count).mT

    def arranged(self, g: Ball) -> Ball:
        """Channels by groups, then positions."""
        groups = self.operation.groups
        return g.reshape(*g.shape[:2], groups, self.shape[0] // groups, -1)

    def unarranged(self, g: Ball) -> Ball:
        """Channels, then positions."""
        return g.reshape(*g.shape[:2], *self.shape)

    def sources(self, t: Ball) -> Ball:
        """Channels by groups, then pixels."""
        groups = self.operation.groups
        return t.reshape(*t.shape[:2], groups, self.inputs[0][0] // groups, -1)

    def windows(self) -> Sequence[Window]:
        """One for each coordinate of the kernel, without the padding."""
        size = math.prod(self.inputs[0][1:])
        found = []
        for sources in self._taken:
            positions = (sources < size).nonzero()[:, 0]
            found.append(Window(positions, sources[positions]))
        return found

    def operator_norm(self) -> float:
        """Of the convolution as a dense matrix, exactly as it acts on this size of image."""
        d = math.prod(self.inputs[0])
        eye = torch.eye(d, dtype=torch.float64, device=self.operation.weight.device)
        dense = self._applied(Ball.exact(eye).reshape(d, *self.inputs[0]))
        return float(spectral_norm_upper(dense.reshape(d, -1)))
