"""Each bound of docs/theory/B6.md beside the dense quantity that it bounds."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from tests.network.graph_dense import Dense, Quantities
from tests.network.random_graphs import Drawn
from tests.network.rules.cases import trilinear
from torch import Tensor

from talweg.enclosure import Ball
from talweg.network._graph_lipschitz import GraphLipschitz
from talweg.network._graph_start import common
from talweg.network._graph_state import GraphState, graph_state

Comparison = tuple[str, float, float]
"""What, the dense quantity, its bound."""


@dataclass(frozen=True, eq=False)
class Bounded:
    """One drawn graph with its bounds and their dense twins at the stored weights."""

    drawn: Drawn
    lipschitz: GraphLipschitz
    dense: Dense
    start: Quantities
    generator: torch.Generator

    @property
    def uses(self) -> tuple[int, ...]:
        return self.lipschitz._state.uses

    def random_unit(self) -> Tensor:
        x = torch.randn(len(self.dense.function.start), generator=self.generator).to(torch.float64)
        return x / x.norm()

    def z(self, at: Quantities, a: int, b: int) -> Tensor:
        """``(n, k, p_b, d_a)``: the derivative by the weights of b, moved by the value of a."""
        return at.second[:, :, self.dense.use[b]][:, :, :, self.dense.shift_of(a)]

    def q(self, at: Quantities, a: int, b: int) -> Tensor:
        """``(n, k, d_a, d_b)``: the forms of the curved nodes."""
        return at.second[:, :, self.dense.shift_of(a)][:, :, :, self.dense.shift_of(b)]

    def pair(self, at: Quantities, a: int, b: int) -> Tensor:
        """``(n k, p_a, p_b)``: the whole form of a pair."""
        form = at.second[:, :, self.dense.use[a]][:, :, :, self.dense.use[b]]
        return form.flatten(0, 1)

    def whole(self, at: Quantities) -> Tensor:
        """``(n k, p, p)`` by the weights, shared ones once."""
        p = len(self.dense.function.start)
        spread = torch.stack([self.dense.by_use(e) for e in torch.eye(p, dtype=torch.float64)])
        own = at.second[:, :, : self.dense.parameters, : self.dense.parameters].flatten(0, 1)
        return torch.einsum("nab,pa,qb->npq", own, spread, spread)


def bounded(drawn: Drawn, seed: int = 0) -> Bounded:
    """The bounds of a drawn graph.

    Args:
        drawn: The graph.
        seed: For the estimates.
    """
    dense = Dense(drawn)
    return Bounded(
        drawn,
        GraphLipschitz(graph_state(drawn.network, drawn.X, drawn.multiplicity)),
        dense,
        dense.at(dense.function.start),
        torch.Generator().manual_seed(seed),
    )


def _samples(name: str, found: Tensor, bound: Tensor) -> Iterator[Comparison]:
    yield from ((name, f, b) for f, b in zip(found.tolist(), bound.tolist(), strict=True))


def _norms(matrices: Tensor) -> Tensor:
    return torch.linalg.matrix_norm(matrices, 2)


def at_start(case: Bounded) -> Iterator[Comparison]:
    """What does not depend on the radius; names that begin with ``=`` are norms, not bounds."""
    start, state, generator = case.lipschitz._start, case.lipschitz._state, case.generator
    dense = case.dense
    for t, span in enumerate(dense.node):
        yield from _samples("|G|", _norms(case.start.G[:, :, span]), start.cotangent_norms[t])
    for (a, b), norms in start.by_value.items():
        z = case.z(case.start, a, b)  # (n, k, p_b, d_a)
        yield from _samples("=|Z|", _norms(z.flatten(1, 2)), norms)
    for (a, b), norm in start.by_weight.items():
        own = case.start.E[:, dense.node[a], dense.use[a]]
        z = torch.einsum("nkpd,nda->nkpa", case.z(case.start, a, b), own)
        yield "=|Z E|", float(_norms(z.flatten(0, 2))), norm
    for (a, b), norm in start.by_rows.items():
        own = case.start.E[:, dense.node[a], dense.use[a]]
        z = torch.einsum("nkpd,nda->nkpa", case.z(case.start, a, b), own)
        yield "|Z E| by rows", float(_norms(z.flatten(0, 2))), norm
    for (a, b), norm in start.by_columns.items():
        own = case.start.E[:, dense.node[a], dense.use[a]]
        form = torch.einsum("nkpd,nda->nkpa", case.z(case.start, a, b), own).flatten(0, 1)
        yield "trilinear, by columns", float(trilinear(form, generator)), norm
    for (b, a), omega in start.omega.items():
        rule, e = state.shared_rule(b), state.network.nodes[b].inputs[0]
        P = case.start.P[:, dense.node[e - 1], dense.node[a]].mT  # (n, d_a, d_e)
        d_a = P.shape[1]
        q = rule.patches(_ball(P.reshape(-1, *rule.inputs[0]))).mid
        q = q.reshape(len(P), d_a, *q.shape[1:])  # (n, d_a, g, P, c)
        g = rule.arranged(state.cotangents[b]).mid
        form = torch.einsum("nkgop,ndgpc->nkgocd", g, q).flatten(2, 4)
        found = torch.tensor([trilinear(one, generator) for one in form], dtype=torch.float64)
        yield from _samples("omega", found, omega)
    for a in case.uses:
        for b in case.uses:
            nodes = common(start.reach, a, b)
            forms = case.q(case.start, a, b)
            found = torch.tensor([trilinear(one, generator) for one in forms], dtype=torch.float64)
            if (a, nodes) in start.nu and (b, nodes) in start.nu:
                bound = start.nu[a, nodes] * start.nu[b, nodes]
                yield from _samples("nu nu", found, bound)
            elif not nodes:
                yield from _samples("no common curved node", found, torch.zeros_like(found))


def _ball(x: Tensor) -> Ball:
    return Ball.exact(x)


def with_an_infinite_entry(state: GraphState) -> GraphState:
    """The same graph, its first node reading what is no number without saying so."""
    visit = state.visits[0]
    mid = visit.inputs[0].mid.clone()
    mid.view(-1)[0] = float("inf")
    moved = replace(visit, inputs=(Ball._moved(mid, torch.zeros_like(mid)),))
    return replace(state, visits=(moved, *state.visits[1:]))


def on_ball(case: Bounded, radius: float, step: Tensor) -> Iterator[Comparison]:
    """What the bounds say of all weights of a ball, at ``w0 + radius step``.

    Args:
        case: The graph.
        radius: Of the ball.
        step: ``(p,)``, at most of length 1.
    """
    lipschitz, dense, generator = case.lipschitz, case.dense, case.generator
    state = lipschitz._state
    there = dense.at(dense.function.start + radius * step)
    moved = lipschitz._on_ball(radius)
    paths = {a: lipschitz._paths(a, moved) for a in case.uses}

    def sup(forms: Tensor) -> Tensor:
        found = [trilinear(one, generator, starts=2) for one in forms]
        return torch.tensor(found, dtype=torch.float64)

    for t, span in enumerate(dense.node):
        change = (there.values - case.start.values)[:, span].norm(dim=1)
        yield from _samples("eta", change, moved.eta[t])
        yield from _samples("gamma", _norms((there.G - case.start.G)[:, :, span]), moved.gamma[t])
    for a in case.uses:
        for t, span in enumerate(dense.node):
            before = case.start.P[:, span, dense.node[a]]
            after = there.P[:, span, dense.node[a]]
            zero = torch.zeros(len(before), dtype=torch.float64)
            p_hat, pi = paths[a].get(t, (zero, zero))
            yield from _samples("p hat", _norms(before), p_hat)
            yield from _samples("pi", _norms(after - before), pi)
    for a in case.uses:
        own = (there.E - case.start.E)[:, dense.node[a], dense.use[a]]
        yield from _samples("rows", _norms(own), lipschitz._row_change(a, moved))
        for b in case.uses:
            form = zero
            for c in lipschitz._common(a, b):
                form = form + lipschitz._curvature_change(a, b, c, moved, paths)
            yield from _samples(
                "kappa", sup(case.q(there, a, b) - case.q(case.start, a, b)), form
            )  # fmt: skip
            change, size = lipschitz._joint_change(a, b, moved, paths)
            before, after = case.z(case.start, a, b), case.z(there, a, b)
            yield from _samples("Delta Z", sup(after - before), change)
            yield from _samples("size of Z", sup(before), size)
    for place, a in enumerate(case.uses):
        for b in case.uses[place:]:
            entry = lipschitz._entry(a, b, moved, paths)
            found = trilinear(case.pair(there, a, b), generator)
            yield f"T[{a}, {b}]", found, entry
    matrix = lipschitz.layer_matrix_upper(radius)
    yield "beta", trilinear(case.whole(there), generator), lipschitz.upper(radius)
    assert bool((matrix == matrix.mT).all())
    assert matrix.shape == (len(state.groups), len(state.groups))


def failures(comparisons: Iterator[Comparison], noise: float) -> list[Comparison]:
    """Bounds that are below what they bound by more than the noise of the references.

    An infinite bound and NaN, which every consumer takes for it, say nothing.
    """
    return [
        (name, found, bound)
        for name, found, bound in comparisons
        if math.isfinite(bound) and not found <= bound * (1.0 + noise) + noise
    ]
