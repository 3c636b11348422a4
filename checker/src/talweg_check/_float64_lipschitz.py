"""B3 in binary64: a Lipschitz constant beta(R) of the scaled Jacobian on the ball B(w0, R).

The names are those of `_lipschitz` and of docs/theory/B3.md; every number is a float that is not
below the quantity. One trained layer a, or two, a and a + 1, with nothing curved behind a, are
bounded unit by unit; other chains are not spoken of here. For these the page is short: the stages
before a are frozen, so h_{a-1} stays where it is and |z_a - z_a0| <= zeta = R |h~_{a-1}|; behind a
everything is linear and only W_{a+1} may move, so G_{a+1} stays where it is, and G^h_a = G_{a+1}
W_{a+1} moves by at most gammah = |G_{a+1}| R.
"""

from __future__ import annotations

import numpy as np

from talweg_check._float64 import Floats, above
from talweg_check._float64_functions import chain_bounds
from talweg_check._float64_network import Network64
from talweg_check._float64_units import Curvatures, Slopes, WeightedRows, largest_above
from talweg_check._verdict import Incomplete


class JacobianLipschitz64:
    """beta(R) for one network; what belongs to w0 is computed once and kept."""

    def __init__(self, net: Network64) -> None:
        self.net = net
        self.layer, *rest = net.trained
        a, stages = self.layer, net.stages
        if any(stage.curved for stage in stages[a + 1 :]) or rest not in ([], [a + 1]):
            raise Incomplete("in binary64 only networks with one hidden layer are bounded")
        self.pair = bool(rest) and stages[a + 1].trains_weight
        self._before: tuple[Slopes | None, Floats | None] = None, None  # of the smaller radius
        self._theta: Floats | None = None

    def upper(self, radius: float) -> float:
        """A number not below beta(radius); inf or nan where nothing is shown."""
        net, a = self.net, self.layer
        if not (net.stages[a].curved or self.pair):
            return 0.0  # F is affine in what is trained
        if self._theta is None:
            self._theta = net.overlaps(a)
        hat, rows = net.extended_norms(a), WeightedRows(net.extended(a))
        slope, bend = chain_bounds(net.stages[a].functions, net.z[a], above(radius * hat))
        gammah = above(radius * net.g_norm[a + 1]) if self.pair else np.zeros(net.samples)
        s = above(bend * above(net.column_norms[a] + gammah[:, None]))
        before, x = self._before
        bends = Curvatures(s, hat, self._theta, rows, x)
        if not self.pair:
            self._before = None, bends.x
            return largest_above([bends], lambda t: t)
        slopes = Slopes(above(net.g_norm[a + 1][:, None] * slope), rows, before)
        self._before = slopes, bends.x
        return largest_above(
            [slopes, bends], lambda s, t: above((t + np.sqrt(t * t + 4 * s * s)) / 2)
        )
