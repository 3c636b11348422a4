"""The softmax along the last axis."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from flint import arb

from talweg_check._arrays import Balls, largest, norms_upper, root_upper
from talweg_check._graph_algebra import operator_norms_upper
from talweg_check._verdict import Invalid
from talweg_check.kinds._kind import Curved, Drift, Shape, State

_exp: Any = np.frompyfunc(arb.exp, 1, 1)
_mid = np.frompyfunc(arb.mid, 1, 1)

# The largest |g_j - g'| is at most sqrt(2) |g|, the variance of x under s at most |x|^2 / 2.
SECOND = arb(7072) / 10000  # from above
# E[gxyz] <= |g| |x| |y| |z| for centred variables, the three products of covariances 1/4 each.
THIRD = arb(7) / 4


class Softmax(Curved):
    """s = e^x / sum e^x, row by row; D x = s (x - <s, x>).

    Q = sum_j s_j (g_j - <s, g>) (x_j - <s, x>) (x'_j - <s, x'>).
    """

    def __init__(
        self, item: Mapping[str, Any], shapes: Sequence[Shape], arrays: Mapping[str, Shape]
    ) -> None:
        super().__init__(item, shapes, arrays)
        if not shapes[0]:
            raise Invalid("a softmax needs an axis")
        self.shape = shapes[0]

    def words(self) -> str:
        """Without more."""
        return "softmax"

    def run(self, values: Sequence[Balls]) -> tuple[Balls, State]:
        """s; the midpoint of the largest entry is taken off first, which changes nothing."""
        x = values[0]
        powers = _exp(x - _mid(x.max(axis=-1, keepdims=True)))
        s = powers / powers.sum(axis=-1, keepdims=True)
        return s, (s,)

    def push(self, state: State, slot: int, x: Balls) -> Balls:
        """D is symmetric."""
        s = state[0][:, None]
        return s * self._centred(s, x)

    def pull(self, state: State, slot: int, g: Balls) -> Balls:
        """D is symmetric."""
        return self.push(state, slot, g)

    def _centred(self, s: Balls, x: Balls) -> Balls:
        return x - (s * x).sum(axis=-1, keepdims=True)

    def stretches(self, state: State) -> list[Balls]:
        """1/2."""
        return [arb(1) / 2]

    def drift(self, state: State, etas: Sequence[Balls], radius: arb) -> Drift:
        """By the second derivative."""
        (eta,) = etas
        return eta / 2, [SECOND * eta], eta

    def form(self, state: State, g: Balls) -> State:
        """sqrt(s_j |G (e_j - s)|), and the largest |G| of a row."""
        s = state[0]
        spread = norms_upper(self._centred(s[:, None], g), 1)
        rows = np.moveaxis(g.reshape(*g.shape[:2], -1, s.shape[-1]), 1, 2)
        norms = largest(operator_norms_upper(rows), axis=1)
        return root_upper(s * spread), norms

    def root(self, state: State, form: State, tau: Balls, tangents: Sequence[Balls]) -> Balls:
        """sqrt(s_j |G (e_j - s)|) (x_j - <s, x>)."""
        (x,) = tangents
        centred = self._centred(state[0][:, None], x)
        return (form[0][:, None] * centred).reshape(*x.shape[:2], -1)

    def bend(self, state: State, g: Balls, tangents: Sequence[Balls]) -> list[Balls]:
        """w - s sum w, w_j = s_j (g_j - <s, g>) (x_j - <s, x>)."""
        s = state[0][:, None]
        weights = (s * self._centred(s, g))[:, :, None] * self._centred(s, tangents[0])[:, None]
        return [weights - s[:, None] * weights.sum(axis=-1, keepdims=True)]

    def size(self, state: State, form: State) -> Balls:
        """0.7072 |G|."""
        return SECOND * form[1]

    def growth(self, state: State, form: State, gamma: Balls, ball: Balls) -> Balls:
        """Through G, and through x by the third derivative."""
        return SECOND * gamma + THIRD * (form[1] + gamma) * ball
