"""Random matrices of every character and scale, cut at random: exact elimination is the referee."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from flint import arb, ctx
from tests.soundness.containment.verified_draws import scaled, symmetric
from tests.soundness.semidefinite import EXACT, is_positive_semidefinite
from tests.verified.test_tiled_defect import tiled
from torch import Tensor

from talweg.verified import ImageSum, _tiled_defect, deflated_upper_from, tile_image


def is_semidefinite(mid: np.ndarray, tau: float, *shifts: float) -> bool:
    """Whether tau G + (sum of the shifts) I >= 0, exactly."""
    with ctx.workprec(EXACT):
        shift = sum(map(arb, shifts), arb(0))
        rows = [
            [arb(tau) * arb(x) + (shift if i == j else 0) for j, x in enumerate(row)]
            for i, row in enumerate(mid.tolist())
        ]
    return is_positive_semidefinite(rows) is True


def factor_of(rng: np.random.Generator, matrix: Tensor) -> Tensor:
    """The library's, a spoiled one, or none."""
    factor = torch.linalg.cholesky_ex(matrix).L
    chance = rng.random()
    if chance < 0.05:
        return torch.zeros_like(factor)
    if chance < 0.25:
        noise = torch.from_numpy(rng.standard_normal(tuple(factor.shape)))
        return factor + noise * float(factor.abs().max()) * 10.0 ** rng.uniform(-16, 0)
    return factor


@pytest.mark.filterwarnings("ignore:overflow encountered:RuntimeWarning")
@pytest.mark.parametrize("seed", range(8))
def test_bounds_from_tiles_hold(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng([seed, 77])
    bounded = 0
    for _ in range(15):
        n = int(rng.choice([1, 2, 3, 4, 5, 7, 10, 13]))
        mid = np.ascontiguousarray(scaled(rng, symmetric(rng, n)))
        largest = float(np.abs(mid).max()) or 1.0
        values = np.linalg.eigvalsh(mid / largest) * largest
        tau = float(rng.choice([1.0, -1.0]))
        least = float(values[0] if tau > 0.0 else -values[-1])
        sigma = -least + abs(least) * 10.0 ** rng.uniform(-12, 1)
        if not math.isfinite(sigma):
            continue
        monkeypatch.setattr(_tiled_defect, "PANEL", int(rng.choice([1, 2, 3, 256])))
        inner = {int(x) for x in rng.integers(1, n + 1, int(rng.integers(1, n + 1)))}
        edges = sorted({0, n} | inner)
        g = torch.from_numpy(mid)
        factor = factor_of(rng, tau * g + sigma * torch.eye(n, dtype=torch.float64))
        defect = float(tiled(g, factor, edges, sigma, tau).amax())
        if defect < math.inf:
            bounded += 1
            assert is_semidefinite(mid, tau, sigma, defect)
        for bound in uppers(rng, g, edges, values):
            assert not bound < math.inf or is_semidefinite(mid, -1.0, bound)
    assert bounded >= 10


def uppers(
    rng: np.random.Generator, g: Tensor, edges: list[int], values: np.ndarray
) -> tuple[float, ...]:
    """Every upper bound that the products with a few vectors give."""
    largest = float(g.abs().max()) or 1.0
    count = max(1, min(4, len(g) - 1))
    vectors = torch.linalg.eigh(g / largest).eigenvectors.flip(1)[:, :count].contiguous()
    noise = torch.from_numpy(rng.standard_normal(tuple(vectors.shape)))
    vectors = vectors + noise * 10.0 ** rng.uniform(-16, -2)
    x = vectors[:, 0].abs() + 2.0**-40
    total = ImageSum(edges, vectors, x)
    for i, (a, b) in enumerate(itertools.pairwise(edges)):
        for j, (c, d) in enumerate(itertools.pairwise(edges)):
            total.add(i, j, tile_image(g[a:b, c:d].contiguous(), vectors[c:d], x[c:d]))
    found = total.result()
    if found is None:
        return ()
    theta = torch.from_numpy(values[::-1][:count].copy())
    deflated = deflated_upper_from(found.image, found.size, vectors, theta)
    return found.quotient, found.size, deflated
