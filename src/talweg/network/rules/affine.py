"""Rules of scale and shift by entries, of positions added, and of fixed standardisation."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from talweg.enclosure import Ball
from talweg.network._graph import Affine, Shift, Standardize
from talweg.network.rules._rule import Rule, Tangents, Visit, rearranged
from talweg.network.rules._shared import SharedRule, Window, exact_weight


def _aligned(tensor: Ball, axis: int, shape: tuple[int, ...]) -> Ball:
    """To be broadcast over values of this shape."""
    return tensor.reshape(*tensor.shape, *(1,) * (len(shape) - axis - tensor.ndim))


class _ByEntry(SharedRule):
    """Weights at the axes ``axis, ...``: each entry is a group of one row."""

    operation: Affine | Shift

    @property
    def _own(self) -> tuple[int, ...]:
        return tuple(int(s) for s in self.operation.weight.shape)

    def _by_group(self, ball: Ball, lead: int) -> Ball:
        """``(*lead axes, *shape)`` -> ``(*lead axes, g, P)``."""
        axis, own = self.operation.axis, self._own
        before, behind = self.shape[:axis], self.shape[axis + len(own) :]
        groups, rest = math.prod(own), math.prod(before) * math.prod(behind)

        def turned(t: Tensor) -> Tensor:
            head = t.shape[:lead]
            parts = t.reshape(*head, math.prod(before), groups, math.prod(behind))
            return parts.transpose(-3, -2).reshape(*head, groups, rest)

        return rearranged(ball, turned)

    def arranged(self, g: Ball) -> Ball:
        """One row for each group."""
        by_group = self._by_group(g, 2)
        return by_group.reshape(*by_group.shape[:3], 1, by_group.shape[3])

    def unarranged(self, g: Ball) -> Ball:
        """Entries of the weight at their axes."""
        axis, own = self.operation.axis, self._own
        before, behind = self.shape[:axis], self.shape[axis + len(own) :]
        n, m = g.shape[:2]

        def turned(t: Tensor) -> Tensor:
            parts = t.reshape(n, m, math.prod(own), math.prod(before), math.prod(behind))
            return parts.transpose(2, 3).reshape(n, m, *self.shape)

        return rearranged(g, turned)

    def sources(self, t: Ball) -> Ball:
        """One channel for each group."""
        return self.arranged(t)

    def windows(self) -> Sequence[Window]:
        """Every position takes its own source."""
        count = math.prod(self.shape) // math.prod(self._own)
        index = torch.arange(count, device=self.operation.weight.device)
        return [Window(index, index)]


class AffineRule(_ByEntry):
    """``y = w * x + b``."""

    operation: Affine

    def _weight(self) -> Ball:
        return _aligned(exact_weight(self.operation.weight), self.operation.axis, self.shape)

    def value(self, inputs: tuple[Ball, ...]) -> Ball:
        """Scaled and shifted."""
        y = inputs[0] * self._weight()
        bias = self.operation.bias
        if bias is None:
            return y
        return y + _aligned(exact_weight(bias), self.operation.axis, self.shape)

    def push(self, visit: Visit, tangents: Tangents) -> Ball:
        """Scaled."""
        (t,) = tangents
        assert t is not None
        return t * self._weight()

    def pull(self, visit: Visit, g: Ball) -> list[Ball]:
        """Scaled."""
        return [g * self._weight()]

    def patches(self, x: Ball) -> Ball:
        """The one entry."""
        by_group = self._by_group(x, 1)
        return by_group.reshape(*by_group.shape, 1)

    def operator_norm(self) -> float:
        """The largest entry."""
        return float(self.operation.weight.detach().to(torch.float64).abs().amax())


class ShiftRule(_ByEntry):
    """``y = x + w``."""

    operation: Shift
    overlap = 0.0

    def value(self, inputs: tuple[Ball, ...]) -> Ball:
        """Shifted."""
        own = exact_weight(self.operation.weight)
        return inputs[0] + _aligned(own, self.operation.axis, self.shape)

    def push(self, visit: Visit, tangents: Tangents) -> Ball:
        """The tangent itself."""
        (t,) = tangents
        assert t is not None
        return t

    def pull(self, visit: Visit, g: Ball) -> list[Ball]:
        """The cotangent itself."""
        return [g]

    def patches(self, x: Ball) -> Ball:
        """The constant 1."""
        groups = math.prod(self._own)
        count = math.prod(self.shape) // groups
        one = torch.ones(len(x), groups, count, 1, dtype=torch.float64, device=x.device)
        return Ball.exact(one)

    def operator_norm(self) -> float:
        """1."""
        return 1.0


class StandardizeRule(Rule):
    """``(x - mean) / sqrt(variance + epsilon)`` by channel, frozen."""

    operation: Standardize

    def _factor(self) -> Ball:
        variance = self.operation.bias
        assert variance is not None
        spread = (exact_weight(variance) + self.operation.epsilon).sqrt()
        return _aligned(Ball.exact(torch.ones_like(spread.mid)) / spread, 0, self.shape)

    def value(self, inputs: tuple[Ball, ...]) -> Ball:
        """Standardised."""
        mean = _aligned(exact_weight(self.operation.weight), 0, self.shape)
        return (inputs[0] - mean) * self._factor()

    def push(self, visit: Visit, tangents: Tangents) -> Ball:
        """Scaled."""
        (t,) = tangents
        assert t is not None
        return t * self._factor()

    def pull(self, visit: Visit, g: Ball) -> list[Ball]:
        """Scaled."""
        return [g * self._factor()]

    def slope_norms(self, visit: Visit) -> list[Tensor]:
        """The largest factor."""
        return [visit.zero + self._factor().magnitude_upper().amax()]
