"""What the bound for graphs needs of w0: norms of propagators and of the roots of curvature.

P_{t,a} is the derivative of the value at t by the one at a, sample by sample. The propagators are
made for some samples at a time, and only these norms are kept.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from flint import arb

from talweg_check._arrays import Balls, approx, exact, full, matmul, root_upper
from talweg_check._graph import GraphNetwork, bounded
from talweg_check._graph_algebra import factor, operator_norms_upper, products, smaller
from talweg_check._graph_forms import Forms
from talweg_check._graph_norms import block, union_norm_upper
from talweg_check._graph_pairs import Chosen, Pairs
from talweg_check._linear_algebra import norm_upper
from talweg_check.kinds._kind import State, entries
from talweg_check.kinds._parametric import Parametric

CHUNK = 2_000_000  # entries of propagators that are held at once


class Start:
    """At w0: `omega` by (b, a), for products; `nu` by (a, S), for curvature; each (n,).

    They are for the pairs that `Pairs.factored` names, for the others `maps` are enough. `forms`
    and `sizes` belong to the curved operations, `alpha` to those with a trained weight.
    """

    def __init__(self, net: GraphNetwork) -> None:
        self.net = net
        self.pairs = pairs = Pairs(net)
        self.weighted, self.curved, self.kind, self.both = (
            pairs.weighted, pairs.curved, pairs.kind, pairs.both,
        )  # fmt: skip
        self.forms = {c: self.kind(c).form(net.states[c], net.g[c]) for c in self.curved}
        self.sizes = {c: self.kind(c).size(net.states[c], self.forms[c]) for c in self.curved}
        self.alpha = {b: net.parametric(b).sensitivities(net.g[b]) for b in self.weighted}
        self.omega: dict[tuple[int, int], Balls] = {}
        self.nu: dict[tuple[int, Chosen], Balls] = {}
        self.factored = [
            (a, b) for place, a in enumerate(net.at) for b in net.at[place:] if pairs.factored(a, b)
        ]
        if self.factored:
            self._first_bound()
        self.maps = Forms(net, pairs)

    def _first_bound(self) -> None:
        """omega and nu."""
        net = self.net
        self.omega = {
            (b, a): full(net.samples, 0) for a, b in self.factored if self.pairs.multiplied(a, b)
        }
        self.nu = {
            (end, self.both(a, b)): full(net.samples, 0)
            for a, b in self.factored
            for end in (a, b)
            if self.both(a, b)
        }
        ends = {b for b, _ in self.omega}
        self.coupling = {b: net.parametric(b).coupling(net.g[b]) for b in ends}
        self.bent = sorted(set().union(*(chosen for _, chosen in self.nu)))
        self.kept = sorted(
            {net.reads[b][0] for b in ends} | {e for c in self.bent for e in net.reads[c]}
        )
        self.sources = sorted({a for _, a in self.omega} | {a for a, _ in self.nu})
        cost = sum(entries(net.kind(a).shape) * self._cost(a) for a in self.sources)
        bounded(cost)
        step = max(CHUNK // max(cost, 1), 1)
        for first in range(0, net.samples, step):
            self._measure(np.s_[first : min(first + step, net.samples)])

    def _cost(self, a: int) -> int:
        """Numbers held for one column of all propagators from a."""
        reached = self.net.reached[a]
        kept = sum(entries(self.net.graph.shape(e)) for e in self.kept if e in reached)
        return kept + max(entries(self.net.kind(t).shape) + self.net.kind(t).work for t in reached)

    def _measure(self, part: slice) -> None:
        """The norms for some samples."""
        net = self.net
        found = {a: net.tangents(a, part, self.kept) for a in self.sources}
        for a, tangents in found.items():
            norms = {}
            for b in (b for b, of in self.omega if of == a):
                e = net.reads[b][0]
                if e not in norms:
                    norms[e] = operator_norms_upper(_flat(tangents[e]))
                self.omega[b, a][part] = self._product(b, tangents[e], norms[e], part)
        taus = {c: self._tau(c, list(found.values()), part) for c in self.bent}
        for a, tangents in found.items():
            chosen = [s for of, s in self.nu if of == a]
            roots = {
                c: self.kind(c).root(
                    _cut(net.states[c], part), _cut(self.forms[c], part), taus[c],
                    [tangents.get(e) for e in net.reads[c]],
                )
                for c in sorted(set().union(*chosen))
            }  # fmt: skip
            for i in range(part.stop - part.start):
                rows = {c: block(root[i].T) for c, root in roots.items()}
                for s in chosen:
                    norm = union_norm_upper([rows[c] for c in sorted(s)])
                    self.nu[a, s][part.start + i] = norm

    def _tau(self, c: int, found: Sequence[dict[int, Balls]], part: slice) -> Balls:
        """|P_Y|_F / |P_X|_F of a product, and 1 where one is zero: any positive number would do."""
        count = part.stop - part.start
        squares = np.zeros((2, count))
        slots = self.net.reads[c]
        for slot, e in enumerate(slots[:2] if len(slots) == 2 else ()):
            for tangents in found:
                if e in tangents:
                    with np.errstate(all="ignore"):
                        squares[slot] += (approx(_flat(tangents[e])) ** 2).sum(axis=(1, 2))
        with np.errstate(all="ignore"):
            tau = np.sqrt(squares[1] / squares[0])
        return exact(np.where(np.isfinite(tau) & (tau > 0), tau, 1.0))

    def _product(self, b: int, tangents: Balls, norms: Balls, part: slice) -> Balls:
        """omega: the smaller one of m alpha |P| and lambda_max(P^T Phi P)^(1/2)."""
        kind, coupling = self.net.parametric(b), self.coupling[b]
        first = arb(kind.overlap).sqrt() * self.alpha[b][part] * norms
        if coupling is None:
            return first
        left, missed = (array[part] for array in coupling)
        moved, more = coupled_norms_upper(kind, left, tangents)
        slack = (missed * kind.overlap + more) * norms * norms
        return smaller(first, root_upper(moved * moved + slack))


def coupled_norms_upper(
    kind: Parametric, left: Balls, tangents: Balls
) -> tuple[Balls, Balls]:  # fmt: skip
    """|(L_g q_g(P x))_g| for L (m, groups, r, positions), as (a, b): root of a^2 + b |P|^2, (m,).

    The columns of P are the tangents.
    """
    m, columns, *shape = tangents.shape
    width = entries(tuple(shape))
    patches = kind.patches(tangents[0, :1])
    rows = left.shape[1] * left.shape[2] * patches.shape[3]
    if rows <= 2 * width:
        q = kind.patches(tangents.reshape(m * columns, *shape))
        q = np.moveaxis(q.reshape(m, columns, *q.shape[1:]), 1, 3)  # (m, groups, P, columns, c)
        seen = products(left, q.reshape(*q.shape[:3], -1))  # (m, groups, r, columns c)
        seen = seen.reshape(m, left.shape[1], left.shape[2], columns, -1)
        seen = np.moveaxis(seen, 3, 1).reshape(m, columns, -1)
        return operator_norms_upper(seen), full(m, 0)
    bounded(width * width)
    # Phi itself, a matrix on the entries of the input, is smaller than its rows.
    places = approx(kind.patches(exact(np.arange(1, width + 1)).reshape(1, *shape))).astype(int)
    result, missed = full((2, m), 0)
    for i in range(m):
        phi = full((width, width), 0)
        for group, root in enumerate(left[i]):
            gamma = products(root.T, root)
            for at in places[0, group].T:  # one entry of the patch, at all positions
                inside = at > 0
                phi[np.ix_(at[inside] - 1, at[inside] - 1)] += gamma[np.ix_(inside, inside)]
        root, missed[i] = factor(phi)
        result[i] = norm_upper(matmul(tangents[i].reshape(columns, width), root))
    return result, missed


def _flat(tangents: Balls) -> Balls:
    """(m, columns, entries)."""
    return tangents.reshape(*tangents.shape[:2], -1)


def _cut(state: State, part: slice) -> State:
    return tuple(array[part] for array in state)
