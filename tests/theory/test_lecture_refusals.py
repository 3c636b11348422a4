"""E1 to E4: proved on good numbers; the one hypothesis that is violated is named."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from talweg._errors import InputError
from talweg.theory import (
    Status,
    Verdict,
    decreasing_steps_converge,
    decreasing_steps_gradient_bounded,
    descent_stuck_at_saddle,
    mean_squared_gradient_bounded,
    noise_floor_reached,
    perturbation_escapes_saddle,
    perturbed_descent_finds_second_order_point,
    polyak_steps_converge,
    quadratic_saddle_left,
    smooth_pl_descent_converges,
    strict_saddle_nearby,
)

INF = math.inf


@dataclass(frozen=True)
class Theorem:
    function: Callable[..., Verdict[Any]]
    good: dict[str, Any]
    violations: dict[str, dict[str, Any]]
    inequalities: frozenset[str]


def theorem(
    function: Callable[..., Verdict[Any]],
    good: dict[str, Any],
    violations: dict[str, dict[str, Any]],
    *inequalities: str,
) -> Theorem:
    return Theorem(function, good, violations, frozenset(inequalities))


SMOOTH = {
    "initial_gap_upper": {"initial_gap_upper": INF},
    "smoothness_upper": {"smoothness_upper": INF},
}
SMOOTH_PL = {**SMOOTH, "pl_lower": {"pl_lower": 0.0}}
NOISE = {"variance_upper": {"variance_upper": INF}}
GAP_L_MU = {"initial_gap_upper": 2.0, "smoothness_upper": 8.0, "pl_lower": 0.5}
EPISODE = {
    "dimension": 10,
    "smoothness_upper": 1.0,
    "hessian_lipschitz_upper": 1.0,
    "perturbation_radius": 1e-3,
    "step_size": 1.0,
    "steps": 40,
}
EPISODE_FAILURES = {
    "smoothness_upper": {"smoothness_upper": INF},
    "hessian_lipschitz_upper": {"hessian_lipschitz_upper": INF},
    "step_size": {"step_size": 1.0 + 1e-9},
    "perturbation_radius": {"perturbation_radius": 0.009},
}

THEOREMS = [
    theorem(
        smooth_pl_descent_converges, GAP_L_MU,
        {
            **SMOOTH_PL,
            "step_size": {"step_size": 0.25},
            "rate_positive": {"step_size": 5e-324, "pl_lower": 0.4},
        },
        "step_size", "rate_positive",
    ),
    theorem(
        polyak_steps_converge, {**GAP_L_MU, "max_step": 0.125},
        {
            **SMOOTH_PL,
            "step_size": {"max_step": 0.25},
            "rate_positive": {"max_step": 5e-324, "pl_lower": 0.4},
        },
        "step_size", "rate_positive",
    ),
    theorem(
        mean_squared_gradient_bounded,
        {"initial_gap_upper": 2.0, "smoothness_upper": 8.0, "variance_upper": 1.0, "steps": 100},
        {**SMOOTH, **NOISE, "step_size": {"step_size": 0.25}},
        "step_size",
    ),
    theorem(
        noise_floor_reached, {**GAP_L_MU, "variance_upper": 1.0, "step_size": 0.125},
        {
            **SMOOTH_PL, **NOISE,
            "step_size": {"step_size": 0.25},
            "rate_positive": {"step_size": 5e-324, "pl_lower": 0.4},
        },
        "step_size", "rate_positive",
    ),
    theorem(
        decreasing_steps_gradient_bounded,
        {
            "initial_gap_upper": 2.0, "smoothness_upper": 8.0, "variance_upper": 1.0,
            "initial_step": 0.125, "steps": 100,
        },
        {**SMOOTH, **NOISE, "step_size": {"initial_step": 0.25}},
        "step_size",
    ),
    theorem(
        decreasing_steps_converge, {**GAP_L_MU, "variance_upper": 1.0},
        {**SMOOTH_PL, **NOISE, "offset": {"offset": 31.9}},
        "offset",
    ),
    theorem(
        strict_saddle_nearby,
        {
            "gradient_norm_upper": 0.1, "singular_value_lower": 1.0,
            "negative_curvature_lower": 1.0, "hessian_lipschitz_upper": 1.0,
        },
        {
            "gradient_norm_upper": {"gradient_norm_upper": INF},
            "singular_value_lower": {"singular_value_lower": 0.0},
            "negative_curvature_lower": {"negative_curvature_lower": 0.0},
            "hessian_lipschitz_upper": {"hessian_lipschitz_upper": INF},
            "criterion": {"gradient_norm_upper": 0.51},
            "still_negative": {"negative_curvature_lower": 0.1},
        },
        "criterion", "still_negative",
    ),
    theorem(
        descent_stuck_at_saddle,
        {**GAP_L_MU, "normal_gradient_upper": 0.0, "negative_curvature_lower": 1.0},
        {
            **SMOOTH_PL,
            "normal_gradient_upper": {"normal_gradient_upper": 1e-300},
            "negative_curvature_lower": {"negative_curvature_lower": 0.0},
            "step_size": {"step_size": 0.25},
            "rate_positive": {"step_size": 5e-324, "pl_lower": 0.4},
        },
        "step_size", "rate_positive",
    ),
    theorem(
        quadratic_saddle_left,
        {
            "dimension": 10, "smoothness_upper": 2.0, "negative_curvature_lower": 1.0,
            "perturbation_radius": 1e-3, "escape_radius": 0.1, "step_size": 1.0,
            "failure_probability": 0.01,
        },
        {
            "smoothness_upper": {"smoothness_upper": INF},
            "negative_curvature_lower": {"negative_curvature_lower": 0.0},
            "step_size": {"step_size": 1.0 + 1e-9},
            "growth": {"step_size": 5e-324, "negative_curvature_lower": 0.4},
        },
        "step_size", "growth",
    ),
    theorem(
        perturbation_escapes_saddle,
        {**EPISODE, "gradient_norm_upper": 1e-5, "negative_curvature_lower": 1.0},
        {
            **EPISODE_FAILURES,
            "gradient_norm_upper": {"gradient_norm_upper": INF},
            "negative_curvature_lower": {"negative_curvature_lower": -1.0},
            "decrease": {"gradient_norm_upper": 1.0},
            "probability": {"negative_curvature_lower": 1e-3},
        },
        "step_size", "perturbation_radius", "decrease", "probability",
    ),
    theorem(
        perturbed_descent_finds_second_order_point,
        {
            **EPISODE, "initial_gap_upper": 2.0, "gradient_threshold": 1e-4,
            "curvature_threshold": 1.0,
        },
        {
            **EPISODE_FAILURES,
            "initial_gap_upper": {"initial_gap_upper": INF},
            "decrease": {"gradient_threshold": 1.0},
            "probability": {"initial_gap_upper": 1e9},
        },
        "step_size", "perturbation_radius", "decrease", "probability",
    ),
]  # fmt: skip
# a failed premise makes these later hypotheses fail with it
CONSEQUENCES = {"smoothness_upper": {"step_size"}, "pl_lower": {"rate_positive"}}
IDS = [t.function.__name__ for t in THEOREMS]
CASES = [(t, name) for t in THEOREMS for name in t.violations]


@pytest.mark.parametrize("case", THEOREMS, ids=IDS)
def test_good_arguments_are_proved_and_every_hypothesis_has_a_violation(case: Theorem) -> None:
    verdict = case.function(**case.good)
    assert verdict.status is Status.PROVED, verdict.reason
    assert {h.name for h in verdict.hypotheses} == set(case.violations)


@pytest.mark.parametrize(
    ("case", "name"), CASES, ids=[f"{t.function.__name__}-{n}" for t, n in CASES]
)
def test_the_violated_hypothesis_is_named(case: Theorem, name: str) -> None:
    verdict = case.function(**{**case.good, **case.violations[name]})
    assert verdict.status is Status.UNDECIDED
    assert verdict.conclusion is None
    failed = [h.name for h in verdict.failed]
    assert failed[0] == name or name in failed
    assert set(failed) <= {name} | CONSEQUENCES.get(name, set())
    assert failed[0] in verdict.reason


@pytest.mark.parametrize("case", THEOREMS, ids=IDS)
@pytest.mark.parametrize("bad", [math.nan, -INF, -1.0, INF])
def test_no_malformed_number_is_proved(case: Theorem, bad: float) -> None:
    for name in [k for k, v in case.good.items() if isinstance(v, float)]:
        try:
            verdict = case.function(**{**case.good, name: bad})
        except InputError as error:
            assert f"`{name}`" in str(error) or "curvature" in name  # noqa: PT017
        else:
            assert verdict.status is Status.UNDECIDED
            assert not math.isnan(bad)


@pytest.mark.parametrize("case", THEOREMS, ids=IDS)
@pytest.mark.parametrize("wrong", ["1.0", None, True, 10**400, 2**53 + 1])
def test_non_numbers_are_refused(case: Theorem, wrong: object) -> None:
    name = next(k for k, v in case.good.items() if isinstance(v, float))
    with pytest.raises(InputError, match=name):
        case.function(**{**case.good, name: wrong})


@pytest.mark.parametrize("case", THEOREMS, ids=IDS)
@pytest.mark.parametrize("wrong", [0, -1, 1.0, True, 2**53 + 1])
def test_counts_are_whole_numbers(case: Theorem, wrong: Any) -> None:
    for name in {"steps", "dimension"} & case.good.keys():
        with pytest.raises(InputError, match=f"`{name}`"):
            case.function(**{**case.good, name: wrong})


@pytest.mark.parametrize("case", THEOREMS, ids=IDS)
def test_assumptions_are_carried_and_checked(case: Theorem) -> None:
    premises = [n for n in case.violations if n not in case.inequalities]
    verdict = case.function(**case.good, assumed=premises)
    assert verdict.status is Status.PROVED
    assert sorted(verdict.assumptions) == sorted(premises)
    for unknown in (*case.inequalities, "weather"):
        with pytest.raises(InputError, match="assumed"):
            case.function(**case.good, assumed=[unknown])


@pytest.mark.parametrize("case", THEOREMS, ids=IDS)
def test_bounds_that_no_function_has_are_refused(case: Theorem) -> None:
    """mu > L, or a curvature above L."""
    for name in {"pl_lower", "negative_curvature_lower", "curvature_threshold"} & case.good.keys():
        if "smoothness_upper" in case.good and case.function is not descent_stuck_at_saddle:
            with pytest.raises(InputError, match="smoothness_upper"):
                case.function(**{**case.good, name: 1e3})


def test_the_suite_holds_all_that_the_modules_define() -> None:
    modules = {inspect.getmodule(t.function) for t in THEOREMS}
    defined = {
        name for module in modules for name, f in inspect.getmembers(module, inspect.isfunction)
        if f.__module__ == getattr(module, "__name__", "") and not name.startswith("_")
        and "Verdict" in str(inspect.signature(f).return_annotation)
    }  # fmt: skip
    assert defined == set(IDS)
