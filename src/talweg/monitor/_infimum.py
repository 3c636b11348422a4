"""The infimum of a loss, where the loss function itself tells it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from talweg._output_loss import smoothed_infimum


def telling(
    loss_fn: Callable[..., Tensor] | None, tell: Callable[[float], None]
) -> Callable[..., Tensor] | None:
    """The loss function; one with smoothed labels tells its infimum when it meets outputs."""
    if not isinstance(loss_fn, nn.CrossEntropyLoss) or loss_fn.weight is not None:
        return loss_fn
    smoothing = float(loss_fn.label_smoothing)

    def told(outputs: Tensor, targets: Tensor, *more: Any) -> Tensor:
        if outputs.ndim > 1 and not targets.is_floating_point():
            tell(smoothed_infimum(outputs.shape[1], smoothing))
        value: Tensor = loss_fn(outputs, targets, *more)
        return value

    return told if smoothing > 0.0 else loss_fn
