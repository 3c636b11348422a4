"""How far noise holds the loss above its minimum, read off an optimiser's gradients and rates.

Near a minimum with Hessian H let w <- w - P g, E g = H w, Cov g = S, P a small positive diagonal.
The stationary covariance C of w solves P H C + C H P = P S P; multiplied by P^{-1} and traced,

    2 tr(H C) = tr(P S),      so      E f - f* = tr(H C) / 2 = tr(P S) / 4,

whatever the curvatures are. With P = eta this is eta s^2 / 4. Momentum b delivers every gradient in
portions that add up to 1 / (1 - b) of it, and for small steps P counts divided by 1 - b.

Of one gradient g, g . P g has expectation tr(P S) + grad f . P grad f: at the noise floor, where
the second term is of higher order, it gives the floor; before, it is too large by the signal.

Source: E2 (its floor is the bound for the worst case); Mandt, Hoffman, Blei 2017 (covariance).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

SECOND_MOMENTS = ("max_exp_avg_sq", "exp_avg_sq", "square_avg")
"""Where optimisers keep what they divide by the root of, the first found counting."""


def floor_approx(optimizer: torch.optim.Optimizer) -> Tensor | None:
    """g . P g / 4, with the gradients that lie in `.grad`; None where there are none.

    P is lr (1 - dampening) / (1 - momentum) for SGD, lr / (sqrt(v) + eps) for optimisers that keep
    second moments v (Adam, AdamW, NAdam, RAdam; RMSprop), and lr for others.

    Args:
        optimizer: after its step, before its gradients are cleared.

    Returns:
        A tensor of shape ``()``, float32 or float64, not synchronised with the host.
    """
    total: Tensor | None = None
    for group in optimizer.param_groups:
        rate = group["lr"]
        rate = rate * _portions(group) / 4
        for p in group["params"]:
            if p.grad is None:
                continue
            g = p.grad.detach()
            g = g.coalesce().values() if g.is_sparse else g
            g = torch.view_as_real(g) if g.is_complex() else g
            g = g if g.dtype == torch.float64 else g.float()
            second = _second_moment(optimizer.state.get(p, {}), group)
            if second is None or second.shape != g.shape:
                power = torch.linalg.vector_norm(g).square()
            else:
                power = (g.square() / (second.sqrt() + group.get("eps", 0.0))).sum()
            term: Tensor = rate * power
            total = term if total is None else total.add(term.to(total))
    return total


def _portions(group: dict[str, Any]) -> float:
    """What all portions of one gradient add up to, in units of the rate; 1 for averages of it."""
    momentum = float(group.get("momentum") or 0.0)
    if momentum == 0.0:
        return 1.0
    kept = 1.0 - float(group.get("dampening") or 0.0)
    return kept / (1.0 - momentum) if momentum < 1.0 else kept


def _second_moment(state: dict[str, Any], group: dict[str, Any]) -> Tensor | None:
    """v with its bias corrected, as the optimiser divides by it."""
    for key in SECOND_MOMENTS:
        if isinstance(state.get(key), Tensor):
            second: Tensor = state[key]
            second = torch.view_as_real(second) if second.is_complex() else second
            second = second if second.dtype == torch.float64 else second.float()
            if "betas" in group and "step" in state:
                corrected: Tensor = second / (1.0 - group["betas"][1] ** float(state["step"]))
                return corrected
            return second
    return None
