"""What the Lipschitz bound of a graph takes from the stored weights (docs/theory/B6.md).

The maps Z, and for the pairs of layers with weights that these do not bound, or not best: omega(0),
the product term, and nu, the norms of the roots of the curved nodes that both reach. They come from
the tangents P_{t,a}, dense matrices of one sample, pushed through the graph from each layer a, for
as many samples at a time as fit.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from talweg.enclosure import Ball, matmul
from talweg.network._graph_columns import split_columns
from talweg.network._graph_forms import (
    Forms,
    Pair,
    add_forms,
    columned_ends,
    is_formed,
    pushed_from,
    value_seed,
)
from talweg.network._graph_rows import is_split, split_rows
from talweg.network._graph_state import GraphState
from talweg.network.rules import Curvature
from talweg.network.rules._norms import psd_norm_upper
from talweg.network.rules._rule import flat
from talweg.verified import spectral_norm_upper

CHUNK_ENTRIES = 32_000_000
"""Entries of the tangents held at once: 500 MB as balls."""


@dataclass(frozen=True, eq=False)
class GraphStart:
    """Upper bounds at the stored weights; nodes by their position.

    Attributes:
        reach: For each use a, the curved nodes that it reaches.
        products: Pairs ``(a, b)``, a not after b, that are bounded by products of norms.
        omega: For them ``(b, a)`` -> product weights ``(n,)``, where a reaches the input of b.
        nu: For them ``(a, S)`` -> ``(n,)``, S a tuple of curved nodes.
        by_value: ``(a, b)`` -> norms of the maps Z from the value of a, ``(n,)``.
        by_weight: ``(a, b)`` -> norm of the stacked maps from the weights of a.
        by_rows: ``(a, b)`` -> the same, from above, for some pairs that are in `by_value`.
        by_columns: ``(a, b)`` -> bounds of the form of the pair, for some that are in either.
        alpha: For each use whose weight trains, ``(n,)``.
        curvatures: For each curved node, its second-order term for all samples.
        cotangent_norms: ``|G_t|`` of every node, ``(n,)``.
    """

    reach: dict[int, tuple[int, ...]]
    products: frozenset[Pair]
    omega: dict[Pair, Tensor]
    nu: dict[tuple[int, tuple[int, ...]], Tensor]
    by_value: dict[Pair, Tensor]
    by_weight: dict[Pair, float]
    by_rows: dict[Pair, float]
    by_columns: dict[Pair, float]
    alpha: dict[int, Tensor]
    curvatures: dict[int, Curvature]
    cotangent_norms: tuple[Tensor, ...]


def curved_nodes(state: GraphState) -> tuple[int, ...]:
    """Positions of the nodes with a second derivative along what training moves.

    A product of which one factor does not depend on the weights has none.
    """
    moving = [False] * len(state.rules)
    for a in state.uses:
        moving = [was or now for was, now in zip(moving, reached(state, a), strict=True)]
    return tuple(
        t
        for t, rule in enumerate(state.rules)
        if rule.curved and all(e > 0 and moving[e - 1] for e in state.network.nodes[t].inputs)
    )


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


def multiplies(state: GraphState, a: int, b: int) -> bool:
    """Whether the trained weight of b multiplies what a moves."""
    (e,) = state.network.nodes[b].inputs
    if a == b or e == 0 or not state.shared_rule(b).multiplies:
        return False
    return reached(state, a)[e - 1]


def by_products(state: GraphState, reach: dict[int, tuple[int, ...]]) -> frozenset[Pair]:
    """The pairs that are bounded by products of norms: those without a map, and linear ones.

    Where nothing curved follows, a map counts every output of b alike, a product the largest.
    """
    if state.outputs.shape[1] == 1:
        return frozenset()
    formed = {a for a in state.uses if is_formed(state, a)}
    found = set()
    for place, a in enumerate(state.uses):
        for b in state.uses[place:]:
            product, bent = multiplies(state, a, b), bool(common(reach, a, b))
            mapped = a in formed or (b in formed and not product)
            if (product and not bent) or (bent and not mapped):
                found.add((a, b))
    return frozenset(found)


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
    own = [sizes[a] for a in state.uses] or [1]
    products = by_products(state, reach)
    # Maps: the tangents from one layer, for every output. Products: those from all layers.
    columns = max(max(own) * state.outputs.shape[1], sum(own) if products else 0)
    formed = [a for a in state.uses if is_formed(state, a)]
    ends = {b for a in formed for b in columned_ends(state, a)}
    forms = Forms(
        split={a: split_rows(state, a) for a in formed if is_split(state, a)},
        columns={b: split_columns(state, b) for b in sorted(ends)},
    )
    # Along columns: what is seen of the maps, a few times over.
    heights = {b: state.shared_rule(b).arranged(state.cotangents[b]).shape[3] for b in state.uses}
    along = max((heights[b] * split.v.shape[1] for b, split in forms.columns.items()), default=0)
    per_sample = columns * (2 * sum(sizes) + 4 * along)
    step = max(1, CHUNK_ENTRIES // max(per_sample, 1))
    alpha = {
        t: state.shared_rule(t).cotangent_sizes(state.cotangents[t])
        for t in state.uses
        if state.shared_rule(t).multiplies
    }
    omega: dict[Pair, list[Tensor]] = {}
    nu: dict[tuple[int, tuple[int, ...]], list[Tensor]] = {}
    balances: dict[int, list[Tensor]] = {c: [] for c in curved}
    for start in range(0, state.samples, step):
        rows = slice(start, min(start + step, state.samples))
        part, sizes_there = _rows(state, rows), {t: a[rows] for t, a in alpha.items()}
        if products:
            _one_chunk(part, reach, products, sizes_there, omega, nu, balances)
        exact = {
            c: part.rules[c].curvature(
                part.visits[c], part.cotangents[c], part.visits[c].zero + 1.0
            )
            for c in curved
        }
        for a in formed:
            add_forms(part, a, exact, forms, start)
    curvatures = {
        c: state.rules[c].curvature(
            state.visits[c], state.cotangents[c], _balance(balances[c], state)
        )
        for c in curved
    }
    norms = tuple(spectral_norm_upper(flat(g)) for g in state.cotangents)
    return GraphStart(
        reach, products,
        {pair: torch.cat(parts) for pair, parts in omega.items()},
        {key: torch.cat(parts) for key, parts in nu.items()},
        forms.value_norms(),
        forms.weight_norms(),
        forms.row_norms(),
        {
            (a, b): split.norm_upper(a, state.shared_rule(a).rows(state.visits[a]))
            for b, split in forms.columns.items()
            for a in split.along
        },
        alpha, curvatures, norms,
    )  # fmt: skip


def _balance(parts: list[Tensor], state: GraphState) -> Tensor:
    """tau for all samples; 1 where no root was asked for."""
    return torch.cat(parts) if parts else state.visits[0].zero + 1.0


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


def _one_chunk(
    state: GraphState,
    reach: dict[int, tuple[int, ...]],
    products: frozenset[Pair],
    alpha: dict[int, Tensor],
    omega: dict[Pair, list[Tensor]],
    nu: dict[tuple[int, tuple[int, ...]], list[Tensor]],
    balances: dict[int, list[Tensor]],
) -> None:
    """Append the norms for some samples."""
    nodes = state.network.nodes
    sets: dict[int, dict[tuple[int, ...], None]] = {a: {} for a in state.uses}
    for a, b in sorted(products):
        if common(reach, a, b):
            sets[a][common(reach, a, b)] = sets[b][common(reach, a, b)] = None
    kept: dict[int, dict[int, list[Ball | None]]] = {}
    squares: dict[int, list[Tensor]] = {
        c: [state.visits[0].zero.clone() for _ in nodes[c].inputs] for c in balances
    }
    for a in state.uses:
        after = [b for b in state.uses if (a, b) in products and multiplies(state, a, b)]
        if not sets[a] and not after:
            continue
        pushed = pushed_from(state, a, value_seed(state, a))
        for b in after:
            tangent = pushed[state.network.nodes[b].inputs[0] - 1]
            if tangent is not None:
                best = state.shared_rule(b).product_weights(state.cotangents[b], alpha[b], tangent)
                omega.setdefault((b, a), []).append(best)
        kept[a] = {}
        for c in reach[a] if sets[a] else ():
            tangents = [pushed[e - 1] if e > 0 else None for e in nodes[c].inputs]
            kept[a][c] = tangents
            if len(tangents) > 1:
                for place, t in enumerate(tangents):
                    if t is not None:
                        squares[c][place] += t.mid.square().flatten(1).sum(1)
    roots: dict[int, Curvature] = {}
    for c, parts in squares.items():
        balance = state.visits[0].zero + 1.0
        if len(parts) == 2:
            ratio = (parts[1] / parts[0]).sqrt()
            balance = torch.where((ratio > 2.0**-60) & (ratio < 2.0**60), ratio, balance)
        balances[c].append(balance)
        roots[c] = state.rules[c].curvature(state.visits[c], state.cotangents[c], balance)
    for a in state.uses:
        grams: dict[int, Ball] = {}
        for c in {c: None for nodes_of_pair in sets[a] for c in nodes_of_pair}:
            rooted = roots[c].root(kept[a][c])  # (n, d_a, r)
            grams[c] = matmul(rooted, rooted.mT, bound="norms")
        for nodes_of_pair in sets[a]:
            total = grams[nodes_of_pair[0]]
            for c in nodes_of_pair[1:]:
                total = total + grams[c]
            norm = psd_norm_upper(total.symmetrized())
            nu.setdefault((a, nodes_of_pair), []).append(norm)
