"""B3 in binary64: a Lipschitz constant beta(R) of the scaled Jacobian on the ball B(w0, R).

The page, the names and the order are those of `_lipschitz`; every number is a float that is not
below the quantity. One trained layer, or two next to one another, with nothing curved behind the
first, are bounded unit by unit; other chains are not spoken of here.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from talweg_check._float64 import Floats, MidRad, above
from talweg_check._float64_functions import chain_bounds
from talweg_check._float64_network import Network64
from talweg_check._float64_norms import operator_norms_above
from talweg_check._float64_units import Curvatures, Slopes, WeightedRows, largest_above
from talweg_check._verdict import Incomplete


class JacobianLipschitz64:
    """beta(R) for one network; what belongs to w0 is computed once and kept."""

    def __init__(self, net: Network64) -> None:
        self.net, self.stages = net, net.stages
        self.weight_norm = cache(
            lambda c: float(operator_norms_above(MidRad(self.stages[c].weight.mid[None]))[0])
        )
        self.theta_at_start = cache(lambda c: net.overlaps(c, np.zeros(net.samples)))
        self._last: tuple[Slopes | None, Floats] | None = None  # of the radius before
        self.first, *rest = net.trained
        if any(stage.curved for stage in self.stages[self.first + 1 :]) or rest not in (
            [], [self.first + 1],
        ):  # fmt: skip
            raise Incomplete("in binary64 only networks with one hidden layer are bounded")
        self.pair = bool(rest) and self.stages[rest[0]].trains_weight

    def upper(self, radius: float) -> float:
        """A number not below beta(radius); inf or nan where nothing is shown."""
        a = self.first
        if not (self.stages[a].curved or self.pair):
            return 0.0  # F is affine in what is trained
        at = _AtRadius(self, radius)
        change = at.eta[a - 1] * self.stages[a].trains_weight
        rows = WeightedRows(self.net.extended(a), change)
        moving = bool(change.any())
        theta = self.net.overlaps(a, change) if moving else self.theta_at_start(a)
        before, x = (None, None) if self._last is None else self._last
        bends = Curvatures(at.s[a], at.hat[a], theta, rows, x)
        slopes = None
        if self.pair:
            weights = above(at.g[a + 1][:, None] * at.d1[a])
            slopes = Slopes(weights, rows, None if moving else before)
        self._last = slopes, bends.x
        if slopes is None:
            return largest_above([bends], lambda t: t)
        return largest_above(
            [slopes, bends], lambda s, t: above((t + np.sqrt(t * t + 4 * s * s)) / 2)
        )


class _AtRadius:
    """The quantities that hold on B(w0, R)."""

    def __init__(self, base: JacobianLipschitz64, radius: float) -> None:
        net, stages = base.net, base.stages
        nothing = np.zeros(net.samples)
        self.eta, self.hat, self.eps = [nothing], [nothing], [nothing]
        self.d1, bends = [net.d1[0].mid], [net.d1[0].mid]  # of psi_l, from above
        for c, stage in enumerate(stages[1:], 1):
            size = stage.trains_weight * above(net.sizes(c - 1) + self.eta[-1])
            self.hat.append(above(np.sqrt(size * size + float(stage.trains_bias))))
            zeta = above(base.weight_norm(c) * self.eta[-1] + radius * self.hat[c])
            d1, d2 = chain_bounds(stage.functions, net.z[c], zeta)
            self.d1.append(d1)
            bends.append(d2)
            self.eta.append(above(d1.max(axis=1) * zeta))
            self.eps.append(above(d2.max(axis=1) * zeta))

        moves = [radius * stage.trains_weight for stage in stages]  # R_l
        self.g: list[Floats] = [nothing, nothing]  # |G_l| for l > 1
        self.gammah = [nothing]
        for c in range(net.depth, 1, -1):
            gamma = above(self.gammah[0] * self.d1[c].max(axis=1) + net.gh_norm[c] * self.eps[c])
            self.g.insert(2, above(net.g_norm[c] + gamma))
            reach = base.weight_norm(c) + moves[c]
            self.gammah.insert(0, above(gamma * reach + net.g_norm[c] * moves[c]))
        factors = zip(bends, net.column_norms, [nothing, *self.gammah], strict=True)
        self.s = [nothing, *(above(d2 * above(norm + gammah[:, None]))
                             for d2, norm, gammah in list(factors)[1:])]  # fmt: skip
