"""Products of two values, and what all of them have in common."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from flint import arb

from talweg_check._arrays import Balls, full, largest, magnitude, norms_upper, root_upper
from talweg_check._verdict import Invalid
from talweg_check.kinds._kind import Curved, Drift, Shape, State


class Bilinear(Curved):
    """x y, bilinear: D_x is given by y, D_y by x; the state is (x, y).

    |Q(u)[x, x']| <= sum_j c_j (|x_j| |y'_j| + |x'_j| |y_j|), j entries or matrices, c_j the first
    array of the form; hence the root (sqrt(tau c_j) x_j, sqrt(c_j / tau) y_j) for any tau > 0.
    """

    slots = 2

    def drift(self, state: State, etas: Sequence[Balls], radius: arb) -> Drift:
        """D_x moves as y does, and the other way round."""
        left, right = self.stretches(state)
        one, two = etas
        total = left * one + right * two + one * two
        return total, [two, one], total

    def root(self, state: State, form: State, tau: Balls, tangents: Sequence[Balls]) -> Balls:
        """Both parts, one behind the other."""
        root = root_upper(tau)
        columns = next(x for x in tangents if x is not None).shape[1]
        parts = [full((len(root), columns, 0), 0)]
        for x, factor in zip(tangents, (root, 1 / root), strict=True):
            if x is not None:
                flat = x.reshape(len(root), columns, -1)
                parts.append(flat * (self._weights(form, flat.shape[2]) * factor[:, None])[:, None])
        return np.concatenate(parts, axis=2)

    def _weights(self, form: State, entries: int) -> Balls:
        """sqrt(c_j) for all entries of one factor, (n, entries)."""
        root = root_upper(form[0])
        return np.repeat(root, entries // root.shape[1], axis=1)

    def size(self, state: State, form: State) -> Balls:
        """max c_j."""
        return largest(form[0], axis=1)

    def bend(self, state: State, g: Balls, tangents: Sequence[Balls]) -> list[Balls]:
        """For x: G with y', for y: G with x'."""
        found: list[Balls] = []
        for slot, x in enumerate(reversed(tangents)):
            rows = [] if x is None else [self.paired(g[:, o], x, slot) for o in range(g.shape[1])]
            found.append(np.stack(rows, axis=1) if rows else None)
        return found

    def paired(self, g: Balls, x: Balls, slot: int) -> Balls:
        """The cotangents of one slot where the other moves by x, for one row of G."""
        raise NotImplementedError

    def growth(self, state: State, form: State, gamma: Balls, ball: Balls) -> Balls:
        """Q is linear in G."""
        return gamma


class Product(Bilinear):
    """x y, entry by entry; c_j = |G e_j|."""

    def __init__(
        self, item: Mapping[str, Any], shapes: Sequence[Shape], arrays: Mapping[str, Shape]
    ) -> None:
        super().__init__(item, shapes, arrays)
        if shapes[0] != shapes[1]:
            raise Invalid("a product takes two values of one shape")
        self.shape = shapes[0]

    def words(self) -> str:
        """Without more."""
        return "product"

    def run(self, values: Sequence[Balls]) -> tuple[Balls, State]:
        """The product."""
        return values[0] * values[1], tuple(values)

    def push(self, state: State, slot: int, x: Balls) -> Balls:
        """Times the other factor."""
        return state[1 - slot][:, None] * x

    def pull(self, state: State, slot: int, g: Balls) -> Balls:
        """Times the other factor."""
        return state[1 - slot][:, None] * g

    def stretches(self, state: State) -> list[Balls]:
        """The largest entry of the other factor."""
        sizes = [largest(magnitude(v.reshape(len(v), -1)), axis=1) for v in state]
        return sizes[::-1]

    def form(self, state: State, g: Balls) -> State:
        """|G e_j|."""
        return (norms_upper(g.reshape(*g.shape[:2], -1), 1),)

    def paired(self, g: Balls, x: Balls, slot: int) -> Balls:
        """g x."""
        return g[:, None] * x
