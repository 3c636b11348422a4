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
        "ConvergenceProbability",
        "CrossEntropy",
        "DecreasingStepsConvergence",
        "DecreasingStepsGradient",
        "DescentConvergence",
        "ExplicitOutputEntry",
        "FloorReached",
        "FlowConvergence",
        "GuaranteedStep",
        "Hypothesis",
        "IdentityActivation",
        "Imbalance",
        "IncreasingActivation",
        "JacobianNormBound",
        "LINEAR_LOSS_CURVATURE",
        "LINEAR_NETWORK_LIPSCHITZ",
        "LinearLossKind",
        "LinearNetworkBounds",
        "LocalPL",
        "LocalPLConvergence",
        "LossFloor",
        "LowerProfile",
        "MeanSquaredGradient",
        "MinibatchConstants",
        "NestedBallBound",
        "NoiseFloor",
        "NotLazyConvergence",
        "ObservedStep",
        "OutputLossConstants",
        "OutputScaling",
        "PositiveNetwork",
        "Profile",
        "QuadraticSaddleLeft",
        "RadiusBound",
        "RunContained",
        "RunStep",
        "SOFTMAX_SMOOTHNESS",
        "SaddleEscaped",
        "ScaledProfile",
        "SecondOrderPointFound",
        "SineWellConstants",
        "SingularValueProfile",
        "SmoothLeakyReLUActivation",
        "SmoothPLConvergence",
        "SquaredLoss",
        "SquaredLossConvergence",
        "Status",
        "StepQuartic",
        "StochasticConvergence",
        "StrictMinimum",
        "StrictMinimumReached",
        "StrictSaddle",
        "StuckAtSaddle",
        "TanhActivation",
        "TargetReached",
        "TrappingRadius",
        "Verdict",
        "ball_holds_one_critical_point",
        "chatterjee_criterion",
        "chatterjee_criterion_with_steps",
        "composite_loss_converges",
        "composite_loss_target_reached",
        "composite_loss_trapping_radius",
        "cross_entropy_budget",
        "cross_entropy_pl_lower",
        "cross_entropy_target_reached",
        "decreasing_steps_converge",
        "decreasing_steps_gradient_bounded",
        "descent_stuck_at_saddle",
        "duplicates_bound_loss_below",
        "explicit_output_entry",
        "gradient_descent_converges_in_ball",
        "gradient_descent_reaches_strict_minimum",
        "gradient_flow_converges_in_ball",
        "inexact_step_lower",
        "initial_gap_from_gradient_upper",
        "largest_inexact_step_lower",
        "lecun_initialisation_converges_with_probability",
        "likeliest_lecun_box_approx",
        "linear_model_loss_is_pl",
        "linear_network_converges",
        "linear_network_converges_not_lazy",
        "linear_network_is_locally_pl",
        "linear_network_smoothness_upper",
        "linear_network_squared_converges",
        "linear_network_step_decreases",
        "local_pl_converges",
        "loss_floor_reached",
        "mean_squared_gradient_bounded",
        "noise_floor_reached",
        "observed_step_contracts",
        "output_scale_threshold_upper",
        "perturbation_escapes_saddle",
        "perturbed_descent_finds_second_order_point",
        "polyak_steps_converge",
        "positive_initialisation_descends",
        "positive_initialisation_flow_converges",
        "quadratic_saddle_left",
        "run_stays_in_ball",
        "scaled_output_converges",
        "sine_well_constants",
        "singular_value_profile",
        "smooth_pl_descent_converges",
        "squared_loss_converges",
        "squared_loss_curvature_lower",
        "squared_loss_floor_reached",
        "squared_loss_minibatch_constants",
        "squared_loss_smoothness",
        "squared_loss_target_reached",
        "squared_loss_trapping_radius",
        "steps_to_shrink_upper",
        "stochastic_descent_interpolates",
        "strict_saddle_nearby",
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
