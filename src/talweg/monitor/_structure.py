"""What the model and its optimiser alone say: who is trained, which units are twins.

Two hidden units with the same weights, inwards and outwards, receive the same gradient, so they
stay twins for ever: gradient descent cannot leave the subspace in which they are equal (E3).
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from talweg.monitor._undisturbed import plain


@dataclass(frozen=True)
class ModelFacts:
    """Facts about a model as it stands.

    Attributes:
        sizes: Per parameter tensor, the number of its entries.
        frozen_names: Tensors that want no gradient, are unknown to the optimiser or have rate 0.
        twins: Per weight tensor, the share of its units that have a twin.
        units: Per weight tensor, the number of its units.
        finite: Whether all weights are finite numbers.
    """

    sizes: dict[str, int]
    frozen_names: tuple[str, ...]
    twins: dict[str, float]
    units: dict[str, int]
    finite: bool

    @property
    def frozen(self) -> float:
        """Share of all parameters that are not trained."""
        return sum(self.sizes[n] for n in self.frozen_names) / max(1, sum(self.sizes.values()))

    @property
    def parameters(self) -> int:
        """Number of trained parameters."""
        return sum(self.sizes.values()) - sum(self.sizes[n] for n in self.frozen_names)

    def since(self, start: ModelFacts) -> ModelFacts:
        """What held at the start and holds now: a schedule may pass through rate 0.

        Twins that became infinite, or not a number, were twins until then.

        Args:
            start: Facts about the same model, earlier.
        """
        names = tuple(n for n in self.frozen_names if n in start.frozen_names)
        twins = self.twins if self.finite else start.twins
        lasting = {n: share for n, share in twins.items() if n in start.twins}
        return replace(self, frozen_names=names, twins=lasting)


def inspect_model(model: nn.Module, optimizer: torch.optim.Optimizer) -> ModelFacts:
    """Facts about the model as it stands; nothing is changed.

    Args:
        model: Any module.
        optimizer: The optimiser that trains it.
    """
    rates = {id(p): float(group["lr"]) for group in optimizer.param_groups for p in group["params"]}
    named = list(plain(model).named_parameters())
    frozen = [n for n, p in named if not (p.requires_grad and rates.get(id(p), 0.0) > 0)]
    twins = {}
    weights = [(n, p.detach()) for n, p in named if p.ndim >= 2]
    for (name, weight), (_, following) in itertools.pairwise(weights):
        share = _twins(weight, following)
        if share:
            twins[name] = share
    return ModelFacts(
        {name: p.numel() for name, p in named}, tuple(frozen), twins,
        {name: len(weight) for name, weight in weights},
        all(bool(p.detach().isfinite().all()) for _, p in named),
    )  # fmt: skip


def _twins(weight: Tensor, following: Tensor) -> float:
    """Share of the rows of a weight that equal another row, with equal columns behind them.

    Where the next weight has another number of columns, the units in between are not compared.
    """
    rows = weight.reshape(len(weight), -1)
    if len(rows) < 2:
        return 0.0
    if following.ndim >= 2 and following.shape[1] == len(rows):
        columns = following.movedim(1, 0).reshape(len(rows), -1)
        rows = torch.cat([rows, columns.to(rows)], 1)
    elif not bool(rows.any()):  # zero on purpose, as at the end of a residual branch
        return 0.0
    _, inverse, counts = torch.unique(rows, dim=0, return_inverse=True, return_counts=True)
    return float((counts[inverse] > 1).double().mean())
