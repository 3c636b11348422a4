"""The quantities of docs/theory/B6.md for one small graph, dense and by automatic differentiation.

Every node's value gets a shift s_t of its own, every use of a tensor a copy of its own: the first
and second derivatives of the outputs by all of them hold P, G, E, Z and the forms of every pair.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from tests.network.random_graphs import Drawn
from torch import Tensor
from torch.func import jacfwd, jacrev, vmap

from talweg.network._apply import applied_approx
from talweg.network._graph import Parametric
from talweg.network._shapes import value_shapes


@dataclass(frozen=True, eq=False)
class Quantities:
    """At some weights, for every sample; S shifts, p entries of all uses.

    Attributes:
        values: ``(n, S)``, node after node.
        P: ``(n, S, S)``, row t and column a.
        G: ``(n, k, S)``, scaled by the roots of the multiplicities.
        E: ``(n, S, p)``, the direct slope of a use alone: ``E_a`` in the rows of its node.
        second: ``(n, k, p + S, p + S)``, second derivatives of the scaled outputs.
    """

    values: Tensor
    P: Tensor
    G: Tensor
    E: Tensor
    second: Tensor


class Dense:
    """A drawn graph as a function of shifts and of weights by use."""

    def __init__(self, drawn: Drawn) -> None:
        self.drawn = drawn
        self.network = drawn.network
        self.function = drawn.function()
        shapes = value_shapes(self.network)
        self.shapes = shapes[1:]
        ends = [0, *itertools.accumulate(math.prod(s) for s in self.shapes)]
        self.node = [slice(a, b) for a, b in itertools.pairwise(ends)]
        self.total = ends[-1]
        self.slots: list[tuple[int, str, str, torch.Size]] = []
        for t, node in enumerate(self.network.nodes):
            if isinstance(node.operation, Parametric):
                self.slots += [
                    (t, slot.field, slot.name, slot.tensor.shape)
                    for slot in node.operation.slots() if slot.trainable
                ]  # fmt: skip
        ends = [0, *itertools.accumulate(math.prod(shape) for *_, shape in self.slots)]
        self.parameters = ends[-1]
        self._spans = [slice(a, b) for a, b in itertools.pairwise(ends)]
        self.use: dict[int, slice] = {}
        for (t, *_), span in zip(self.slots, self._spans, strict=True):
            self.use[t] = slice(self.use[t].start if t in self.use else span.start, span.stop)

    def by_use(self, w: Tensor) -> Tensor:
        """The weights ``(p,)`` of every use, from the shared ones."""
        names = self.network.parameter_names()
        values = dict(zip(names, self.function.split(w), strict=True))
        return torch.cat([values[name].reshape(-1) for _, _, name, _ in self.slots])

    def shift_of(self, t: int) -> slice:
        """Where the shift of node t stands behind the parameters."""
        span = self.node[t]
        return slice(self.parameters + span.start, self.parameters + span.stop)

    def _values(self, point: Tensor, x: Tensor) -> Tensor:
        """``(S,)`` from parameters and shifts ``(p + S,)`` and one row of data."""
        own: Mapping[tuple[int, str], Tensor] = {
            (t, field): point[span].reshape(shape)
            for (t, field, _, shape), span in zip(self.slots, self._spans, strict=True)
        }
        found = [x[None]]
        for t, node in enumerate(self.network.nodes):
            weight = bias = None
            if isinstance(node.operation, Parametric):
                stored = {s.field: s.tensor.to(torch.float64) for s in node.operation.slots()}
                weight = own.get((t, "weight"), stored["weight"])
                bias = own.get((t, "bias"), stored.get("bias"))
            value = applied_approx(node.operation, [found[e] for e in node.inputs], weight, bias)
            found.append(value + point[self.shift_of(t)].reshape(value.shape))
        return torch.cat([v.reshape(-1) for v in found[1:]])

    def at(self, w: Tensor, *, second: bool = True) -> Quantities:
        """Everything at the weights w."""
        point = torch.cat([self.by_use(w), torch.zeros(self.total, dtype=torch.float64)])
        root = self.drawn.multiplicity.to(torch.float64).sqrt()
        last, p = self.node[-1], self.parameters
        X = self.drawn.X
        values = vmap(lambda x: self._values(point, x))(X)
        slopes = vmap(lambda x: jacrev(lambda y: self._values(y, x))(point))(X)
        P = slopes[:, :, p:]
        E = torch.zeros(len(X), self.total, p, dtype=torch.float64)
        for t, span in self.use.items():
            E[:, self.node[t], span] = slopes[:, self.node[t], span]
        bent = torch.zeros(0)
        if second:
            one = jacfwd(jacrev(lambda y, x: self._values(y, x)[last]))
            bent = vmap(lambda x: one(point, x))(X) * root.reshape(-1, 1, 1, 1)
        return Quantities(values, P, P[:, last] * root.reshape(-1, 1, 1), E, bent)
