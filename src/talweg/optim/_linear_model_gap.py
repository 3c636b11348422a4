"""How far a strongly convex loss of a linear model can still fall: upper bounds of l(W) - l*.

From l(W + E) >= l(W) + <G, E> + <E, H E> / 2 for the E that leads to the minimiser,

    l(W) - l* <= <G, H^-1 G> / 2,      H V = weight X^T (C o (X V)) + ridge V,

with any C >= 0 below the curvature of the loss between W and the minimiser. That is |G|^2 / (2 mu)
with the curvature that each direction of G really sees.
"""

from __future__ import annotations

import torch
from torch import Tensor

from talweg.enclosure import Ball, Interval, elementwise, mul_down, mul_up, row_norms_upper
from talweg.optim._linear_model_loss import LinearModelLoss
from talweg.theory import OutputLossConstants, initial_gap_from_gradient_upper


def gap_upper(
    loss: LinearModelLoss, outputs: Ball, gradient: Ball, constants: OutputLossConstants
) -> float:
    """Upper bound of l(W) - l*: the better of |G|^2 / (2 mu) and the bound above.

    Args:
        loss: l.
        outputs: X W.
        gradient: G at W.
        constants: mu and the strong convexity of l.
    """
    square = gradient.square().sum()
    slope = Interval.point(max(float(square.upper()), 0.0)).sqrt().hi
    plain = initial_gap_from_gradient_upper(slope, constants.pl_lower)
    convexity = constants.convexity_lower
    if not convexity > 0.0 or loss.kind == "cross_entropy":
        return plain
    # the minimiser lies within |G| / convexity of W
    reach = (Interval.point(slope) / Interval.point(convexity)).hi
    return min(plain, _weighted(loss, gradient, _curvature_lower(loss, outputs, reach), convexity))


def _curvature_lower(loss: LinearModelLoss, outputs: Ball, reach: float) -> Tensor:
    """C, (n, m): for |E| <= reach, rest_i >= C_i (x_i^T E)^2 / 2 (exact floats, any will do).

    Huber: 1 where the residual stays below the threshold. Logistic: with t = x_i^T E, |t| <= r,
    rest >= t^2 phi'' (e^-r - 1 + r) / r^2 >= t^2 phi'' (1/2 - r/6).
    """
    if loss.kind == "squared":
        return torch.ones_like(loss.targets)
    r = mul_up(row_norms_upper(loss.inputs), torch.tensor(reach, dtype=torch.float64))
    r = r.reshape(-1, 1).expand_as(loss.targets).contiguous()
    if loss.kind == "huber":
        worst = Ball.exact((outputs - Ball.exact(loss.targets)).magnitude_upper()) + Ball.exact(r)
        return (worst.upper() <= 1.0).to(torch.float64)
    share = (1.0 - Ball.exact(r.clamp(max=3.0)) / 3.0).lower().clamp(min=0.0)
    curvature = elementwise("sigmoid", 1, outputs).lower().clamp(min=0.0)
    return mul_down(share, curvature).clamp(min=0.0)


def _weighted(loss: LinearModelLoss, gradient: Ball, weights: Tensor, convexity: float) -> float:
    """<G, H^-1 G> / 2 from above, for any approximate solution V of H V = G.

    With R = G - H V:  <G, H^-1 G> = <G, V> + <V, R> + <R, H^-1 R>, the last at most
    |R|^2 / convexity.
    """
    x, w, ridge = loss.inputs, loss.weight, loss.ridge
    eye = torch.eye(x.shape[1], dtype=torch.float64)
    columns = []
    for c, g in zip(weights.T, gradient.mid.T, strict=True):
        h = w * (x.T * c) @ x + ridge * eye
        factor, failed = torch.linalg.cholesky_ex(h)
        if int(failed):
            return float("inf")
        columns.append(torch.cholesky_solve(g.reshape(-1, 1), factor))
    v = Ball.exact(torch.cat(columns, 1).contiguous())
    if not bool(v.mid.isfinite().all()):
        return float("inf")
    xt, spread = Ball.exact(x.T.contiguous()), Ball.exact(weights)
    r = gradient - w * (xt @ (spread * (Ball.exact(x) @ v))) - ridge * v
    total = _sum(gradient * v) + _sum(v * r) + _sum(r.square()) / Interval.point(convexity)
    return max((total / 2.0).hi, 0.0)


def _sum(ball: Ball) -> Interval:
    total = ball.sum()
    return Interval(float(total.lower()), float(total.upper()))
