"""Operations with stored weights: v[g, :, p] = W_g q_{g,p}(x) + b_g.

Groups g, positions p, and patches q of c entries of the input (zero outside it); W_g has o rows.
Each entry of the input is in at most `overlap` patches.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from flint import arb

from talweg_check._arrays import Balls, full, largest, matmul
from talweg_check._graph_algebra import factor, grams, unfolded_norms_upper
from talweg_check.kinds._kind import Drift, Kind, State
from talweg_check.kinds._rows import Rows

STATES = {True: "trained", False: "frozen"}


class Parametric(Kind):
    """The grammar sets names, training and sharing by key, the network the weights."""

    keys: tuple[str, ...] = ("weight", "bias", "weight_trainable", "bias_trainable")
    stored: tuple[str, ...] = ("weight", "bias")
    overlap = 1  # m^2

    def assign(
        self, names: Mapping[str, str], trains: Mapping[str, bool], shared: Sequence[str]
    ) -> None:
        """Array names, training flags (absent keys: no array), and the keys used before."""
        self.names, self.trains, self.shared = dict(names), dict(trains), set(shared)

    def load(self, arrays: Mapping[str, Balls]) -> None:
        """The weights, by name."""
        self.weight = arrays[self.names["weight"]]
        self.bias = arrays[self.names["bias"]] if "bias" in self.names else None

    @property
    def trained(self) -> list[str]:
        """The keys of the trained arrays."""
        return [key for key in self.stored if self.trains.get(key)]

    def training(self, *keys: str) -> str:
        """What the sentence says of the training of the arrays."""
        said = []
        for key in keys:
            state = STATES[self.trains[key]] if key in self.names else "none"
            shared = ", shared" if state == "trained" and key in self.shared else ""
            said.append(f"{key} {state}{shared}")
        return ", ".join(said)

    def patches(self, x: Balls) -> Balls:
        """q for values (m, *shape of the input): (m, groups, positions, c)."""
        raise NotImplementedError

    def unfolded(self, g: Balls) -> Balls:
        """Cotangents (n, k, *shape) as (n, k, groups, o, positions)."""
        raise NotImplementedError

    def stretch(self) -> arb:
        """The norm of x -> (W_g q_{g,p}(x))."""
        raise NotImplementedError

    def stretches(self, state: State) -> list[Balls]:
        """The same for every sample; computed once."""
        if not hasattr(self, "_stretch"):
            self._stretch = self.stretch()
        return [self._stretch]

    def drift(self, state: State, etas: Sequence[Balls], radius: arb) -> Drift:
        """W_0 q(change of x), and the change of (W, b) times the rows, which move by m eta."""
        (eta,) = etas
        still = all(entry == 0 for entry in eta)  # then the norm of W_0 is not needed
        total = eta if still else self.stretches(state)[0] * eta
        slack = self.slack
        if self.trained:
            total = total + radius * (state[0] + slack * eta)
        return total, [0 * eta + radius * slack], total

    @property
    def slack(self) -> arb:
        """t^W m: the rows of a sample move by at most so much times the change of the input."""
        return arb(self.overlap).sqrt() * int(self.trains["weight"])

    def rows(self, x: Balls) -> Rows:
        """Norms of what the trained parameters multiply."""
        return Rows(self.extended(x))

    def extended(self, x: Balls) -> Balls:
        """What the trained parameters multiply, the patches and 1: (m, groups, positions, c)."""
        q = self.patches(x)
        parts = [q] if self.trains["weight"] else []
        if self.trains.get("bias"):
            parts.append(full((*q.shape[:3], 1), 1))
        return np.concatenate(parts, axis=3)

    def remembered(self, x: Balls) -> State:
        """The norms of the rows of each sample, where anything trains."""
        return (self.rows(x).each(),) if self.trained else ()

    def gradient(self, key: str, x: Balls, g: Balls) -> Balls:
        """The derivatives of the outputs by one array, (n, k, entries)."""
        cotangents = self.unfolded(g)
        n, k, groups, o, _ = cotangents.shape
        if key == "bias":
            return cotangents.sum(axis=4).reshape(n, k, -1)
        q = self.patches(x)
        result = np.empty((n, k, groups, o, q.shape[3]), dtype=object)
        for i, h in np.ndindex(n, groups):
            flat = cotangents[i, :, h].reshape(k * o, -1)
            result[i, :, h] = matmul(flat, q[i, h]).reshape(k, o, -1)
        return result.reshape(n, k, -1)

    def sensitivities(self, g: Balls) -> Balls:
        """alpha: bounds of |A_g(u)| over groups and unit u, (n,)."""
        blocks = np.moveaxis(self.unfolded(g), 2, 1)
        return largest(unfolded_norms_upper(blocks), axis=1)

    def coupling(self, g: Balls) -> tuple[Balls, Balls] | None:
        """L (n, groups, r, positions) and d (n,) with Gamma_g <= L^T L + d; None: no use.

        Gamma_{g,pp'} = sum_{o,j} G[o,g,j,p] G[o,g,j,p']. With one position it is |G_g|_F^2, and
        alpha, an operator norm, takes its place.
        """
        blocks = np.moveaxis(self.unfolded(g), 2, 1)  # (n, groups, k, o, P)
        n, groups, _, _, positions = blocks.shape
        flat = blocks.reshape(n, groups, -1, positions)
        if positions == 1:
            return None
        if flat.shape[2] <= positions:
            return flat, full(n, 0)
        square = grams(np.swapaxes(flat, 2, 3))
        root, missed = np.empty_like(square), full((n, groups), 0)
        for place in np.ndindex(n, groups):
            found, missed[place] = factor(square[place])
            root[place] = found.T
        return root, largest(missed, axis=1)
