"""The three ways to scale a squared loss, and what each does to steps, losses and constants.

The theorems speak of 1/2 |r|^2. A user's loss is c |r|^2 with gradient 2 c J^T r, so plain
gradient descent on it with learning rate lr is gradient descent on 1/2 |r|^2 with step 2 c lr,
and its output loss is 2c-PL and 2c-smooth.

    scaling     c      f                        step on 1/2 |r|^2     mu_l = K_l
    mean       1/N     mean over N entries      2 lr / N              2 / N
    sum        1       sum of squares           2 lr                  2
    half_sum   1/2     half the sum             lr                    1

N counts all entries of the residual (samples times outputs) in the user's data, before equal rows
are merged.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from talweg._errors import InputError
from talweg.enclosure import Interval
from talweg.theory._arguments import lower_bound, positive, upper_bound

Scaling = Literal["mean", "sum", "half_sum"]


@dataclass(frozen=True, slots=True)
class SquaredLoss:
    """f = c |r|^2 with c = 1/N, 1 or 1/2.

    Args:
        scaling: "mean" (`torch.nn.MSELoss()`), "sum" (`MSELoss(reduction="sum")`) or "half_sum".
        entries: N >= 1, the number of entries of the residual; only "mean" uses it.

    Raises:
        InputError: unknown scaling, entries not an int >= 1.
    """

    scaling: Scaling
    entries: int = 1

    def __post_init__(self) -> None:
        if self.scaling not in ("mean", "sum", "half_sum"):
            raise InputError(
                "`scaling` of SquaredLoss() must be 'mean', 'sum' or 'half_sum'; got "
                f"{self.scaling!r}. 'mean' is torch's default."
            )
        n = self.entries
        if isinstance(n, bool) or not isinstance(n, int) or not 1 <= n <= 2**53:
            raise InputError(
                f"`entries` of SquaredLoss() must be an int from 1 to 2**53; got {n!r}. "
                "Pass samples times outputs."
            )

    @property
    def curvature(self) -> Interval:
        """2 c: the second derivative of the loss in each output; also mu_l and K_l."""
        if self.scaling == "mean":
            return Interval.ratio(2, self.entries)
        return Interval.point(2.0 if self.scaling == "sum" else 1.0)

    @property
    def pl_lower(self) -> float:
        """Lower bound of mu_l."""
        return self.curvature.lo

    @property
    def smoothness_upper(self) -> float:
        """Upper bound of K_l."""
        return self.curvature.hi

    def theory_step(self, learning_rate: float) -> Interval:
        """The step on 1/2 |r|^2 that a learning rate on this loss amounts to, 2 c lr.

        Args:
            learning_rate: `lr` of plain gradient descent on this loss, > 0.
        """
        lr = positive(learning_rate, "learning_rate", "SquaredLoss.theory_step")
        return self.curvature * lr if self.scaling != "half_sum" else Interval.point(lr)

    def learning_rate_lower(self, theory_step_upper: float) -> float:
        """The largest learning rate found with ``theory_step(lr).hi <= theory_step_upper``.

        Args:
            theory_step_upper: the largest step allowed on 1/2 |r|^2, > 0, finite.

        Returns:
            A float > 0, or 0.0 when none is representable.
        """
        eta = positive(theory_step_upper, "theory_step_upper", "SquaredLoss.learning_rate_lower")
        lr = eta if self.scaling == "half_sum" else (Interval.point(eta) / self.curvature).lo
        return largest_below(lr, lambda x: self.theory_step(x).hi <= eta)

    def loss_upper(self, residual_norm_upper: float) -> float:
        """Upper bound of f = c |r|^2.

        Args:
            residual_norm_upper: upper bound of |r|.
        """
        r = upper_bound(residual_norm_upper, "residual_norm_upper", "SquaredLoss.loss_upper")
        return (self.curvature / 2.0 * Interval.point(r).square()).hi

    def loss_lower(self, residual_norm_lower: float) -> float:
        """Lower bound of f = c |r|^2.

        Args:
            residual_norm_lower: lower bound of |r|; a negative one says nothing.
        """
        r = lower_bound(residual_norm_lower, "residual_norm_lower", "SquaredLoss.loss_lower")
        return (self.curvature / 2.0 * Interval.point(max(r, 0.0)).square()).lo

    def residual_norm_upper(self, loss_upper: float) -> float:
        """Upper bound of |r| = sqrt(f / c).

        Args:
            loss_upper: upper bound of the loss.
        """
        f = upper_bound(loss_upper, "loss_upper", "SquaredLoss.residual_norm_upper")
        return (2.0 * Interval.point(f) / self.curvature).clip_nonnegative().sqrt().hi

    def residual_norm_lower(self, loss_lower: float) -> float:
        """Lower bound of |r| = sqrt(f / c): the residual at which a target loss is reached.

        Args:
            loss_lower: lower bound of the loss; a negative one says nothing.
        """
        f = lower_bound(loss_lower, "loss_lower", "SquaredLoss.residual_norm_lower")
        square = 2.0 * Interval.point(max(f, 0.0)) / self.curvature
        return square.clip_nonnegative().sqrt().lo


def largest_below(start: float, allowed: Callable[[float], bool]) -> float:
    """The first float tried from `start` down that is allowed; 0.0 when there is none.

    A few single ulps, then strides that double: a step whose product underflows is many ulps too
    large, because subnormals are far apart.

    Args:
        start: where to begin; nothing above it is tried.
        allowed: whether a float > 0 will do.
    """
    x, stride = start, 2.0**-60
    while x > 0.0 and not allowed(x):
        x = math.nextafter(x * (1.0 - stride), 0.0)
        stride = min(2.0 * stride, 0.5)
    return max(x, 0.0)


HALF_SUM = SquaredLoss("half_sum")
"""1/2 |r|^2, the loss that T11 is stated for."""
