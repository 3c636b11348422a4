"""Full-batch gradient descent on many fully connected networks at once.

Run s has its own weights and step size; weights of a layer are stacked to ``(S, d_out, d_in)``, and
since the runs share nothing, the gradient of the sum of their losses is the gradient of each.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from talweg.nn import SmoothLeakyReLU

Progress = Callable[[str], None]
DIVERGED = 1e12
"""A loss beyond this counts as divergence; the run is then frozen, its loss recorded as inf."""


@dataclass(frozen=True, eq=False)
class Runs:
    """Recorded losses of S runs.

    Attributes:
        steps: Step numbers of the records ``(T,)``.
        losses: Mean squared error, ``(T, S)``; inf after a divergence.
        distance: ``|w_K - w_0|`` of each run at the last step.
    """

    steps: tuple[int, ...]
    losses: Tensor
    distance: Tensor

    def blocks(self, count: int) -> tuple[Tensor, ...]:
        """The losses of successive groups of ``count`` runs, ``(T, count)`` each."""
        return self.losses.reshape(len(self.steps), -1, count).unbind(1)


def network(
    inputs: int, widths: Sequence[int], slope: float, *, activation: nn.Module | None = None
) -> nn.Sequential:
    """A fully connected network with one output, float64; its weights are not yet set.

    Args:
        inputs: d.
        widths: d_1, ..., d_{L-1}.
        slope: Of `SmoothLeakyReLU`.
        activation: Used in its place.
    """
    layers: list[nn.Module] = []
    before = inputs
    for width in widths:
        layers += [_linear(before, width), activation or SmoothLeakyReLU(slope)]
        before = width
    return nn.Sequential(*layers, _linear(before, 1))


def gaussian_data(samples: int, inputs: int, seed: int) -> tuple[Tensor, Tensor]:
    """Standard normal inputs ``(n, d)`` and unrelated standard normal targets ``(n, 1)``.

    With n <= d the inputs are linearly independent almost surely; the targets are pure noise, which
    interpolation has to fit.

    Args:
        samples: n.
        inputs: d.
        seed: Of the draws.
    """
    source = torch.Generator().manual_seed(seed)
    X = torch.randn(samples, inputs, generator=source, dtype=torch.float64)
    return X, torch.randn(samples, 1, generator=source, dtype=torch.float64)


def train(
    models: Sequence[nn.Sequential],
    data: tuple[Tensor, Tensor],
    step_sizes: Tensor,
    steps: int,
    *,
    every: int = 1,
    progress: Progress | None = None,
) -> Runs:
    """Gradient descent on the mean squared error of each model, from its weights.

    Args:
        models: S chains of the same architecture: Linear layers with bias, one activation module
            after each but the last. They are left as they are.
        data: ``(X, y)``.
        step_sizes: ``(S,)``.
        steps: How many.
        every: The loss is recorded at each multiple of this.
        progress: Told now and then.
    """
    X, y = data
    layers = [[m for m in model if isinstance(m, nn.Linear)] for model in models]
    activation = next((m for m in models[0] if not isinstance(m, nn.Linear)), nn.Identity())
    parameters = [
        torch.stack([_detached(getattr(run[index], name)) for run in layers])
        for index in range(len(layers[0]))
        for name in ("weight", "bias")
    ]
    start = [p.clone() for p in parameters]
    lr = step_sizes.to(torch.float64).clone()
    alive = torch.ones(len(models), dtype=torch.bool)
    records: list[Tensor] = []
    for step in range(steps + 1):
        losses, gradients = _losses_and_gradients(parameters, activation, X, y)
        bad = alive & ~(losses < DIVERGED)
        if bool(bad.any()):
            alive &= ~bad
            lr[bad] = 0.0
            for p, s in zip(parameters, start, strict=True):
                p[bad] = s[bad]
        if step % every == 0:
            records.append(torch.where(alive, losses, math.inf))
        if progress is not None and step % 2000 == 0:
            progress(f"step {step} of {steps}, {len(models)} runs")
        if step < steps:
            for p, g in zip(parameters, gradients, strict=True):
                p -= lr.reshape(-1, *[1] * (p.ndim - 1)) * g
    changes = [(p - s).flatten(1) for p, s in zip(parameters, start, strict=True)]
    distance = torch.cat(changes, 1).norm(dim=1)
    return Runs(tuple(range(0, steps + 1, every)), torch.stack(records), distance)


def _losses_and_gradients(
    parameters: list[Tensor], activation: nn.Module, X: Tensor, y: Tensor
) -> tuple[Tensor, tuple[Tensor, ...]]:
    leaves = [p.detach().requires_grad_() for p in parameters]
    h: Tensor = X.expand(leaves[0].shape[0], *X.shape)  # (S, n, d)
    for index in range(0, len(leaves), 2):
        if index:
            h = activation(h)
        h = torch.baddbmm(leaves[index + 1].unsqueeze(1), h, leaves[index].mT)
    losses = (h - y).square().mean((1, 2))
    return losses.detach(), torch.autograd.grad(losses.sum(), leaves)


def _detached(tensor: Tensor) -> Tensor:
    return tensor.detach().to(torch.float64, copy=True)


def _linear(before: int, after: int) -> nn.Linear:
    with torch.random.fork_rng(devices=[]):  # PyTorch's own initialisation draws; it is replaced
        return nn.Linear(before, after, dtype=torch.float64)
