"""P3: the probability of the LeCun event, against scipy, by counting, and its refusals."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import beta, norm

from talweg._errors import InputError
from talweg.theory import (
    PositiveNetwork,
    SmoothLeakyReLUActivation,
    Status,
    TanhActivation,
    explicit_output_entry,
    lecun_initialisation_converges_with_probability,
    likeliest_lecun_box_approx,
)
from talweg.theory._arb import log_normal_box_lower, log_normal_tail_lower

INF = math.inf
LEAKY = SmoothLeakyReLUActivation(0.5)
TWO = PositiveNetwork(2, (3,), (LEAKY,), 0.5, 1e-6, 1.0)
THREE = PositiveNetwork(2, (2, 3), (LEAKY, LEAKY), 0.5, 1e-8, 1.0, 1.0, 1.0)
probability = lecun_initialisation_converges_with_probability
BOX = likeliest_lecun_box_approx(THREE)


@given(x=st.floats(-5.0, 1e6))
def test_tails_are_enclosed(x: float) -> None:
    found, reference = log_normal_tail_lower(x), float(norm.logsf(x))
    assert found <= reference + 1e-10 * abs(reference) + 1e-15
    assert found >= reference - 1e-10 * abs(reference) - 1e-14


@given(low=st.floats(0.0, 8.0), width=st.floats(1e-3, 10.0))
def test_boxes_are_enclosed(low: float, width: float) -> None:
    high = low + width
    reference = math.log(float(norm.sf(low)) - float(norm.sf(high)))
    found = log_normal_box_lower(low, high)
    assert found == pytest.approx(reference, abs=1e-9)


def test_ends_of_the_tails() -> None:
    assert log_normal_tail_lower(INF) == -INF
    assert log_normal_tail_lower(1e200) == -INF  # below every float, still a lower bound
    assert log_normal_box_lower(1.0, 1.0) == -INF
    assert log_normal_box_lower(0.0, INF) == pytest.approx(math.log(0.5), abs=1e-15)
    assert log_normal_box_lower(0.0, INF) <= math.log(0.5)


def test_the_product_is_that_of_the_theorem() -> None:
    low, high = 0.4, 1.9
    verdict = probability(THREE, low=low, high=high)
    assert verdict.status is Status.PROVED
    found = verdict.conclusion
    assert found is not None
    boxed = replace(THREE, hidden_low=low, hidden_high=high)
    entry = explicit_output_entry(boxed, radius=low / 2.0).output_entry_upper
    assert found.output_entry == entry
    hidden = norm.cdf(high * math.sqrt(2)) - norm.cdf(low * math.sqrt(2))
    expected = 2 * 3 * math.log(hidden) + 3 * float(norm.logsf(entry * math.sqrt(3)))
    assert found.log_probability_lower == pytest.approx(expected, rel=1e-10)
    assert found.log_probability_lower <= expected * (1 - 1e-12)


def test_two_layers_need_no_box() -> None:
    found = probability(TWO).conclusion
    assert found is not None
    assert (found.low, found.high) == (None, None)
    entry = explicit_output_entry(TWO).output_entry_upper
    expected = 3 * float(norm.logsf(entry * math.sqrt(3)))
    assert found.log_probability_lower == pytest.approx(expected, rel=1e-10)


def test_the_event_is_counted_as_often_as_stated() -> None:
    low, high = BOX
    found = probability(THREE, low=low, high=high).conclusion
    assert found is not None
    stated = math.exp(found.log_probability_lower)
    draws = 300_000
    g = torch.Generator().manual_seed(0)
    hidden = torch.randn(draws, 6, generator=g, dtype=torch.float64) / math.sqrt(2)
    last = torch.randn(draws, 3, generator=g, dtype=torch.float64) / math.sqrt(3)
    inside = ((hidden >= low) & (hidden <= high)).all(1) & (last > found.output_entry).all(1)
    hits = int(inside.sum())
    assert hits > 50
    assert beta.ppf(1e-6, hits, draws - hits + 1) <= stated
    assert stated <= beta.ppf(1 - 1e-6, hits + 1, draws - hits)


@settings(max_examples=30)
@given(low=st.floats(1e-3, 3.0), ratio=st.floats(1.01, 50.0))
def test_no_box_beats_the_search_by_much(low: float, ratio: float) -> None:
    top = probability(THREE, low=BOX[0], high=BOX[1]).conclusion
    other = probability(THREE, low=low, high=low * ratio).conclusion
    assert top is not None
    if other is not None:
        assert other.log_probability_lower <= top.log_probability_lower + 1e-3


def test_larger_targets_are_less_likely() -> None:
    logs = []
    for loss in (1e-8, 1e-4, 1.0, 1e4):
        net = replace(THREE, initial_loss_upper=loss)
        found = probability(net, low=0.4, high=1.9).conclusion
        assert found is not None
        logs.append(found.log_probability_lower)
    assert logs == sorted(logs, reverse=True)
    assert logs[-1] < -1e6  # astronomically small, and still a finite number


VIOLATIONS: dict[str, PositiveNetwork] = {
    "gram_eigenvalue_lower": replace(THREE, gram_eigenvalue_lower=0.0),
    "initial_loss_upper": replace(THREE, initial_loss_upper=INF),
    "input_entry_upper": replace(THREE, input_entry_upper=INF),
    "output_entry": replace(
        THREE, activations=(TanhActivation(), TanhActivation()), input_entry_upper=1e9
    ),
    "probability": replace(THREE, initial_loss_upper=1e300, gram_eigenvalue_lower=1e-7),
}


@pytest.mark.parametrize("name", list(VIOLATIONS))
def test_the_violated_hypothesis_is_named(name: str) -> None:
    verdict = probability(VIOLATIONS[name], low=0.4, high=1.9)
    assert verdict.status is Status.UNDECIDED
    assert [h.name for h in verdict.failed] == [name]


def test_every_hypothesis_has_a_violation() -> None:
    verdict = probability(THREE, low=0.4, high=1.9)
    assert {h.name for h in verdict.hypotheses} == set(VIOLATIONS)


@pytest.mark.parametrize(
    "name", ["gram_eigenvalue_lower", "input_entry_upper", "initial_loss_upper"]
)
def test_an_assumed_premise_is_marked(name: str) -> None:
    marked = probability(THREE, low=0.4, high=1.9, assumed=(name,))
    assert marked.status is Status.PROVED
    assert marked.assumptions == (name,)


@pytest.mark.parametrize("name", ["hidden_low", "hidden_high", "probability", "output_entry"])
def test_the_event_cannot_be_assumed(name: str) -> None:
    """The box is the event, whose probability is the conclusion."""
    with pytest.raises(InputError, match="`assumed`"):
        probability(THREE, low=0.4, high=1.9, assumed=(name,))


def test_the_start_and_the_law_are_named() -> None:
    statements = {h.name: h.statement for h in probability(TWO).hypotheses}
    assert "W_1 is trained" in statements["gram_eigenvalue_lower"]
    assert "W_1 = 0 and biases 0" in statements["input_entry_upper"]
    assert "independent N(0, 1/fan_in)" in statements["probability"]


@pytest.mark.parametrize(("low", "high"), [
    (None, None), (0.4, None), (0.0, 1.0), (-1.0, 1.0), (1.0, 1.0), (2.0, 1.0), (0.4, INF),
    (math.nan, 1.0),
])  # fmt: skip
def test_boxes_without_interior_are_refused(low: Any, high: Any) -> None:
    with pytest.raises(InputError, match=r"`(low|high)`"):
        probability(THREE, low=low, high=high)


def test_a_box_for_two_layers_is_refused() -> None:
    with pytest.raises(InputError, match="two layers"):
        probability(TWO, low=0.4, high=1.9)
    with pytest.raises(InputError, match="two layers"):
        likeliest_lecun_box_approx(TWO)
