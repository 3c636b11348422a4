"""The last look at a run, which its budget may not have paid for."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

from talweg.monitor._budget import Budget

Row = dict[str, Any]
LAST = ("units", "curvature")
"""What is looked at: no gradient, since the weights have seen the batch, which biases it."""


def last_look(
    budget: Budget, look: Callable[[str, Any], Row], batch: Any, step: int, steps: int
) -> Row | None:
    """A row about the weights as they are at the end, whatever it costs.

    Args:
        budget: What it does not decide, by a fixed schedule, is left to that.
        look: Measures one kind on a batch.
        batch: The last one, which has been trained on.
        step: Of the row.
        steps: Of the run.

    Returns:
        The row, or None where there is nothing to look at, or the look fails, with a warning: it
        must not end a training.
    """
    kinds = [kind for kind in LAST if kind in budget.shares]
    if not kinds:
        return None
    row: Row = {"step": step, "fresh": False, "final": True}
    start = budget.clock()
    try:
        for kind in kinds:
            row |= look(kind, batch)
    except Exception as error:  # noqa: BLE001 - see above
        warnings.warn(f"Monitor had no last look: {error!r}", RuntimeWarning, stacklevel=5)
        return None
    budget.charge(None, budget.clock() - start)
    held = budget.held_back(steps)
    return row | ({"held_back": held} if held else {})
