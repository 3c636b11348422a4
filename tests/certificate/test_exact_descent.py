"""The claimed iteration itself, in 40 digits: real-arithmetic descent from the stored weights."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import mpmath
import pytest
import torch
from mpmath import matrix, mp, mpf
from torch import nn

import talweg


@pytest.fixture(autouse=True)
def forty_digits() -> Iterator[None]:
    with mpmath.workdps(40):
        yield


def squares(*parts: Any) -> Any:
    return sum((sum(v * v for v in part) for part in parts), mpf(0))


@pytest.mark.parametrize("theorem", ["T11", "T4"])
@pytest.mark.parametrize("share", [1.0, 0.25])
def test_rate_and_ball_hold_to_the_last_digit(theorem: str, share: float) -> None:
    """One residual makes the theorems nearly equalities: float64 would already be too coarse."""
    generator = torch.Generator().manual_seed(3)
    model = nn.Sequential(nn.Linear(2, 6), nn.Tanh(), nn.Linear(6, 1)).double()
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(torch.randn(p.shape, generator=generator, dtype=torch.float64))
    X = torch.tensor([[3.0, -1.0]], dtype=torch.float64)
    y = model(X).detach() + 1e-3
    certificate = talweg.certify(model, (X, y), theorem=theorem, attack=False)
    assert certificate.status == "PROVED", certificate.reason

    W, b = matrix(model[0].weight.tolist()), matrix(model[0].bias.tolist())
    a, c = matrix(model[2].weight.tolist()), matrix(model[2].bias.tolist())
    start = W.copy(), b.copy(), a.copy(), c.copy()
    x, target = matrix(X[0].tolist()), mpf(float(y))
    step = mpf(certificate.step_size) * mpf(share)
    rate = mpf(certificate.rate)
    last = None
    for _ in range(150):
        h = (W * x + b).apply(mp.tanh)
        r = (a * h + c)[0] - target
        if abs(r) < mpf(10) ** -25:  # the floor of 40 digits is near; T11's step gets there fast
            break
        if last is not None and share == 1.0:
            assert r * r <= rate * last
        assert last is None or r * r < last
        last = r * r
        moved = W - start[0], b - start[1], a - start[2], c - start[3]
        assert squares(*moved) <= mpf(certificate.radius) ** 2
        slope = matrix([2 * r * a[j] * (1 - h[j] ** 2) for j in range(6)])
        a, c = a - step * 2 * r * h.T, c - matrix([step * 2 * r])
        W, b = W - step * slope * x.T, b - step * slope
