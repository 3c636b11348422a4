"""An upper bound of the Lipschitz constant of the Jacobian on a ball (theory B3).

For unit u, delta, v the form u^T D^2F[delta, v] is a sum over pairs of layers; pair (b, a), a <= b,
is bounded by T_ba = I_ba + C_ba, a product term and a curvature term, and

    beta(R) = |T(R)|_2        (or unit by unit for two trainable layers).

Derivation, and the inflation from the stored weights to the ball: docs/theory/B3.md. All numbers
here are upper bounds, every operation rounds up, and each name is the one of that page.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from talweg._errors import InputError
from talweg.enclosure import Ball, add_up, mul_up, sqrt_up, sub_up
from talweg.network._linearization import Linearization
from talweg.network._maxima import nonnegative_norm_upper
from talweg.network._unit_maxima import UnitMaxima
from talweg.network._weight_norms import (
    WeightNorms,
    curved_stages,
    trainable_stages,
    weight_norms,
)
from talweg.network._weighted_inputs import WeightedInputs


@dataclass(frozen=True, eq=False)
class _OnBall:
    """Bounds that hold on the whole ball of one radius; tuples are indexed by the stage.

    Attributes:
        zeta: ``|z_l - z_{l,0}|`` per sample.
        eta: ``|h_l - h_{l,0}|`` per sample.
        extended: ``|h~_{l-1}|`` per sample, at the index l of the layer that reads it.
        slope: ``|psi_l'|`` per sample and unit.
        slope_change: ``|D_l - D_{l,0}|`` per sample.
        cotangent_z: ``|G_l|`` per sample.
        curvature: ``s_l`` per sample and unit.
    """

    radius: float
    zeta: tuple[Tensor, ...]
    eta: tuple[Tensor, ...]
    extended: tuple[Tensor, ...]
    slope: tuple[Tensor, ...]
    slope_change: tuple[Tensor, ...]
    cotangent_z: tuple[Tensor, ...]
    curvature: tuple[Tensor, ...]


class JacobianLipschitz:
    """Lipschitz constants of the Jacobian on balls around the stored weights.

    Args:
        state: The linearization on the (merged) training rows.
        rough: Whether products of norms replace the norms of products and hidden units are not
            told apart: a looser bound at a fraction of the cost.
    """

    def __init__(self, state: Linearization, *, rough: bool = False) -> None:
        self._state = state
        self._rough = rough
        self._trainable = trainable_stages(state)
        self._norms: WeightNorms = weight_norms(state, rough=rough)
        self._known: dict[float, float] = {}
        self._inputs = WeightedInputs(state)
        self._units = UnitMaxima(self._inputs, rough=rough)

    @property
    def is_rough(self) -> bool:
        """Whether this is the looser bound."""
        return self._rough

    def upper(self, radius: float) -> float:
        """``beta(R)``: ``|J(w) - J(w')|_op <= beta |w - w'|`` for all w, w' in B(w0, R).

        Args:
            radius: R >= 0, finite.

        Returns:
            A float, inf when nothing finite could be shown.

        Raises:
            InputError: The radius is negative or not finite.
        """
        radius = _checked_radius(radius)
        if radius not in self._known:
            self._known[radius] = self._upper(radius)
        return self._known[radius]

    def _upper(self, radius: float) -> float:
        on_ball = self._on_ball(radius)
        pair = self._two_layer_pair()
        beta = (
            self._unit_by_unit(pair, on_ball)
            if pair is not None
            else nonnegative_norm_upper(self._layer_matrix(on_ball))
        )
        return beta if beta >= 0.0 else math.inf  # a NaN says nothing

    def layer_matrix_upper(self, radius: float) -> Tensor:
        """The matrix ``T(R)``, ``(L, L)`` float64, for the share of each layer.

        Args:
            radius: R >= 0, finite.
        """
        return self._layer_matrix(self._on_ball(_checked_radius(radius)))

    def nonideal_path(self, radius: float) -> str | None:
        """The first activation that is not its ideal function on all of B(w0, R), or None.

        Args:
            radius: R >= 0, finite.
        """
        radius, state = _checked_radius(radius), self._state
        if not any(
            pointwise.can_be_nonideal
            for pointwise in (state.form.entry, *(stage.pointwise for stage in state.form.stages))
        ):
            return None
        on_ball = self._on_ball(radius)
        if not state.form.entry.is_ideal_on(state.z[0]):
            return state.form.entry.operations[0].path
        for s, stage in enumerate(state.form.stages, start=1):
            z = state.z[s].inflate(on_ball.zeta[s].reshape(-1, 1))
            if not stage.pointwise.is_ideal_on(z):
                return stage.pointwise.operations[0].path
        return None

    # Bounds on the ball, steps 1 and 2 of the page.

    def _on_ball(self, radius: float) -> _OnBall:
        state, norms = self._state, self._norms
        zero = torch.zeros_like(norms.hidden[0])
        eta, zeta = [zero], [zero]
        extended, slope, slope_change = [zero], [zero], [zero]
        second: list[Tensor] = [zero]
        for s, stage in enumerate(state.form.stages, start=1):
            t_w, t_b = stage.linear.weight_trainable, stage.linear.bias_trainable
            size = add_up(norms.hidden[s - 1], eta[s - 1]) if t_w else zero
            reach = sqrt_up(add_up(mul_up(size, size), 1.0)) if t_b else size
            z_change = add_up(mul_up(eta[s - 1], norms.weight[s]), mul_up(reach, radius))
            # inf * 0: nothing is known. Without posinf an overflow would become the largest float.
            z_change = z_change.nan_to_num(nan=math.inf, posinf=math.inf)
            if radius == 0.0:
                z_change = zero
                first, curved = state.first[s], state.second[s]
                d1, d2 = first.magnitude_upper(), curved.magnitude_upper()  # (n, d_s)
            elif self._rough:
                d1, d2 = self._derivatives_roughly(s, z_change)
            else:
                _, first, curved = stage.pointwise.jet(state.z[s].inflate(z_change.reshape(-1, 1)))
                d1, d2 = first.magnitude_upper(), curved.magnitude_upper()
            extended.append(reach)
            zeta.append(z_change)
            slope.append(d1)
            second.append(d2)
            eta.append(mul_up(d1.amax(1), z_change) if radius > 0.0 else zero)
            slope_change.append(mul_up(d2.amax(1), z_change) if radius > 0.0 else zero)

        depth = state.depth
        change_h: list[Tensor] = [zero] * (depth + 1)  # gamma^h
        change_z: list[Tensor] = [zero] * (depth + 1)  # gamma
        for s in range(depth, 0, -1):
            change_z[s] = add_up(
                mul_up(change_h[s], slope[s].amax(1)), mul_up(norms.cotangent_h[s], slope_change[s])
            )
            moved = radius if state.form.stages[s - 1].linear.weight_trainable else 0.0
            change_h[s - 1] = add_up(
                mul_up(change_z[s], add_up(norms.weight[s], moved)),
                mul_up(norms.cotangent_z[s], moved),
            )
        cotangent_z = [
            zero,
            *(add_up(norms.cotangent_z[s], change_z[s]) for s in range(1, depth + 1)),
        ]
        curvature = [
            zero,
            *(
                mul_up(second[s], add_up(norms.columns[s], change_h[s].reshape(-1, 1)))
                for s in range(1, depth + 1)
            ),
        ]
        return _OnBall(
            radius, tuple(zeta), tuple(eta), tuple(extended), tuple(slope), tuple(slope_change),
            tuple(cotangent_z), tuple(curvature),
        )  # fmt: skip

    def _derivatives_roughly(self, s: int, z_change: Tensor) -> tuple[Tensor, Tensor]:
        """``|psi_s'| <= |psi_s'(z_0)| + sup |psi_s''| zeta``, ``|psi_s''|`` by its supremum."""
        state = self._state
        line = torch.zeros(1, dtype=torch.float64, device=z_change.device)
        _, first, curved = state.form.stages[s - 1].pointwise.jet(
            Ball(line, torch.full_like(line, math.inf))
        )
        steepest, bend = float(first.magnitude_upper()), float(curved.magnitude_upper())
        at_start = state.first[s].magnitude_upper()
        moved = mul_up(z_change, bend).reshape(-1, 1)
        d1 = torch.fmin(add_up(at_start, moved), torch.full_like(at_start, steepest))
        return d1, torch.full_like(at_start, bend)

    # Step 3: propagators from stage a.

    def _propagators(
        self, a: int, on_ball: _OnBall
    ) -> tuple[dict[int, Tensor], dict[int, Tensor], dict[int, Tensor]]:
        """``p_{c,a}``, ``pi_{c,a}`` and ``|B_{c,a}|`` on the ball, per sample, by c."""
        norms, stages = self._norms, self._state.form.stages
        zero = torch.zeros_like(norms.hidden[0])
        change: dict[int, Tensor] = {a: zero}
        size: dict[int, Tensor] = {a: torch.ones_like(zero)}
        b_norm: dict[int, Tensor] = {}
        for c in range(a, self._state.depth):
            b0 = norms.b0[c, a]
            q = add_up(
                mul_up(on_ball.slope[c].amax(1), change[c]),
                mul_up(on_ball.slope_change[c], size[c]),
            )
            b_norm[c] = add_up(b0, q)
            moved = on_ball.radius if stages[c].linear.weight_trainable else 0.0
            size[c + 1] = mul_up(b0, norms.weight[c + 1])
            change[c + 1] = add_up(mul_up(q, add_up(norms.weight[c + 1], moved)), mul_up(b0, moved))
        return change, size, b_norm

    def _nu(self, a: int, b: int, on_ball: _OnBall, change: dict[int, Tensor],
            size: dict[int, Tensor]) -> Tensor:  # fmt: skip
        """``nu_{a|b}`` on the ball, per sample."""
        at_start = self._norms.nu0[a, b]
        kept = mul_up(at_start, at_start)
        moved = torch.zeros_like(kept)
        for c in curved_stages(self._state, b):
            grown = sub_up(on_ball.curvature[c], self._norms.curvature[c]).amax(1).clamp(min=0.0)
            kept = add_up(kept, mul_up(grown, mul_up(size[c], size[c])))
            largest = on_ball.curvature[c].amax(1)
            moved = add_up(moved, mul_up(largest, mul_up(change[c], change[c])))
        return add_up(sqrt_up(kept), sqrt_up(moved))

    # Step 4: the entries of T.

    def _layer_matrix(self, on_ball: _OnBall) -> Tensor:
        depth = self._state.depth
        matrix = torch.zeros(depth, depth, dtype=torch.float64)
        nu: dict[tuple[int, int], Tensor] = {}
        products: dict[tuple[int, int], float] = {}
        for a in self._trainable:
            change, size, b_norm = self._propagators(a, on_ball)
            for b in self._trainable:
                if (a, b) in self._norms.nu0:
                    nu[a, b] = self._nu(a, b, on_ball, change, size)
                if b > a and self._state.form.stages[b - 1].linear.weight_trainable:
                    products[a, b] = self._product(a, b, on_ball, b_norm)
        for a in self._trainable:
            for b in self._trainable:
                if b < a:
                    continue
                total = add_up(products.get((a, b), 0.0), self._curvature(a, b, on_ball, nu))
                matrix[a - 1, b - 1] = matrix[b - 1, a - 1] = total
        return matrix

    def _product(self, a: int, b: int, on_ball: _OnBall, b_norm: dict[int, Tensor]) -> float:
        """``I_ba``."""
        if a == b - 1:
            weights = mul_up(on_ball.slope[a], on_ball.cotangent_z[b].reshape(-1, 1))
            return self._units.norm_upper(weights, a, self._changes(a, on_ball))
        return self._weighted_norm(mul_up(on_ball.cotangent_z[b], b_norm[b - 1]), a, on_ball)

    def _curvature(
        self, a: int, b: int, on_ball: _OnBall, nu: dict[tuple[int, int], Tensor]
    ) -> float:
        """``C_ba``."""
        curved = curved_stages(self._state, b)
        if not curved:
            return 0.0
        if a == b and curved == [b]:
            return self._units.bend_upper(
                on_ball.curvature[b], on_ball.extended[b], b, self._changes(b, on_ball)
            )
        # A diagonal Q_b has no entry of its own: its largest eigenvalue is its largest entry.
        own = nu[b, b] if (b, b) in nu else sqrt_up(on_ball.curvature[b].amax(1))
        weights = mul_up(own, nu[a, b])
        one = self._weighted_norm(mul_up(weights, on_ball.extended[b]), a, on_ball)
        if a == b:
            return one
        return min(one, self._weighted_norm(mul_up(weights, on_ball.extended[a]), b, on_ball))

    def _two_layer_pair(self) -> tuple[int, int] | None:
        """The pair (a, a + 1) when the form splits over the units of stage a."""
        if len(self._trainable) != 2:
            return None
        a, b = self._trainable
        stages = self._state.form.stages
        adjacent = b == a + 1 and stages[b - 1].linear.weight_trainable
        return (a, b) if adjacent and not curved_stages(self._state, b) else None

    def _unit_by_unit(self, pair: tuple[int, int], on_ball: _OnBall) -> float:
        """``max_j (tau_j + sqrt(tau_j^2 + 4 sigma_j^2)) / 2``."""
        a, b = pair
        weights = mul_up(on_ball.slope[a], on_ball.cotangent_z[b].reshape(-1, 1))  # (n, d_a)
        return self._units.combined_upper(
            on_ball.curvature[a], on_ball.extended[a], weights, a, self._changes(a, on_ball)
        )

    # Norms of weighted extended inputs.

    def _changes(self, a: int, on_ball: _OnBall) -> Tensor:
        """By how much the extended inputs of stage a change on the ball, per sample."""
        trains = self._state.form.stages[a - 1].linear.weight_trainable
        return on_ball.eta[a - 1] if trains else torch.zeros_like(on_ball.eta[a - 1])

    def _weighted_norm(self, weights: Tensor, a: int, on_ball: _OnBall) -> float:
        """``|diag(weights) H~_{a-1}|`` on the ball; weights ``(n,)`` >= 0."""
        changes = self._changes(a, on_ball)
        return float(self._inputs.norms_upper(weights.reshape(-1, 1), a, changes)[0])


def jacobian_lipschitz_upper(state: Linearization, radius: float) -> float:
    """Upper bound of the Lipschitz constant of the Jacobian on B(w0, radius).

    Source: theory B3 (docs/theory/B3.md). For several radii keep one `JacobianLipschitz`.

    Args:
        state: The linearization on the (merged) training rows.
        radius: R >= 0, finite, in the Euclidean norm of all trainable parameters.

    Returns:
        ``beta(R)``, inf when nothing finite could be shown.
    """
    return JacobianLipschitz(state).upper(radius)


def _checked_radius(radius: float) -> float:
    if not (0.0 <= radius < math.inf):
        raise InputError(
            "`radius` of jacobian_lipschitz_upper(state, radius) must be finite and >= 0; got "
            f"{radius!r}. Use 0 for the bound at the stored weights."
        )
    return float(radius)
