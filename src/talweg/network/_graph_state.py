"""A graph at its stored weights: values, cotangents and the tangent kernel, as enclosures.

With multiplicities m_i the outputs of row i are multiplied by sqrt(m_i). The kernel is the sum over
the layers with weights of J_a J_a^T, uses of one shared tensor added before the product
(docs/theory/B6.md).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from talweg._errors import UnsupportedModelError
from talweg.enclosure import Ball, cat, gram, matmul, norm_upper
from talweg.network._graph import Network, Parametric
from talweg.network.rules import Rule, SharedRule, Visit, rules_of
from talweg.network.rules._rule import rearranged


@dataclass(frozen=True, eq=False)
class GraphState:
    """A network at its stored weights on n rows.

    Attributes:
        network: The network.
        rules: The rule of every node.
        visits: The nodes at the stored weights; ``visits[t]`` belongs to ``network.nodes[t]``.
        cotangents: ``dF/dv`` of every node, ``(n, k, *shape)``, scaled by the root.
        root: ``sqrt(m_i)``, ball ``(n,)``.
    """

    network: Network
    rules: tuple[Rule, ...]
    visits: tuple[Visit, ...]
    cotangents: tuple[Ball, ...]
    root: Ball

    @property
    def outputs(self) -> Ball:
        """``(n, k)``, not scaled by the root."""
        return self.visits[-1].value

    @property
    def samples(self) -> int:
        """Number n of distinct rows."""
        return len(self.outputs)

    @property
    def residual_dim(self) -> int:
        """Number N of residual entries, rows times outputs."""
        n, k = self.outputs.shape
        return n * k

    @cached_property
    def uses(self) -> tuple[int, ...]:
        """Positions of the nodes with something trained, in order."""
        return tuple(
            t
            for t, node in enumerate(self.network.nodes)
            if isinstance(node.operation, Parametric) and node.operation.trains
        )

    def shared_rule(self, t: int) -> SharedRule:
        """The rule of a node with weights."""
        rule = self.rules[t]
        if not isinstance(rule, SharedRule):
            raise RuntimeError(f"node {t} has no weights; please report")
        return rule

    @cached_property
    def groups(self) -> tuple[tuple[int, ...], ...]:
        """The uses, those that share a trained tensor together."""
        owner: dict[str, int] = {}
        parent = list(range(len(self.uses)))

        def top(u: int) -> int:
            return u if parent[u] == u else top(parent[u])

        for u, t in enumerate(self.uses):
            operation = self.network.nodes[t].operation
            assert isinstance(operation, Parametric)
            _refuse_one_tensor_twice(operation)
            for slot in operation.slots():
                if slot.trainable:
                    first = owner.setdefault(slot.name, u)
                    parent[top(u)] = top(first)
        found: dict[int, list[int]] = {}
        for u, t in enumerate(self.uses):
            found.setdefault(top(u), []).append(t)
        return tuple(tuple(group) for group in found.values())


def _refuse_one_tensor_twice(operation: Parametric) -> None:
    """A direction of a tensor that is weight and bias at once would count twice in its norm."""
    if operation.weight_trainable and operation.weight_name == operation.bias_name:
        raise UnsupportedModelError(
            f"`network` of graph_state(): the layer at {operation.path!r} must have a weight and a "
            f"bias of its own; got the parameter {operation.weight_name!r} as both. Give it two "
            "parameters."
        )


def graph_state(network: Network, X: Tensor, multiplicity: Tensor | None = None) -> GraphState:
    """Evaluate a graph and its cotangents on every row, as enclosures.

    Args:
        network: Any network.
        X: Inputs ``(n, d)`` or ``(n, *input_shape)``, read exactly.
        multiplicity: ``(n,)`` integers >= 1, how often each row stands in the data; None is 1.
    """
    rules = rules_of(network)
    shape = network.input_shape or (network.input_dim,)
    counts = torch.ones(len(X), device=X.device) if multiplicity is None else multiplicity
    root = Ball.exact(counts.to(torch.float64)).sqrt()
    values = [Ball.exact(X.to(torch.float64)).reshape(len(X), *shape)]
    visits: list[Visit] = []
    for node, rule in zip(network.nodes, rules, strict=True):
        visit = rule.visit(tuple(values[e] for e in node.inputs))
        visits.append(visit)
        values.append(visit.value)

    n, k = values[-1].shape
    identity = Ball.exact(torch.eye(k, dtype=torch.float64, device=X.device).expand(n, k, k))
    found: list[Ball | None] = [None] * len(values)
    found[-1] = identity * root.reshape(n, 1, 1)
    for t in range(len(rules) - 1, -1, -1):
        g = found[t + 1]
        if g is None:
            continue
        node = network.nodes[t]
        if all(e == 0 for e in node.inputs):
            continue  # nothing is asked of the data
        for e, part in zip(node.inputs, rules[t].pull(visits[t], g), strict=True):
            before = found[e]
            found[e] = part if before is None else before + part
    zeros = [
        Ball.exact(torch.zeros(n, k, *v.shape[1:], dtype=torch.float64, device=X.device))
        if g is None else g
        for v, g in zip(values, found, strict=True)
    ]  # fmt: skip
    return GraphState(network, rules, tuple(visits), tuple(zeros[1:]), root)


def graph_kernel_ball(state: GraphState) -> Ball:
    """Enclosure of the tangent kernel, ``(N, N)`` with a symmetric midpoint; N = n k.

    Row ``i k + o`` belongs to output o of sample i.
    """
    total: Ball | None = None
    for group in state.groups:
        for term in _terms(state, group):
            total = term if total is None else total + term
    if total is None:
        zeros = torch.zeros(state.residual_dim, state.residual_dim, dtype=torch.float64)
        return Ball.exact(zeros.to(state.outputs.device))
    return total.symmetrized()


def _terms(state: GraphState, group: tuple[int, ...]) -> Iterator[Ball]:
    """What the uses of one group of tensors add to the kernel."""
    n, k = state.outputs.shape
    if len(group) > 1:
        for jacobian in shared_jacobians(state, group):
            yield gram(jacobian, bound="norms")
        return
    (t,) = group
    rows = state.shared_rule(t).rows(state.visits[t])  # (n, g, P, c)
    arranged = state.shared_rule(t).arranged(state.cotangents[t])  # (n, k, g, o, P)
    if rows.shape[1] == rows.shape[2] == 1:
        outputs = gram(arranged.reshape(n * k, -1), bound="norms")
        inputs = gram(rows.reshape(n, -1), bound="norms")
        if k > 1:
            inputs = inputs.reshape(n, 1, n, 1)
            yield (outputs.reshape(n, k, n, k) * inputs).reshape(n * k, n * k)
        else:
            yield outputs * inputs
        return
    yield gram(_jacobian(arranged, rows), bound="norms")


def _jacobian(arranged: Ball, rows: Ball) -> Ball:
    """``sum_p G[.., p] (x) h~_p``, ``(n k, g o c)``."""
    n, k, groups, o, count = arranged.shape
    turned = rearranged(arranged, lambda t: t.transpose(1, 2).reshape(n, groups, k * o, count))
    product = matmul(turned, rows)  # (n, g, k o, c)
    c = rows.shape[3]
    return rearranged(
        product,
        lambda t: t.reshape(n, groups, k, o * c).transpose(1, 2).reshape(n * k, groups * o * c),
    )


def shared_jacobians(state: GraphState, group: tuple[int, ...]) -> list[Ball]:
    """The Jacobian by each trained tensor of a group of uses, ``(N, entries)``, in first-use order.

    Columns are in the row-major order of the stored tensor, so that uses by layers of two kinds add
    up entry by entry.

    Args:
        state: The network at its stored weights.
        group: Positions of nodes.
    """
    found: dict[str, Ball] = {}
    for t in group:
        operation = state.network.nodes[t].operation
        assert isinstance(operation, Parametric)
        rule, visit = state.shared_rule(t), state.visits[t]
        arranged = rule.arranged(state.cotangents[t])
        rows = rule.rows(visit)
        width = rows.shape[3] - int(operation.bias_trainable)
        for slot in operation.slots():
            if not slot.trainable:
                continue
            part = rows[..., :width] if slot.field == "weight" else rows[..., width:]
            one = _jacobian(arranged, part)
            if slot.field == "weight":
                one = rearranged(one, rule.as_stored)
            found[slot.name] = found[slot.name] + one if slot.name in found else one
    return list(found.values())


def graph_residual_norm_bound(state: GraphState, targets: Tensor) -> float:
    """Upper bound of ``|F(w0) - y|`` over the unmerged data.

    Args:
        state: The network at its stored weights.
        targets: ``(n, k)`` targets of the merged rows, read exactly.
    """
    residual = (state.outputs - Ball.exact(targets)) * state.root.reshape(-1, 1)
    return float(norm_upper(residual.magnitude_upper()))


def graph_jacobian_ball(state: GraphState) -> Ball:
    """The Jacobian by all trained tensors, group by group, ``(N, p)``."""
    parts = [j for group in state.groups for j in shared_jacobians(state, group)]
    n, k = state.outputs.shape
    if not parts:
        return Ball.exact(torch.zeros(n * k, 0, dtype=torch.float64))
    if sum(math.prod(p.shape) for p in parts) > 50_000_000:
        raise MemoryError("the Jacobian has more than 50 million entries")
    return cat(parts, 1)
