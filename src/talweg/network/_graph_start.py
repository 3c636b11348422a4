"""What the Lipschitz bound of a graph takes from the stored weights (docs/theory/B6.md).

For every pair of layers with weights and every sample: omega(0), the product term, and nu, the
norms of the roots of the curved nodes that both reach. They come from the tangents P_{t,a}, dense
matrices of one sample, pushed through the graph from each layer a, for as many samples at a time as
fit.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from talweg.enclosure import Ball, matmul
from talweg.network._graph_state import GraphState
from talweg.network.rules import Curvature
from talweg.network.rules._norms import psd_norm_upper
from talweg.network.rules._rule import flat
from talweg.network.rules._shared import unfolded_norms_upper
from talweg.verified import spectral_norm_upper

CHUNK_ENTRIES = 24_000_000
"""Entries of the tangents held at once: 400 MB as balls."""

FORM_ENTRIES = 1 << 16
"""Entries of one sample's form up to which it is made for more than one output."""

Pair = tuple[int, int]


@dataclass(frozen=True, eq=False)
class GraphStart:
    """Upper bounds at the stored weights; nodes by their position.

    Attributes:
        reach: For each use a, the curved nodes that it reaches.
        omega: ``(b, a)`` -> product weights ``(n,)``, where a reaches the input of b.
        nu: ``(a, S)`` -> ``(n,)``, S a tuple of curved nodes.
        form: ``(a, b)``, a before b or the same -> the norm of the form itself, ``(n,)``.
        alpha: For each use whose weight trains, ``(n,)``.
        curvatures: For each curved node, its second-order term for all samples.
        cotangent_norms: ``|G_t|`` of every node, ``(n,)``.
    """

    reach: dict[int, tuple[int, ...]]
    omega: dict[Pair, Tensor]
    nu: dict[tuple[int, tuple[int, ...]], Tensor]
    form: dict[Pair, Tensor]
    alpha: dict[int, Tensor]
    curvatures: dict[int, Curvature]
    cotangent_norms: tuple[Tensor, ...]


def curved_nodes(state: GraphState) -> tuple[int, ...]:
    """Positions of the nodes with a second derivative."""
    return tuple(t for t, rule in enumerate(state.rules) if rule.curved)


def reached(state: GraphState, a: int) -> tuple[bool, ...]:
    """For every node whether a path leads to it from node a, a itself included."""
    found = [False] * len(state.rules)
    found[a] = True
    for t in range(a + 1, len(found)):
        found[t] = any(e > 0 and found[e - 1] for e in state.network.nodes[t].inputs)
    return tuple(found)


def common(reach: dict[int, tuple[int, ...]], a: int, b: int) -> tuple[int, ...]:
    """S: the curved nodes that a and b both reach."""
    other = set(reach[b])
    return tuple(c for c in reach[a] if c in other)


def graph_start(state: GraphState) -> GraphStart:
    """Everything in the bound that does not depend on the radius."""
    curved = curved_nodes(state)
    reach: dict[int, tuple[int, ...]] = {}
    for a in state.uses:
        hit = reached(state, a)
        reach[a] = tuple(
            c for c in curved
            if any(e > 0 and hit[e - 1] for e in state.network.nodes[c].inputs)
        )  # fmt: skip
    sizes = [max(1, v.value.mid[0].numel()) for v in state.visits]
    per_sample = sum(sizes[a] for a in state.uses) * 2 * sum(sizes)
    step = max(1, CHUNK_ENTRIES // max(per_sample, 1))
    alpha = {
        t: state.shared_rule(t).cotangent_sizes(state.cotangents[t])
        for t in state.uses
        if state.shared_rule(t).multiplies
    }
    omega: dict[Pair, list[Tensor]] = {}
    nu: dict[tuple[int, tuple[int, ...]], list[Tensor]] = {}
    form: dict[Pair, list[Tensor]] = {}
    balances: dict[int, list[Tensor]] = {c: [] for c in curved}
    for start in range(0, state.samples, step):
        rows = slice(start, min(start + step, state.samples))
        part, sizes_there = _rows(state, rows), {t: a[rows] for t, a in alpha.items()}
        _one_chunk(part, reach, sizes_there, omega, nu, form, balances)
    curvatures = {
        c: state.rules[c].curvature(state.visits[c], state.cotangents[c], torch.cat(balances[c]))
        for c in curved
    }
    norms = tuple(spectral_norm_upper(flat(g)) for g in state.cotangents)
    return GraphStart(
        reach,
        {pair: torch.cat(parts) for pair, parts in omega.items()},
        {key: torch.cat(parts) for key, parts in nu.items()},
        {pair: torch.cat(parts) for pair, parts in form.items()},
        alpha, curvatures, norms,
    )  # fmt: skip


def _rows(state: GraphState, rows: slice) -> GraphState:
    """The same network on some of its rows."""
    if rows.start == 0 and rows.stop >= state.samples:
        return state
    from talweg.network._graph_state import GraphState as State
    from talweg.network.rules import Visit

    values: list[Ball] = []
    visits: list[Visit] = []
    for t, visit in enumerate(state.visits):
        inputs = tuple(
            values[e - 1] if e > 0 else visit.inputs[place][rows]
            for place, e in enumerate(state.network.nodes[t].inputs)
        )
        again = state.rules[t].visit(inputs)
        visits.append(again)
        values.append(again.value)
    cotangents = tuple(g[rows] for g in state.cotangents)
    return State(state.network, state.rules, tuple(visits), cotangents, state.root[rows])


def tangents_from(state: GraphState, a: int) -> list[Ball | None]:
    """P_{t,a} of every node, balls ``(n, d_a, *shape)``; None where no path leads from a."""
    shape = state.visits[a].value.shape
    n, d = shape[0], state.visits[a].value.mid[0].numel()
    eye = torch.eye(d, dtype=torch.float64, device=state.outputs.device)
    found: list[Ball | None] = [None] * len(state.rules)
    found[a] = Ball.exact(eye.expand(n, d, d)).reshape(n, d, *shape[1:])
    for t in range(a + 1, len(found)):
        tangents = [found[e - 1] if e > 0 else None for e in state.network.nodes[t].inputs]
        if any(x is not None for x in tangents):
            found[t] = state.rules[t].push(state.visits[t], tangents)
    return found


def _one_chunk(
    state: GraphState,
    reach: dict[int, tuple[int, ...]],
    alpha: dict[int, Tensor],
    omega: dict[Pair, list[Tensor]],
    nu: dict[tuple[int, tuple[int, ...]], list[Tensor]],
    form: dict[Pair, list[Tensor]],
    balances: dict[int, list[Tensor]],
) -> None:
    """Append the norms for some samples."""
    nodes = state.network.nodes
    kept: dict[int, dict[int, list[Ball | None]]] = {}
    squares: dict[int, list[Tensor]] = {
        c: [torch.zeros(state.samples, dtype=torch.float64) for _ in nodes[c].inputs]
        for c in balances
    }
    for a in state.uses:
        pushed = tangents_from(state, a)
        _products(state, a, pushed, alpha, omega)
        kept[a] = {}
        for c in reach[a]:
            tangents = [pushed[e - 1] if e > 0 else None for e in nodes[c].inputs]
            kept[a][c] = tangents
            if len(tangents) > 1:
                for place, t in enumerate(tangents):
                    if t is not None:
                        squares[c][place] += t.mid.square().flatten(1).sum(1)
    roots: dict[int, Curvature] = {}
    for c, parts in squares.items():
        balance = torch.ones(state.samples, dtype=torch.float64)
        if len(parts) == 2:
            ratio = (parts[1] / parts[0]).sqrt()
            balance = torch.where((ratio > 2.0**-60) & (ratio < 2.0**60), ratio, balance)
        balances[c].append(balance)
        roots[c] = state.rules[c].curvature(state.visits[c], state.cotangents[c], balance)
    for a in state.uses if state.outputs.shape[1] > 1 else ():
        grams: dict[int, Ball] = {}
        for c in reach[a]:
            rooted = roots[c].root(kept[a][c])  # (n, d_a, r)
            grams[c] = matmul(rooted, rooted.mT, bound="norms")
        for nodes_of_pair in dict.fromkeys(common(reach, a, b) for b in state.uses):
            if nodes_of_pair:
                total = grams[nodes_of_pair[0]]
                for c in nodes_of_pair[1:]:
                    total = total + grams[c]
                norm = psd_norm_upper(total.symmetrized())
                nu.setdefault((a, nodes_of_pair), []).append(norm)

    _forms(state, reach, kept, roots, form)


def _forms(
    state: GraphState,
    reach: dict[int, tuple[int, ...]],
    kept: dict[int, dict[int, list[Ball | None]]],
    roots: dict[int, Curvature],
    form: dict[Pair, list[Tensor]],
) -> None:
    """Append the norms of the forms themselves, where they are affordable."""
    k = state.outputs.shape[1]
    sizes = {t: state.visits[t].value.mid[0].numel() for t in state.uses}
    for place, b in enumerate(state.uses):
        if not any(_is_formed(k, sizes[a], sizes[b]) for a in state.uses[: place + 1]):
            continue
        bent = {c: roots[c].second(kept[b][c]) for c in reach[b]}
        for a in state.uses[: place + 1]:
            shared = common(reach, a, b)
            if not shared or not _is_formed(k, sizes[a], sizes[b]):
                continue
            total: Ball | None = None
            for c in shared:
                for t, q in zip(kept[a][c], bent[c], strict=True):
                    if t is not None:
                        one = matmul(flat(t), flat(q).mT, bound="norms")  # (n, d_a, k d_b)
                        total = one if total is None else total + one
            if total is not None:
                n, d_a = total.shape[:2]
                cube = total.reshape(n, 1, d_a, state.outputs.shape[1], -1)
                norms = unfolded_norms_upper(cube, (0, 1, 2, 3, 4))[:, 0]
                form.setdefault((a, b), []).append(norms)


def _is_formed(outputs: int, d_a: int, d_b: int) -> bool:
    """One output, where the norm of the form is the sharpest bound, or few entries."""
    return outputs == 1 or outputs * d_a * d_b <= FORM_ENTRIES


def _products(
    state: GraphState,
    a: int,
    pushed: list[Ball | None],
    alpha: dict[int, Tensor],
    omega: dict[Pair, list[Tensor]],
) -> None:
    for b in state.uses:
        rule = state.shared_rule(b)
        (e,) = state.network.nodes[b].inputs
        tangent = pushed[e - 1] if e > 0 else None
        if tangent is None or not rule.multiplies:
            continue
        best = rule.product_weights(state.cotangents[b], alpha[b], tangent)
        omega.setdefault((b, a), []).append(best)
