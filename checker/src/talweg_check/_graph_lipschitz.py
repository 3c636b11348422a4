"""B6: a Lipschitz constant beta(R) of the scaled Jacobian of a graph on the ball B(w0, R).

For unit u, delta, v and w in the ball, u^T D^2F(w)[delta, v] is bounded, per pair of trained
operations, by T_ab |delta_a| |v_b|; then beta = |T|_2, where operations that share a trained array
have one row together. A number attached to a sample is an array (n,).

On the ball: eta_t >= |v_t - v_t0|, delta_t >= |D_t - D_t0| for each slot, gamma_t >= |G_t - G_t0|,
hat_ta >= |P_ta0|, pi_ta >= |P_ta - P_ta0|; D_t0 is at most `stretch`.
"""

from __future__ import annotations

from functools import cache

from flint import arb

from talweg_check._arrays import Balls, full, norms_upper, root_upper
from talweg_check._graph import GraphNetwork, zeros
from talweg_check._graph_algebra import operator_norms_upper
from talweg_check._graph_start import Start
from talweg_check._linear_algebra import norm_upper


class GraphLipschitz:
    """beta(R) for one graph; what belongs to w0 is computed once and kept."""

    def __init__(self, net: GraphNetwork) -> None:
        self.net, self.start = net, Start(net)
        self.order = sorted(net.moves)
        self.rows = {
            a: net.parametric(a).rows(net.values[net.reads[a][0]]) for a in net.at
        }  # fmt: skip
        self.g_norm = cache(self._g_norm)
        self.stretch = {
            t: net.kind(t).stretches(net.states[t])
            if any(e in net.moves for e in net.reads[t])
            else []
            for t in self.order
        }
        self.hat = {a: self._hat(a) for a in net.at}
        self.row_of = _rows_of_table(net)

    def upper(self, radius: float) -> arb:
        """A number not below beta(radius)."""
        return _OnBall(self, arb(radius)).beta()

    def _g_norm(self, t: int) -> Balls:
        g = self.net.g[t]
        return operator_norms_upper(g.reshape(*g.shape[:2], -1))

    def _hat(self, a: int) -> dict[int, Balls]:
        hat = {a: full(self.net.samples, 1)}
        for t in self.order:
            if t > a and t in self.net.reached[a]:
                hat[t] = zeros(self.net.samples)
                for slot, e in enumerate(self.net.reads[t]):
                    if e in hat:
                        hat[t] = hat[t] + self.stretch[t][slot] * hat[e]
        return hat


def _rows_of_table(net: GraphNetwork) -> dict[int, int]:
    """The row of T for each trained operation: one for all that are linked by trained arrays."""
    rows: dict[int, int] = {}
    owners: dict[str, int] = {}
    for row, a in enumerate(net.at):
        kind = net.parametric(a)
        names = [kind.names[key] for key in kind.trained]
        linked = {rows[owners[name]] for name in names if name in owners}
        rows[a] = row
        for b in rows:
            if rows[b] in linked:
                rows[b] = row
        owners.update(dict.fromkeys(names, a))
    return rows


class _OnBall:
    """The quantities that hold on B(w0, R)."""

    def __init__(self, base: GraphLipschitz, radius: arb) -> None:
        self.base, self.net, self.start = base, base.net, base.start
        self._forwards(radius)
        self._backwards()
        self.pi = {a: self._pi(a) for a in self.net.at}
        self.growth = {
            c: self.start.kind(c).growth(
                self.net.states[c], self.start.forms[c], self.gamma[c], self.ball[c]
            )
            for c in self.start.curved
        }

    def _forwards(self, radius: arb) -> None:
        """eta and delta, and what the curved operations keep of the ball."""
        nothing = zeros(self.net.samples)
        self.eta: dict[int, Balls] = {}
        self.delta: dict[int, list[Balls]] = {}
        self.ball: dict[int, Balls] = {}
        for t in self.base.order:
            etas = [self.eta.get(e, nothing) for e in self.net.reads[t]]
            found = self.net.kind(t).drift(self.net.states[t], etas, radius)
            self.eta[t], self.delta[t], self.ball[t] = found

    def _backwards(self) -> None:
        """gamma, from the output."""
        self.gamma = {t: zeros(self.net.samples) for t in self.base.order}
        for t in reversed(self.base.order):
            for slot, e in enumerate(self.net.reads[t]):
                if e in self.gamma:
                    delta = self.delta[t][slot]
                    reach = self.base.stretch[t][slot] + delta
                    self.gamma[e] = self.gamma[e] + self.gamma[t] * reach
                    if not all(entry == 0 for entry in delta):
                        self.gamma[e] = self.gamma[e] + self.base.g_norm(t) * delta

    def _pi(self, a: int) -> dict[int, Balls]:
        hat, pi = self.base.hat[a], {a: zeros(self.net.samples)}
        for t in hat:
            if t > a:
                pi[t] = zeros(self.net.samples)
                for slot, e in enumerate(self.net.reads[t]):
                    if e in hat:
                        delta = self.delta[t][slot]
                        reach = self.base.stretch[t][slot] + delta
                        pi[t] = pi[t] + reach * pi[e] + delta * hat[e]
        return pi

    def beta(self) -> arb:
        """|T|_2."""
        return norm_upper(self.table())

    def table(self) -> Balls:
        """T: a row for each trained operation, or for all that share arrays."""
        jobs: dict[int, list[tuple[Balls, tuple[int, ...]]]] = {a: [] for a in self.net.at}
        for b, a in self.start.omega:
            jobs[a].append((self._omega(b, a), (a, b, 0)))
        for place, a in enumerate(self.net.at):
            for b in self.net.at[place:]:
                if self.start.both(a, b):
                    weights = self._curvature(a, b)
                    jobs[a].append((weights * self._size(b), (a, b, 1)))
                    if a != b:
                        jobs[b].append((weights * self._size(a), (a, b, 2)))
        found: dict[tuple[int, ...], arb] = {}
        for a, listed in jobs.items():
            norms = self.base.rows[a].norms_upper([weights for weights, _ in listed])
            for (weights, key), norm in zip(listed, norms, strict=True):
                found[key] = norm + self._drift(a, weights)
        rows = sorted(set(self.base.row_of.values()))
        table = full((len(rows), len(rows)), 0)
        for place, a in enumerate(self.net.at):
            for b in self.net.at[place:]:
                entry = found.get((a, b, 0), arb(0))
                if (a, b, 1) in found:
                    entry = entry + found[a, b, 1].min(found.get((a, b, 2), found[a, b, 1]))
                one, two = (rows.index(self.base.row_of[t]) for t in (a, b))
                table[one, two] += entry
                if a != b:
                    table[two, one] += entry
        return table

    def _size(self, a: int) -> Balls:
        """epsilon_a(R)."""
        e = self.net.reads[a][0]
        size: Balls = self.net.states[a][0]
        return size + self.net.parametric(a).slack * self.eta[e] if e in self.eta else size

    def _drift(self, a: int, weights: Balls) -> arb:
        """What the change of the rows adds: t^W m (sum_i omega_i^2 eta_i^2)^(1/2)."""
        e = self.net.reads[a][0]
        if e not in self.eta:
            return arb(0)
        return arb(self.net.parametric(a).slack * norms_upper(weights * self.eta[e], 0))

    def _omega(self, b: int, a: int) -> Balls:
        """omega + m (gamma_b (hat + pi) + alpha_b pi)."""
        e = self.net.reads[b][0]
        pi, hat = self.pi[a][e], self.base.hat[a][e]
        more = self.gamma[b] * (hat + pi) + self.start.alpha[b] * pi
        return self.start.omega[b, a] + arb(self.net.parametric(b).overlap).sqrt() * more

    def _curvature(self, a: int, b: int) -> Balls:
        """nu_a nu_b on the ball."""
        chosen = self.start.both(a, b)
        total = self.start.nu[a, chosen] * self.start.nu[b, chosen]
        for c in chosen:
            (hat_a, pi_a), (hat_b, pi_b) = self._at(c, a), self._at(c, b)
            crossed = pi_a * hat_b + hat_a * pi_b + pi_a * pi_b
            grown = self.growth[c] * (hat_a + pi_a) * (hat_b + pi_b)
            total = total + grown + self.start.sizes[c] * crossed
        return total

    def _at(self, c: int, a: int) -> tuple[Balls, Balls]:
        """hat and pi of all inputs of c together."""
        parts = []
        for numbers in (self.base.hat[a], self.pi[a]):
            squares = [numbers[e] * numbers[e] for e in self.net.reads[c] if e in numbers]
            parts.append(root_upper(sum(squares[1:], squares[0])))
        return parts[0], parts[1]
