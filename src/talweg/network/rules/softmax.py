"""Rules of a softmax along the last axis."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from talweg.enclosure import Ball, add_up, mul_up, norm_upper, sqrt_up
from talweg.enclosure._elementary import enclose
from talweg.network._graph import Softmax
from talweg.network.rules._rule import (
    Curvature,
    Motion,
    Rule,
    Tangents,
    Visit,
    flat,
    joined_outputs,
    outputs_beside,
    weights_ball,
)
from talweg.verified import spectral_norm_upper

ROOT_HALF = 0.7072
"""At least ``1 / sqrt(2)``, the norm of the second derivative."""

THIRD = 1.75
"""At least the norm of the third derivative."""


class SoftmaxRule(Rule):
    """``s_j = e^{x_j} / sum_k e^{x_k}``."""

    curved = True
    operation: Softmax

    def value(self, inputs: tuple[Ball, ...]) -> Ball:
        """Probabilities, from the differences to the largest entry."""
        x = inputs[0]
        if not bool(x.rad.isfinite().all()):
            return Ball(torch.full_like(x.mid, 0.5), torch.full_like(x.mid, 0.5))
        top = x.mid.argmax(-1, keepdim=True)
        is_top = torch.zeros_like(x.mid, dtype=torch.bool).scatter_(-1, top, True)
        reference = Ball(x.mid.gather(-1, top), x.rad.gather(-1, top))
        relative = x - reference
        # The difference of the largest entry with itself is zero, whatever its enclosure.
        relative = Ball(
            relative.mid.masked_fill(is_top, 0.0), relative.rad.masked_fill(is_top, 0.0)
        )
        powers = Ball.from_bounds(*enclose("exp", relative.lower(), relative.upper()))
        total = powers.sum(-1).reshape(*x.shape[:-1], 1)
        ratio = powers / total
        low, high = ratio.lower().clamp(0.0, 1.0), ratio.upper().clamp(0.0, 1.0)
        return Ball.from_bounds(low, high)

    def push(self, visit: Visit, tangents: Tangents) -> Ball:
        """``s (dx - <s, dx>)``."""
        (t,) = tangents
        assert t is not None
        s = _beside(visit.value)
        return s * _centred(t, s)

    def pull(self, visit: Visit, g: Ball) -> list[Ball]:
        """The same map, which is symmetric."""
        s = _beside(visit.value)
        return [s * _centred(g, s)]

    def slope_norms(self, visit: Visit) -> list[Tensor]:
        """1/2."""
        return [visit.zero + 0.5]

    def motion(self, visit: Visit, moved: Sequence[Tensor], radius: float) -> Motion:
        """By the second derivative."""
        return Motion(mul_up(moved[0], 0.5), (mul_up(moved[0], ROOT_HALF),))

    def curvature(self, visit: Visit, g: Ball, balance: Tensor) -> Curvature:
        """Weights ``s_j |G (e_j - s)|`` on centred tangents."""
        return _SoftmaxCurvature(visit.value, g)


class _SoftmaxCurvature:
    def __init__(self, s: Ball, g: Ball) -> None:
        self._s, self._g = s, g
        spread = norm_upper(_centred(g, _beside(s)).magnitude_upper(), 1)  # (n, *shape)
        self._weights = mul_up(s.magnitude_upper(), spread)
        self._cotangent = spectral_norm_upper(flat(g))
        self.size = mul_up(self._cotangent, ROOT_HALF)

    def root(self, tangents: Tangents) -> Ball:
        (t,) = tangents
        assert t is not None
        weights = _beside(weights_ball(sqrt_up(self._weights)))
        return flat(weights * _centred(t, _beside(self._s)))

    def second(self, tangents: Tangents) -> list[Ball]:
        (t,) = tangents
        assert t is not None
        s = _beside(self._s)
        g, x = outputs_beside(s * _centred(self._g, s), _centred(t, s))
        weights = joined_outputs(g * x)
        total = weights.sum(-1)
        return [weights - s * total.reshape(*total.shape, 1)]

    def growth(self, moved: Sequence[Tensor], gamma: Tensor) -> Tensor:
        turned = mul_up(add_up(self._cotangent, gamma), moved[0])
        return add_up(mul_up(gamma, ROOT_HALF), mul_up(turned, THIRD))


def _centred(x: Ball, s: Ball) -> Ball:
    """``x - <s, x>`` in every row."""
    mean = (x * s).sum(-1)
    return x - mean.reshape(*mean.shape, 1)


def _beside(ball: Ball) -> Ball:
    return ball.reshape(len(ball), 1, *ball.shape[1:])
