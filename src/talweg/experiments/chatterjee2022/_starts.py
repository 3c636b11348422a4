"""The starting points of the figures, and step sizes in units of the stability limit."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from talweg.experiments.chatterjee2022._training import Runs, network, train
from talweg.init import conditional_positive_, lecun_, lecun_abs_, positive_

SHARES = (1.0, 0.5, 0.25, 0.1, 0.03, 0.01)
"""Step sizes tried, as shares of the stability limit of the linearised network, 1 / lambda_max."""

SETTLED = 1e-24
"""Below this share of the first loss a curve is rounding, and counts as settled."""

Initialisation = Callable[[nn.Sequential, int], object]

RANDOM: dict[str, Initialisation] = {
    "LeCun": lambda model, seed: lecun_(model, seed=seed),
    "|LeCun|": lambda model, seed: lecun_abs_(model, seed=seed),
    "conditional event": lambda model, seed: conditional_positive_(model, seed=seed),
}
"""Name to initialisation, without the positive one, which needs its output scale."""


def positive(scale: float) -> Initialisation:
    """The positive initialisation with every output entry equal to ``scale``."""
    return lambda model, seed: positive_(model, output_scale=scale, seed=seed)


def started(
    start: Initialisation, inputs: int, widths: Sequence[int], slope: float, seed: int
) -> nn.Sequential:
    """A network of these sizes at this start."""
    model = network(inputs, widths, slope)
    start(model, seed)
    return model


def stable_step(model: nn.Sequential, data: tuple[Tensor, Tensor]) -> float:
    """``n / (2 lambda_max(J J^T))``: 1 / lambda_max for the mean of n squares; float."""
    X, _ = data
    weights = list(model.parameters())
    rows = [
        torch.cat([g.flatten() for g in torch.autograd.grad(output, weights, retain_graph=True)])
        for output in model(X).flatten()
    ]
    return X.shape[0] / (2.0 * float(torch.linalg.matrix_norm(torch.stack(rows), 2)) ** 2)


def train_with_best_share(
    starts: Sequence[Sequence[nn.Sequential]],
    data: tuple[Tensor, Tensor],
    steps: int,
    *,
    every: int,
    progress: Callable[[str], None],
) -> tuple[list[float], Runs]:
    """Train every group with each share of `SHARES`, and keep the best one of the group.

    Best is the smallest area under the logarithm of what the mean loss stays below, cut off at
    `SETTLED`; every run of a group uses the same share of its own stability limit.

    Args:
        starts: G groups of S models each.
        data: ``(X, y)``.
        steps: How many.
        every: Of the record.
        progress: Told now and then.

    Returns:
        The share of each group; the runs of the kept shares, G blocks of S.
    """
    models = [model for group in starts for model in group for _ in SHARES]
    limits = [stable_step(m, data) for group in starts for m in group]
    lr = torch.outer(_float64(limits), _float64(SHARES)).flatten()
    runs = train(models, data, lr, steps, every=every, progress=progress)
    counts = [len(group) for group in starts]
    shares: list[float] = []
    kept: list[int] = []
    begin = 0
    for count in counts:
        block = torch.arange(begin, begin + count * len(SHARES)).reshape(count, len(SHARES))
        mean = runs.losses[:, block].mean(1)  # (T, number of shares)
        later = mean.flip(0).cummax(0).values.flip(0)  # what the loss stays below from here on
        best = int(torch.maximum(later, SETTLED * mean[0]).log().sum(0).argmin())
        shares.append(SHARES[best])
        kept += block[:, best].tolist()
        begin += count * len(SHARES)
    return shares, Runs(runs.steps, runs.losses[:, kept], runs.distance[kept])


def _float64(values: Sequence[float]) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)
