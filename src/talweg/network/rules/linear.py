"""Rules of a linear layer along the last axis."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch

from talweg.enclosure import Ball, matmul
from talweg.network._graph import Linear
from talweg.network.rules._rule import Tangents, Visit, as_batch, rearranged, unbatched
from talweg.network.rules._shared import SharedRule, Window, exact_weight
from talweg.verified import spectral_norm_upper


class LinearRule(SharedRule):
    """``z = x W^T + b`` at every position of the leading axes."""

    operation: Linear

    @property
    def _positions(self) -> int:
        return math.prod(self.shape[:-1])

    def value(self, inputs: tuple[Ball, ...]) -> Ball:
        """``(n, ..., d_out)``."""
        z = self._applied(inputs[0])
        bias = self.operation.bias
        return z if bias is None else z + exact_weight(bias)

    def _applied(self, x: Ball, bound: Literal["entries", "norms"] = "entries") -> Ball:
        weight = exact_weight(self.operation.weight)
        flat = x.reshape(-1, x.shape[-1])
        return matmul(flat, weight.T, bound=bound).reshape(*x.shape[:-1], weight.shape[0])

    def push(self, visit: Visit, tangents: Tangents) -> Ball:
        """The weight applied to every tangent."""
        (t,) = tangents
        assert t is not None
        return unbatched(self._applied(as_batch(t), "norms"), t)

    def pull(self, visit: Visit, g: Ball) -> list[Ball]:
        """``G W``."""
        weight = exact_weight(self.operation.weight)
        flat = g.reshape(-1, g.shape[-1])
        return [matmul(flat, weight, bound="norms").reshape(*g.shape[:-1], weight.shape[1])]

    def patches(self, x: Ball) -> Ball:
        """The last axis."""
        return x.reshape(len(x), 1, self._positions, x.shape[-1])

    def arranged(self, g: Ball) -> Ball:
        """Rows before positions."""
        n, m = g.shape[:2]
        d, count = self.shape[-1], self._positions
        return rearranged(
            g, lambda t: t.reshape(n, m, count, d).transpose(2, 3).reshape(n, m, 1, d, count)
        )

    def unarranged(self, g: Ball) -> Ball:
        """Positions before rows."""
        n, m = g.shape[:2]
        return rearranged(g, lambda t: t[:, :, 0].transpose(2, 3).reshape(n, m, *self.shape))

    def sources(self, t: Ball) -> Ball:
        """Each feature is a channel, each position a source."""
        n, m = t.shape[:2]
        d, count = self.inputs[0][-1], self._positions
        return rearranged(
            t, lambda s: s.reshape(n, m, count, d).transpose(2, 3).reshape(n, m, 1, d, count)
        )

    def windows(self) -> Sequence[Window]:
        """Every position takes its own source."""
        index = torch.arange(self._positions, device=self.operation.weight.device)
        return [Window(index, index)]

    def operator_norm(self) -> float:
        """Of the weight, the same at every position."""
        return float(spectral_norm_upper(exact_weight(self.operation.weight)))
