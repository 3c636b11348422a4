"""A graph of operations at w0: values, cotangents, the tangent kernel, tangents of parts of it.

Index 0 is the input, operation t has index t + 1. An index *moves* if a trained operation is at it
or before it; what does not move is a constant. `trained` operations have a trained array.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from flint import arb_mat
from numpy.typing import NDArray

from talweg_check._arrays import Balls, exact, from_matrix, full, matmul
from talweg_check._graph_grammar import Graph
from talweg_check._network import Network
from talweg_check._verdict import Incomplete
from talweg_check.kinds._kind import Kind, State, entries
from talweg_check.kinds._parametric import Parametric
from talweg_check.kinds.linear import Linear

BALLS = 5 * 10**7  # numbers that are held at once


def bounded(count: int) -> None:
    """Raises Incomplete where so many balls are too many."""
    if count > BALLS:
        raise Incomplete(f"this checker handles at most {BALLS} numbers at once")


@dataclass
class Term:
    """One summand of the kernel: a trained array with all its uses, or one linear layer."""

    uses: list[tuple[int, str]]
    layer: bool
    parts: dict[int, Any] = field(default_factory=dict)  # by first sample of a block


class GraphNetwork(Network):
    """The graph at w0 on the merged rows.

    Attributes, by index: `values` (n, *shape); `states`, what an operation remembers; `g`
    (n, k', *shape), cotangents of sqrt(m_i) F(x_i) along k' directions, where the index moves;
    `reached`: the indices that move with it (of trained ones), itself among them.
    """

    def __init__(
        self,
        graph: Graph,
        arrays: Mapping[str, NDArray[np.float64]],
        inputs: NDArray[np.float64],
        counts: NDArray[np.int64],
        frame: Balls = None,
    ) -> None:
        self.graph, self.samples = graph, len(inputs)
        self.kinds: list[Kind | None] = [None, *graph.kinds]
        self.reads: list[tuple[int, ...]] = [(), *graph.inputs]
        self.last = len(graph.kinds)
        self.outputs = graph.kinds[-1].shape[0]
        self.frame = exact(np.eye(self.outputs)) if frame is None else frame
        self.directions = len(self.frame)
        sizes = [entries(kind.shape) * (1 + self.directions) + kind.work for kind in graph.kinds]
        bounded(self.samples * sum(sizes))
        stored = self.stored = {name: exact(arrays[name]) for name in graph.trains}
        self.counts = exact(counts)
        self.root_counts = np.array([count.sqrt() for count in self.counts], dtype=object)

        self.values: list[Balls] = [exact(inputs).reshape(self.samples, *graph.input_shape)]
        self.states: list[State] = [()]
        for t, kind in enumerate(graph.kinds, 1):
            if isinstance(kind, Parametric):
                kind.load(stored)
            value, state = kind.run([self.values[e] for e in self.reads[t]])
            self.values.append(value)
            self.states.append(state)
        self.h = [self.values[-1]]
        self.at = [t for t in range(1, self.last + 1) if self._trains(t)]
        self.reached = {a: self._reached(a) for a in self.at}
        bounded(self.samples * len(self.at) * (self.last + 1))
        self.moves = set().union(*self.reached.values())
        self._pull_back()
        self.trained = self._terms()  # type: ignore[assignment]

    def kind(self, t: int) -> Kind:
        """The operation with an index."""
        found = self.kinds[t]
        if found is None:
            raise IndexError("index 0 is the input")
        return found

    def parametric(self, t: int) -> Parametric:
        """The operation with an index, which has weights."""
        found = self.kinds[t]
        if not isinstance(found, Parametric):
            raise TypeError("the operation has no weights")
        return found

    def _trains(self, t: int) -> bool:
        kind = self.kind(t)
        return isinstance(kind, Parametric) and bool(kind.trained)

    def _reached(self, a: int) -> set[int]:
        found = {a}
        for t in range(a + 1, self.last + 1):
            if any(e in found for e in self.reads[t]):
                found.add(t)
        return found

    def _pull_back(self) -> None:
        """g, from the output backwards."""
        n, shape = self.samples, self.kind(self.last).shape
        start = self.root_counts[:, None, None] * self.frame[None]
        self.g: dict[int, Balls] = {self.last: start.reshape(n, self.directions, *shape)}  # type: ignore[assignment]
        for t in range(self.last, 0, -1):
            for slot, e in enumerate(self.reads[t]):
                if e in self.moves and t in self.g:
                    share = self.kind(t).pull(self.states[t], slot, self.g[t])
                    self.g[e] = self.g[e] + share if e in self.g else share

    def _terms(self) -> list[Term]:
        """Layers on flat features whose arrays nobody else uses; else array by array."""
        uses: dict[str, list[tuple[int, str]]] = {}
        for t in self.at:
            for key in self.parametric(t).trained:
                uses.setdefault(self.parametric(t).names[key], []).append((t, key))
        terms, arrays = [], dict(uses)
        for t in self.at:
            kind = self.parametric(t)
            names = [kind.names[key] for key in kind.trained]
            alone = all(len(uses[name]) == 1 for name in names)
            if isinstance(kind, Linear) and len(kind.shape) == 1 and alone:
                terms.append(Term([(t, "")], True))
                for name in names:
                    del arrays[name]
        for (t, key), *_ in arrays.values():
            size = entries(self.stored[self.parametric(t).names[key]].shape)
            bounded(self.samples * self.directions * size)
        return terms + [Term(found, False) for found in arrays.values()]

    def _kernel_part(self, c: Any, one: slice, two: slice) -> Balls:
        """What a term adds to the kernel between two groups of samples, (s, k', t, k')."""
        left, right = self._part(c, one), self._part(c, two)
        if not c.layer:
            product = from_matrix(left * right.transpose())
            return product.reshape(-1, self.directions, product.shape[1] // self.directions,
                                   self.directions)  # fmt: skip
        (g, rows), (other_g, other_rows) = left, right
        product = matmul(g, other_g.T).reshape(len(rows), self.directions, -1, self.directions)
        return product * matmul(rows, other_rows.T)[:, None, :, None]

    def _part(self, c: Term, group: slice) -> Any:
        """The cotangents and rows of a layer, or the Jacobian by one array, of some samples."""
        if group.start not in c.parts:
            if c.layer:
                ((t, _),) = c.uses
                g, x = self.g[t][group], self.values[self.reads[t][0]][group]
                rows = self.parametric(t).rows(x).rows[:, 0, 0]
                c.parts[group.start] = g.reshape(-1, g.shape[2]), rows
            else:
                shares = [
                    self.parametric(t).gradient(
                        key, self.values[self.reads[t][0]][group], self.g[t][group]
                    )
                    for t, key in c.uses
                ]
                total = sum(shares[1:], shares[0])
                c.parts[group.start] = arb_mat(total.reshape(-1, total.shape[2]).tolist())
        return c.parts[group.start]

    def tangents(
        self, a: int, part: slice, kept: Sequence[int], seed: Balls = None
    ) -> dict[int, Balls]:
        """P_{t,a} x for some samples and the indices t to keep, (samples, columns, *shape of t).

        The seed are the columns x, (samples, columns, *shape of a); None: those of the identity.
        """
        if seed is None:
            shape = self.kind(a).shape
            count, size = len(self.values[0][part]), entries(shape)
            unit = exact(np.eye(size)).reshape(1, size, *shape)
            seed = np.broadcast_to(unit, (count, size, *shape))
        found = {a: seed}
        final = max(kept, default=a)
        readers = {e: t for t in sorted(self.reached[a]) for e in self.reads[t]}  # the last ones
        for t in sorted(self.reached[a] - {a}):
            if t > final:
                break
            state = tuple(array[part] for array in self.states[t])
            shares = [
                self.kind(t).push(state, slot, found[e])
                for slot, e in enumerate(self.reads[t])
                if e in found
            ]
            found[t] = sum(shares[1:], shares[0])
            for e in set(self.reads[t]):
                if e in found and readers[e] == t and e not in kept:
                    del found[e]
        return {t: found[t] for t in kept if t in found}


def zeros(count: int) -> Balls:
    """One zero for each sample."""
    return full(count, 0)
