"""What `Monitor` requires of its arguments."""

from __future__ import annotations

import math
from collections.abc import Callable

from talweg._errors import InputError


def require_one_loss(
    loss_fn: Callable[..., object] | None, loss_of: Callable[..., object] | None
) -> None:
    """Exactly one of the two forms of a loss; InputError otherwise."""
    if (loss_fn is None) == (loss_of is None):
        raise InputError(
            "loss_fn of Monitor: exactly one of loss_fn(outputs, targets) and loss_of(model, "
            "batch) is required; got both or neither; pass one"
        )


def require_ranges(
    f_star: float | None, parts: int, curvature_samples: int, lanczos_steps: int,
    kernel_samples: int,
) -> None:  # fmt: skip
    """Numbers that make sense; InputError otherwise."""
    if f_star is not None and not (isinstance(f_star, int | float) and math.isfinite(f_star)):
        raise InputError(
            f"f_star of Monitor: a finite lower bound of the loss is required; got {f_star!r}; "
            "0 is one for squared losses and cross-entropy"
        )
    if parts < 2 or curvature_samples < 1 or lanczos_steps < 1 or kernel_samples < 2:
        raise InputError(
            "parts, curvature_samples, lanczos_steps, kernel_samples of Monitor: at least 2, "
            f"1, 1 and 2 are required; got {parts}, {curvature_samples}, {lanczos_steps}, "
            f"{kernel_samples}; raise them"
        )
