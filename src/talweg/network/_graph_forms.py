"""Second derivatives of a graph by pairs of layers, as the maps they are (docs/theory/B6.md).

For a direction x of the value of layer a, forward over reverse gives S_a(x), the change of every
cotangent; the derivative by the weights of layer b then changes by

    Z_ab(x) = sum_p A_p q_p(P_{e,a} x)^T + sum_p S_ab(x)_p h~_p^T,        N_ab = Z_ab^T Z_ab,

both terms with their signs. N is formed through the Gram matrices of its factors.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from talweg.enclosure import Ball, matmul
from talweg.network._graph import Embedding, Parametric
from talweg.network._graph_columns import Placed, SplitColumns, is_columned
from talweg.network._graph_rows import SplitRows
from talweg.network._graph_state import GraphState
from talweg.network.rules import Curvature
from talweg.network.rules._norms import psd_norm_upper
from talweg.network.rules._rule import rearranged
from talweg.network.rules._shared import SharedRule

FORM_ENTRIES = 1 << 21
"""Outputs times directions times entries of a value up to which forms are made for several
outputs."""

WEIGHT_RATIO = 5
"""A layer with more than so many times as many weights as entries of its value goes by its value.
"""

Pair = tuple[int, int]


@dataclass(eq=False)
class Forms:
    """Norms of the maps Z at the stored weights.

    Attributes:
        by_value: ``(a, b)`` -> norm of Z from the value of a, by sample.
        by_weight: ``(a, b)`` -> sum over the samples of Z^T Z from the weights of a, a ball.
        split: For layers with one position, their rows and the sums along these.
    """

    by_value: dict[Pair, list[Tensor]] = field(default_factory=dict)
    by_weight: dict[Pair, Ball] = field(default_factory=dict)
    split: dict[int, SplitRows] = field(default_factory=dict)
    columns: dict[int, SplitColumns] = field(default_factory=dict)

    def value_norms(self) -> dict[Pair, Tensor]:
        """The norms by sample, ``(n,)``."""
        return {pair: torch.cat(parts) for pair, parts in self.by_value.items()}

    def row_norms(self) -> dict[Pair, float]:
        """Bounds of the whole form of a pair through the split rows."""
        norms = self.value_norms()
        return {
            (a, b): rows.norm_upper(b, norms[a, b])
            for a, rows in self.split.items()
            for b in rows.sums
        }

    def weight_norms(self) -> dict[Pair, float]:
        """Norms of the maps stacked over the samples."""
        return {
            pair: float(psd_norm_upper(total.symmetrized().reshape(1, *total.shape))[0])
            for pair, total in self.by_weight.items()
        }


def is_formed(state: GraphState, a: int) -> bool:
    """Whether the maps from layer a are made: one output, or few entries."""
    k = state.outputs.shape[1]
    if k == 1:
        return True
    sizes = [state.visits[t].value.mid[0].numel() for t in state.uses]
    return k * directions(state, a) * max(sizes) <= FORM_ENTRIES


def goes_by_weight(state: GraphState, a: int) -> bool:
    """Whether the maps from layer a are bounded on its weights, for all samples together."""
    positions = state.shared_rule(a).rows(state.visits[a]).shape[2]
    if positions == 1 or not isinstance(state.network.nodes[a].operation, Parametric):
        return False
    return _trained(state, a) <= WEIGHT_RATIO * state.visits[a].value.mid[0].numel()


def directions(state: GraphState, a: int) -> int:
    """How many unit directions the maps from a are made for."""
    own: int = state.visits[a].value.mid[0].numel()
    return _trained(state, a) if _is_narrow(state, a) else own


def _is_narrow(state: GraphState, a: int) -> bool:
    """Whether these are the directions of the weights: they are fewer, or in several groups."""
    if not goes_by_weight(state, a):
        return False
    groups = state.shared_rule(a).rows(state.visits[a]).shape[1]
    return groups > 1 or _trained(state, a) <= state.visits[a].value.mid[0].numel()


def _trained(state: GraphState, a: int) -> int:
    operation = state.network.nodes[a].operation
    if not isinstance(operation, Parametric):
        raise RuntimeError("unreachable: only layers with weights are used")
    return sum(slot.tensor.numel() for slot in operation.slots() if slot.trainable)


def value_seed(state: GraphState, a: int) -> Ball:
    """Unit directions of the value of a, ``(n, d_a, *shape)``."""
    shape = state.visits[a].value.shape
    d = state.visits[a].value.mid[0].numel()
    eye = torch.eye(d, dtype=torch.float64, device=state.outputs.device)
    return Ball.exact(eye.expand(shape[0], d, d)).reshape(shape[0], d, *shape[1:])


def weight_seed(state: GraphState, a: int) -> Ball:
    """What unit directions of the trained weights of a do to its value, ``(n, p_a, *shape)``."""
    rule = state.shared_rule(a)
    rows = rule.rows(state.visits[a])
    n, groups, count, c = rows.shape
    o = rule.arranged(state.cotangents[a]).shape[3]
    index = torch.arange(groups * o, device=rows.device)

    def spread(t: Tensor) -> Tensor:
        out = t.new_zeros(n, groups * o, c, groups * o, count)
        out[:, index, :, index, :] = t.transpose(2, 3)[:, index // o].transpose(0, 1)
        return out.reshape(n, groups * o * c, groups, o, count)

    return rule.unarranged(rearranged(rows, spread))


def entry_order(state: GraphState, a: int) -> Tensor:
    """The entries of the value of a layer with one group by rows and positions, ``(o P,)``."""
    value = state.visits[a].value
    places = torch.arange(value.mid[0].numel(), dtype=torch.float64, device=value.device)
    places = places.reshape(1, 1, *value.shape[1:])
    return state.shared_rule(a).arranged(Ball.exact(places)).mid[0, 0, 0].long().flatten()


def on_weights(state: GraphState, a: int, gram: Ball) -> Ball:
    """``E_a^T N E_a`` ``(n, o c, o c)`` of the weights of one group, from N on the value of a."""
    rule = state.shared_rule(a)
    rows = rule.rows(state.visits[a])[:, 0]  # (n, P, c)
    n = gram.shape[0]
    order = entry_order(state, a)
    count = rows.shape[1]
    total = rearranged(gram, lambda t: t[:, order][:, :, order])
    for _ in range(2):  # from one side, and from the other
        left = total.reshape(n, -1, count)
        product = matmul(left, rows, bound="norms").reshape(n, total.shape[1], -1)
        total = product.mT
    return total


def pushed_from(state: GraphState, a: int, seed: Ball) -> list[Ball | None]:
    """Tangents of every node from a tangent of node a; None where no path leads."""
    found: list[Ball | None] = [None] * len(state.rules)
    found[a] = seed
    for t in range(a + 1, len(found)):
        tangents = [found[e - 1] if e > 0 else None for e in state.network.nodes[t].inputs]
        if any(x is not None for x in tangents):
            found[t] = state.rules[t].push(state.visits[t], tangents)
    return found


def cotangent_changes(
    state: GraphState, pushed: list[Ball | None], curvatures: dict[int, Curvature]
) -> list[Ball | None]:
    """S: the change of the cotangent of every node, ``(n, k m, *shape)``; None is zero."""
    nodes = state.network.nodes
    found: list[Ball | None] = [None] * len(nodes)
    for t in range(len(nodes) - 1, -1, -1):
        inputs = nodes[t].inputs
        parts: list[Ball] = []
        change = found[t]
        if change is not None and any(e > 0 for e in inputs):
            parts = state.rules[t].pull(state.visits[t], change)
        tangents = [pushed[e - 1] if e > 0 else None for e in inputs]
        if t in curvatures and any(x is not None for x in tangents):
            bent = curvatures[t].second(tangents)
            parts = bent if not parts else [p + q for p, q in zip(parts, bent, strict=True)]
        for e, part in zip(inputs, parts, strict=False):
            if e > 0:
                before = found[e - 1]
                found[e - 1] = part if before is None else before + part
    return found


def add_forms(
    state: GraphState, a: int, curvatures: dict[int, Curvature], forms: Forms, first: int
) -> None:
    """Add the maps from layer a for the samples of `state`, which begin with number `first`."""
    by_weight, narrow = goes_by_weight(state, a), _is_narrow(state, a)
    seed = weight_seed(state, a) if narrow else value_seed(state, a)
    pushed = pushed_from(state, a, seed)
    changes = cotangent_changes(state, pushed, curvatures)
    splits = {b: forms.columns[b] for b in columned_ends(state, a)}
    placed = None if narrow or not splits else _placed(state, a)
    for b in state.uses:
        (e,) = state.network.nodes[b].inputs
        rule = state.shared_rule(b)
        tangent = pushed[e - 1] if e > 0 and rule.multiplies else None
        gram = _gram(state, b, rule, tangent, changes[b])
        if gram is None:
            continue
        if b in splits:
            seen = splits[b].seen(state, b, tangent, changes[b], gram.shape[1])
            rest = gram - splits[b].add(a, seen, placed)
            if by_weight:
                splits[b].add_across(a, rest if narrow else on_weights(state, a, rest))
            else:
                splits[b].sizes.setdefault(a, []).append(psd_norm_upper(rest.symmetrized()))
        if by_weight:
            total = (gram if narrow else on_weights(state, a, gram)).sum(0)
            before = forms.by_weight.get((a, b))
            forms.by_weight[a, b] = total if before is None else before + total
        else:
            gram = gram.symmetrized()
            forms.by_value.setdefault((a, b), []).append(psd_norm_upper(gram))
            if a in forms.split:
                forms.split[a].add(b, gram, first)


def columned_ends(state: GraphState, a: int) -> list[int]:
    """The layers b for which the maps from a are bounded along the columns of b too.

    Where both have one position that is hardly ever better, and costs most.
    """
    operation, by_weight = state.network.nodes[a].operation, goes_by_weight(state, a)
    groups, positions = state.shared_rule(a).rows(state.visits[a]).shape[1:3]
    if not _is_narrow(state, a) and (groups > 1 or isinstance(operation, Embedding)):
        return []
    return [
        b for b in state.uses
        if (a < b or (a == b and not by_weight))
        and (positions > 1 or state.shared_rule(b).rows(state.visits[b]).shape[2] > 1)
        and is_columned(state, b)
    ]  # fmt: skip


def _placed(state: GraphState, a: int) -> Placed:
    """How the entries of the value of a layer with one group stand to its rows."""
    rows = state.shared_rule(a).rows(state.visits[a])[:, 0]
    return Placed(entry_order(state, a), matmul(rows, rows.mT, bound="norms"))


def _gram(
    state: GraphState, b: int, rule: SharedRule, tangent: Ball | None, change: Ball | None
) -> Ball | None:
    """N, ``(n, m, m)``; None is zero."""
    if tangent is None and change is None:
        return None
    product = None if tangent is None else rule.product_gram(state.cotangents[b], tangent)
    if change is None:
        return product
    n, k = state.outputs.shape
    m = change.shape[1] // k
    rows = rule.rows(state.visits[b])  # (n, g, P, c)
    arranged = rule.arranged(change)  # (n, k m, g, o, P)
    groups, o, count = arranged.shape[2:]
    shift = rearranged(
        arranged,
        lambda t: (
            t.reshape(n, k, m, groups, o, count)
            .permute(0, 3, 2, 1, 4, 5)
            .reshape(n, groups, m * k * o, count)
        ),
    )
    overlaps = matmul(rows, rows.mT, bound="norms")  # (n, g, P, P)
    left = _by_direction(matmul(shift, overlaps, bound="norms"), m)
    right = _by_direction(shift, m)
    total = matmul(left, right.mT, bound="norms")
    if tangent is None or product is None:
        return total
    cross = _cross(state, b, rule, tangent, shift, m)
    return total + product + cross + cross.mT


def _by_direction(ball: Ball, m: int) -> Ball:
    """``(n, g, m x, P)`` -> ``(n, m, g x P)``."""
    n, groups, _, count = ball.shape
    return rearranged(
        ball,
        lambda t: t.reshape(n, groups, m, -1, count).transpose(1, 2).reshape(n, m, -1),
    )


def _cross(state: GraphState, b: int, rule: SharedRule, tangent: Ball, shift: Ball, m: int) -> Ball:
    """``<sum_p A_p q_p(x)^T, sum_p S(x')_p h~_p^T>``, ``(n, m, m)``."""
    arranged = rule.arranged(state.cotangents[b])  # (n, k, g, o, P)
    n, k, groups, o, count = arranged.shape
    rows = rule.patches(state.visits[b].inputs[0])  # (n, g, P, c)
    c = rows.shape[3]
    taken = rule.patches(tangent.reshape(n * m, *tangent.shape[2:]))  # (n m, g, P, c)
    patches = rearranged(
        taken,
        lambda t: (
            t.reshape(n, m, groups, count, c).transpose(1, 2).reshape(n, groups, m * count, c)
        ),
    )
    met = matmul(patches, rows.mT, bound="norms")  # (n, g, m P, P'): q_p(x) . h~_p'
    met = rearranged(
        met,
        lambda t: t.reshape(n, groups, m, count, count).transpose(1, 2).reshape(n, m, -1),
    )
    weights = rearranged(
        arranged, lambda t: t.permute(0, 2, 4, 1, 3).reshape(n, groups, 1, count, k * o)
    )
    turned = shift.reshape(n, groups, m, k * o, count)
    moved = matmul(weights, turned, bound="norms")  # (n, g, m, P, P'): A_p . S_p'(x')
    moved = rearranged(moved, lambda t: t.transpose(1, 2).reshape(n, m, -1))
    return matmul(met, moved.mT, bound="norms")
