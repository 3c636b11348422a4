"""Losses that the training loop computes anyway: kept now and then, at next to no cost.

Reading a number off a device makes the program wait for it, and a row costs some microseconds, so
a loss is kept when the run is longer by a sixteenth than at the last one: 16 losses at first, then
11 for each time the run doubles. The last one is held unread until the run ends.
"""

from __future__ import annotations

from torch import Tensor

from talweg._errors import InputError

THINNED = 16


class KnownLosses:
    """Which of the losses that `Monitor.step` is given are kept.

    Attributes:
        last: Step and value of the latest loss, if it was not kept.
    """

    def __init__(self) -> None:
        self.last: tuple[int, Tensor | float] | None = None
        self._kept = -1

    def take(self, step: int, loss: Tensor | float | None, *, looked: bool) -> bool:
        """Whether to keep the loss of this step.

        Args:
            step: The step.
            loss: One number, or None where the loop did not tell.
            looked: Whether something is measured at this step, which keeps its loss too.

        Raises:
            InputError: `loss` is no single number.
        """
        if isinstance(loss, Tensor) and loss.numel() != 1:
            raise InputError(
                "loss of Monitor.step: one number is required; got a tensor of shape "
                f"{tuple(loss.shape)}; pass inputs and targets as one batch: step((X, y))"
            )
        self.last = None
        if loss is None:
            return False
        due = self._kept < 0 or step - self._kept >= max(1, step // THINNED)
        if due:
            self._kept = step
        if not (due or looked):
            self.last = step, loss.detach() if isinstance(loss, Tensor) else loss
        return due or looked
