"""What the model and its optimiser alone say: who is trained, which units are twins.

Two hidden units with the same weights, inwards and outwards, receive the same gradient, so they
stay twins for ever: gradient descent cannot leave the subspace in which they are equal (E3).
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from talweg.monitor._undisturbed import plain


@dataclass(frozen=True)
class ModelFacts:
    """Facts about a model as it stands.

    Attributes:
        parameters: Number of trained parameters.
        frozen: Share of all parameters that are not trained.
        frozen_names: Tensors that want no gradient, are unknown to the optimiser or have rate 0.
        twins: Per weight tensor, the share of its units that have a twin.
        units: Per weight tensor, the number of its units.
    """

    parameters: int
    frozen: float
    frozen_names: tuple[str, ...]
    twins: dict[str, float]
    units: dict[str, int]


def inspect_model(model: nn.Module, optimizer: torch.optim.Optimizer) -> ModelFacts:
    """Facts about the model as it stands; nothing is changed.

    Args:
        model: Any module.
        optimizer: The optimiser that trains it.
    """
    rates = {id(p): float(group["lr"]) for group in optimizer.param_groups for p in group["params"]}
    trained, frozen, names = 0, 0, []
    for name, p in plain(model).named_parameters():
        if p.requires_grad and rates.get(id(p), 0.0) > 0:
            trained += p.numel()
        else:
            frozen += p.numel()
            names.append(name)
    twins = {}
    weights = [(n, p.detach()) for n, p in plain(model).named_parameters() if p.ndim >= 2]
    for (name, weight), (_, following) in itertools.pairwise(weights):
        share = _twins(weight, following)
        if share:
            twins[name] = share
    return ModelFacts(
        trained, frozen / max(1, trained + frozen), tuple(names), twins,
        {name: len(weight) for name, weight in weights},
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
