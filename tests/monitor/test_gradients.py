"""Estimates from micro-batches against closed forms on quadratics."""

from __future__ import annotations

import math
from collections import UserDict

import pytest
import torch
from torch import nn

import talweg
from talweg.monitor import estimate, gram_matrix
from talweg.monitor._looks import batch_size, split


def drawn(m: int, b: int, repeats: int, seed: int) -> tuple[list[float], list[float], list[float]]:
    """Estimates of |g|^2 = 9 and tr Sigma = 5 + 0.2 from m parts of b normal samples."""
    generator = torch.Generator().manual_seed(seed)
    mean = torch.tensor([3.0, 0.0, 0.0], dtype=torch.float64)
    scale = torch.tensor([1.0, 2.0, 0.2**0.5], dtype=torch.float64)
    squares, noises, errors = [], [], []
    for _ in range(repeats):
        noise = torch.randn(m, b, 3, generator=generator, dtype=torch.float64)
        parts = (mean + scale * noise).mean(1)
        found = estimate(parts @ parts.T, m * b)
        squares.append(found.squared_norm)
        noises.append(found.noise)
        errors.append(found.squared_norm_error)
    return squares, noises, errors


def test_both_estimates_are_without_bias_and_their_error_is_right() -> None:
    repeats = 4000
    squares, noises, errors = map(torch.tensor, drawn(4, 8, repeats, 0))
    spread = float(squares.std())
    assert abs(float(squares.mean()) - 9.0) < 4 * spread / repeats**0.5
    assert abs(float(noises.mean()) - 5.2) < 4 * float(noises.std()) / repeats**0.5
    # var U = 4 g' S g / m + 2 tr S^2 / (m (m - 1)), S the covariance of one part
    true = math.sqrt(4 * 9.0 / 8 / 4 + 2 * (1 + 16 + 0.04) / 64 / 12)
    assert abs(spread / true - 1) < 0.05
    assert 0.9 < float(errors.square().mean().sqrt()) / true < 1.25  # jackknife: a little high


def test_the_norm_of_a_batch_is_too_large_by_its_variance() -> None:
    generator = torch.Generator().manual_seed(1)
    g = 0.1 + torch.randn(2000, 4, 5, generator=generator, dtype=torch.float64)
    found = [estimate(parts @ parts.T, 32) for parts in g]
    batch = sum(e.batch_squared_norm for e in found) / len(found)
    signal = sum(e.squared_norm for e in found) / len(found)
    variance = sum(e.batch_variance for e in found) / len(found)
    assert abs(signal - 0.05) < 0.05
    assert abs(batch - signal - variance) < 1e-12


def test_two_parts_give_no_standard_error() -> None:
    found = estimate(torch.eye(2, dtype=torch.float64), 8)
    assert math.isnan(found.squared_norm_error)
    assert found.squared_norm == 0.0
    assert found.noise_scale == math.inf


def test_the_gram_matrix_is_that_of_the_flat_gradients() -> None:
    torch.manual_seed(0)
    gradients = [[torch.randn(2, 3), torch.randn(4)] for _ in range(3)]
    flat = torch.stack([torch.cat([t.reshape(-1) for t in g]) for g in gradients]).double()
    torch.testing.assert_close(gram_matrix(gradients), flat @ flat.T)


@pytest.mark.parametrize("seed", range(3))
def test_noise_scale_and_floor_of_a_noisy_quadratic(seed: int) -> None:
    """f = |w - x|^2 / 2 averaged over x ~ N(0, 1): grad f = w, tr Sigma = d, PL ratio 1 for f*."""
    d, batch, looks = 6, 64, 200
    model = nn.Linear(1, d, bias=False).double()
    nn.init.constant_(model.weight, 0.5)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    def loss_of(module: nn.Module, x: torch.Tensor) -> torch.Tensor:
        w = module(torch.ones(1, 1, dtype=torch.float64))
        return 0.5 * (w - x).square().sum(1).mean()

    torch.manual_seed(seed)
    with talweg.Monitor(
        model, optimizer, loss_of=loss_of, f_star=d / 2, every=dict.fromkeys(KINDS, 0) | GRADIENT
    ) as m:
        for _ in range(looks):
            m.step(torch.randn(batch, d, dtype=torch.float64))
    rows = m.rows
    assert len(rows) == looks
    square = torch.tensor([row["gradient_squared"] for row in rows])
    noise = torch.tensor([row["noise"] for row in rows])
    assert abs(float(square.mean()) - 1.5) < 4 * float(square.std()) / looks**0.5
    assert abs(float(noise.mean()) - d) < 4 * float(noise.std()) / looks**0.5


KINDS = ("gradient", "curvature", "units", "updates", "kernel")
GRADIENT = {"gradient": 1}


def test_a_mapping_that_is_no_dict_is_a_batch() -> None:
    """As the batches of tokenizers are."""
    batch = UserDict(inputs=torch.arange(6), targets=torch.arange(6))
    assert batch_size(batch) == 6
    assert [len(part["targets"]) for part in split(batch, 3)] == [2, 2, 2]
