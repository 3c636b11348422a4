"""Entrywise functions, and exact factors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from flint import arb

from talweg_check._activations import ROWS, derivatives
from talweg_check._arrays import Balls, largest, magnitude, norms_upper, root_upper
from talweg_check._catalogue import function
from talweg_check._entrywise import entrywise, said
from talweg_check.kinds._kind import Curved, Drift, Kind, Shape, State

_around = np.frompyfunc(lambda centre, radius: centre + arb(0, radius), 2, 1)


def _most(numbers: Balls) -> Balls:
    """The largest entry of each sample, (n,)."""
    return largest(numbers.reshape(len(numbers), -1), axis=1)


class Elementwise(Curved):
    """phi(x) entrywise; s_j = |phi''(z_j)| |G e_j|, and Q = sum_j g_j phi''(z_j) x_j x'_j."""

    keys = ("function", "parameters")

    def __init__(
        self, item: Mapping[str, Any], shapes: Sequence[Shape], arrays: Mapping[str, Shape]
    ) -> None:
        super().__init__(item, shapes, arrays)
        self.item = entrywise(item, "it")
        self.shape = shapes[0]
        self.curved = self.item["function"] != "identity"

    def words(self) -> str:
        """As in a chain."""
        return said(self.item)

    def run(self, values: Sequence[Balls]) -> tuple[Balls, State]:
        """phi, and z, phi'(z), phi''(z)."""
        self.chain = [function(self.item)]
        value, first, second = derivatives(self.chain, values[0])
        return value, (values[0], first, second)

    def push(self, state: State, slot: int, x: Balls) -> Balls:
        """phi' x."""
        return state[1][:, None] * x

    def pull(self, state: State, slot: int, g: Balls) -> Balls:
        """g phi'."""
        return state[1][:, None] * g

    def stretches(self, state: State) -> list[Balls]:
        """max |phi'|."""
        return [_most(magnitude(state[1]))]

    def drift(self, state: State, etas: Sequence[Balls], radius: arb) -> Drift:
        """By the ranges of phi' and phi'' over z +- eta; how far phi'' gets is passed on."""
        (z, _, bend), (eta,) = state, etas
        wide = _around(z, eta.reshape(-1, *[1] * (z.ndim - 1)))
        parts = [self.chain[0].ranges(wide[i : i + ROWS]) for i in range(0, len(wide), ROWS)]
        first, second = (np.concatenate(ranges) for ranges in zip(*parts, strict=True))
        most = _most(magnitude(first)) * eta, [_most(magnitude(second)) * eta]
        return *most, magnitude(second - bend)

    def form(self, state: State, g: Balls) -> State:
        """|G e_j| and s_j."""
        columns = norms_upper(g, 1)
        return columns, magnitude(state[2]) * columns

    def root(self, state: State, form: State, tau: Balls, tangents: Sequence[Balls]) -> Balls:
        """sqrt(s_j) x_j."""
        (x,) = tangents
        return (root_upper(form[1])[:, None] * x).reshape(*x.shape[:2], -1)

    def bend(self, state: State, g: Balls, tangents: Sequence[Balls]) -> list[Balls]:
        """g phi'' x."""
        (x,) = tangents
        return [(state[2][:, None] * g)[:, :, None] * x[:, None]]

    def size(self, state: State, form: State) -> Balls:
        """max s_j."""
        return _most(form[1])

    def growth(self, state: State, form: State, gamma: Balls, ball: Balls) -> Balls:
        """max_j (gamma |phi''(z_j)| + (|G e_j| + gamma) sup |phi'' - phi''(z_j)|).

        Of the forms with their signs, which may cancel at w0: |phi''| need not grow for them to.
        """
        turned = gamma.reshape(-1, *[1] * (ball.ndim - 1))
        return _most(magnitude(state[2]) * turned + (form[0] + turned) * ball)


class Scale(Kind):
    """c x for an exact rational c."""

    keys = ("numerator", "denominator")

    def __init__(
        self, item: Mapping[str, Any], shapes: Sequence[Shape], arrays: Mapping[str, Shape]
    ) -> None:
        super().__init__(item, shapes, arrays)
        self.item = entrywise(item, "it")
        self.shape = shapes[0]

    def words(self) -> str:
        """As in a chain."""
        return said(self.item)

    def _times(self, x: Balls) -> Balls:
        return x * (arb(self.item["numerator"]) / arb(self.item["denominator"]))

    def run(self, values: Sequence[Balls]) -> tuple[Balls, State]:
        """The multiple."""
        return self._times(values[0]), ()

    def push(self, state: State, slot: int, x: Balls) -> Balls:
        """The multiple."""
        return self._times(x)

    def pull(self, state: State, slot: int, g: Balls) -> Balls:
        """The multiple."""
        return self._times(g)

    def stretches(self, state: State) -> list[Balls]:
        """|c|."""
        return [abs(arb(self.item["numerator"]) / arb(self.item["denominator"]))]
