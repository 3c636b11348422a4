"""Verdicts: no truth value, no PROVED without proof, and the public list of the room."""

from __future__ import annotations

import dataclasses
import math

import pytest

import talweg.theory
from talweg import _errors as errors
from talweg.theory import Hypothesis, Status, Verdict

GOOD = Hypothesis.below("criterion", "x < 2", 1.0, 2.0)
BAD = Hypothesis.below("criterion", "x < 2", 3.0, 2.0)


def test_public_names_are_pinned() -> None:
    assert sorted(talweg.theory.__all__) == [
        "CompositeGradientBound",
        "CompositeSmoothness",
        "DescentConvergence",
        "FlowConvergence",
        "Hypothesis",
        "JacobianNormBound",
        "LowerProfile",
        "NestedBallBound",
        "Profile",
        "RadiusBound",
        "ScaledProfile",
        "SingularValueProfile",
        "SquaredLoss",
        "SquaredLossConvergence",
        "Status",
        "TargetReached",
        "Verdict",
        "chatterjee_criterion",
        "chatterjee_criterion_with_steps",
        "composite_loss_converges",
        "composite_loss_target_reached",
        "gradient_descent_converges_in_ball",
        "gradient_flow_converges_in_ball",
        "initial_gap_from_gradient_upper",
        "singular_value_profile",
        "squared_loss_converges",
        "squared_loss_target_reached",
        "steps_to_shrink_upper",
        "target_loss_reached",
    ]
    assert all(hasattr(talweg.theory, name) for name in talweg.theory.__all__)


def test_a_verdict_has_no_truth_value() -> None:
    verdict = Verdict(Status.PROVED, 1.0, (GOOD,), "T")
    with pytest.raises(TypeError, match="truth value"):
        bool(verdict)
    with pytest.raises(TypeError):
        _ = not verdict


@pytest.mark.parametrize(
    ("status", "conclusion", "hypotheses"),
    [
        (Status.PROVED, None, (GOOD,)),
        (Status.PROVED, 1.0, (GOOD, BAD)),
        (Status.UNDECIDED, 1.0, (BAD,)),
        (Status.UNDECIDED, None, (GOOD,)),
    ],
)
def test_status_and_hypotheses_must_agree(
    status: Status, conclusion: float | None, hypotheses: tuple[Hypothesis, ...]
) -> None:
    with pytest.raises(errors.InputError, match="status"):
        Verdict(status, conclusion, hypotheses, "T")


def test_hypotheses_carry_margin_and_missing_factor() -> None:
    assert GOOD.holds
    assert GOOD.margin == 1.0
    assert GOOD.missing_factor is not None
    assert 0.5 <= GOOD.missing_factor < 0.5 + 1e-12
    assert not BAD.holds
    assert BAD.margin == -1.0
    verdict: Verdict[float] = Verdict(Status.UNDECIDED, None, (BAD,), "T")
    assert verdict.failed == (BAD,)
    assert "criterion" in verdict.reason
    assert "1.5" in verdict.reason


def test_equality_fails_only_the_strict_form() -> None:
    assert not Hypothesis.below("h", "x < 1", 1.0, 1.0).holds
    assert Hypothesis.below("h", "x <= 1", 1.0, 1.0, strict=False).holds
    assert not Hypothesis.above("h", "x > 1", 1.0, 1.0).holds


def test_infinite_bounds_never_hold_by_accident() -> None:
    assert not Hypothesis.below("h", "", math.inf, math.inf).holds
    assert not Hypothesis.known("h", "", math.inf).holds
    assert not Hypothesis.known("h", "", math.nan).holds
    assert not Hypothesis.above("h", "", -math.inf, 0.0).holds
    with pytest.raises(errors.InputError):
        Hypothesis.below("h", "", math.nan, 1.0)


def test_verdicts_are_frozen() -> None:
    verdict = Verdict(Status.PROVED, 1.0, (GOOD,), "T")
    with pytest.raises(dataclasses.FrozenInstanceError):
        verdict.status = Status.UNDECIDED  # type: ignore[misc]
