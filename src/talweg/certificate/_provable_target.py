"""Which target of the loss the criterion would allow, where the one asked for is out of reach.

The criterion of a target t asks that int s over the ball exceed a budget that falls as t rises.
What int s is comes out of the answer for the target asked for: its budget over its missing factor.
The least t whose budget is below that is found by bisection.

An estimate for advice: no number of this file is a bound.
"""

from __future__ import annotations

import math
from dataclasses import replace

from talweg.certificate._bounds import MeasuredBounds
from talweg.certificate._entropy_theorems import EntropyTarget
from talweg.certificate._search import Outcome
from talweg.certificate._theorems import SquaredTarget, Theorem
from talweg.enclosure import Interval

ROOM = 1.02
"""The budget may be at most int s over this: epsilon, the last step and rounding take some."""

BISECTIONS = 40


def provable_target_approx(
    bounds: MeasuredBounds, theorem: Theorem, outcome: Outcome
) -> tuple[float, float] | None:
    """About the least target that these weights prove, and their loss, both on the user's scale.

    Source: theory T7, T13.

    Args:
        bounds: At the weights.
        theorem: That of the target asked for.
        outcome: What came of it.

    Returns:
        None for a theorem without a target, and where no target below the loss would do.
    """
    if not isinstance(theorem, (EntropyTarget, SquaredTarget)):
        return None
    missing = outcome.missing_factor
    if not 1.0 < missing < math.inf:
        return None
    available = theorem.budget(bounds) / missing
    low, high = theorem.target, loss_at_start(bounds, theorem)

    def allows(target: float) -> bool:
        return ROOM * replace(theorem, target=target).budget(bounds) < available

    top = high * (1.0 - 1e-9)
    if not (low < top < math.inf and allows(top)):
        return None
    upper = top
    for _ in range(BISECTIONS):
        middle = math.sqrt(low) * math.sqrt(upper) if low > 0.0 else 0.5 * upper
        low, upper = (low, middle) if allows(middle) else (middle, upper)
    return upper, high


def loss_at_start(bounds: MeasuredBounds, theorem: EntropyTarget | SquaredTarget) -> float:
    """The loss at the weights on the user's scale, from above.

    Args:
        bounds: At the weights.
        theorem: That of a target.
    """
    if isinstance(theorem, EntropyTarget):
        return (Interval.point(bounds.start["initial_loss_upper"]) * theorem.loss.unit).hi
    r0 = Interval.point(bounds.start["residual_norm_upper"])
    return (0.5 * theorem.loss.curvature * r0 * r0).hi
