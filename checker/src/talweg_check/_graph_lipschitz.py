"""B6: a Lipschitz constant beta(R) of the scaled Jacobian of a graph on the ball B(w0, R).

For unit u, delta, v and w in the ball, u^T D^2F(w)[delta, v] is bounded, per pair of trained
operations, by T_ab |delta_a| |v_b|; then beta = |T|_2, where operations that share a trained array
have one row together. A number attached to a sample is an array (n,).
"""

from __future__ import annotations

from flint import arb

from talweg_check._arrays import Balls, full, norms_upper
from talweg_check._graph import GraphNetwork, zeros
from talweg_check._graph_ball import Moved, Sizes
from talweg_check._graph_start import Start
from talweg_check._linear_algebra import norm_upper

Key = tuple[str, int, int]


class GraphLipschitz:
    """beta(R) for one graph; what belongs to w0 is computed once and kept."""

    def __init__(self, net: GraphNetwork) -> None:
        self.net, self.start, self.sizes = net, Start(net), Sizes(net)
        self.rows = {
            a: net.parametric(a).rows(net.values[net.reads[a][0]]) for a in net.at
        }  # fmt: skip
        self.row_of = _rows_of_table(net)

    def upper(self, radius: float) -> arb:
        """A number not below beta(radius)."""
        return _OnBall(self, arb(radius)).beta()


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


class _OnBall(Moved):
    """The table on B(w0, R)."""

    def __init__(self, base: GraphLipschitz, radius: arb) -> None:
        super().__init__(base.start, base.sizes, radius)
        self.base = base

    def beta(self) -> arb:
        """|T|_2."""
        return norm_upper(self.table())

    def table(self) -> Balls:
        """T: a row for each trained operation, or for all that share arrays."""
        jobs: dict[int, list[tuple[Balls, Key]]] = {a: [] for a in self.net.at}
        for place, a in enumerate(self.net.at):
            for b in self.net.at[place:]:
                self._first(a, b, jobs)
                for one, two in self.pairs.maps(a, b):
                    weights = self._change(one, two)
                    if self._wholes(one, two):
                        jobs[one].append((weights, ("rest", one, two)))
                    if (one, two) in self.start.maps.by_value:
                        weights = self.start.maps.by_value[one, two] + weights
                        jobs[one].append((weights, ("map", one, two)))
        found: dict[Key, arb] = {}
        for a, listed in jobs.items():
            norms = self.base.rows[a].norms_upper([weights for weights, _ in listed])
            for (weights, key), norm in zip(listed, norms, strict=True):
                found[key] = norm + self._drift(a, weights)
        rows = sorted(set(self.base.row_of.values()))
        table = full((len(rows), len(rows)), 0)
        for place, a in enumerate(self.net.at):
            for b in self.net.at[place:]:
                entry = self._entry(a, b, found)
                one, two = (rows.index(self.base.row_of[t]) for t in (a, b))
                table[one, two] += entry
                if a != b:
                    table[two, one] += entry
        return table

    def _first(self, a: int, b: int, jobs: dict[int, list[tuple[Balls, Key]]]) -> None:
        """The products of norms that bound a pair."""
        if not self.pairs.factored(a, b):
            return
        if self.pairs.multiplied(a, b):
            jobs[a].append((self.start.omega[b, a] + self._turned(b, a), ("product", a, b)))
        if self.start.both(a, b):
            weights = self._curvature(a, b)
            jobs[a].append((weights * self._size(b), ("curvature", a, b)))
            if a != b:
                jobs[b].append((weights * self._size(a), ("curvature", b, a)))

    def _wholes(self, a: int, b: int) -> list[arb]:
        """Bounds at w0 for all samples together."""
        maps = self.start.maps
        tables = (maps.by_weight, maps.by_rows, maps.by_columns)
        return [table[a, b] for table in tables if (a, b) in table]

    def _entry(self, a: int, b: int, found: dict[Key, arb]) -> arb:
        """The least bound of a pair, a not behind b."""
        if not self.pairs.joined(a, b):
            return arb(0)
        bounds = []
        for one, two in self.pairs.maps(a, b):
            if (one, two) in self.start.maps.by_value:
                bounds.append(found["map", one, two])
            drift = self._drift(one, self._rough(one, two))
            bounds += [found["rest", one, two] + x + drift for x in self._wholes(one, two)]
        if self.pairs.factored(a, b):
            curved = found.get(("curvature", a, b), arb(0))
            curved = curved.min(found.get(("curvature", b, a), curved))
            bounds.append(curved + found.get(("product", a, b), arb(0)))
        least = bounds[0]
        for bound in bounds[1:]:
            least = least.min(bound)
        return least

    def _change(self, a: int, b: int) -> Balls:
        """By how much Z_ab of one sample may change."""
        change = self._growth(a, b) * self._size(b)
        e = self.net.reads[b][0]
        if e in self.eta:
            change = change + self._bent(a, b) * self.net.parametric(b).slack * self.eta[e]
        return change + self._turned(b, a) if self.pairs.multiplied(a, b) else change

    def _bent(self, a: int, b: int) -> Balls:
        """A rough bound of the curvature at w0: sum of q hat_a hat_b."""
        total = zeros(self.net.samples)
        for c in self.start.both(a, b):
            total = total + self.start.sizes[c] * self._at(c, a)[0] * self._at(c, b)[0]
        return total

    def _rough(self, a: int, b: int) -> Balls:
        """A rough bound of the norm of Z_ab at w0."""
        kind = self.net.parametric(b)
        size = self._bent(a, b) * self.net.states[b][0]
        if self.pairs.multiplied(a, b):
            reach = self.start.alpha[b] * self.sizes.hat[a][self.net.reads[b][0]]
            size = size + arb(kind.overlap).sqrt() * reach
        return size

    def _drift(self, a: int, weights: Balls) -> arb:
        """What the change of the rows adds: t^W m (sum_i omega_i^2 eta_i^2)^(1/2)."""
        e = self.net.reads[a][0]
        if e not in self.eta:
            return arb(0)
        return arb(self.net.parametric(a).slack * norms_upper(weights * self.eta[e], 0))

    def _turned(self, b: int, a: int) -> Balls:
        """m (gamma_b (hat + pi) + alpha_b pi), what the product term gains."""
        e = self.net.reads[b][0]
        pi, hat = self.pi[a][e], self.sizes.hat[a][e]
        more = self.gamma[b] * (hat + pi) + self.start.alpha[b] * pi
        return arb(self.net.parametric(b).overlap).sqrt() * more

    def _curvature(self, a: int, b: int) -> Balls:
        """nu_a nu_b on the ball."""
        chosen = self.start.both(a, b)
        return self.start.nu[a, chosen] * self.start.nu[b, chosen] + self._growth(a, b)

    def _growth(self, a: int, b: int) -> Balls:
        """What the curvature of a pair gains."""
        total = zeros(self.net.samples)
        for c in self.start.both(a, b):
            (hat_a, pi_a), (hat_b, pi_b) = self._at(c, a), self._at(c, b)
            crossed = pi_a * hat_b + hat_a * pi_b + pi_a * pi_b
            grown = self.growth[c] * (hat_a + pi_a) * (hat_b + pi_b)
            total = total + grown + self.start.sizes[c] * crossed
        return total
