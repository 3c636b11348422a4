"""Loss scalings: every conversion on its side of the exact rational value."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from talweg._errors import InputError
from talweg.theory import SquaredLoss

losses = st.builds(SquaredLoss, st.sampled_from(["mean", "sum", "half_sum"]), st.integers(1, 10**7))


def weight(loss: SquaredLoss) -> Fraction:
    return {
        "mean": Fraction(1, loss.entries),
        "sum": Fraction(1),
        "half_sum": Fraction(1, 2),
    }[loss.scaling]


@settings(max_examples=100, deadline=None, derandomize=True)
@given(losses, st.floats(min_value=1e-150, max_value=1e150))
def test_conversions(loss: SquaredLoss, x: float) -> None:
    c, q = weight(loss), Fraction(x)
    assert Fraction(loss.pl_lower) <= 2 * c <= Fraction(loss.smoothness_upper)
    step = loss.theory_step(x)
    assert Fraction(step.lo) <= 2 * c * q <= Fraction(step.hi)
    lr = loss.learning_rate_lower(x)
    assert loss.theory_step(lr).hi <= x
    assert Fraction(lr) >= q / (2 * c) * (1 - Fraction(1, 10**14))
    assert Fraction(loss.loss_lower(x)) <= c * q * q <= Fraction(loss.loss_upper(x))
    root_squared = q / c
    assert Fraction(loss.residual_norm_lower(x)) ** 2 <= root_squared
    assert Fraction(loss.residual_norm_upper(x)) ** 2 >= root_squared


def test_half_sum_is_the_theorem_s_own_loss() -> None:
    loss = SquaredLoss("half_sum")
    assert loss.pl_lower == loss.smoothness_upper == 1.0
    assert loss.learning_rate_lower(0.1) == 0.1
    assert loss.theory_step(0.1).lo == loss.theory_step(0.1).hi == 0.1


def test_mean_step_is_two_over_n() -> None:
    assert SquaredLoss("mean", 8).theory_step(1.0).contains(0.25)
    assert SquaredLoss("sum").theory_step(1.0).contains(2.0)


@pytest.mark.parametrize(
    ("scaling", "entries"), [("median", 1), ("mean", 0), ("mean", True), ("mean", 2**54)]
)
def test_misuse(scaling: str, entries: int) -> None:
    with pytest.raises(InputError):
        SquaredLoss(scaling, entries)  # type: ignore[arg-type]


@pytest.mark.parametrize("bad", [math.nan, math.inf, 0.0, -1.0])
def test_steps_must_be_positive(bad: float) -> None:
    with pytest.raises(InputError):
        SquaredLoss("sum").theory_step(bad)
    with pytest.raises(InputError):
        SquaredLoss("sum").learning_rate_lower(bad)


@pytest.mark.parametrize("loss", [SquaredLoss("mean", 2**40 + 1), SquaredLoss("sum")])
@pytest.mark.parametrize("eta", [5e-324, 1.5e-323, 1e-320])
def test_a_subnormal_step_has_a_learning_rate_or_none(loss: SquaredLoss, eta: float) -> None:
    # the learning rate is far more ulps too large than there is time to count
    lr = loss.learning_rate_lower(eta)
    assert lr >= 0.0
    curvature = Fraction(2, loss.entries) if loss.scaling == "mean" else Fraction(2)
    assert curvature * Fraction(lr) <= Fraction(eta)
