"""Rules of a normalisation over the last axes: ``y = (x - mean) / sigma``."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from talweg.enclosure import (
    Ball,
    add_up,
    div_up,
    matmul,
    mul_down,
    mul_up,
    norm_upper,
    sqrt_down,
    sqrt_up,
    sub_down,
)
from talweg.network._graph import Normalize
from talweg.network.rules._rule import (
    Curvature,
    Motion,
    Rule,
    Tangents,
    Visit,
    joined_outputs,
    outputs_beside,
    weights_ball,
)
from talweg.verified import spectral_norm_upper


class NormalizeRule(Rule):
    """Rows of d entries; kept are ``1 / sigma`` and the rows of y."""

    curved = True
    operation: Normalize

    @property
    def _row(self) -> int:
        return math.prod(self.shape[len(self.shape) - self.operation.axes :])

    def _rows(self, ball: Ball, lead: int) -> Ball:
        """``(*lead, *shape)`` -> ``(*lead, rows, d)``."""
        return ball.reshape(*ball.shape[:lead], -1, self._row)

    def visit(self, inputs: tuple[Ball, ...]) -> Visit:
        """Value, inverse deviation."""
        x = centred(self._rows(inputs[0], 1))
        variance = x.square().sum(-1) / float(self._row) + self.operation.epsilon
        deviation = variance.sqrt()  # (n, rows)
        inverse = Ball.exact(torch.ones_like(deviation.mid)) / deviation
        y = x * inverse.reshape(*inverse.shape, 1)
        return Visit(inputs, y.reshape(len(y), *self.shape), (inverse, deviation, y))

    def push(self, visit: Visit, tangents: Tangents) -> Ball:
        """``(dx - mean - y <y, dx> / d) / sigma``."""
        (t,) = tangents
        assert t is not None
        return self._slope(visit, t)

    def pull(self, visit: Visit, g: Ball) -> list[Ball]:
        """The same map, which is symmetric."""
        return [self._slope(visit, g)]

    def _slope(self, visit: Visit, t: Ball) -> Ball:
        inverse, _, y = visit.kept
        rows = centred(self._rows(t, 2))  # (n, m, rows, d)
        own = y.reshape(len(y), 1, *y.shape[1:])
        along = (rows * own).sum(-1) / float(self._row)
        flattened = rows - own * along.reshape(*along.shape, 1)
        out: Ball = flattened * inverse.reshape(len(inverse), 1, -1, 1)
        return out.reshape(*t.shape[:2], *self.shape)

    def slope_norms(self, visit: Visit) -> list[Tensor]:
        """``1 / sigma_min``."""
        return [visit.kept[0].magnitude_upper().amax(1)]

    def _least(self, visit: Visit, eta: Tensor) -> Tensor:
        """sigma_-, ``(n,)``, 0 where it is not positive."""
        least = visit.kept[1].lower().amin(1)
        shrunk = sub_down(least, div_up(eta, _root_down(self._row)))
        return torch.where(shrunk > 0.0, shrunk, 0.0)

    def motion(self, visit: Visit, moved: Sequence[Tensor], radius: float) -> Motion:
        """By the second derivative, ``4 / (sigma^2 sqrt d)``."""
        eta, least = moved[0], self._least(visit, moved[0])
        return Motion(
            _over(eta, least), (_over(mul_up(4.0, eta), _second(least, self._row)),)
        )  # fmt: skip

    def curvature(self, visit: Visit, g: Ball, balance: Tensor) -> Curvature:
        """kappa by rows."""
        return _NormalizeCurvature(self, visit, g)


class _NormalizeCurvature:
    def __init__(self, rule: NormalizeRule, visit: Visit, g: Ball) -> None:
        self._rule, self._visit, self._g = rule, visit, g
        inverse, _, y = visit.kept
        d = rule._row
        by_row = rule._rows(g, 2)  # (n, k, rows, d)
        centred_g = centred(by_row)
        turned = Ball._moved(centred_g.mid.transpose(1, 2), centred_g.rad.transpose(1, 2))
        sizes = spectral_norm_upper(turned)  # (n, rows)
        along = matmul(turned, y.reshape(*y.shape, 1))  # (n, rows, k, 1)
        across = norm_upper(along.magnitude_upper(), (-2, -1))
        total = add_up(mul_up(sizes, norm_upper(y.magnitude_upper(), -1)), mul_up(across, 3.0))
        scale = div_up(inverse.square().magnitude_upper(), float(d))
        self._kappa = mul_up(scale, total)  # (n, rows)
        self._cotangent = spectral_norm_upper(g.reshape(*g.shape[:2], -1))
        least = rule._least(visit, torch.zeros_like(self._cotangent))
        self.size = _over(mul_up(4.0, self._cotangent), _second(least, d))

    def root(self, tangents: Tangents) -> Ball:
        (t,) = tangents
        assert t is not None
        rows = centred(self._rule._rows(t, 2))
        weights = weights_ball(sqrt_up(self._kappa))
        out = rows * weights.reshape(len(weights), 1, -1, 1)
        return out.reshape(*t.shape[:2], -1)

    def second(self, tangents: Tangents) -> list[Ball]:
        (t,) = tangents
        assert t is not None
        rule, (inverse, _, y) = self._rule, self._visit.kept
        d = float(rule._row)
        own = y.reshape(len(y), 1, 1, *y.shape[1:])
        g, x = outputs_beside(centred(rule._rows(self._g, 2)), centred(rule._rows(t, 2)))
        g_y, y_x, g_x = _dot(g, own), _dot(own, x), _dot(g, x)
        bent = x - own * (y_x * 3.0 / d)
        out = g * y_x + own * g_x + bent * g_y
        factor = inverse.square() / d
        out = -(out * factor.reshape(len(factor), 1, 1, -1, 1))
        return [joined_outputs(out).reshape(len(y), -1, *rule.shape)]

    def growth(self, moved: Sequence[Tensor], gamma: Tensor) -> Tensor:
        d, eta = self._rule._row, moved[0]
        least = self._rule._least(self._visit, eta)
        turned = _over(mul_up(4.0, gamma), _second(least, d))
        third = mul_down(mul_down(mul_down(least, least), least), float(d))
        moved_on = mul_up(mul_up(18.0, add_up(self._cotangent, gamma)), eta)
        return add_up(turned, _over(moved_on, third))


def _dot(a: Ball, b: Ball) -> Ball:
    """Inner products along the last axis, which stays with one entry."""
    product = (a * b).sum(-1)
    return product.reshape(*product.shape, 1)


def centred(rows: Ball) -> Ball:
    """Rows minus their means."""
    mean = rows.sum(-1) / float(rows.shape[-1])
    return rows - mean.reshape(*mean.shape, 1)


def _second(least: Tensor, d: int) -> Tensor:
    """``sigma^2 sqrt(d)`` from below."""
    return mul_down(mul_down(least, least), _root_down(d))


def _root_down(d: int) -> float:
    return float(sqrt_down(float(d)))


def _over(top: Tensor, bottom: Tensor) -> Tensor:
    """Upper bound of a quotient; 0 over anything positive is 0, anything over 0 is unknown."""
    positive = bottom > 0.0
    return torch.where(positive, div_up(top, torch.where(positive, bottom, 1.0)), torch.inf)
