"""The numbers of theory, certificate and optim: one batch each, and wrong roundings seen."""

from __future__ import annotations

import math
from types import ModuleType
from typing import Any

import pytest
import torch
from tests.soundness.containment import (
    certificate,
    prescriptions,
    theory_ball,
    theory_composite,
    theory_elementary,
    theory_entropy,
    theory_linear,
    theory_minima,
    theory_saddles,
    theory_scaling,
    theory_smooth,
    theory_squared,
)
from tests.soundness.shard import Shard

from talweg.certificate import _padding, _softmax
from talweg.enclosure import _scalar
from talweg.optim import _linear_network_enclosures as enclosures
from talweg.theory import (
    Hypothesis,
    _arb,
    _cross_entropy,
    _logarithm,
    _profile,
    _singular_values,
    _trigonometric,
)

MODULES: tuple[ModuleType, ...] = (
    theory_elementary, theory_ball, theory_composite, theory_squared, theory_scaling,
    theory_smooth, theory_minima, theory_linear, theory_saddles, theory_entropy, certificate,
    prescriptions,
)  # fmt: skip
SHARDS: tuple[Shard, ...] = tuple(shard for module in MODULES for shard in module.SHARDS)
NAMED = {shard.name.removeprefix("containment/"): shard for shard in SHARDS}


@pytest.mark.parametrize("shard", SHARDS, ids=lambda shard: shard.name)
def test_a_batch_finds_nothing(shard: Shard) -> None:
    tally = shard.batch(7)
    assert tally.violations == ()
    assert tally.tracebacks == ()
    assert tally.cases > 0
    assert tally.counts["undecided"] <= 0.01 * tally.cases


def test_the_names_are_different() -> None:
    assert len(NAMED) == len(SHARDS)


def test_theorems_are_proved_at_times_and_not_at_others() -> None:
    counts = NAMED["theory.squared_loss_converges"].batch(1).counts
    assert counts["proved"] > 20
    assert counts["undecided verdicts"] > 20


def seen(*names: str) -> bool:
    """Whether a few batches of each routine find a violation."""
    return all(any(NAMED[name].batch(seed).violations for seed in range(1, 6)) for name in names)


def test_products_to_nearest_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_scalar, "mul_up_float", lambda a, b: a * b)
    assert seen("theory.SquaredLoss", "theory.nested_bounds", "theory.composite_bounds")
    assert seen("theory.squared_loss_converges", "theory.local_pl_converges")
    assert seen("theory.linear_network_step_decreases", "certificate.padding")


def test_quotients_to_nearest_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_scalar, "div_up_float", lambda a, b: a / b if b else math.inf)
    assert seen("theory.observed_step_contracts", "theory.ball_holds_one_critical_point")


def test_roots_to_nearest_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_scalar, "sqrt_up_float", math.sqrt)
    monkeypatch.setattr(_scalar, "sqrt_down_float", math.sqrt)
    assert seen("theory.linear_network_is_locally_pl", "theory.chatterjee_criterion")


def test_a_radius_that_is_too_small_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    def shrunk(profile: Any, candidate: float, end: float, budget: float) -> float:
        return min(candidate, end) * (1.0 - 1e-15)

    monkeypatch.setattr(_profile, "verified_radius", shrunk)
    monkeypatch.setattr(_singular_values, "verified_radius", shrunk)
    assert seen("theory.profiles", "theory.gradient_descent_converges_in_ball")
    assert seen("theory.squared_loss_converges", "theory.scaled_output_converges")


def test_a_lower_sum_that_rounds_up_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    below = _profile._add_step

    def above(total: float, start: float, end: float, value: float) -> float:
        return math.nextafter(below(total, start, end, value), math.inf)

    monkeypatch.setattr(_profile, "_add_step", above)
    assert seen("theory.profiles")


def test_hypotheses_that_ignore_strictness_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    strictly = Hypothesis.below

    def loosely(
        name: str, statement: str, value: float, bound: float, *, strict: bool = True
    ) -> Hypothesis:
        return strictly(name, statement, value, bound, strict=False)

    monkeypatch.setattr(Hypothesis, "below", staticmethod(loosely))
    assert seen("theory.smooth_pl_descent_converges", "theory.polyak_steps_converge")


def test_wrong_elementary_functions_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_logarithm, "LOG_2", _scalar.Interval.point(0.693147180559945))
    assert seen("theory.log_enclosure")
    sine = _trigonometric._series
    monkeypatch.setattr(
        _trigonometric, "_series", lambda m, first: _scalar.Interval.point(sine(m, first).mid)
    )
    assert seen("theory.sine_and_cosine")


def test_arb_rounded_the_wrong_way_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_cross_entropy, "float_above", _arb.float_below)
    assert seen("theory.cross_entropy_budget")
    monkeypatch.setattr(_arb, "float_below", _arb.float_above)
    assert seen("theory.log_normal")


def test_a_lost_pad_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_padding, "PAD", 1e-6 * (1.0 - 1e-9))
    assert seen("certificate.padding")


def test_a_softmax_that_rounds_to_nearest_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    def plain(values: torch.Tensor, dim: int) -> torch.Tensor:
        return values.sum(dim) * (1.0 - 1e-14)

    monkeypatch.setattr(_softmax, "sum_nonnegative_upper", plain)
    assert seen("certificate.softmax")


def test_eigenvalues_without_their_defect_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(matrix: torch.Tensor) -> torch.Tensor:
        return torch.zeros((), dtype=torch.float64)

    monkeypatch.setattr(enclosures, "norm_upper", nothing)
    assert seen("optim.eigenvalue_bounds")
