"""B3: a Lipschitz constant beta(R) of the scaled Jacobian on the ball B(w0, R).

For unit u, delta, v and w in the ball, u^T D^2F(w)[delta, v] is bounded, per pair of trained
layers, by T_ba |delta_b| |v_a|; then beta = |T|_2. A number attached to a sample is an array (n,).

Per sample, away from w0:  eta_l >= |h_l - h_l0|, zeta_l >= |z_l - z_l0|, eps_l >= |D_l - D_l0|,
gamma_l >= |G_l - G_l0|, gammah_l: so for G^h_l; q_ca >= |B_ca - B_ca0|, p_ca >= |P_ca - P_ca0|,
with D_l = diag(psi_l'), B_ca = dh_c/dz_a = D_c P_ca and P_ca = dz_c/dz_a = W_c B_{c-1,a}.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache

import numpy as np
from flint import arb

from talweg_check._activations import derivative_bounds
from talweg_check._arrays import (
    Balls,
    approx,
    full,
    largest,
    magnitude,
    matmul,
    norms_upper,
    root_upper,
)
from talweg_check._linear_algebra import (
    nonnegative_product_upper,
    norm_upper,
    perron_roots_upper,
)
from talweg_check._network import Network

_ball = np.frompyfunc(lambda centre, radius: centre + arb(0, radius), 2, 1)
_smaller = np.frompyfunc(arb.min, 2, 1)
_positive_part = np.frompyfunc(lambda x: x.max(arb(0)), 1, 1)


class JacobianLipschitz:
    """beta(R) for one network; what belongs to w0 is computed once and kept."""

    def __init__(self, net: Network) -> None:
        self.net, self.stages = net, net.stages
        self.samples, self.depth = net.samples, net.depth
        self.column_norms = [norms_upper(gh, 1) for gh in net.gh]  # |G^h e_j|, (n, d_l)
        self.s0 = [
            magnitude(d2) * norm if stage.curved else full(d2.shape, 0)
            for stage, d2, norm in zip(self.stages, net.d2, self.column_norms, strict=True)
        ]
        self.weight_norm = cache(lambda c: norm_upper(self.stages[c].weight))
        self.g_norm = cache(lambda c: self._each(net.g[c]))
        self.gh_norm = cache(lambda c: self._each(net.gh[c]))
        self.b_norm = cache(self._b_norm)
        self.nu0 = cache(self._nu0)
        self.row_grams_squared = cache(lambda c: net.row_grams[c] * net.row_grams[c])

    def upper(self, radius: float) -> arb:
        """A number not below beta(radius)."""
        return _AtRadius(self, arb(radius)).beta()

    @staticmethod
    def _each(matrices: Balls) -> Balls:
        """Operator norms of the (n, k, d) matrices, (n,)."""
        return np.array([norm_upper(matrix) for matrix in matrices], dtype=object)

    def propagator(self, i: int, c: int, a: int) -> Balls:
        """P_ca of sample i at w0, c > a, (d_c, d_a)."""
        weight = self.stages[c].weight
        if c == a + 1:
            return weight * self.net.d1[a][i]
        return matmul(weight * self.net.d1[c - 1][i], self.propagator(i, c - 1, a))

    def _b_norm(self, c: int, a: int) -> Balls:
        """|B_ca| at w0, (n,)."""
        d1 = self.net.d1[c]
        if c == a:
            return largest(magnitude(d1), axis=1)
        each = [norm_upper(d1[i][:, None] * self.propagator(i, c, a)) for i in range(self.samples)]
        return np.array(each, dtype=object)

    def _nu0(self, a: int, b: int) -> Balls:
        """The norm at w0 of the stack of diag(sqrt(s_c)) P_ca over the curved c >= b, (n,)."""
        curved = [c for c in range(b, self.depth + 1) if self.stages[c].curved]
        if not curved:
            return full(self.samples, 0)
        if curved == [a]:
            return root_upper(largest(self.s0[a], axis=1))
        result = []
        for i in range(self.samples):
            stack = []
            for c in curved:
                root = root_upper(self.s0[c][i])
                if c > a:
                    stack.append(root[:, None] * self.propagator(i, c, a))
                else:
                    block = full((len(root), len(root)), 0)
                    block[np.diag_indices(len(root))] = root
                    stack.append(block)
            result.append(norm_upper(np.concatenate(stack)))
        return np.array(result, dtype=object)


class _AtRadius:
    """The quantities that hold on B(w0, R)."""

    def __init__(self, base: JacobianLipschitz, radius: arb) -> None:
        self.base, self.net, self.stages, self.radius = base, base.net, base.stages, radius
        self.samples, self.depth = base.samples, base.depth
        self.moves = [radius * stage.trains_weight for stage in self.stages]  # R_l
        nothing = full(self.samples, 0)

        self.eta, self.hat, self.eps = [nothing], [nothing], [nothing]
        self.d1, self.d2 = [self.net.d1[0]], [self.net.d2[0]]
        for c in range(1, self.depth + 1):
            stage, h = self.stages[c], self.net.h[c - 1]
            size = stage.trains_weight * (norms_upper(h, 1) + self.eta[-1])
            self.hat.append(root_upper(size * size + int(stage.trains_bias)))
            zeta = base.weight_norm(c) * self.eta[-1] + radius * self.hat[c]
            d1, d2 = derivative_bounds(stage.functions, _ball(self.net.z[c], zeta[:, None]))
            self.d1.append(d1)
            self.d2.append(d2)
            self.eta.append(largest(d1, axis=1) * zeta)
            self.eps.append(largest(d2, axis=1) * zeta)

        self.gamma: list[Balls] = []
        self.gammah = [nothing]
        for c in range(self.depth, 0, -1):
            gamma = self.gammah[0] * largest(self.d1[c], axis=1) + base.gh_norm(c) * self.eps[c]
            reach = base.weight_norm(c) + self.moves[c]
            self.gamma.insert(0, gamma)
            self.gammah.insert(0, gamma * reach + base.g_norm(c) * self.moves[c])
        self.gamma.insert(0, nothing)
        self.s = [
            d2 * (norm + gammah[:, None]) if stage.curved else full(d2.shape, 0)
            for stage, d2, norm, gammah in zip(
                self.stages, self.d2, base.column_norms, self.gammah, strict=True
            )
        ]
        self.changes = cache(self._changes)

    def beta(self) -> arb:
        """min of |T|_2 and, where it applies, the bound that keeps the hidden units apart."""
        trained = self.net.trained
        if len(trained) == 2 and trained[1] == trained[0] + 1:
            a, b = trained
            if self.stages[b].trains_weight and not self._curved_from(b):
                return _largest_over_units(
                    [self._diagonal_units(a), self._product_units(a)],
                    lambda t, s: (t + root_upper(t * t + 4 * s * s)) / 2,
                )
        table = full((len(trained), len(trained)), 0)
        for row, b in enumerate(trained):
            for column, a in enumerate(trained[: row + 1]):
                entry = self._curvature(a, b)
                if a < b and self.stages[b].trains_weight:
                    entry = entry + self._product(a, b)
                table[row, column] = table[column, row] = entry
        return norm_upper(table)

    def _curved_from(self, c: int) -> bool:
        return any(stage.curved for stage in self.stages[c:])

    def _g(self, c: int) -> Balls:
        return self.base.g_norm(c) + self.gamma[c]

    def _weighted_norm(self, weights: Balls, a: int) -> arb:
        """An upper bound of |diag(weights) rows_a|, the extended inputs of layer a on the ball."""
        bound: arb = norm_upper(weights[:, None] * self.net.rows[a]) + self._drift(weights, a)
        return bound

    def _drift(self, weights: Balls, a: int) -> Balls:
        """What the rows of layer a may add: root_upper(sum_i weights_i^2 eta_i^2), over axis 0."""
        moved = (weights.T * self.eta[a - 1]).T * self.stages[a].trains_weight
        return norms_upper(moved, 0)

    def _units(self, weights: Balls, a: int, ceiling: Balls | None = None) -> _UnitNorms:
        return _UnitNorms(
            weights, self.net.rows[a], self.base.row_grams_squared(a), self._drift(weights, a),
            ceiling,
        )  # fmt: skip

    def _product_units(self, a: int) -> _UnitNorms:
        return self._units(self._g(a + 1)[:, None] * self.d1[a], a)  # sigma_j

    def _diagonal_units(self, a: int) -> _UnitNorms:
        return self._units(self.s[a] * self.hat[a][:, None], a, self._overlapping(a))  # tau_j

    def _overlapping(self, a: int) -> Balls:
        """tau_j, for all units, as sqrt(lambda_max(diag(s_j) Theta diag(s_j))); Theta on the ball.

        |sum_i c_i h_i h_i^T|_F^2 = sum_{i,i'} c_i c_i' <h_i, h_i'>^2 with |c_i| <= |u_i| s_ij.
        """
        change, size = (
            self.eta[a - 1] * self.stages[a].trains_weight,
            norms_upper(self.net.rows[a], 1),
        )
        crossed = change[:, None] * size
        overlap = magnitude(self.net.row_grams[a]) + crossed + crossed.T
        overlap = overlap + change[:, None] * change
        return perron_roots_upper(overlap * overlap, self.s[a])

    def _product(self, a: int, b: int) -> arb:
        """I_ba: delta W_b times the change of h_{b-1} that v_a causes."""
        if a == b - 1:
            return _largest_over_units([self._product_units(a)], lambda s: s)
        bound = self.base.b_norm(b - 1, a) + self.changes(b - 1, a)[0]
        return self._weighted_norm(self._g(b) * bound, a)

    def _curvature(self, a: int, b: int) -> arb:
        """C_ba: the second derivatives of the entrywise functions of the stages c >= b."""
        if not self._curved_from(b):
            return arb(0)
        if a == b and not self._curved_from(b + 1):
            return _largest_over_units([self._diagonal_units(b)], lambda t: t)
        weights = self._nu(b, b) * self._nu(a, b)
        one = self._weighted_norm(weights * self.hat[b], a)
        return one if a == b else one.min(self._weighted_norm(weights * self.hat[a], b))

    def _nu(self, a: int, b: int) -> Balls:
        """nu_{a|b} on the ball, (n,)."""
        if a == b and not self._curved_from(b + 1):  # Q_b is diagonal
            return root_upper(largest(self.s[b], axis=1))
        grown, moved = self.base.nu0(a, b) ** 2, full(self.samples, 0)
        for c in (c for c in range(b, self.depth + 1) if self.stages[c].curved):
            _, p, bound = self.changes(c, a)
            more = largest(_positive_part(self.s[c] - self.base.s0[c]), axis=1)
            grown = grown + more * bound * bound
            moved = moved + largest(self.s[c], axis=1) * p * p
        return root_upper(grown) + root_upper(moved)

    def _changes(self, c: int, a: int) -> tuple[Balls, Balls, Balls]:
        """q_ca, p_ca and pi_ca >= |P_ca0|, each (n,)."""
        p, bound = full(self.samples, 0), full(self.samples, 1)
        if c > a:
            before, norm = self.changes(c - 1, a)[0], self.base.b_norm(c - 1, a)
            weight, move = self.base.weight_norm(c), self.moves[c]
            p, bound = (weight + move) * before + move * norm, weight * norm
        return largest(self.d1[c], axis=1) * p + self.eps[c] * bound, p, bound


class _UnitNorms:
    """|diag(w_j) rows| + drift_j for every unit j: rough bounds for all, sharp ones on demand.

    Rough: |A|^4 <= |A A^T|_F^2, which is sum_{i,i'} w_ij^2 w_i'j^2 (rows rows^T)_{ii'}^2. A ceiling
    is another bound of what the norm stands for; the smaller one counts.
    """

    def __init__(
        self, weights: Balls, rows: Balls, gram_squared: Balls, drift: Balls, ceiling: Balls | None
    ) -> None:
        self.weights, self.rows, self.drift, self.ceiling = weights, rows, drift, ceiling
        squares = weights * weights
        quartic = nonnegative_product_upper(gram_squared, squares)
        self.bounds = root_upper(root_upper((squares * quartic).sum(axis=0))) + drift
        if ceiling is not None:
            self.bounds = _smaller(self.bounds, ceiling)

    def sharpen(self, j: int) -> None:
        bound = norm_upper(self.weights[:, j, None] * self.rows) + self.drift[j]
        self.bounds[j] = bound if self.ceiling is None else bound.min(self.ceiling[j])


def _largest_over_units(norms: Sequence[_UnitNorms], combine: Callable[..., Balls]) -> arb:
    """max_j of a nondecreasing function of the unit norms, sharpened where the maximum is."""
    sharp: set[int] = set()
    while True:
        values = combine(*(norm.bounds for norm in norms))
        j = int(np.argmax(approx(values)))
        if j in sharp:
            maximum: arb = largest(values)
            return maximum
        for norm in norms:
            norm.sharpen(j)
        sharp.add(j)
