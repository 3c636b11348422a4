"""Each kind of measurement with the settings of one run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from talweg.monitor._kernel import look_at_kernel
from talweg.monitor._looks import (
    batch_size,
    first,
    look_at_curvature,
    look_at_gradient,
    look_at_units,
)
from talweg.monitor._loss_form import loss_of_parts
from talweg.monitor._processes import Processes
from talweg.monitor._undisturbed import Loss

Row = dict[str, Any]


@dataclass(frozen=True, eq=False)
class Looking:
    """What is looked at, and how closely; fields as the arguments of `Monitor`.

    Attributes:
        model: The module.
        optimizer: Its optimiser.
        loss: The mean loss of a batch.
        loss_fn: What `loss` was made from, if it is for pairs of inputs and targets.
        names: Of the trained parameters.
        parts: Micro-batches of a batch.
        curvature_samples: Samples for the curvature.
        lanczos_steps: Hessian products for the curvature.
        kernel_samples: Samples for the tangent kernel.
        seed: Of Lanczos' start vectors.
        processes: Those that measure together, if there are several.
    """

    model: nn.Module
    optimizer: torch.optim.Optimizer
    loss: Loss
    loss_fn: Callable[..., Tensor] | None
    names: list[str]
    parts: int
    curvature_samples: int
    lanczos_steps: int
    kernel_samples: int
    seed: int
    processes: Processes | None

    def at(self, kind: str, batch: Any, f_star: float) -> Row:
        """The numbers of one kind on a batch; none where it has too few samples.

        Args:
            kind: "gradient", "curvature", "units" or "kernel".
            batch: What `step` was given.
            f_star: The lower bound of the loss.
        """
        if kind == "gradient":
            return self._gradient(batch, f_star)
        if kind == "curvature":
            return look_at_curvature(
                self.model, self.loss, batch, self.optimizer, self.curvature_samples,
                self.lanczos_steps, self.seed, self.processes,
            )  # fmt: skip
        if kind == "kernel":
            return look_at_kernel(self.model, self.loss, batch, self.kernel_samples, f_star)
        return look_at_units(self.model, self.loss, batch, joint=self.processes is not None)

    def _gradient(self, batch: Any, f_star: float) -> Row:
        if batch_size(batch) < self.parts:
            return {}
        whole = first(batch, batch_size(batch) // self.parts * self.parts)
        loss = loss_of_parts(self.loss_fn, self.loss, whole, self.parts)
        row = look_at_gradient(self.model, loss, whole, self.parts, self.names, self.processes)
        gap = row["loss"] - f_star
        if gap > 0:
            row["pl_ratio"] = row["gradient_squared"] / (2 * gap)
            row["pl_ratio_error"] = row["gradient_squared_error"] / (2 * gap)
        return row
