"""The residual bound holds for any factor: exact rationals are the referee."""

import math
from fractions import Fraction

import pytest
import torch

from talweg.verified import _defect as defect


def exact_row_sums(g, factor, sigma, tau):
    n = len(g)
    rows = [list(map(Fraction, row)) for row in factor.tolist()]
    entries = g.tolist()
    sums = []
    for i in range(n):
        total = Fraction(0)
        for j in range(n):
            product = sum(x * y for x, y in zip(rows[i], rows[j], strict=True))
            wanted = Fraction(tau) * Fraction(entries[i][j]) + (Fraction(sigma) if i == j else 0)
            total += abs(wanted - product)
        sums.append(total)
    return sums


def symmetric(n, seed, scale=1.0):
    generator = torch.Generator().manual_seed(seed)
    a = torch.randn(n, n, generator=generator, dtype=torch.float64) * scale
    return a @ a.T + (a @ a.T).T


@pytest.mark.parametrize("panel", [2, 3, 256])
@pytest.mark.parametrize("n", [1, 2, 7, 13])
@pytest.mark.parametrize(("sigma", "tau"), [(0.0, 1.0), (-1e-3, 1.0), (1e3, -1.0)])
def test_any_factor_is_bounded(monkeypatch, panel, n, sigma, tau):
    monkeypatch.setattr(defect, "PANEL", panel)
    for seed, scale in ((0, 1.0), (1, 1e-160), (2, 1e-155)):
        g = symmetric(n, seed, scale)
        shifted = tau * g + sigma * torch.eye(n, dtype=torch.float64)
        good = torch.linalg.cholesky_ex(shifted).L
        generator = torch.Generator().manual_seed(seed)
        wrong = torch.tril(torch.randn(n, n, generator=generator, dtype=torch.float64)) * scale
        for factor in (good, wrong, torch.zeros_like(g)):
            if not bool(factor.isfinite().all()):
                continue
            bounds = defect.factor_defect_rows(g, factor, sigma, tau).tolist()
            exact = exact_row_sums(g, factor, sigma, tau)
            assert all(Fraction(b) >= e for b, e in zip(bounds, exact, strict=True))


@pytest.mark.parametrize("n", [300, 700])
def test_a_good_factor_has_a_small_defect(n):
    g = symmetric(n, 3) / n + torch.eye(n, dtype=torch.float64)
    factor = torch.linalg.cholesky(g)
    bounds = defect.factor_defect_rows(g, factor, 0.0, 1.0)
    exact = (g - factor @ factor.T).abs().sum(1)
    assert (bounds >= exact * 0.99 - 1e-13).all()
    assert bounds.max() < 1e-9
    # A strictly lower entry that is wrong by 1e-6 must show in its row and in its column.
    spoiled = factor.clone()
    spoiled[n - 1, 0] += 1e-6
    worse = defect.factor_defect_rows(g, spoiled, 0.0, 1.0)
    change = ((factor[:, 0] * 1e-6).abs())[: n - 1]
    assert (worse[: n - 1] >= change - 1e-9).all()
    assert worse[n - 1] > 1e-7


def test_nan_anywhere_spoils_the_bound():
    g = symmetric(9, 4)
    for row, column in ((8, 0), (4, 4), (0, 8)):
        factor = torch.linalg.cholesky(g + torch.eye(9, dtype=torch.float64))
        factor[row, column] = math.nan
        bounds = defect.factor_defect_rows(g, factor, 0.0, 1.0)
        assert not bool(bounds.amax() < math.inf)
