"""F3: equal inputs with different targets put a floor under every squared loss."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from talweg._errors import InputError
from talweg.theory._losses import HALF_SUM, SquaredLoss
from talweg.theory._verdict import Hypothesis, Verdict, decide

SOURCE = "F3 (within-group variance)"


@dataclass(frozen=True, slots=True)
class LossFloor:
    """What F3 proves: no function of the inputs has a smaller loss.

    Attributes:
        squares_lower: lower bound of sum_i |F(x_i) - y_i|^2 over the listed rows.
        loss_lower: the loss on its own scale is at least this for all weights.
        groups: indices of the groups whose targets differ.
    """

    squares_lower: float
    loss_lower: float
    groups: tuple[int, ...]


def duplicates_bound_loss_below(
    groups: Sequence[Sequence[Sequence[float]]], *, loss: SquaredLoss = HALF_SUM
) -> Verdict[LossFloor]:
    """Equal inputs with different targets make zero loss impossible (F3).

    With the rows grouped by equal inputs, group g having targets y_1..y_m and mean y_g,

        sum_i |F(x_i) - y_i|^2  >=  sum_g sum_{i in g} |y_i - y_g|^2     for every function F,

    in exact rational arithmetic, rounded down once at the end.

    Source: F3; proof in docs/theory/F3.md. `talweg.network.merge_duplicates` finds such groups.

    Args:
        groups: for each set of rows with equal inputs, their targets, (m, k) floats. Groups may be
            left out: the bound stays a bound.
        loss: scaling of the loss that `loss_lower` speaks of; "mean" counts all entries of the
            data, listed or not. The default is T11's scale.

    Returns:
        PROVED with the floor, or UNDECIDED naming `disagreement`: no listed group disagrees.

    Raises:
        InputError: a target that is not a finite number, or rows of different lengths in a group.
    """
    total, found = Fraction(0), []
    for index, rows in enumerate(groups):
        squares = _within_group_squares(rows, index)
        if squares > 0:
            total += squares
            found.append(index)
    constant = {"mean": Fraction(1, loss.entries), "sum": Fraction(1)}
    floor = float_below(total * constant.get(loss.scaling, Fraction(1, 2)))
    statement = "sum over groups of sum_i |y_i - mean|^2 > 0"
    shown = Hypothesis.above("disagreement", statement, float_below(total), 0.0)

    def conclusion() -> LossFloor:
        return LossFloor(float_below(total), floor, tuple(found))

    return decide(SOURCE, [shown], frozenset(), conclusion)


def float_below(value: Fraction) -> float:
    """The largest float found that is at most a nonnegative rational.

    Args:
        value: >= 0.
    """
    try:
        nearest = float(value)
    except OverflowError:
        return math.nextafter(math.inf, 0.0)
    if math.isinf(nearest):
        return math.nextafter(math.inf, 0.0)
    return math.nextafter(nearest, 0.0) if Fraction(nearest) > value else nearest


def _within_group_squares(rows: Sequence[Sequence[float]], index: int) -> Fraction:
    """``sum_i |y_i - mean|^2`` of one group, exact: sum of squares minus (sum)^2 / m, by output."""
    widths = {len(row) for row in rows}
    if len(widths) > 1:
        raise _refusal(index, "rows of one length", f"lengths {sorted(widths)}")
    total = Fraction(0)
    for column in zip(*rows, strict=True):
        values = [_exact(value, index) for value in column]
        first = sum(values, Fraction(0))
        total += sum((v * v for v in values), Fraction(0)) - first * first / len(values)
    return total


def _exact(value: float, index: int) -> Fraction:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not math.isfinite(value):
        raise _refusal(index, "finite numbers", repr(value))
    return Fraction(value)


def _refusal(index: int, requirement: str, got: str) -> InputError:
    return InputError(
        f"`groups` of duplicates_bound_loss_below() must hold {requirement}; group {index} holds "
        f"{got}. Pass the targets of each set of equal inputs, one row per sample."
    )
