"""Rules of an embedding: rows of a matrix at whole numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from talweg._errors import InputError
from talweg.enclosure import Ball
from talweg.network._graph import Embedding
from talweg.network.rules._rule import Tangents, Visit, rearranged
from talweg.network.rules._shared import SharedRule, Window, exact_weight


class EmbeddingRule(SharedRule):
    """It reads the data, so no tangent ever reaches it."""

    operation: Embedding
    overlap = 0.0

    def value(self, inputs: tuple[Ball, ...]) -> Ball:
        """``(n, *shape_in, d)``."""
        weight = exact_weight(self.operation.weight)
        index = self._index(inputs[0])
        return rearranged(weight, lambda t: t[index])

    def _index(self, x: Ball) -> Tensor:
        rows = self.operation.weight.shape[0]
        whole = x.is_exact() and bool((x.mid == x.mid.trunc()).all())
        if not (whole and bool(((x.mid >= 0.0) & (x.mid < rows)).all())):
            raise InputError(
                f"`X` of graph_state(network, X) must hold whole numbers from 0 to {rows - 1} for "
                f"the embedding at {self.operation.path!r}; got others. Pass the indices of rows."
            )
        return x.mid.long()

    def push(self, visit: Visit, tangents: Tangents) -> Ball:
        """Never called: the data has no tangent."""
        raise RuntimeError("an embedding reads the data, which has no tangent; please report")

    def pull(self, visit: Visit, g: Ball) -> list[Ball]:
        """Nothing reaches the data."""
        n, k = g.shape[:2]
        zero = torch.zeros(n, k, *self.inputs[0], dtype=torch.float64, device=g.device)
        return [Ball.exact(zero)]

    def patches(self, x: Ball) -> Ball:
        """Unit vectors of the rows."""
        index = self._index(x).reshape(len(x), 1, -1)
        rows = self.operation.weight.shape[0]
        return Ball.exact(torch.nn.functional.one_hot(index, rows).to(torch.float64))

    def arranged(self, g: Ball) -> Ball:
        """Features before positions."""
        n, m = g.shape[:2]
        d, count = self.shape[-1], math.prod(self.shape[:-1])

        def turned(t: Tensor) -> Tensor:
            return t.reshape(n, m, count, d).transpose(2, 3).reshape(n, m, 1, d, count)

        return rearranged(g, turned)

    def unarranged(self, g: Ball) -> Ball:
        """Positions before features."""
        n, m = g.shape[:2]
        return rearranged(g, lambda t: t[:, :, 0].transpose(2, 3).reshape(n, m, *self.shape))

    def as_stored(self, t: Tensor) -> Tensor:
        """Features of a row last: the weight stands transposed to the other kinds."""
        rows, d = self.operation.weight.shape
        return t.reshape(len(t), d, rows).transpose(1, 2).reshape(len(t), -1)

    def windows(self) -> Sequence[Window]:
        """None: the input is no variable."""
        return []

    def operator_norm(self) -> float:
        """0."""
        return 0.0
