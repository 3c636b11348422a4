"""B3: a Lipschitz constant beta(R) of the scaled Jacobian on the ball B(w0, R).

For unit u, delta, v and w in the ball, u^T D^2F(w)[delta, v] is bounded, per pair of trained
layers, by T_ba |delta_b| |v_a|; then beta = |T|_2. A number attached to a sample is an array (n,).

Per sample, away from w0:  eta_l >= |h_l - h_l0|, zeta_l >= |z_l - z_l0|, eps_l >= |D_l - D_l0|,
gamma_l >= |G_l - G_l0|, gammah_l: so for G^h_l; q_ca >= |B_ca - B_ca0|, p_ca >= |P_ca - P_ca0|,
with D_l = diag(psi_l'), B_ca = dh_c/dz_a = D_c P_ca and P_ca = dz_c/dz_a = W_c B_{c-1,a}.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import cache

import numpy as np
from flint import arb

from talweg_check._activations import derivative_bounds
from talweg_check._arrays import Balls, approx, full, largest, magnitude, norms_upper, root_upper
from talweg_check._linear_algebra import (
    nonnegative_product_upper,
    norm_upper,
    perron_roots_upper,
    scaled_norms_upper,
)  # fmt: skip
from talweg_check._network import Network

_ball = np.frompyfunc(lambda centre, radius: centre + arb(0, radius), 2, 1)
_smaller = np.frompyfunc(arb.min, 2, 1)


class JacobianLipschitz:
    """beta(R) for one network; what belongs to w0 is computed once and kept."""

    def __init__(self, net: Network) -> None:
        self.net, self.stages = net, net.stages
        self.column_norms = [norms_upper(gh, 1) for gh in net.gh]  # |G^h e_j|, (n, d_l)
        self.s0 = cache(lambda c: magnitude(net.d2[c]) * self.column_norms[c])
        self.weight_norm = cache(lambda c: norm_upper(self.stages[c].weight))
        self.g_norm = cache(lambda c: _each(net.g[c]))
        self.gh_norm = cache(lambda c: _each(net.gh[c]))
        self.factors = {
            "B": cache(lambda c: magnitude(net.d1[c])),
            "nu": cache(lambda c: root_upper(self.s0(c))),
        }
        self.from_stage = cache(self._from_stage)
        self.squared_grams = cache(lambda c: net.squared_overlaps(c, full(net.samples, 0)))

    def upper(self, radius: float) -> arb:
        """A number not below beta(radius)."""
        return _AtRadius(self, arb(radius)).beta()

    def curved(self, start: int) -> list[int]:
        """The curved stages from `start` on."""
        return [c for c in range(start, self.net.depth + 1) if self.stages[c].curved]

    def _from_stage(self, a: int) -> dict[tuple[str, int], Balls]:
        """|B_ca| and nu_{a|b} at w0, each (n,), by ("B", c) and ("nu", b).

        Both are norms of propagators P_ca, one upon the other, with weighted rows: |psi_c'| for one
        c, root s0_c for all curved c >= b. B_aa is diagonal, and where a alone is curved, `_nu`
        needs no norm.
        """
        net, last = self.net, self.net.depth
        norms = {("B", a): [largest(row) for row in self.factors["B"](a)]}
        stages = {("B", c): [c] for c in range(a + 1, last)}
        stages |= {("nu", b): self.curved(b) for b in range(a, last + 1) if self.curved(b) > [a]}
        norms |= {key: [] for key in stages}
        for i in range(net.samples if stages else 0):
            p = net.propagators(i, a)
            weightings = [
                np.concatenate([self.factors[kind](c)[i] * (c in chosen) for c in p])
                for (kind, _), chosen in stages.items()
            ]
            bounds = scaled_norms_upper(np.concatenate(list(p.values())), weightings)
            for key, bound in zip(stages, bounds, strict=True):
                norms[key].append(bound)
        return {key: np.array(found, dtype=object) for key, found in norms.items()}


class _AtRadius:
    """The quantities that hold on B(w0, R)."""

    def __init__(self, base: JacobianLipschitz, radius: arb) -> None:
        self.base, self.net, self.stages = base, base.net, base.stages
        self.moves = [radius * stage.trains_weight for stage in self.stages]  # R_l
        nothing = full(self.net.samples, 0)

        self.eta, self.hat, self.eps = [nothing], [nothing], [nothing]
        self.d1, bends = [self.net.d1[0]], [self.net.d2[0]]  # of psi_l, from above
        for c, stage in enumerate(self.stages[1:], 1):
            size = stage.trains_weight * (norms_upper(self.net.h[c - 1], 1) + self.eta[-1])
            self.hat.append(root_upper(size * size + int(stage.trains_bias)))
            zeta = base.weight_norm(c) * self.eta[-1] + radius * self.hat[c]
            d1, d2 = derivative_bounds(stage.functions, _ball(self.net.z[c], zeta[:, None]))
            self.d1.append(d1)
            bends.append(d2)
            self.eta.append(largest(d1, axis=1) * zeta)
            self.eps.append(largest(d2, axis=1) * zeta)

        self.g, self.gammah = [nothing, nothing], [nothing]  # |G_l| for l > 1, and gammah_l
        for c in range(self.net.depth, 1, -1):
            gamma = self.gammah[0] * largest(self.d1[c], axis=1) + base.gh_norm(c) * self.eps[c]
            reach = base.weight_norm(c) + self.moves[c]
            self.g.insert(2, base.g_norm(c) + gamma)
            self.gammah.insert(0, gamma * reach + base.g_norm(c) * self.moves[c])
        factors = zip(bends, base.column_norms, [nothing, *self.gammah], strict=True)
        self.s = [d2 * (norm + gammah[:, None]) for d2, norm, gammah in factors]

    def beta(self) -> arb:
        """|T|_2, or what replaces it: the bound that keeps the hidden units apart, never larger."""
        a, b = (trained := self.net.trained)[0], trained[-1]
        if trained == [a, a + 1] and self.stages[b].trains_weight and not self.base.curved(b):
            return _largest_over_units(
                [self._diagonal_units(a), self._product_units(a)],
                lambda t, s: (t + root_upper(t * t + 4 * s * s)) / 2,
            )
        return norm_upper(self.table())

    def table(self) -> Balls:
        """T, a row for each trained layer."""
        trained = self.net.trained
        table = full((len(trained), len(trained)), 0)
        for row, b in enumerate(trained):
            for column, a in enumerate(trained[: row + 1]):
                moves = a < b and self.stages[b].trains_weight
                entry = self._curvature(a, b) + (self._product(a, b) if moves else 0)
                table[row, column] = table[column, row] = entry
        return table

    def _weighted_norm(self, weights: Balls, a: int) -> Balls:
        """An upper bound of |diag(weights) rows_a|, the extended inputs of layer a on the ball."""
        return scaled_norms_upper(self.net.rows[a], [weights])[0] + self.drift(weights, a)

    def drift(self, weights: Balls, a: int) -> Balls:
        """What the rows of layer a may add: root_upper(sum_i weights_i^2 eta_i^2), over axis 0."""
        moved = (weights.T * self.eta[a - 1]).T * self.stages[a].trains_weight
        return norms_upper(moved, 0)

    def _product_units(self, a: int) -> _UnitNorms:  # sigma_j
        weights = self.g[a + 1][:, None] * self.d1[a]
        return _UnitNorms(self, weights, a, full(weights.shape[1], arb.pos_inf()))

    def _diagonal_units(self, a: int) -> _UnitNorms:  # tau_j
        return _UnitNorms(self, self.s[a] * self.hat[a][:, None], a, self._overlapping(a))

    def _overlapping(self, a: int) -> Balls:
        """tau_j, for all units, as sqrt(lambda_max(diag(s_j) Theta diag(s_j))); Theta on the ball.

        |sum_i c_i h_i h_i^T|_F^2 = sum_{i,i'} c_i c_i' <h_i, h_i'>^2 with |c_i| <= |u_i| s_ij.
        """
        change = self.eta[a - 1] * self.stages[a].trains_weight
        return perron_roots_upper(self.net.squared_overlaps(a, change), self.s[a])

    def _product(self, a: int, b: int) -> Balls:
        """I_ba: delta W_b times the change of h_{b-1} that v_a causes."""
        if a == b - 1:
            return _largest_over_units([self._product_units(a)], lambda s: s)
        bound = self.base.from_stage(a)["B", b - 1] + self.changes(b - 1, a)[0]
        return self._weighted_norm(self.g[b] * bound, a)

    def _curvature(self, a: int, b: int) -> Balls:
        """C_ba: the second derivatives of the entrywise functions of the stages c >= b."""
        if not self.base.curved(b):
            return arb(0)
        if a == b and not self.base.curved(b + 1):
            return _largest_over_units([self._diagonal_units(b)], lambda t: t)
        weights = self._nu(b, b) * self._nu(a, b)
        one = self._weighted_norm(weights * self.hat[b], a)
        return one if a == b else one.min(self._weighted_norm(weights * self.hat[a], b))

    def _nu(self, a: int, b: int) -> Balls:
        """nu_{a|b} on the ball, (n,)."""
        if a == b and not self.base.curved(b + 1):  # Q_b is diagonal
            return root_upper(largest(self.s[b], axis=1))
        # What is subtracted below must be what nu0 was made with: s0, itself an upper bound.
        grown, moved = self.base.from_stage(a)["nu", b] ** 2, full(self.net.samples, 0)
        for c in self.base.curved(b):
            _, p, bound = self.changes(c, a)
            more = largest(self.s[c] - self.base.s0(c), axis=1)  # of the positive parts
            grown = grown + more * bound * bound
            moved = moved + largest(self.s[c], axis=1) * p * p
        return root_upper(grown) + root_upper(moved)

    def changes(self, c: int, a: int) -> tuple[Balls, Balls, Balls]:
        """q_ca, p_ca and pi_ca >= |P_ca0|, each (n,)."""
        p, bound = full(self.net.samples, 0), full(self.net.samples, 1)
        if c > a:
            before, norm = self.changes(c - 1, a)[0], self.base.from_stage(a)["B", c - 1]
            weight, move = self.base.weight_norm(c), self.moves[c]
            p, bound = (weight + move) * before + move * norm, weight * norm
        return largest(self.d1[c], axis=1) * p + self.eps[c] * bound, p, bound


class _UnitNorms:
    """|diag(w_j) rows| + drift_j for every unit j: rough bounds for all, sharp ones on demand.

    Rough: |A|^4 <= |A A^T|_F^2, which is sum_{i,i'} w_ij^2 w_i'j^2 (rows rows^T)_{ii'}^2. The
    ceiling is another bound of what the norm stands for; the smaller one counts.
    """

    def __init__(self, at: _AtRadius, weights: Balls, a: int, ceiling: Balls) -> None:
        self.weights = weights
        self.rows, self.drift = at.net.rows[a], at.drift(weights, a)
        squares = weights * weights
        quartic = nonnegative_product_upper(at.base.squared_grams(a), squares)
        rough = root_upper(root_upper((squares * quartic).sum(axis=0))) + self.drift
        self.bounds = _smaller(rough, ceiling)

    def sharpen(self, j: int) -> None:
        bound = scaled_norms_upper(self.rows, [self.weights[:, j]])[0] + self.drift[j]
        self.bounds[j] = bound.min(self.bounds[j])


def _largest_over_units(norms: Sequence[_UnitNorms], combine: Callable[..., Balls]) -> arb:
    """max_j of a nondecreasing function of the unit norms, sharpened where the maximum is."""
    sharp: set[int] = set()
    while True:
        values = combine(*(norm.bounds for norm in norms))
        j = int(np.argmax(approx(values)))
        if j in sharp:
            return arb(largest(values))
        for norm in norms:
            norm.sharpen(j)
        sharp.add(j)


def _each(matrices: Iterable[Balls]) -> Balls:
    """Operator norms of n matrices, (n,)."""
    return np.array([norm_upper(matrix) for matrix in matrices], dtype=object)
