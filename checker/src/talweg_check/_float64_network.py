"""A chain at w0 in binary64: values, derivatives, cotangents, each within a radius.

The notation is that of `_network`: z_l = W_l h_{l-1} + b_l, h_l = psi_l(z_l), lists indexed by
stage; G_l and G^h_l are the derivatives of sqrt(m_i) F(x_i) with respect to z_l and h_l.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from flint import arb
from numpy.typing import NDArray

from talweg_check._float64 import (
    ETA,
    Floats,
    MidRad,
    U,
    above,
    gamma,
    in_parallel,
    matmul,
    norm_above,
    norms_above,
)  # fmt: skip
from talweg_check._float64_functions import Tabulated, chain_at
from talweg_check._float64_norms import operator_norms_above


@dataclass
class Stage64:
    """One linear layer and the entrywise functions behind it (stage 0: functions only)."""

    weight: MidRad  # (d_out, d_in)
    bias: MidRad  # (d_out,)
    trains_weight: bool
    trains_bias: bool
    functions: list[Tabulated]
    curved: bool = False


class Network64:
    """The chain at w0 on the merged rows.

    Attributes, per stage: `z`, `h`, `d1` = psi'(z), each (n, d_l); `column_norms` >= |G^h_l e_j|,
    (n, d_l); `g`, (n k, d_l), of trained stages only; `g_norm` >= |G_l|, (n,),
    of the stages from the second on.
    """

    def __init__(
        self, stages: Sequence[Stage64], inputs: Floats, counts: NDArray[np.int64]
    ) -> None:
        self.stages = stages
        self.samples, self.depth = len(inputs), len(stages) - 1
        self.z = [MidRad(inputs)]
        self.h = [chain_at(stages[0].functions, self.z[0], 0)[0]]
        self.d1 = [MidRad(inputs)]
        for stage in stages[1:]:
            product = matmul(self.h[-1], MidRad(stage.weight.mid.T))
            z = product.plus(stage.bias)
            value, slope = chain_at(stage.functions, z, 1)
            for values, new in zip((self.z, self.h, self.d1), (z, value, slope), strict=True):
                values.append(new)
        self.outputs = self.h[-1].mid.shape[1]
        self.counts = counts.astype(np.float64)
        self.trained = [
            c for c in range(1, self.depth + 1) if stages[c].trains_weight or stages[c].trains_bias
        ]
        self._cotangents()
        # Norms of h for the kernel and the ball: of midpoints, of radii, of both.
        self.sizes = cache(lambda c: norms_above(self.h[c].magnitude(), 1))

    def _cotangents(self) -> None:
        n, k = self.samples, self.outputs
        root = np.sqrt(self.counts)
        # sqrt(14) is no float, although the square of the nearest one is rounded to 14.
        square = (root == np.rint(root)) & (root * root == self.counts)
        inexact = np.where(square, 0.0, above(2.0**-52 * root))
        gh = MidRad(np.eye(k)[None] * root[:, None, None], np.eye(k)[None] * inexact[:, None, None])
        empty = np.empty(0)
        depth = self.depth + 1
        self.g: list[MidRad | None] = [None] * depth
        self.column_norms = [empty] * depth
        self.g_norm = [empty] * depth
        for c in range(self.depth, 0, -1):
            self.column_norms[c] = norms_above(gh.magnitude(), 1)
            d1 = self.d1[c]
            g = gh.times(MidRad(d1.mid[:, None, :], d1.radii[:, None, :]))
            if c > 1:
                self.g_norm[c] = operator_norms_above(g)
            flat = MidRad(g.mid.reshape(n * k, -1), g.radii.reshape(n * k, -1))
            if c in self.trained:
                self.g[c] = flat
            if c > 1:
                before = matmul(flat, self.stages[c].weight)
                shape = n, k, -1
                gh = MidRad(before.mid.reshape(shape), before.radii.reshape(shape))

    def squared_residual(self, targets: Floats) -> tuple[arb, arb]:
        """Bounds of |F(w0) - y|^2 over the rows as stored, from below and from above."""
        residual = self.h[-1].plus(MidRad(-targets))
        weights = np.sqrt(self.counts)[:, None]  # within 2^-52 of itself
        high = norm_above(above(weights * residual.magnitude()))
        low = np.maximum(np.nextafter(np.abs(residual.mid) - residual.rad, -np.inf), 0.0)
        # Sums of squares to nearest, then less than what their rounding may have added.
        sound = float(np.sqrt(np.square(weights * low).sum())) * (1 - 2 * gamma(low.size + 64))
        return arb(sound if sound > 2.0**-400 else 0.0) ** 2, arb(high) ** 2

    def overlaps(self, c: int) -> Floats:
        """<h, h'>^2 from above, h a row of the extended inputs of stage c at w0."""
        stage, h, n = self.stages[c], self.h[c - 1], self.samples
        if not stage.trains_weight:
            return np.ones((n, n))
        size = self.sizes(c - 1)
        thick = np.zeros(n) if h.is_exact else norms_above(h.radii, 1)
        width = h.mid.shape[1]
        reach = above(thick + gamma(width + 2) * size)  # what radii and rounding may change
        result = np.empty((n, n))

        def fill(start: int) -> None:
            one = np.s_[start : start + 256]
            inner = np.abs(h.mid[one] @ h.mid.T + float(stage.trains_bias))
            off = np.outer(reach[one], size) + np.outer(size[one], thick) + 2 * width * ETA
            total = inner * (1 + 4 * U) + off
            result[one] = above(total * total)

        in_parallel(fill, range(0, n, 256))
        return result

    def extended(self, c: int) -> MidRad:
        """The extended inputs of stage c at w0, (n, 0 to d_{c-1} + 1)."""
        stage, h = self.stages[c], self.h[c - 1]
        wide = h.mid.shape[1] * stage.trains_weight
        ones = np.ones((self.samples, int(stage.trains_bias)))
        mid = np.concatenate([h.mid[:, :wide], ones], axis=1)
        if h.is_exact:
            return MidRad(mid)
        return MidRad(mid, np.concatenate([h.radii[:, :wide], 0 * ones], axis=1))

    def extended_norms(self, c: int) -> Floats:
        """Above the norms of the extended inputs of stage c at w0, (n,)."""
        stage = self.stages[c]
        size = self.sizes(c - 1) * stage.trains_weight
        return above(np.sqrt(size * size + float(stage.trains_bias)))


def stages_of(
    operations: Sequence[Mapping[str, Any]], values: Mapping[str, Floats]
) -> list[Stage64]:
    """The stages of a chain of operations."""
    nothing = MidRad(np.empty(0))
    stages = [Stage64(nothing, nothing, False, False, [])]
    for operation in operations:
        if operation["kind"] == "linear":
            weight = values[operation["weight"]]
            named = operation["bias"] is not None
            bias = values[operation["bias"]] if named else np.zeros(len(weight))
            trains = operation["weight_trainable"], operation["bias_trainable"]
            stages.append(Stage64(MidRad(weight), MidRad(bias), *trains, []))
        else:
            stages[-1].functions.append(Tabulated(operation))
            linear = operation["kind"] == "scale" or operation["function"] == "identity"
            stages[-1].curved |= not linear and len(stages) > 1  # psi_0 is constant
    return stages
