"""Rules of what only moves entries: reshape, permute, slice."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from talweg.enclosure import Ball
from talweg.network._graph import Permute, Reshape, Slice
from talweg.network.rules._rule import Rule, Tangents, Visit, rearranged


class ViewRule(Rule):
    """Entries of the input, each at most once, in another order and shape."""

    operation: Reshape | Permute | Slice

    def _taken(self, device: torch.device) -> Tensor:
        """Flat index of the entry of the input at every entry of the value."""
        op, shape = self.operation, self.inputs[0]
        index = torch.arange(math.prod(shape), device=device).reshape(shape)
        if isinstance(op, Permute):
            index = index.permute(op.axes)
        elif isinstance(op, Slice):
            where = torch.arange(op.start, op.stop, op.step, device=device)
            index = index.index_select(op.axis, where)
        return index.reshape(-1)

    def _moved(self, ball: Ball, lead: int) -> Ball:
        index = self._taken(ball.device)

        def taken(t: Tensor) -> Tensor:
            head = t.shape[:lead]
            return t.reshape(*head, -1)[..., index].reshape(*head, *self.shape)

        return rearranged(ball, taken)

    def value(self, inputs: tuple[Ball, ...]) -> Ball:
        """Moved."""
        return self._moved(inputs[0], 1)

    def push(self, visit: Visit, tangents: Tangents) -> Ball:
        """Moved."""
        (t,) = tangents
        assert t is not None
        return self._moved(t, 2)

    def pull(self, visit: Visit, g: Ball) -> list[Ball]:
        """Moved back, zeros elsewhere."""
        index, shape = self._taken(g.device), self.inputs[0]

        def back(t: Tensor) -> Tensor:
            out = t.new_zeros(*t.shape[:2], math.prod(shape))
            out[..., index] = t.reshape(*t.shape[:2], -1)
            return out.reshape(*t.shape[:2], *shape)

        return [rearranged(g, back)]
