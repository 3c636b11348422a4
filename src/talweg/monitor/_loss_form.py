"""What form a loss function has: a mean over the batch, of what, and on which targets.

Measurements cut a batch into parts and take the loss of the batch to be the mean of theirs. A sum
is not, and neither is a mean with class weights or ignored labels, where PyTorch divides by the
weight of the labels that count: parts have different weights. With W that of the batch, the part's
sum divided by W over the number of parts has the batch's loss for its mean, exactly.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from talweg._errors import InputError
from talweg.monitor._undisturbed import Loss

LossFunction = Callable[..., Tensor]
DIFFERENCES = (nn.MSELoss, nn.L1Loss, nn.SmoothL1Loss, nn.HuberLoss)
DIFFERENCE_FUNCTIONS = (F.mse_loss, F.l1_loss, F.smooth_l1_loss, F.huber_loss)


def require_mean(loss_fn: LossFunction | None, call: str) -> None:
    """Refuse a loss function that says itself that it is no mean.

    Args:
        loss_fn: As of `Monitor`.
        call: "Monitor" or "diagnose".

    Raises:
        InputError: its reduction is "sum" or "none".
    """
    stated: Any = (
        getattr(loss_fn, "reduction", "mean") if isinstance(loss_fn, nn.Module) else "mean"
    )
    if isinstance(loss_fn, functools.partial):
        stated = loss_fn.keywords.get("reduction", "mean")
    if stated in ("sum", "none"):
        name = getattr(loss_fn, "func", loss_fn)
        name = getattr(name, "__name__", type(name).__name__)
        raise InputError(
            f"loss_fn of {call}: a mean over the batch is required; got {name} with "
            f'reduction="{stated}"; take reduction="mean": for SGD a sum is the same training with '
            "lr times the number of terms that it adds up"
        )


def pair_loss(loss_fn: LossFunction) -> Loss:
    """The loss of a model on a batch ``(inputs, targets)``.

    Args:
        loss_fn: ``loss_fn(outputs, targets)`` -> mean loss.

    Returns:
        ``loss(model, batch)``; it raises InputError where class labels meet a loss of differences.
    """

    def loss(model: nn.Module, batch: Any) -> Tensor:
        inputs, targets = batch
        outputs = model(inputs)
        _require_no_labels(loss_fn, outputs, targets)
        return loss_fn(outputs, targets)

    return loss


def loss_of_parts(loss_fn: LossFunction | None, loss: Loss, batch: Any, parts: int) -> Loss:
    """The loss of a part of a batch, such that the mean over equal parts is that of the batch.

    Args:
        loss_fn: The loss function, if there is one.
        loss: What it is on a batch.
        batch: The batch, as long as its parts together.
        parts: How many.

    Returns:
        `loss` itself, unless labels have weights or are ignored.
    """
    if not isinstance(loss_fn, nn.CrossEntropyLoss | nn.NLLLoss):
        return loss
    targets = batch[1]
    if not isinstance(targets, Tensor) or targets.is_floating_point():
        return loss
    counted = targets[targets != loss_fn.ignore_index]
    if loss_fn.weight is None and counted.numel() == targets.numel():
        return loss
    total = counted.numel() if loss_fn.weight is None else float(loss_fn.weight[counted].sum())
    if not total > 0:
        return loss
    summed = copy.copy(loss_fn)
    summed.reduction = "sum"

    def of_part(model: nn.Module, part: Any) -> Tensor:
        inputs, labels = part
        return torch.as_tensor(summed(model(inputs), labels)) * (parts / total)

    return of_part


def _require_no_labels(loss_fn: LossFunction, outputs: Any, targets: Any) -> None:
    """Class labels in a loss of differences: PyTorch stretches them, or fails in its own words."""
    of_differences = isinstance(loss_fn, DIFFERENCES) or loss_fn in DIFFERENCE_FUNCTIONS
    if not (of_differences and isinstance(outputs, Tensor) and isinstance(targets, Tensor)):
        return
    whole = not (targets.is_floating_point() or targets.is_complex())
    if whole and targets.shape != outputs.shape:
        name = getattr(loss_fn, "__name__", type(loss_fn).__name__)
        classes = outputs.shape[-1] if outputs.ndim else 1
        raise InputError(
            f"targets of {name}: numbers of the outputs' shape, {_shown(outputs)}, are "
            f"required; got {targets.dtype} of shape {_shown(targets)}, which look like class "
            "labels; use nn.CrossEntropyLoss(), or one-hot targets: "
            f"F.one_hot(y, {classes}).float()"
        )


def _shown(values: Tensor) -> str:
    """The shape, n samples first: the batch is seen in parts."""
    return f"({', '.join(['n', *map(str, values.shape[1:])])})" if values.ndim else "()"
