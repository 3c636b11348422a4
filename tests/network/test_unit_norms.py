"""Norms of many weightings at once, the overlaps in strips, and the rough Lipschitz bound."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
import torch
from tests.network.chains import CASES, chain, inputs

from talweg.enclosure import Ball
from talweg.network import JacobianLipschitz, _unit_curvature, _unit_norms, linearize
from talweg.network._maxima import largest_refined
from talweg.network._unit_curvature import Overlaps, unit_curvature_upper
from talweg.network._unit_norms import frobenius_upper, power_norms_upper

SVD_ERROR = 1e-13  # float64 noise of LAPACK, relative


def _drawn(n: int, c: int, m: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randn(n, c, generator=generator, dtype=torch.float64)
    rows += 0.5 * torch.randn(c, generator=generator, dtype=torch.float64)
    return rows, torch.rand(n, m, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("entries", [1, 1 << 24])
@pytest.mark.parametrize(("n", "c"), [(30, 7), (7, 30), (12, 12), (1, 5), (5, 1)])
@pytest.mark.parametrize("m", [3, 40])
def test_power_norms_are_above_the_spectral_norms_and_near(
    n: int, c: int, m: int, entries: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_unit_norms, "BATCH_ENTRIES", entries)
    rows, weights = _drawn(n, c, m, seed=n + c)
    exact = torch.linalg.matrix_norm(weights.T[:, :, None] * rows, 2)
    bound = power_norms_upper(Ball.exact(rows), weights)
    assert bool((bound >= exact * (1.0 - SVD_ERROR)).all())
    assert bool((bound <= exact * 1.04).all())
    assert bool((frobenius_upper(Ball.exact(rows), weights) >= exact * (1.0 - SVD_ERROR)).all())


@pytest.mark.parametrize("scale", [1e-170, 1e-308, 1e140])
@pytest.mark.parametrize("m", [1, 33])
def test_norms_of_one_column_are_above_the_exact_ones(scale: float, m: int) -> None:
    """|diag(w) h|^2 is rational; also where products underflow."""
    rows, weights = _drawn(6, 1, m, seed=1)
    rows, weights = rows / scale if scale < 1e-300 else rows, weights * scale
    for bounds in (power_norms_upper, frobenius_upper):
        found = bounds(Ball.exact(rows), weights)
        for j in found.isfinite().nonzero()[:, 0].tolist():  # beyond 1e154 squares overflow
            exact = sum(
                (Fraction(float(weights[i, j])) * Fraction(float(rows[i, 0]))) ** 2
                for i in range(6)
            )
            assert Fraction(float(found[j])) ** 2 >= exact


def test_a_radius_is_added() -> None:
    rows, weights = _drawn(20, 4, 5, seed=2)
    ball = Ball(rows, torch.full_like(rows, 1e-3))
    worst = power_norms_upper(Ball.exact(rows + 1e-3), weights)
    exact = torch.linalg.matrix_norm(weights.T[:, :, None] * (rows - 1e-3), 2)
    bound = power_norms_upper(ball, weights)
    assert bool((bound >= exact).all())
    assert bool((bound >= power_norms_upper(Ball.exact(rows), weights)).all())
    assert bool((bound <= worst + 0.05).all())


def test_weights_of_zero_give_zero() -> None:
    rows, weights = _drawn(9, 3, 2, seed=4)
    assert float(power_norms_upper(Ball.exact(rows), 0.0 * weights).max()) <= 1e-140


@pytest.mark.parametrize("strip", [3, 512])
@pytest.mark.parametrize("thickness", [0.0, 0.125])
def test_overlaps_are_above_the_exact_squares(
    strip: int, thickness: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_unit_curvature, "STRIP", strip)
    rows, _ = _drawn(7, 3, 1, seed=5)
    changes = torch.full((7,), thickness, dtype=torch.float64)
    theta = Overlaps(Ball.exact(rows), changes)
    found = torch.cat([theta.strip(i, min(i + strip, 7)) for i in range(0, 7, strip)])
    exact_rows = [[Fraction(v) for v in row] for row in rows.tolist()]
    for i, a in enumerate(exact_rows):
        for j, b in enumerate(exact_rows):
            inner = abs(sum((p * q for p, q in zip(a, b, strict=True)), Fraction(0)))
            # Moving a along b and b along a is not the worst case, but it must be covered.
            moved = inner + Fraction(thickness) * Fraction(float(rows[j].norm()) * (1.0 - 1e-14))
            assert Fraction(float(found[i, j])) >= moved**2
    assert float((found.sqrt() - (rows @ rows.T).abs()).max()) <= 1e-14 + 10.0 * thickness


@pytest.mark.parametrize("double", [0, 1024])
def test_curvatures_through_strips_are_those_of_the_array(
    double: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_unit_curvature, "DOUBLE_HINT", double)
    monkeypatch.setattr(_unit_curvature, "STRIP", 4)
    rows, weights = _drawn(11, 3, 6, seed=6)
    theta = Overlaps(Ball.exact(rows), torch.zeros(11, dtype=torch.float64))
    whole = theta.strip(0, 11)
    in_strips = unit_curvature_upper(weights, theta)
    monkeypatch.setattr(_unit_curvature, "STORED_HINT", 0)
    unstored = unit_curvature_upper(weights, Overlaps(Ball.exact(rows), torch.zeros(11).double()))
    dense = unit_curvature_upper(weights, whole)
    scaled = weights.T[:, :, None] * whole * weights.T[:, None, :]
    exact = torch.linalg.eigvalsh(0.5 * (scaled + scaled.mT))[:, -1].sqrt()
    for bound in (in_strips, unstored, dense):
        assert bool((bound >= exact * (1.0 - SVD_ERROR)).all())
        assert bool((bound <= exact * (1.0 + 2e-3)).all())


@pytest.mark.parametrize("radius", [0.0, 1e-3, 0.3])
@pytest.mark.parametrize("name", CASES)
def test_the_rough_constant_is_above_the_sharp_one(name: str, radius: float) -> None:
    network = chain(name)
    state = linearize(network, inputs(network, 6))
    sharp = JacobianLipschitz(state).upper(radius)
    rough = JacobianLipschitz(state, rough=True).upper(radius)
    assert sharp * (1.0 - 1e-6) <= rough
    assert rough <= 12.0 * sharp + 1e-12


def test_refinements_stop_where_nothing_can_win() -> None:
    cheap = torch.tensor([5.0, 9.0, 3.0, 8.0]).double()
    middle, exact = torch.tensor([4.5, 6.0, 3.0, 5.0]), torch.tensor([4.0, 4.25, 3.0, 4.875])
    asked: dict[str, list[int]] = {"middle": [], "exact": []}

    def step(name: str, values: torch.Tensor) -> object:
        def evaluate(units: torch.Tensor) -> torch.Tensor:
            asked[name] += units.tolist()
            return values[units]

        return evaluate

    found = largest_refined(cheap, [(step("middle", middle), 1), (step("exact", exact), 1)])
    assert found == 4.875
    assert 2 not in asked["middle"]
    assert asked["exact"] == [1, 3]
    nothing = cheap * math.nan
    assert largest_refined(nothing, [(lambda units: cheap[units], 1)]) == math.inf
    assert largest_refined(cheap, [(lambda units: nothing[units], 1)]) == math.inf
