"""For every hypothesis an input that violates only it; malformed numbers never give PROVED."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

import talweg.theory
from talweg._errors import InputError
from talweg.theory import (
    CrossEntropy,
    NestedBallBound,
    Profile,
    RunStep,
    Status,
    Verdict,
    ball_holds_one_critical_point,
    chatterjee_criterion,
    chatterjee_criterion_with_steps,
    composite_loss_converges,
    composite_loss_target_reached,
    cross_entropy_target_reached,
    gradient_descent_converges_in_ball,
    gradient_descent_reaches_strict_minimum,
    gradient_flow_converges_in_ball,
    local_pl_converges,
    loss_floor_reached,
    run_stays_in_ball,
    singular_value_profile,
    squared_loss_converges,
    squared_loss_floor_reached,
    squared_loss_target_reached,
    stochastic_descent_interpolates,
    target_loss_reached,
)

INF = math.inf
BALL = NestedBallBound.everywhere
STEEP = Profile.constant(1.0, 10.0)
FLAT = Profile.constant(0.0, 10.0)
SIGMA = singular_value_profile(1.0, [(3.0, 0.25)])
SUBNORMAL = 5e-324


@dataclass(frozen=True)
class Theorem:
    """A theorem function with arguments that prove, and one violation per hypothesis."""

    function: Callable[..., Verdict[Any]]
    good: dict[str, Any]
    violations: dict[str, dict[str, Any]]


THEOREMS = [
    Theorem(
        gradient_descent_converges_in_ball,
        {"initial_gap_upper": 1.0, "profile": STEEP, "smoothness": BALL(4.0), "epsilon": 0.5},
        {
            "initial_gap_upper": {"initial_gap_upper": INF},
            "profile": {"profile": FLAT},
            "criterion": {"initial_gap_upper": 7.0},
            "smoothness": {"smoothness": NestedBallBound.of([(3.9, 4.0)])},
            "step_size": {"step_size": 0.26},
            "rate_positive": {"step_size": SUBNORMAL},
        },
    ),
    Theorem(
        gradient_flow_converges_in_ball,
        {"initial_gap_upper": 1.0, "profile": STEEP},
        {
            "initial_gap_upper": {"initial_gap_upper": INF},
            "profile": {"profile": FLAT},
            "criterion": {"initial_gap_upper": 26.0},
            "rate_positive": {
                "profile": Profile.constant(1e-200, 1e300),
            },
        },
    ),
    Theorem(
        chatterjee_criterion,
        {"initial_loss_upper": 1.0, "alpha_lower": 1.0, "radius": 3.0},
        {
            "initial_loss_upper": {"initial_loss_upper": INF},
            "alpha_lower": {"alpha_lower": 0.0},
            "criterion": {"radius": 2.0},
        },
    ),
    Theorem(
        chatterjee_criterion_with_steps,
        {
            "initial_loss_upper": 1.0,
            "alpha_lower": 1.0,
            "radius": 5.0,
            "epsilon": 0.5,
            "first_partials_upper": 1.0,
            "second_partials_upper": 1.0,
            "parameters": 4,
        },
        {
            "initial_loss_upper": {"initial_loss_upper": INF},
            "alpha_lower": {"alpha_lower": -1.0},
            "criterion": {"radius": 4.0},
            "first_partials_upper": {"first_partials_upper": INF},
            "second_partials_upper": {"second_partials_upper": INF},
            "step_size": {"step_size": 0.26},
            "rate_positive": {"step_size": SUBNORMAL},
        },
    ),
    Theorem(
        squared_loss_converges,
        {"residual_norm_upper": 1.0, "profile": SIGMA, "jacobian_norm_upper": 2.0},
        {
            "residual_norm_upper": {"residual_norm_upper": INF},
            "sigma_min_lower": {"profile": singular_value_profile(0.0, [(3.0, 0.25)])},
            "jacobian_norm_upper": {"jacobian_norm_upper": INF},
            "jacobian_lipschitz": {"profile": singular_value_profile(1.0, [(3.0, INF)])},
            "criterion": {"residual_norm_upper": 1.9},
            "step_size": {"step_size": 0.26},
            "rate_positive": {"step_size": SUBNORMAL},
        },
    ),
    Theorem(
        squared_loss_target_reached,
        {
            "residual_norm_upper": 1.0,
            "target_loss": 0.01,
            "profile": SIGMA,
            "jacobian_norm_upper": 2.0,
        },
        {
            "residual_norm_upper": {"residual_norm_upper": INF},
            "sigma_min_lower": {"profile": singular_value_profile(-1.0, [(3.0, 0.25)])},
            "jacobian_norm_upper": {"jacobian_norm_upper": INF},
            "jacobian_lipschitz": {"profile": singular_value_profile(1.0, [(3.0, INF)])},
            "criterion": {"residual_norm_upper": 2.1},
            "overshoot": {
                "profile": singular_value_profile(1.0, [(0.86, 0.0)]),
                "jacobian_norm_upper": 1.0,
                "step_size": 0.9,
            },
            "step_size": {"step_size": 0.26},
            "rate_positive": {"step_size": SUBNORMAL},
        },
    ),
    Theorem(
        target_loss_reached,
        {
            "initial_gap_upper": 1.0,
            "target_gap_lower": 0.25,
            "profile": STEEP,
            "smoothness": BALL(4.0),
            "gradient_norm": BALL(3.0),
            "epsilon": 0.5,
        },
        {
            "initial_gap_upper": {"initial_gap_upper": INF},
            "target_gap_lower": {"target_gap_lower": 0.0},
            "profile": {"profile": FLAT},
            "criterion": {"initial_gap_upper": 10.0},
            "smoothness": {"smoothness": NestedBallBound.of([(1.9, 4.0)])},
            "gradient_norm": {"gradient_norm": NestedBallBound.of([(1.9, 3.0)])},
            "step_size": {"step_size": 0.26},
            "rate_positive": {"step_size": SUBNORMAL},
        },
    ),
]
COMPOSITE: dict[str, Any] = {
    "initial_gap_upper": 0.05,
    "profile": SIGMA,
    "jacobian_norm": BALL(2.0),
    "jacobian_lipschitz": BALL(0.25),
    "pl_lower": 1.0,
    "smoothness_upper": 1.0,
    "epsilon": 0.5,
}
COMPOSITE_VIOLATIONS: dict[str, dict[str, Any]] = {
    "initial_gap_upper": {"initial_gap_upper": INF},
    "pl_lower": {"pl_lower": 0.0},
    "smoothness_upper": {"smoothness_upper": INF},
    "profile": {"profile": FLAT},
    "criterion": {"initial_gap_upper": 1.0},
    "jacobian_norm": {"jacobian_norm": BALL(INF)},
    "jacobian_lipschitz": {"jacobian_lipschitz": NestedBallBound.of([(0.01, 0.25)])},
    "step_size": {"step_size": 0.26},
    "rate_positive": {"step_size": SUBNORMAL},
}
THEOREMS += [
    Theorem(composite_loss_converges, COMPOSITE, COMPOSITE_VIOLATIONS),
    Theorem(
        composite_loss_target_reached,
        {**COMPOSITE, "target_gap_lower": 0.01},
        {**COMPOSITE_VIOLATIONS, "target_gap_lower": {"target_gap_lower": -1.0}},
    ),
]
THEOREMS += [
    Theorem(
        local_pl_converges,
        {
            "residual_norm_upper": 0.5,
            "pl_lower": 1.0,
            "jacobian_norm_upper": 2.0,
            "jacobian_lipschitz_upper": 0.5,
            "radius": 3.0,
        },
        {
            "residual_norm_upper": {"residual_norm_upper": INF},
            "pl_lower": {"pl_lower": 0.0},
            "jacobian_norm_upper": {"jacobian_norm_upper": INF},
            "jacobian_lipschitz_upper": {"jacobian_lipschitz_upper": INF},
            "criterion": {"radius": 1.9},
            "step_size": {"step_size": 0.236},
            "rate_positive": {"step_size": SUBNORMAL, "pl_lower": 0.7},
        },
    ),
    Theorem(
        stochastic_descent_interpolates,
        {
            "initial_loss_upper": 0.01,
            "pl_lower": 1.0,
            "smoothness_upper": 2.0,
            "batch_smoothness_upper": 4.0,
            "radius": 10.0,
            "failure_probability": 0.1,
        },
        {
            "initial_loss_upper": {"initial_loss_upper": INF},
            "pl_lower": {"pl_lower": 0.0},
            "smoothness_upper": {"smoothness_upper": INF},
            "batch_smoothness_upper": {"batch_smoothness_upper": INF},
            "criterion": {"failure_probability": 0.05},
            "step_size": {"step_size": 0.126},
            "rate_positive": {"step_size": SUBNORMAL, "pl_lower": 0.2},
        },
    ),
    Theorem(
        ball_holds_one_critical_point,
        {"gradient_norm_upper": 1.0, "curvature_lower": 0.5, "radius": 3.0},
        {
            "gradient_norm_upper": {"gradient_norm_upper": INF},
            "curvature_lower": {"curvature_lower": 0.0},
            "criterion": {"radius": 2.0},
        },
    ),
    Theorem(
        gradient_descent_reaches_strict_minimum,
        {
            "gradient_norm_upper": 1.0,
            "curvature_lower": 0.5,
            "radius": 5.0,
            "smoothness": BALL(2.0),
            "epsilon": 0.5,
        },
        {
            "gradient_norm_upper": {"gradient_norm_upper": INF},
            "curvature_lower": {"curvature_lower": -0.1},
            "criterion": {"radius": 4.0},
            "smoothness": {"smoothness": NestedBallBound.of([(3.9, 2.0)])},
            "step_size": {"step_size": 0.51},
            "rate_positive": {"step_size": SUBNORMAL},
        },
    ),
]
THEOREMS += [
    Theorem(
        cross_entropy_target_reached,
        {
            "initial_loss_upper": 2.0,
            "target_loss_lower": 1.5,
            "profile": SIGMA,
            "jacobian_norm": BALL(2.0),
            "jacobian_lipschitz": BALL(0.25),
            "loss": CrossEntropy("sum", 1, 2),
            "epsilon": 0.5,
        },
        {
            "initial_loss_upper": {"initial_loss_upper": INF},
            "target_loss_lower": {"target_loss_lower": 0.0},
            "profile": {"profile": singular_value_profile(0.0, [(3.0, 0.25)])},
            "jacobian_norm": {"jacobian_norm": BALL(INF)},
            "jacobian_lipschitz": {"jacobian_lipschitz": BALL(INF)},
            "criterion": {"target_loss_lower": 0.1},
            "step_size": {"step_size": 0.5},
            "rate_positive": {"step_size": SUBNORMAL},
        },
    ),
]
STEPS = [RunStep(0.6, 1.0, 0.9, 1.0), RunStep(0.3, 0.5, 0.4, 0.5)]
THEOREMS += [
    Theorem(
        loss_floor_reached,
        {
            "initial_gap_upper": 1.0,
            "profile": STEEP,
            "smoothness": BALL(4.0),
            "gradient_error": BALL(1e-3),
            "theta": 0.5,
            "epsilon": 0.5,
            "step_size": 0.1,
        },
        {
            "initial_gap_upper": {"initial_gap_upper": INF},
            "profile": {"profile": FLAT},
            "criterion": {"initial_gap_upper": 5.0},
            "smoothness": {"smoothness": NestedBallBound.of([(4.5, 4.0)])},
            "gradient_error": {"gradient_error": NestedBallBound.of([(4.5, 1e-3)])},
            "step_size": {"step_size": 0.17},
            "rate_positive": {"step_size": SUBNORMAL},
            "floor": {"gradient_error": BALL(0.51)},
        },
    ),
    Theorem(
        squared_loss_floor_reached,
        {
            "residual_norm_upper": 0.1,
            "profile": SIGMA,
            "jacobian_norm_upper": 2.0,
            "gradient_error": BALL(1e-3),
            "theta": 0.5,
            "step_size": 0.2,
        },
        {
            "residual_norm_upper": {"residual_norm_upper": INF},
            "sigma_min_lower": {"profile": singular_value_profile(0.0, [(3.0, 0.25)])},
            "jacobian_norm_upper": {"jacobian_norm_upper": INF},
            "jacobian_lipschitz": {"profile": singular_value_profile(1.0, [(3.0, INF)])},
            "criterion": {"residual_norm_upper": 0.23},
            "gradient_error": {"gradient_error": NestedBallBound.of([(0.3, 1e-3)])},
            "step_size": {"step_size": 0.25},
            "rate_positive": {"step_size": SUBNORMAL},
            "floor": {"gradient_error": BALL(0.05)},
        },
    ),
    Theorem(
        run_stays_in_ball,
        {"initial_gap_upper": 1.0, "profile": STEEP, "steps": STEPS, "share": 0.5},
        {
            "initial_gap_upper": {"initial_gap_upper": INF},
            "profile": {"profile": FLAT},
            "criterion": {"initial_gap_upper": 7.0},
            "decrease": {"steps": [STEPS[0], RunStep(0.12, 0.5, 0.5, 0.5)]},
        },
    ),
]
# a failed premise makes these later hypotheses fail with it
CONSEQUENCES = {
    "profile": {"criterion"},
    "initial_gap_upper": {"criterion", "smoothness"},
    "target_gap_lower": {"criterion"},
    "pl_lower": {"profile", "criterion"},
    "smoothness_upper": {"smoothness", "gradient_norm"},
    "jacobian_norm": {"smoothness", "gradient_norm"},
    "jacobian_lipschitz": {"smoothness"},
    "smoothness": {"gradient_norm"},
}
IDS = [t.function.__name__ for t in THEOREMS]
CASES = [(t, name) for t in THEOREMS for name in t.violations]


@pytest.mark.parametrize("theorem", THEOREMS, ids=IDS)
def test_good_arguments_are_proved(theorem: Theorem) -> None:
    verdict = theorem.function(**theorem.good)
    assert verdict.status is Status.PROVED
    assert not verdict.failed
    assert verdict.assumptions == ()
    assert "every hypothesis" in verdict.reason


@pytest.mark.parametrize("theorem", THEOREMS, ids=IDS)
def test_every_hypothesis_has_a_violation(theorem: Theorem) -> None:
    names = {h.name for h in theorem.function(**theorem.good).hypotheses}
    inner = {"smoothness", "gradient_norm"} if "composite" in theorem.function.__name__ else set()
    assert names - inner == set(theorem.violations)


@pytest.mark.parametrize(
    ("theorem", "name"), CASES, ids=[f"{t.function.__name__}-{n}" for t, n in CASES]
)
def test_the_violated_hypothesis_is_named(theorem: Theorem, name: str) -> None:
    verdict = theorem.function(**{**theorem.good, **theorem.violations[name]})
    assert verdict.status is Status.UNDECIDED
    assert verdict.conclusion is None
    failed = [h.name for h in verdict.failed]
    assert name in failed
    assert set(failed) <= {name} | CONSEQUENCES.get(name, set())
    assert failed[0] in verdict.reason
    for h in verdict.failed:
        assert not h.margin > 0.0


@pytest.mark.parametrize("theorem", THEOREMS, ids=IDS)
def test_criterion_says_how_much_is_missing(theorem: Theorem) -> None:
    verdict = theorem.function(**{**theorem.good, **theorem.violations["criterion"]})
    assert verdict.missing_factor is not None
    assert verdict.missing_factor >= 1.0
    good = theorem.function(**theorem.good).missing_factor
    assert good is not None
    assert good < 1.0


@pytest.mark.parametrize("theorem", THEOREMS, ids=IDS)
@pytest.mark.parametrize("bad", [math.nan, INF, -INF, -1.0])
def test_no_malformed_number_is_proved(theorem: Theorem, bad: float) -> None:
    scalars = [k for k, v in theorem.good.items() if isinstance(v, float)]
    optional = [k for k in inspect.signature(theorem.function).parameters if k == "step_size"]
    for name in [*scalars, *optional]:
        verdict, message = None, ""
        try:
            verdict = theorem.function(**{**theorem.good, name: bad})
        except InputError as error:
            message = str(error)
        if verdict is None:
            assert f"`{name}`" in message
        else:
            assert verdict.status is Status.UNDECIDED
            assert not math.isnan(bad)


@pytest.mark.parametrize("theorem", THEOREMS, ids=IDS)
@pytest.mark.parametrize("wrong", ["1.0", None, True, 10**400, 2**53 + 1])
def test_non_floats_are_refused(theorem: Theorem, wrong: object) -> None:
    name = next(k for k, v in theorem.good.items() if isinstance(v, float))
    with pytest.raises(InputError, match=name):
        theorem.function(**{**theorem.good, name: wrong})


class Lying:
    """A bound that answers NaN: the worst that a foreign implementation can do quietly."""

    radius = 10.0

    def upper(self, radius: float) -> float:
        return math.nan

    def value_lower(self, radius: float) -> float:
        return math.nan

    def integral_lower(self, radius: float) -> float:
        return math.nan

    def first_radius_upper(self, budget: float) -> float:
        return math.nan


@pytest.mark.parametrize(
    "theorem", [t for t in THEOREMS if "squared" not in t.function.__name__]
)  # those take a SingularValueProfile, which refuses NaN itself
def test_nan_from_a_bound_is_never_proved(theorem: Theorem) -> None:
    for name, value in theorem.good.items():
        if isinstance(value, float | int):
            continue
        try:
            verdict = theorem.function(**{**theorem.good, name: Lying()})
        except InputError:
            continue
        assert verdict.status is Status.UNDECIDED


@pytest.mark.parametrize("theorem", THEOREMS, ids=IDS)
def test_assumptions_are_carried_and_checked(theorem: Theorem) -> None:
    names = [h.name for h in theorem.function(**theorem.good).hypotheses]
    inequalities = {"criterion", "rate_positive", "step_size", "overshoot", "floor"}
    inner = {"smoothness", "gradient_norm"} if "composite" in theorem.function.__name__ else set()
    premises = [n for n in names if n not in inequalities | inner]
    verdict = theorem.function(**theorem.good, assumed=premises)
    assert verdict.status is Status.PROVED
    assert sorted(verdict.assumptions) == sorted(premises)
    for unknown in ("criterion", "weather"):
        with pytest.raises(InputError, match="assumed"):
            theorem.function(**theorem.good, assumed=[unknown])


def test_contradictory_bounds_are_refused() -> None:
    with pytest.raises(InputError, match="sigma_min"):
        squared_loss_converges(0.1, SIGMA, 0.5)


@pytest.mark.parametrize("epsilon", [0.0, 1.0, -0.1, 1.5])
def test_epsilon_is_a_proper_fraction(epsilon: float) -> None:
    with pytest.raises(InputError, match="epsilon"):
        gradient_descent_converges_in_ball(0.1, STEEP, BALL(1.0), epsilon=epsilon)


@pytest.mark.parametrize("parameters", [0, -3, True, 2.0])
def test_parameters_are_counted(parameters: Any) -> None:
    good = next(t for t in THEOREMS if t.function is chatterjee_criterion_with_steps).good
    with pytest.raises(InputError, match="parameters"):
        chatterjee_criterion_with_steps(**{**good, "parameters": parameters})


def test_every_theorem_function_is_in_this_suite() -> None:
    functions = {
        n for n in talweg.theory.__all__ if n.islower() and n[0] != "_"
        and "Verdict" in str(inspect.signature(getattr(talweg.theory, n)).return_annotation)
    }  # fmt: skip
    exact = {"duplicates_bound_loss_below"}  # takes no bounds: tests/theory/test_duplicates.py
    lecture = {  # tests/theory/test_lecture_refusals.py and test_sine_well.py
        "decreasing_steps_converge", "decreasing_steps_gradient_bounded",
        "descent_stuck_at_saddle", "mean_squared_gradient_bounded", "noise_floor_reached",
        "perturbation_escapes_saddle", "perturbed_descent_finds_second_order_point",
        "polyak_steps_converge", "quadratic_saddle_left", "sine_well_constants",
        "smooth_pl_descent_converges", "strict_saddle_nearby",
    }  # fmt: skip
    positive = {  # tests/theory/test_positive_initialisation.py and test_lecun_event.py
        "lecun_initialisation_converges_with_probability", "positive_initialisation_descends",
        "positive_initialisation_flow_converges",
    }  # fmt: skip
    linear = {  # tests/theory/test_linear_network.py
        "linear_network_converges", "linear_network_converges_not_lazy",
        "linear_network_is_locally_pl", "linear_network_squared_converges",
        "linear_network_step_decreases", "linear_model_loss_is_pl", "observed_step_contracts",
    }  # fmt: skip
    scaled = {  # tests/theory/test_trapping.py and test_output_scaling.py
        "composite_loss_trapping_radius",
        "scaled_output_converges",
        "squared_loss_trapping_radius",
    }
    elsewhere = exact | lecture | positive | linear | scaled
    assert functions - elsewhere == set(IDS)
