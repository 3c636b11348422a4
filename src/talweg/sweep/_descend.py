"""Gradient descent of many runs in one batch; runs that end leave it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Objective = Callable[[dict[str, Tensor]], tuple[Tensor, dict[str, Tensor]]]
"""From stacked weights ``(B, *shape)`` to losses ``(B,)`` and gradients, each run by itself."""

FINISHED, REACHED, DIVERGED = "finished", "reached", "diverged"
"""How a run ends: all steps taken, target reached, or a loss that is no finite number."""


@dataclass(frozen=True)
class Trajectories:
    """The recorded points of all runs, sorted by run and step.

    Attributes:
        run: Index of the run within the batch.
        step: Steps taken.
        loss: The loss there.
        gradient_norm: Euclidean norm of its gradient, over all parameters.
        distance: Euclidean distance from the starting weights.
        status: How the run of each row ends; one of the three.
    """

    run: NDArray[np.int64]
    step: NDArray[np.int64]
    loss: NDArray[np.float64]
    gradient_norm: NDArray[np.float64]
    distance: NDArray[np.float64]
    status: NDArray[np.str_]


def descend(
    objective: Objective,
    start: dict[str, Tensor],
    lr: Tensor,
    *,
    steps: int,
    record_every: int,
    target: float | None,
) -> Trajectories:
    """Run ``w <- w - lr grad f(w)`` for all runs.

    A run ends after ``steps`` steps, or at the first point where its loss is at most ``target``, or
    where its loss is infinite or NaN. Its first and its last point are always recorded.

    Args:
        objective: Losses and gradients.
        start: Stacked starting weights; left as they are.
        lr: Step size of each run ``(B,)``.
        steps: Largest number of steps.
        record_every: Steps between recorded points.
        target: Loss at which a run ends, or None.
    """
    weights = {name: w.clone() for name, w in start.items()}
    runs = torch.arange(len(lr))
    below = -math.inf if target is None else target
    recorded: list[tuple[Tensor, ...]] = []
    status = np.full(len(lr), FINISHED, dtype="U8")
    lrs = _spread(lr, weights)
    with torch.no_grad():
        for step in range(steps + 1):
            losses, gradients = objective(weights)
            goes_on = (losses > below) & (losses < math.inf)  # NaN fails both
            ended = not bool(goes_on.all())
            if ended:
                diverged = ~losses.isfinite()
                status[runs[~goes_on & ~diverged].numpy()] = REACHED
                status[runs[diverged].numpy()] = DIVERGED
            if step % record_every == 0 or step == steps or ended:
                whole = step % record_every == 0 or step == steps
                chosen = torch.ones_like(goes_on) if whole else ~goes_on
                recorded.append(_point(chosen, runs, step, losses, gradients, weights, start))
            if step == steps:
                break
            if ended:
                runs, lr = runs[goes_on], lr[goes_on]
                if not len(runs):
                    break
                start = {name: w[goes_on] for name, w in start.items()}
                weights = {name: w[goes_on] for name, w in weights.items()}
                gradients = {name: g[goes_on] for name, g in gradients.items()}
                lrs = _spread(lr, weights)
            for name, w in weights.items():
                w.addcmul_(gradients[name], lrs[name], value=-1.0)
    return _sorted(recorded, status)


def _spread(lr: Tensor, weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Step sizes in a shape that multiplies each stacked tensor."""
    return {name: lr.to(w.dtype).reshape(-1, *[1] * (w.ndim - 1)) for name, w in weights.items()}


def _point(
    chosen: Tensor,
    runs: Tensor,
    step: int,
    losses: Tensor,
    gradients: dict[str, Tensor],
    weights: dict[str, Tensor],
    start: dict[str, Tensor],
) -> tuple[Tensor, ...]:
    gradient_norm = _norm([g[chosen] for g in gradients.values()])
    distance = _norm([w[chosen] - start[name][chosen] for name, w in weights.items()])
    number = runs[chosen]
    return number, torch.full_like(number, step), losses[chosen], gradient_norm, distance


def _norm(parts: list[Tensor]) -> Tensor:
    """Euclidean norm over everything but the runs."""
    norms = [torch.linalg.vector_norm(p.flatten(1), dim=1) for p in parts]
    total: Tensor = torch.linalg.vector_norm(torch.stack(norms), dim=0)
    return total


def _sorted(recorded: list[tuple[Tensor, ...]], status: NDArray[np.str_]) -> Trajectories:
    run, step, *numbers = (torch.cat(column).numpy() for column in zip(*recorded, strict=True))
    order = np.lexsort((step, run))
    loss, gradient_norm, distance = (column.astype(np.float64)[order] for column in numbers)
    return Trajectories(run[order], step[order], loss, gradient_norm, distance, status[run[order]])
