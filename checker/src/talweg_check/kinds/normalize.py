"""Rows that are centred and divided by their deviation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from flint import arb

from talweg_check._arrays import Balls, largest, lower, norms_upper, root_upper
from talweg_check._file import number
from talweg_check._graph_algebra import operator_norms_upper
from talweg_check._verdict import Incomplete, Invalid
from talweg_check.kinds._kind import Curved, Drift, Shape, State, entries, whole

_root: Any = np.frompyfunc(arb.sqrt, 1, 1)
_lower: Any = lower
_least: Any = np.frompyfunc(arb.min, 2, 1)


class Normalize(Curved):
    """y = (x - mean) / sigma, sigma^2 = |x - mean|^2 / d + epsilon, for rows of d entries.

    The state is y, sigma (n, rows, 1) and the least sigma of each sample. For centred x, x', g,
    D x = (x - y <y, x> / d) / sigma, and Q = -<g, B> / (sigma^2 d) with
    B = x <y, x'> + x' <y, x> + y (<x, x'> - 3 <y, x> <y, x'> / d), of |B| <= 4 sqrt d |x| |x'|.
    """

    keys = ("axes", "epsilon")

    def __init__(
        self, item: Mapping[str, Any], shapes: Sequence[Shape], arrays: Mapping[str, Shape]
    ) -> None:
        super().__init__(item, shapes, arrays)
        self.axes = whole(item, "axes", 1)
        self.epsilon = number(item["epsilon"], "'epsilon'")
        if self.axes > len(shapes[0]):
            raise Invalid(f"'axes' is {self.axes}, the input has {len(shapes[0])}")
        if not self.epsilon > 0:
            raise Invalid("'epsilon' must be positive")
        self.shape = shapes[0]
        self.count = entries(self.shape[-self.axes :])

    def words(self) -> str:
        """With the constants."""
        return f"normalize(axes {self.axes}, epsilon {self.epsilon!r})"

    def _rows(self, x: Balls, lead: int) -> Balls:
        """(..., rows, d)."""
        return x.reshape(*x.shape[:lead], -1, self.count)

    def _centred(self, x: Balls) -> Balls:
        return x - x.sum(axis=-1, keepdims=True) / self.count

    def run(self, values: Sequence[Balls]) -> tuple[Balls, State]:
        """y and the deviations."""
        x = self._centred(self._rows(values[0], 1))
        sigma = _root((x * x).sum(axis=-1, keepdims=True) / self.count + arb(self.epsilon))
        least = _lower(_least.reduce(sigma[:, :, 0], axis=1))
        if not all(bound > 0 for bound in least):
            raise Incomplete("a deviation is not shown to be positive")
        y = x / sigma
        return y.reshape(values[0].shape), (y, sigma, least)

    def push(self, state: State, slot: int, x: Balls) -> Balls:
        """D is symmetric."""
        y, sigma = state[0][:, None], state[1][:, None]
        centred = self._centred(self._rows(x, 2))
        along = (y * centred).sum(axis=-1, keepdims=True) / self.count
        return ((centred - y * along) / sigma).reshape(x.shape)

    def pull(self, state: State, slot: int, g: Balls) -> Balls:
        """D is symmetric."""
        return self.push(state, slot, g)

    def stretches(self, state: State) -> list[Balls]:
        """1 / sigma, for |y|^2 <= d."""
        return [1 / state[2]]

    def drift(self, state: State, etas: Sequence[Balls], radius: arb) -> Drift:
        """sigma falls by at most eta / sqrt(d); its bound from below is passed on, with eta."""
        (eta,) = etas
        root = arb(self.count).sqrt()
        least = _lower(state[2] - eta / root)
        if not all(bound > 0 for bound in least):
            raise Incomplete("a deviation may vanish on the ball")
        return eta / least, [4 * eta / (least * least * root)], np.stack([least, eta], axis=1)

    def form(self, state: State, g: Balls) -> State:
        """kappa = (|G C| |y| + 3 |G y|) / (sigma^2 d), and the largest |G| of a row."""
        y, sigma, _ = state
        rows = np.moveaxis(self._rows(g, 2), 1, 2)  # (n, rows, k, d)
        along = norms_upper((self._centred(rows) * y[:, :, None]).sum(axis=-1), 2)
        spread = operator_norms_upper(self._centred(rows)) * norms_upper(y, 2)
        kappa = (spread + 3 * along) / (sigma[:, :, 0] * sigma[:, :, 0] * self.count)
        return root_upper(kappa), largest(operator_norms_upper(rows), axis=1)

    def root(self, state: State, form: State, tau: Balls, tangents: Sequence[Balls]) -> Balls:
        """sqrt(kappa) (x - mean)."""
        (x,) = tangents
        rows = self._centred(self._rows(x, 2)) * form[0][:, None, :, None]
        return rows.reshape(*x.shape[:2], -1)

    def bend(self, state: State, g: Balls, tangents: Sequence[Balls]) -> list[Balls]:
        """-(g <y, x> + y (<g, x> - 3 <g, y> <y, x> / d) + x <g, y>) / (sigma^2 d), centred."""
        y, sigma = state[0][:, None, None], state[1][:, None, None]
        g = (self._centred(self._rows(g, 2)))[:, :, None] / (-self.count * sigma * sigma)
        x = self._centred(self._rows(tangents[0], 2))[:, None]
        along_g, along_x, both = (
            (one * two).sum(axis=-1, keepdims=True) for one, two in ((g, y), (y, x), (g, x))
        )
        result = g * along_x + y * (both - 3 * along_g * along_x / self.count) + x * along_g
        return [result.reshape(*result.shape[:3], *self.shape)]

    def size(self, state: State, form: State) -> Balls:
        """4 |G| / (sigma^2 sqrt d)."""
        return 4 * form[1] / (state[2] * state[2] * arb(self.count).sqrt())

    def growth(self, state: State, form: State, gamma: Balls, ball: Balls) -> Balls:
        """Through G, and through x by the third derivative; sigma as it may be on the ball."""
        least, eta = ball[:, 0], ball[:, 1]
        through = 4 * gamma / (least * least * arb(self.count).sqrt())
        return through + 18 * (form[1] + gamma) * eta / (least * least * least * self.count)
