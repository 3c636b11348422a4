"""An upper bound of the Lipschitz constant of the Jacobian of a graph on a ball.

Derivation: docs/theory/B6.md; each name is the one of that page. All numbers here are upper bounds
and every operation rounds up.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from talweg.enclosure import Ball, add_up, mul_up, norm_upper, sqrt_up, sum_upper
from talweg.network._graph_forms import is_formed
from talweg.network._graph_start import GraphStart, common, graph_start
from talweg.network._graph_state import GraphState
from talweg.network._maxima import nonnegative_norm_upper
from talweg.verified import spectral_norm_upper


@dataclass(frozen=True, eq=False)
class _OnBall:
    """Changes on the ball of one radius, per sample; lists by node.

    Attributes:
        eta: Of the value.
        slopes: Delta for each input.
        slope_norms: D hat for each input.
        gamma: Of the cotangent.
    """

    eta: list[Tensor]
    slopes: list[tuple[Tensor, ...]]
    slope_norms: list[list[Tensor]]
    gamma: list[Tensor]


Paths = dict[int, dict[int, tuple[Tensor, Tensor]]]
"""For each use the nodes that it reaches, with ``p hat`` and pi."""


class GraphLipschitz:
    """Lipschitz constants of the Jacobian on balls around the stored weights.

    Args:
        state: The network on the (merged) training rows.
    """

    def __init__(self, state: GraphState) -> None:
        self._state = state
        self._start: GraphStart = graph_start(state)
        self._rows = {t: state.shared_rule(t).rows(state.visits[t]) for t in state.uses}
        self._is_formed = {a for a in state.uses if is_formed(state, a)}
        self._known: dict[float, float] = {}

    def upper(self, radius: float) -> float:
        """``beta(R)``: ``|J(w) - J(w')|_op <= beta |w - w'|`` for all w, w' in B(w0, R).

        Args:
            radius: R >= 0, finite.

        Returns:
            A float, inf when nothing finite could be shown.
        """
        if radius not in self._known:
            beta = nonnegative_norm_upper(self.layer_matrix_upper(radius))
            self._known[radius] = beta if beta >= 0.0 else math.inf
        return self._known[radius]

    def layer_matrix_upper(self, radius: float) -> Tensor:
        """The matrix ``T(R)``, one row for each group of layers that share no tensor with others.

        Args:
            radius: R >= 0, finite.
        """
        on_ball = self._on_ball(radius)
        uses = self._state.uses
        paths = {a: self._paths(a, on_ball) for a in uses}
        owner = {t: g for g, group in enumerate(self._state.groups) for t in group}
        count = len(self._state.groups)
        matrix = torch.zeros(count, count, dtype=torch.float64)
        for place, a in enumerate(uses):
            for b in uses[place:]:
                entry = self._entry(a, b, on_ball, paths)
                one, two = owner[a], owner[b]
                matrix[one, two] = add_up(float(matrix[one, two]), entry)
                if one != two:
                    matrix[two, one] = matrix[one, two]
                elif a != b:  # both (a, b) and (b, a) fall on the diagonal
                    matrix[one, one] = add_up(float(matrix[one, one]), entry)
        return matrix

    def nonideal_path(self, radius: float) -> str | None:
        """The first activation that is not its ideal function on all of B(w0, R), or None."""
        on_ball = self._on_ball(radius)
        state = self._state
        for t, node in enumerate(state.network.nodes):
            moved = [self._eta(on_ball, e) for e in node.inputs]
            if not state.rules[t].is_ideal_on(state.visits[t], moved):
                return node.operation.path
        return None

    # Changes of values, slopes and cotangents.

    def _eta(self, on_ball: _OnBall, e: int) -> Tensor:
        return on_ball.eta[e - 1] if e > 0 else self._state.visits[0].zero

    def _on_ball(self, radius: float) -> _OnBall:
        state = self._state
        on_ball = _OnBall([], [], [], [state.visits[0].zero for _ in state.rules])
        for t, node in enumerate(state.network.nodes):
            moved = [self._eta(on_ball, e) for e in node.inputs]
            motion = state.rules[t].motion(state.visits[t], moved, radius)
            on_ball.eta.append(_known(motion.value))
            on_ball.slopes.append(tuple(_known(s) for s in motion.slopes))
            on_ball.slope_norms.append(state.rules[t].slope_norms(state.visits[t]))
        for t in range(len(state.rules) - 1, -1, -1):
            for place, e in enumerate(state.network.nodes[t].inputs):
                if e == 0:
                    continue
                slope, change = on_ball.slope_norms[t][place], on_ball.slopes[t][place]
                moved_on = add_up(
                    mul_up(on_ball.gamma[t], add_up(slope, change)),
                    mul_up(self._start.cotangent_norms[t], change),
                )
                on_ball.gamma[e - 1] = _known(add_up(on_ball.gamma[e - 1], moved_on))
        return on_ball

    def _paths(self, a: int, on_ball: _OnBall) -> dict[int, tuple[Tensor, Tensor]]:
        """``p hat`` and pi from node a, for every node that it reaches."""
        zero = self._state.visits[0].zero
        found = {a: (zero + 1.0, zero)}
        for t in range(a + 1, len(self._state.rules)):
            size, change, hit = zero, zero, False
            for place, e in enumerate(self._state.network.nodes[t].inputs):
                if e - 1 not in found:
                    continue
                hit = True
                p, pi = found[e - 1]
                slope, moved = on_ball.slope_norms[t][place], on_ball.slopes[t][place]
                size = add_up(size, mul_up(slope, p))
                through = add_up(mul_up(add_up(slope, moved), pi), mul_up(moved, p))
                change = add_up(change, through)
            if hit:
                found[t] = (_known(size), _known(change))
        return found

    # The entries of T.

    def _entry(self, a: int, b: int, on_ball: _OnBall, paths: Paths) -> float:
        """``T_ab``, a not after b: the least of what is known."""
        (e,) = self._state.network.nodes[b].inputs
        multiplied = a != b and self._state.shared_rule(b).multiplies and e - 1 in paths[a]
        found = []
        if (a, b) in self._start.products:
            found.append(self._curvature(a, b, on_ball, paths))
            if multiplied:
                found[0] = add_up(found[0], self._product(a, b, on_ball, paths))
        ways = [(a, b)] if multiplied or a == b else [(a, b), (b, a)]
        found += [self._joint(one, two, on_ball, paths) for one, two in ways if self._formed(one)]
        known = [x for x in found if not math.isnan(x)]
        if not found:
            return 0.0  # no curved node is reached by both, and no product joins them
        return min(known, default=math.inf)

    def _formed(self, a: int) -> bool:
        return a in self._is_formed

    def _joint(self, a: int, b: int, on_ball: _OnBall, paths: Paths) -> float:
        """The map Z from a to the weights of b, on the ball."""
        pair = (a, b)
        start = self._start
        if pair not in start.by_value and pair not in start.by_weight:
            return 0.0
        change, size = self._joint_change(a, b, on_ball, paths)
        tables = (start.by_weight, start.by_rows, start.by_columns)
        wholes = [table[pair] for table in tables if pair in table]
        found = [self._moved_whole(min(wholes), change, size, a, on_ball)] if wholes else []
        if pair in start.by_value:
            found.append(self._weighted(add_up(start.by_value[pair], change), a, on_ball))
        return min(found)

    def _moved_whole(
        self, total: float, change: Tensor, size: Tensor, a: int, on_ball: _OnBall
    ) -> float:
        """On the ball, the norm of a form that is `total` over all samples at the start."""
        if bool((change != 0.0).any()):
            total = add_up(total, self._weighted(change, a, on_ball))
        turned = self._row_change(a, on_ball)
        if bool((turned != 0.0).any()):
            spread = mul_up(_known(size), turned)
            total = add_up(total, float(norm_upper(spread, 0)))
        return float(total)

    def _joint_change(
        self, a: int, b: int, on_ball: _OnBall, paths: Paths
    ) -> tuple[Tensor, Tensor]:
        """By how much Z can move on the ball, and a rough bound of Z at the stored weights."""
        start, nodes = self._start, self._common(a, b)
        bent, moved = self._state.visits[0].zero, self._state.visits[0].zero
        for c in nodes:
            bent = add_up(bent, self._curvature_size(a, b, c, paths))
            moved = add_up(moved, self._curvature_change(a, b, c, on_ball, paths))
        rows = self._row_norms(b, on_ball)
        change = mul_up(_known(moved), rows)
        shift = self._row_change(b, on_ball)
        if bool((shift != 0.0).any()):
            change = add_up(change, mul_up(_known(bent), shift))
        (e,) = self._state.network.nodes[b].inputs
        multiplied = a != b and self._state.shared_rule(b).multiplies and e - 1 in paths[a]
        size = mul_up(_known(bent), self._state.shared_rule(b).row_norms(self._state.visits[b]))
        if multiplied:
            change = add_up(change, self._product_change(a, b, on_ball, paths))
            p = mul_up(mul_up(start.alpha[b], paths[a][e - 1][0]), self._overlap(b))
            size = add_up(size, p)
        return change, size

    def _common(self, a: int, b: int) -> tuple[int, ...]:
        return common(self._start.reach, a, b)

    def _overlap(self, b: int) -> float:
        return self._state.shared_rule(b).overlap

    def _row_change(self, b: int, on_ball: _OnBall) -> Tensor:
        (e,) = self._state.network.nodes[b].inputs
        return self._state.shared_rule(b).row_change(self._eta(on_ball, e))

    def _product(self, a: int, b: int, on_ball: _OnBall, paths: Paths) -> float:
        """``I_ba``."""
        grown = self._product_change(a, b, on_ball, paths)
        return self._weighted(add_up(self._start.omega[b, a], grown), a, on_ball)

    def _product_change(self, a: int, b: int, on_ball: _OnBall, paths: Paths) -> Tensor:
        """``omega(R) - omega(0)``."""
        (e,) = self._state.network.nodes[b].inputs
        p, pi = paths[a][e - 1]
        turned = mul_up(on_ball.gamma[b], add_up(p, pi))
        grown = add_up(turned, mul_up(self._start.alpha[b], pi))
        return _known(mul_up(grown, self._overlap(b)))

    def _curvature_size(self, a: int, b: int, c: int, paths: Paths) -> Tensor:
        """``q hat p hat p hat``, a rough bound of the form at the stored weights."""
        inputs = self._state.network.nodes[c].inputs
        p_a, p_b = (self._combined(paths[u], inputs)[0] for u in (a, b))
        return mul_up(self._start.curvatures[c].size, mul_up(p_a, p_b))

    def _curvature(self, a: int, b: int, on_ball: _OnBall, paths: Paths) -> float:
        """``C_ba``."""
        nodes = self._common(a, b)
        if not nodes:
            return 0.0
        weights = mul_up(self._start.nu[a, nodes], self._start.nu[b, nodes])
        for c in nodes:
            weights = add_up(weights, self._curvature_change(a, b, c, on_ball, paths))
        weights = _known(weights)
        one = self._weighted(mul_up(weights, self._row_norms(b, on_ball)), a, on_ball)
        if a == b:
            return one
        other = self._weighted(mul_up(weights, self._row_norms(a, on_ball)), b, on_ball)
        return min(one, other)

    def _curvature_change(
        self, a: int, b: int, c: int, on_ball: _OnBall,
        paths: Paths,
    ) -> Tensor:  # fmt: skip
        inputs = self._state.network.nodes[c].inputs
        curvature = self._start.curvatures[c]
        moved = [self._eta(on_ball, e) for e in inputs]
        growth = _known(curvature.growth(moved, on_ball.gamma[c]))
        (p_a, pi_a), (p_b, pi_b) = (self._combined(paths[u], inputs) for u in (a, b))
        first = mul_up(growth, mul_up(add_up(p_a, pi_a), add_up(p_b, pi_b)))
        crossed = add_up(mul_up(pi_a, p_b), mul_up(p_a, pi_b))
        second = mul_up(curvature.size, add_up(crossed, mul_up(pi_a, pi_b)))
        return add_up(first, second)

    def _combined(
        self, path: dict[int, tuple[Tensor, Tensor]], inputs: tuple[int, ...]
    ) -> tuple[Tensor, Tensor]:
        found = [path[e - 1] for e in inputs if e - 1 in path]
        if len(found) == 1:
            return found[0]
        return tuple(  # type: ignore[return-value]
            sqrt_up(sum_upper(torch.stack([mul_up(x[w], x[w]) for x in found]), 0)) for w in (0, 1)
        )

    # Norms of weighted rows.

    def _row_norms(self, a: int, on_ball: _OnBall) -> Tensor:
        (e,) = self._state.network.nodes[a].inputs
        rule = self._state.shared_rule(a)
        return rule.moved_row_norms(self._state.visits[a], self._eta(on_ball, e))

    def _weighted(self, weights: Tensor, a: int, on_ball: _OnBall) -> float:
        """``|omega E_a|`` on the ball."""
        weights = _known(weights)
        if not bool(weights.isfinite().all()):
            return math.inf
        rows = self._rows[a]  # (n, g, P, c)
        n, groups, count, c = rows.shape
        scaled = rows * Ball.exact(weights.reshape(n, 1, 1, 1))
        by_group = Ball._settled(
            scaled.mid.transpose(0, 1).reshape(groups, n * count, c),
            scaled.rad.transpose(0, 1).reshape(groups, n * count, c),
        )
        norm = float(spectral_norm_upper(by_group).amax())
        (e,) = self._state.network.nodes[a].inputs
        change = self._state.shared_rule(a).row_change(self._eta(on_ball, e))
        if not bool((change != 0.0).any()):
            return norm
        return float(add_up(norm, float(norm_upper(mul_up(weights, change), 0))))


def _known(x: Tensor) -> Tensor:
    """Where infinity met zero nothing is known."""
    return x.nan_to_num(nan=math.inf, posinf=math.inf)
