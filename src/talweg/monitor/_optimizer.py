"""The linear stability limit of an optimiser: what its step must stay below, and the step itself.

On a quadratic with Hessian H an optimiser with step operator S (a positive diagonal) is stable
exactly when every eigenvalue of S^{1/2} H S^{1/2} is positive and below a limit:

    gradient descent               2
    heavy ball, momentum b         2 (1 + b)
    Nesterov, momentum b           2 (1 + b) / (1 + 2 b)
    Adam, betas (b, .)             2 (1 + b) / (1 - b)

with S = lr, for Adam S = lr / (sqrt(v_hat) + eps) with the second moments as they stand. Weight
decay w adds w to H; AdamW's, which does not pass through the moments, is left out.

Source: heavy ball and Nesterov: roots of their characteristic polynomials; Adam: Cohen et al. 2022.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from talweg.monitor._curvature import Product


@dataclass(frozen=True)
class StepOperator:
    """How an optimiser steps near the present weights.

    Attributes:
        limit: Largest stable eigenvalue of S^{1/2} H S^{1/2}.
        roots: Per parameter, S^{1/2}: a number or a tensor of its shape.
        decay: Per parameter, what weight decay adds to H.
        rates: Distinct learning rates.
        sizes: Per parameter, its number of entries.
        name: Of the optimiser.
        known: False for an optimiser whose limit is not known here; then plain steps are assumed.
        momentum: Largest momentum of plain steps, 0 for Adam.
        damping: 1 - b, b the largest momentum or first beta: steps that agree add up to 1/(1 - b).
    """

    limit: float
    roots: tuple[Tensor | float, ...]
    decay: tuple[float, ...]
    rates: tuple[float, ...]
    sizes: list[int]
    name: str
    known: bool
    momentum: float = 0.0
    damping: float = 1.0

    @property
    def noise_step(self) -> float:
        """The step e for which noise of variance s^2 holds a loss e s^2 / 4 above its minimum.

        S / (1 - momentum), averaged over the entries; for Adam weighted by 1/S^2, to which the
        noise of an entry is proportional where noise fills the second moments.
        """
        pieces = [root if isinstance(root, Tensor) else torch.full((size,), root)
                  for root, size in zip(self.roots, self.sizes, strict=True)]  # fmt: skip
        steps = torch.cat([piece.reshape(-1).double().cpu() for piece in pieces]).square()
        steps = steps[steps > 0]
        if not len(steps):
            return 0.0
        if self.name in ADAM:
            return float(steps.reciprocal().sum() / steps.reciprocal().square().sum())
        return float(steps.mean()) / (1 - self.momentum)

    @property
    def uniform(self) -> float | None:
        """S as one number, where all parameters share it."""
        numbers = {root for root in self.roots if not isinstance(root, Tensor)}
        if len(numbers) != 1 or len(self.roots) != sum(
            not isinstance(root, Tensor) for root in self.roots
        ):
            return None
        return numbers.pop() ** 2 or None

    def scaled(self, flat: Tensor) -> Tensor:
        """S^{1/2} v for a flat vector v."""
        return torch.cat(
            [
                piece * (root.reshape(-1) if isinstance(root, Tensor) else root)
                for root, piece in zip(self.roots, torch.split(flat, self.sizes), strict=True)
            ]
        )

    def preconditioned(self, product: Product) -> Product:
        """v -> S^{1/2} (H + decay) S^{1/2} v."""

        def scaled(v: Tensor) -> Tensor:
            inner = self.scaled(v)
            image = product(inner)
            if any(self.decay):
                pieces = zip(self.decay, torch.split(inner, self.sizes), strict=True)
                image = image + torch.cat([decay * piece for decay, piece in pieces])
            return self.scaled(image)

        return scaled


ADAM = ("Adam", "AdamW", "NAdam", "RAdam")


def step_operator(
    optimizer: torch.optim.Optimizer, parameters: Sequence[Tensor]
) -> StepOperator | None:
    """The step operator for these parameters; None while Adam has no second moments yet.

    Args:
        optimizer: Any torch optimiser.
        parameters: The trained parameters, in the order of the flat vectors.
    """
    groups: dict[int, dict[str, Any]] = {
        id(p): group for group in optimizer.param_groups for p in group["params"]
    }
    kind = type(optimizer).__name__
    roots: list[Tensor | float] = []
    decay: list[float] = []
    limits: list[float] = []
    momenta, betas = [0.0], [0.0]
    for p in parameters:
        group = groups.get(id(p))
        lr = float(group["lr"]) if group is not None else 0.0  # not trained by this optimiser
        group = group or {}
        if kind in ADAM:
            root = _adam_root(optimizer.state.get(p, {}), group, lr)
            if root is None and group:
                return None
            roots.append(root if root is not None else 0.0)
            beta = float(group.get("betas", (0.9, 0.999))[0])
            betas.append(beta)
            limits.append(2 * (1 + beta) / (1 - beta))
            decay.append(float(group.get("weight_decay", 0.0)) if kind != "AdamW" else 0.0)
        else:
            roots.append(math.sqrt(max(lr, 0.0)))
            momentum = float(group.get("momentum", 0.0) or 0.0)
            nesterov = bool(group.get("nesterov", False))
            momenta.append(min(momentum, 0.999))
            limits.append(2 * (1 + momentum) / (1 + 2 * momentum * nesterov))
            decay.append(float(group.get("weight_decay", 0.0) or 0.0))
    rates = tuple(sorted({float(group["lr"]) for group in optimizer.param_groups}))
    return StepOperator(
        limit=min(limits, default=2.0),
        roots=tuple(roots),
        decay=tuple(decay),
        rates=rates,
        sizes=[p.numel() for p in parameters],
        name=kind,
        known=kind in (*ADAM, "SGD"),
        momentum=max(momenta),
        damping=1 - max(*momenta, *betas),
    )


def _adam_root(state: dict[str, Any], group: dict[str, Any], lr: float) -> Tensor | None:
    if "exp_avg_sq" not in state:
        return None
    step = float(state["step"])
    beta = float(group["betas"][1])
    second = state.get("max_exp_avg_sq", state["exp_avg_sq"])
    corrected = second / (1 - beta**step)
    root: Tensor = (lr / (corrected.sqrt() + float(group["eps"]))).sqrt()
    return root
