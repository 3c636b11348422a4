"""Cross-entropies and divergences against 60 digits: the bound is above, and not far above."""

from __future__ import annotations

import math

import mpmath
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from talweg.certificate._softmax import (
    cross_entropy_upper,
    kullback_leibler_upper,
    smallest_label_lower,
    smoothed_labels,
)
from talweg.enclosure import Ball

NOISE = 1e-13
"""Per entry: the outputs are exact, the bounds are float64."""


def drawn(seed: int, n: int, k: int, spread: float) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    z = spread * torch.randn(n, k, generator=generator, dtype=torch.float64)
    labels = torch.randint(0, k, (n,), generator=generator)
    return z, labels, torch.randint(1, 4, (n,), generator=generator)


def exact_labels(label: int, k: int, smoothing: float) -> list[mpmath.mpf]:
    a = mpmath.mpf(smoothing)
    return [(1 - a) * (j == label) + a / k for j in range(k)]


def exact_log_softmax(row: list[float]) -> list[mpmath.mpf]:
    total = mpmath.log(sum(mpmath.exp(mpmath.mpf(v)) for v in row))
    return [mpmath.mpf(v) - total for v in row]


sizes = (st.integers(0, 10**6), st.integers(1, 4), st.integers(2, 6))


@given(*sizes, st.sampled_from([1e-9, 1.0, 30.0, 200.0]))
def test_cross_entropy(seed: int, n: int, k: int, spread: float) -> None:
    z, labels, m = drawn(seed, n, k, spread)
    with mpmath.workdps(1000):  # the loss may be e^-1000
        exact = -sum(
            count * exact_log_softmax(row)[label]
            for row, label, count in zip(z.tolist(), labels.tolist(), m.tolist(), strict=True)
        )
        found = cross_entropy_upper(Ball.exact(z), labels, m)
        assert exact <= found <= exact * (1 + NOISE) + mpmath.mpf(10) ** -300


@given(*sizes, st.floats(1e-3, 1.0), st.sampled_from([1e-9, 1e-4, 1.0, 30.0, 900.0]))
def test_divergence(seed: int, n: int, k: int, smoothing: float, spread: float) -> None:
    """From outputs that are nearly at the minimum to outputs far from it."""
    z, labels, m = drawn(seed, n, k, spread)
    smoothed = smoothed_labels(labels, k, smoothing)
    z = z + smoothed.mid.log()
    with mpmath.workdps(60):
        exact = mpmath.mpf(0)
        for row, label, count in zip(z.tolist(), labels.tolist(), m.tolist(), strict=True):
            q = exact_labels(label, k, smoothing)
            log_p = exact_log_softmax(row)
            exact += count * sum(a * (mpmath.log(a) - b) for a, b in zip(q, log_p, strict=True))
        found = kullback_leibler_upper(Ball.exact(z), smoothed, m)
        assert exact <= found
        # The smaller of two: 1/2 sum (q-p)^2 / min(p, q), or the sum itself with its rounding.
        near = 1 + 4 * spread / smoothing * k + 1e-4
        assert found <= min(exact * near + 1e-26 / smoothing, exact + NOISE * n * k * (1 + spread))


@given(*sizes, st.floats(0.0, 1.0))
def test_labels_hold_the_exact_rationals(seed: int, n: int, k: int, smoothing: float) -> None:
    _, labels, _ = drawn(seed, n, k, 1.0)
    ball = smoothed_labels(labels, k, smoothing)
    lower, upper = ball.lower().tolist(), ball.upper().tolist()
    with mpmath.workdps(60):
        for i, label in enumerate(labels.tolist()):
            for j, value in enumerate(exact_labels(label, k, smoothing)):
                assert lower[i][j] <= value <= upper[i][j]
                assert upper[i][j] - lower[i][j] <= 2e-15
        assert smallest_label_lower(ball) <= mpmath.mpf(smoothing) / k


@given(*sizes, st.floats(1e-6, 0.1))
def test_bounds_hold_for_every_point_of_a_ball(seed: int, n: int, k: int, radius: float) -> None:
    z, labels, m = drawn(seed, n, k, 1.0)
    wide = Ball(z, torch.full_like(z, radius))
    smoothed = smoothed_labels(labels, k, 0.1)
    generator = torch.Generator().manual_seed(seed)
    inside = z + radius * (2 * torch.rand(n, k, generator=generator, dtype=torch.float64) - 1)
    assert cross_entropy_upper(wide, labels, m) >= cross_entropy_upper(
        Ball.exact(inside), labels, m
    ) * (1 - NOISE)
    assert kullback_leibler_upper(wide, smoothed, m) >= kullback_leibler_upper(
        Ball.exact(inside), smoothed, m
    ) * (1 - 1e-6)


def test_unbounded_outputs_give_no_bound() -> None:
    z = torch.zeros(1, 2, dtype=torch.float64)
    unknown = Ball(z, torch.tensor([[0.0, math.inf]], dtype=torch.float64))
    labels, m = torch.tensor([0]), torch.tensor([1])
    assert cross_entropy_upper(unknown, labels, m) == math.inf
    assert kullback_leibler_upper(unknown, smoothed_labels(labels, 2, 0.1), m) == math.inf
