"""Bounds so small that their products underflow: an answer, not an error from the arithmetic."""

from __future__ import annotations

import math

import pytest

from talweg.theory import (
    CompositeSmoothness,
    CrossEntropy,
    IdentityActivation,
    Imbalance,
    NestedBallBound,
    PositiveNetwork,
    SquaredLoss,
    Status,
    TanhActivation,
    chatterjee_criterion,
    explicit_output_entry,
    linear_network_converges_not_lazy,
    mean_squared_gradient_bounded,
    smooth_pl_descent_converges,
    stochastic_descent_interpolates,
)

TINY = 5e-324


@pytest.mark.parametrize("scale", [TINY, 1e-310, 1e-200])
def test_a_tiny_gap_is_an_answer(scale: float) -> None:
    assert smooth_pl_descent_converges(scale, 4.0, 4.0).status is Status.PROVED
    assert chatterjee_criterion(scale, 1e10, 1.0).status is Status.PROVED
    found = stochastic_descent_interpolates(scale, 0.25, 0.25, 0.25, 1.0, failure_probability=0.5)
    assert found.status is Status.PROVED
    assert mean_squared_gradient_bounded(scale, 1e10, 1e10, steps=7).status is Status.PROVED


@pytest.mark.parametrize("scale", [TINY, 1e-310])
def test_a_tiny_gradient_of_the_output_loss(scale: float) -> None:
    everywhere = NestedBallBound.everywhere(1.0)
    assert CompositeSmoothness(everywhere, everywhere, 0.125, scale).upper(1.0) > 0.125
    verdict = linear_network_converges_not_lazy(
        scale, Imbalance(1.0, 1.0, 0.5, 0.5), 1.0, pl_lower=0.125, smoothness_upper=0.125,
        epsilon=0.5,
    )  # fmt: skip
    assert verdict.status is Status.PROVED


def test_a_tiny_loss_has_a_residual() -> None:
    assert SquaredLoss("sum").residual_norm_lower(TINY) == 0.0
    assert SquaredLoss("sum").residual_norm_upper(TINY) > 0.0
    network = PositiveNetwork(1, (2,), (TanhActivation(),), 8.0, TINY, 1.0)
    assert 0.2 <= explicit_output_entry(network, radius=0.1).output_entry_upper < 0.21


def test_the_search_for_a_radius_ends() -> None:
    # the best radius is beyond every float: 2 sqrt(S / (lambda d_1)) overflows
    network = PositiveNetwork(1, (1,), (IdentityActivation(),), 1e-300, 1e300, 1.0)
    assert explicit_output_entry(network).output_entry_upper == math.inf  # nothing is shown


def test_a_tiny_step_on_the_summed_loss() -> None:
    lr = CrossEntropy("mean", 2**40 + 1, 10).learning_rate_lower(3 * TINY)
    assert 0.0 <= lr <= 3 * TINY * (2.0**40 + 1)
