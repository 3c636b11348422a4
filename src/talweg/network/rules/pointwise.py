"""Rules of an activation applied to every entry, and of a constant factor."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from talweg.enclosure import Ball, add_up, mul_up, sqrt_up, sub_up
from talweg.network._graph import Elementwise, Scale
from talweg.network.layers import elementwise, scale
from talweg.network.rules._rule import (
    Curvature,
    Motion,
    Rule,
    Tangents,
    Visit,
    column_norms_upper,
    flat,
    joined_outputs,
    outputs_beside,
    per_sample,
    weights_ball,
)


class ElementwiseRule(Rule):
    """``y = phi(x)``; kept are phi' and phi''."""

    operation: Elementwise

    @property
    def curved(self) -> bool:  # type: ignore[override]
        """Whether phi is not the identity."""
        return elementwise.is_curved(self.operation)

    def visit(self, inputs: tuple[Ball, ...]) -> Visit:
        """Value and two derivatives."""
        value, first, second = elementwise.jet(self.operation, inputs[0])
        return Visit(inputs, value, (first, second))

    def push(self, visit: Visit, tangents: Tangents) -> Ball:
        """Times phi'."""
        (t,) = tangents
        assert t is not None
        return t * _beside(visit.kept[0])

    def pull(self, visit: Visit, g: Ball) -> list[Ball]:
        """Times phi'."""
        return [g * _beside(visit.kept[0])]

    def slope_norms(self, visit: Visit) -> list[Tensor]:
        """The largest ``|phi'|``."""
        return [_largest(visit.kept[0].magnitude_upper())]

    def motion(self, visit: Visit, moved: Sequence[Tensor], radius: float) -> Motion:
        """Suprema of the derivatives wherever the input can get."""
        first, second = _suprema(self.operation, visit, moved[0])
        return Motion(
            mul_up(_largest(first), moved[0]), (mul_up(_largest(second), moved[0]),)
        )  # fmt: skip

    def curvature(self, visit: Visit, g: Ball, balance: Tensor) -> Curvature:
        """``s_j = |G e_j| |phi''|``."""
        return _ElementwiseCurvature(self.operation, visit, g)

    def is_ideal_on(self, visit: Visit, moved: Sequence[Tensor]) -> bool:
        """Whether a softplus stays below its threshold."""
        x = visit.inputs[0]
        return elementwise.is_ideal_on(self.operation, x.inflate(per_sample(moved[0], x)))


class _ElementwiseCurvature:
    def __init__(self, operation: Elementwise, visit: Visit, g: Ball) -> None:
        self._operation, self._visit, self._cotangent = operation, visit, g
        self._columns = column_norms_upper(g)
        self._weights = mul_up(visit.kept[1].magnitude_upper(), self._columns)
        self.size = _largest(self._weights)

    def root(self, tangents: Tangents) -> Ball:
        (t,) = tangents
        assert t is not None
        return flat(t * _beside(weights_ball(sqrt_up(self._weights))))

    def second(self, tangents: Tangents) -> list[Ball]:
        (t,) = tangents
        assert t is not None
        g, x = outputs_beside(self._cotangent * _beside(self._visit.kept[1]), t)
        return [joined_outputs(g * x)]

    def growth(self, moved: Sequence[Tensor], gamma: Tensor) -> Tensor:
        # |g phi''(z) - g_0 phi''(z_0)|, both factors with their signs: where phi'' can only become
        # smaller the form still moves, and terms that cancelled need not cancel any more.
        before = self._visit.kept[1]
        spread = _spread(self._operation, self._visit, moved[0])
        moved_g = per_sample(gamma, before)
        turned = mul_up(before.magnitude_upper(), moved_g)
        bent = mul_up(spread, add_up(self._columns, moved_g))
        return _largest(add_up(turned, bent))


class ScaleRule(Rule):
    """``y = c x``."""

    operation: Scale

    def value(self, inputs: tuple[Ball, ...]) -> Ball:
        """Scaled."""
        return inputs[0] * scale.factor(self.operation, inputs[0].device)

    def push(self, visit: Visit, tangents: Tangents) -> Ball:
        """Scaled."""
        (t,) = tangents
        assert t is not None
        return t * scale.factor(self.operation, t.device)

    def pull(self, visit: Visit, g: Ball) -> list[Ball]:
        """Scaled."""
        return [g * scale.factor(self.operation, g.device)]

    def slope_norms(self, visit: Visit) -> list[Tensor]:
        """``|c|``."""
        return [visit.zero + scale.factor(self.operation, visit.zero.device).magnitude_upper()]


def _beside(ball: Ball) -> Ball:
    """``(n, *shape)`` beside tangents ``(n, m, *shape)``."""
    return ball.reshape(len(ball), 1, *ball.shape[1:])


def _largest(values: Tensor) -> Tensor:
    return values.reshape(len(values), -1).amax(1)


def _suprema(operation: Elementwise, visit: Visit, eta: Tensor) -> tuple[Tensor, Tensor]:
    """``|phi'|`` and ``|phi''|`` wherever the input can get."""
    first, second = _derivatives(operation, visit, eta)
    return first.magnitude_upper(), second.magnitude_upper()


def _spread(operation: Elementwise, visit: Visit, eta: Tensor) -> Tensor:
    """``|phi''(z) - phi''(z_0)|`` wherever the input can get."""
    _, after = _derivatives(operation, visit, eta)
    before = visit.kept[1]
    up, down = sub_up(after.upper(), before.lower()), sub_up(before.upper(), after.lower())
    return torch.where(per_sample(eta, before) == 0.0, 0.0, torch.maximum(up, down))


def _derivatives(operation: Elementwise, visit: Visit, eta: Tensor) -> tuple[Ball, Ball]:
    """``phi'`` and ``phi''`` wherever the input can get."""
    if not bool((eta != 0.0).any()):
        first, second = visit.kept
        return first, second
    x = visit.inputs[0]
    reach = per_sample(eta.nan_to_num(nan=torch.inf, posinf=torch.inf), x)
    _, first, second = elementwise.jet(operation, x.inflate(reach))
    return first, second
