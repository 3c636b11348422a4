"""Gradient descent from the weights stored in a certificate file, in float64; no proof."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from talweg.network import FlatFunction

DIVERGED = 1e6
"""So many times the loss at the start, or 1: a false claim about the step; no more is run."""
KEPT_POINTS = 24
"""Of the path, evenly in the logarithm of the step: most of the way is made early."""

Loss = Callable[[Tensor], Tensor]


@dataclass(frozen=True, eq=False)
class Descent:
    """What was run.

    Attributes:
        losses: Step and loss above the infimum, of every step.
        kept: Steps whose weights were kept, 0 and the last among them.
        path: Their weights ``(m, p)``, float64; empty where none were to be kept.
    """

    losses: list[tuple[int, float]]
    kept: list[int]
    path: Tensor


def stored_loss(body: Mapping[str, Any], targets: Tensor, k: int) -> Loss:
    """The file's loss above its infimum, as a function of outputs ``(n, k)``.

    Args:
        body: The JSON object of the file.
        targets: Labels ``(n,)`` or targets ``(n, k)``.
        k: Outputs of one sample.
    """
    scaling = body["loss"]["scaling"]
    if body["loss"]["kind"] != "cross_entropy":

        def squared(outputs: Tensor) -> Tensor:
            squares = (outputs - targets).square()
            value = squares.mean() if scaling == "mean" else squares.sum()
            return value / 2 if scaling == "half_sum" else value

        return squared
    smoothing = float.fromhex(body["loss"]["label_smoothing"])
    share = smoothing / k
    parts = [1.0 - smoothing + share, *[share] * (k - 1)]
    infimum = -sum(q * math.log(q) for q in parts if q > 0.0)
    infimum *= len(targets) if scaling == "sum" else 1
    reduction = "mean" if scaling == "mean" else "sum"

    def entropy(outputs: Tensor) -> Tensor:
        value = F.cross_entropy(outputs, targets, label_smoothing=smoothing, reduction=reduction)
        return value - infimum

    return entropy


def descend(
    function: FlatFunction, loss: Loss, step_size: float, steps: int, *, keep: bool
) -> Descent:
    """Gradient descent with a constant step, until it is done or far away.

    Args:
        function: The stored network on its inputs.
        loss: Of its outputs.
        step_size: ``lr``.
        steps: At most so many.
        keep: Whether weights on the way are kept.
    """
    wanted = {round((steps + 1) ** (i / (KEPT_POINTS - 1))) - 1 for i in range(KEPT_POINTS)}
    w = function.start.requires_grad_()
    losses: list[tuple[int, float]] = []
    kept: list[tuple[int, Tensor]] = []
    for step in range(steps + 1):
        value = loss(function(w))
        losses.append((step, value.item()))
        away = not losses[-1][1] <= DIVERGED * max(losses[0][1], 1.0)  # also where it is undefined
        if keep and (step in wanted or away):
            kept.append((step, w.detach().clone()))
        if step == steps or away:
            break
        [gradient] = torch.autograd.grad(value, w)
        w = (w - step_size * gradient).detach().requires_grad_()
    path = torch.stack([point for _, point in kept]) if kept else torch.zeros(0, len(w))
    return Descent(losses, [step for step, _ in kept], path)
