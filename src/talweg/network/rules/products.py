"""Rules of products of two values: entry by entry, and of matrices."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from talweg.enclosure import Ball, add_up, cat, matmul, mul_up, norm_upper, sqrt_up
from talweg.network._graph import MatrixProduct, Product
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
    weights_ball,
)
from talweg.network.rules._shared import unfolded_norms_upper


class _Bilinear(Rule):
    """``y = M(x_1, x_2)``."""

    curved = True

    def combined(self, left: Ball, right: Ball) -> Ball:
        """``M``, batched."""
        raise NotImplementedError

    def value(self, inputs: tuple[Ball, ...]) -> Ball:
        """The product."""
        return self.combined(*inputs)

    def push(self, visit: Visit, tangents: Tangents) -> Ball:
        """``M(dx_1, x_2) + M(x_1, dx_2)``."""
        x, y = (_beside(v) for v in visit.inputs)
        dx, dy = tangents
        parts = []
        if dx is not None:
            parts.append(self.combined(dx, y))
        if dy is not None:
            parts.append(self.combined(x, dy))
        return parts[0] if len(parts) == 1 else parts[0] + parts[1]

    def motion(self, visit: Visit, moved: Sequence[Tensor], radius: float) -> Motion:
        """Each slope moves as the other factor does."""
        (d_x, d_y), (eta_x, eta_y) = self.slope_norms(visit), moved
        change = add_up(mul_up(d_x, eta_x), mul_up(d_y, eta_y))
        return Motion(add_up(change, mul_up(eta_x, eta_y)), (eta_y, eta_x))


class ProductRule(_Bilinear):
    """Entry by entry."""

    operation: Product

    def combined(self, left: Ball, right: Ball) -> Ball:
        """``x * y``."""
        return left * right

    def pull(self, visit: Visit, g: Ball) -> list[Ball]:
        """Times the other factor."""
        x, y = (_beside(v) for v in visit.inputs)
        return [g * y, g * x]

    def slope_norms(self, visit: Visit) -> list[Tensor]:
        """The largest entry of the other factor."""
        x, y = (v.magnitude_upper().reshape(len(v), -1).amax(1) for v in visit.inputs)
        return [y, x]

    def curvature(self, visit: Visit, g: Ball, balance: Tensor) -> Curvature:
        """Weights ``|G e_j|``."""
        return _ProductCurvature(visit, g, column_norms_upper(g), balance)


class MatrixProductRule(_Bilinear):
    """Matrices in the last two axes."""

    operation: MatrixProduct

    def combined(self, left: Ball, right: Ball) -> Ball:
        """``x @ y``."""
        return matmul(left, right)

    def pull(self, visit: Visit, g: Ball) -> list[Ball]:
        """``G Y^T`` and ``X^T G``."""
        x, y = (_beside(v) for v in visit.inputs)
        return [matmul(g, y.mT), matmul(x.mT, g)]

    def slope_norms(self, visit: Visit) -> list[Tensor]:
        """The largest Frobenius norm of the other factor's matrices."""
        x, y = (
            norm_upper(v.magnitude_upper(), (-2, -1)).reshape(len(v), -1).amax(1)
            for v in visit.inputs
        )
        return [y, x]

    def curvature(self, visit: Visit, g: Ball, balance: Tensor) -> Curvature:
        """Weights alpha, one for each matrix."""
        n, k = g.shape[:2]
        rows, columns = self.shape[-2:]
        array = g.reshape(n, k, -1, rows, columns)
        alpha = unfolded_norms_upper(array, (0, 2, 1, 3, 4))  # (n, h)
        lead = self.shape[:-2]
        return _MatrixProductCurvature(visit, g, alpha.reshape(n, *lead, 1, 1), balance)


class _BilinearCurvature:
    """``(sqrt(tau w) dx, sqrt(w / tau) dy)``."""

    def __init__(self, visit: Visit, g: Ball, weights: Tensor, balance: Tensor) -> None:
        self._inputs, self._cotangent = visit.inputs, g
        self._weights, self._balance = weights, balance
        self.size = weights.reshape(len(weights), -1).amax(1)

    def root(self, tangents: Tangents) -> Ball:
        from talweg.enclosure import div_up

        tau = self._balance.reshape(-1, *(1,) * (self._weights.ndim - 1))
        factors = (mul_up(self._weights, tau), div_up(self._weights, tau))
        parts = [
            flat(t * _beside(weights_ball(sqrt_up(factor))))
            for t, factor in zip(tangents, factors, strict=True)
            if t is not None
        ]
        return parts[0] if len(parts) == 1 else cat(parts, 2)

    def growth(self, moved: Sequence[Tensor], gamma: Tensor) -> Tensor:
        return torch.clone(gamma)

    def paired(self, g: Ball, t: Ball, place: int) -> Ball:
        """The covector on the other input, from a tangent of the input at `place`."""
        raise NotImplementedError

    def second(self, tangents: Tangents) -> list[Ball]:
        found: list[Ball] = []
        for place, t in enumerate(reversed(tangents)):
            if t is None:
                other = next(x for x in tangents if x is not None)
                n, k = self._cotangent.shape[:2]
                shape = self._inputs[place].shape[1:]
                found.append(Ball.exact(t_zeros(self._cotangent, n, k * other.shape[1], *shape)))
            else:
                g, x = outputs_beside(self._cotangent, t)
                found.append(joined_outputs(self.paired(g, x, 1 - place)))
        return found


class _ProductCurvature(_BilinearCurvature):
    def paired(self, g: Ball, t: Ball, place: int) -> Ball:
        return g * t


class _MatrixProductCurvature(_BilinearCurvature):
    def paired(self, g: Ball, t: Ball, place: int) -> Ball:
        return matmul(t.mT, g) if place == 0 else matmul(g, t.mT)


def t_zeros(like: Ball, *shape: int) -> Tensor:
    """Zeros on the device of a ball."""
    return torch.zeros(shape, dtype=torch.float64, device=like.device)


def _beside(ball: Ball) -> Ball:
    return ball.reshape(len(ball), 1, *ball.shape[1:])
