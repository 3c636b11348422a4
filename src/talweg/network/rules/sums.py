"""Rules of sums and concatenations."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from talweg.enclosure import Ball, add_up, cat, mul_up, sqrt_up
from talweg.network._graph import Concatenate, Sum
from talweg.network.rules._rule import Motion, Rule, Tangents, Visit


class SumRule(Rule):
    """``sum_e signs[e] x_e``."""

    operation: Sum

    def value(self, inputs: tuple[Ball, ...]) -> Ball:
        """The sum."""
        return self._total(inputs)

    def _total(self, parts: Tangents) -> Ball:
        total: Ball | None = None
        for sign, part in zip(self.operation.signs, parts, strict=True):
            if part is None:
                continue
            if total is None:
                total = part if sign == 1 else -part
            else:
                total = total + part if sign == 1 else total - part
        assert total is not None
        return total

    def push(self, visit: Visit, tangents: Tangents) -> Ball:
        """The sum of what there is."""
        return self._total(tangents)

    def pull(self, visit: Visit, g: Ball) -> list[Ball]:
        """The cotangent with each sign."""
        return [g if sign == 1 else -g for sign in self.operation.signs]


class ConcatenateRule(Rule):
    """Values joined along one axis."""

    operation: Concatenate

    def value(self, inputs: tuple[Ball, ...]) -> Ball:
        """Joined."""
        return cat(list(inputs), self.operation.axis + 1)

    def push(self, visit: Visit, tangents: Tangents) -> Ball:
        """Joined, zeros where there is no tangent."""
        some = next(t for t in tangents if t is not None)
        parts = []
        for t, shape in zip(tangents, self.inputs, strict=True):
            zeros = some.mid.new_zeros(*some.shape[:2], *shape) if t is None else None
            parts.append(Ball.exact(zeros) if zeros is not None else t)
        return cat([p for p in parts if p is not None], self.operation.axis + 2)

    def pull(self, visit: Visit, g: Ball) -> list[Ball]:
        """The parts."""
        axis, start, parts = self.operation.axis, 0, []
        for shape in self.inputs:
            where = (slice(None),) * (axis + 2) + (slice(start, start + shape[axis]),)
            parts.append(g[where])
            start += shape[axis]
        return parts

    def motion(self, visit: Visit, moved: Sequence[Tensor], radius: float) -> Motion:
        """The parts move independently."""
        square = visit.zero
        for eta in moved:
            square = add_up(square, mul_up(eta, eta))
        return Motion(sqrt_up(square), tuple(visit.zero for _ in self.inputs))
