"""The optimisers that commands offer: one table of what they are and of their usual step sizes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


class Optimizer(StrEnum):
    """All of them; the API takes any other."""

    adam = "adam"
    adamw = "adamw"
    sgd = "sgd"
    momentum = "momentum"
    lbfgs = "lbfgs"


class BatchOptimizer(StrEnum):
    """Those that take steps on batches."""

    sgd = Optimizer.sgd.value
    momentum = Optimizer.momentum.value
    adam = Optimizer.adam.value
    adamw = Optimizer.adamw.value


@dataclass(frozen=True)
class Recipe:
    """How an optimiser is made.

    Attributes:
        kind: Its class in torch.optim.
        full_batch_rate: Usual step size on the full batch.
        batch_rate: Usual step size on batches; None where it is not meant for them.
        settings: Further arguments.
        full_batch: Arguments on the full batch, beside `settings`.
    """

    kind: str
    full_batch_rate: float
    batch_rate: float | None
    settings: Mapping[str, Any] = field(default_factory=dict)
    full_batch: Mapping[str, Any] = field(default_factory=dict)

    def make(
        self, parameters: Iterable[torch.Tensor], rate: float, *, full_batch: bool
    ) -> torch.optim.Optimizer:
        """The optimiser of these parameters."""
        import torch

        more = {**self.settings, **(self.full_batch if full_batch else {})}
        made: torch.optim.Optimizer = getattr(torch.optim, self.kind)(parameters, lr=rate, **more)
        return made


OPTIMIZERS: dict[str, Recipe] = {
    "sgd": Recipe("SGD", 1e-2, 0.1),
    "momentum": Recipe("SGD", 1e-2, 0.01, {"momentum": 0.9}),
    "adam": Recipe("Adam", 1e-3, 1e-3, {}, {"betas": (0.97, 0.999)}),
    "adamw": Recipe("AdamW", 1e-3, 1e-3, {}, {"betas": (0.97, 0.999), "weight_decay": 0.0}),
    "lbfgs": Recipe("LBFGS", 1.0, None, {"line_search_fn": "strong_wolfe"}),
}
"""Rates are PyTorch's own, except that its SGD has 1e-3 and hardly moves. On the full batch Adam's
first-moment coefficient 0.97 fits training data further than 0.9, and there is no weight decay,
which would pull the solution away from zero loss."""
