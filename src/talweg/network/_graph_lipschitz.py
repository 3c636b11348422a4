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


class GraphLipschitz:
    """Lipschitz constants of the Jacobian on balls around the stored weights.

    Args:
        state: The network on the (merged) training rows.
    """

    def __init__(self, state: GraphState) -> None:
        self._state = state
        self._start: GraphStart = graph_start(state)
        self._rows = {t: state.shared_rule(t).rows(state.visits[t]) for t in state.uses}
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
                entry = self._curvature(a, b, on_ball, paths)
                if a != b and (b, a) in self._start.omega:
                    entry = add_up(entry, self._product(a, b, on_ball, paths))
                entry = math.inf if math.isnan(entry) else entry
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

    def _product(
        self, a: int, b: int, on_ball: _OnBall, paths: dict[int, dict[int, tuple[Tensor, Tensor]]]
    ) -> float:
        """``I_ba``."""
        (e,) = self._state.network.nodes[b].inputs
        p, pi = paths[a][e - 1]
        turned = mul_up(on_ball.gamma[b], add_up(p, pi))
        grown = add_up(turned, mul_up(self._start.alpha[b], pi))
        grown = mul_up(grown, self._state.shared_rule(b).overlap)
        return self._weighted(add_up(self._start.omega[b, a], grown), a, on_ball)

    def _curvature(
        self, a: int, b: int, on_ball: _OnBall, paths: dict[int, dict[int, tuple[Tensor, Tensor]]]
    ) -> float:
        """``C_ba``."""
        nodes = common(self._start.reach, a, b)
        if not nodes:
            return 0.0
        found = [self._start.form[a, b]] if (a, b) in self._start.form else []
        if (a, nodes) in self._start.nu:
            found.append(mul_up(self._start.nu[a, nodes], self._start.nu[b, nodes]))
        weights = found[0] if len(found) == 1 else torch.minimum(found[0], found[1])
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
        paths: dict[int, dict[int, tuple[Tensor, Tensor]]],
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
