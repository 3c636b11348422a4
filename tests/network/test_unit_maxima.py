"""Largest norms and bends over hidden units: what is known at the start serves on a ball."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from tests.network.chains import chain, inputs
from torch import Tensor

from talweg.enclosure import Ball, norm_upper
from talweg.network import _unit_maxima as unit_maxima
from talweg.network import linearize
from talweg.network._unit_maxima import UnitMaxima
from talweg.network._weighted_inputs import WeightedInputs

SVD_ERROR = 1e-12  # float64 noise of LAPACK and of the products, relative


def _positive(*shape: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(*shape, generator=generator, dtype=torch.float64) + 0.05


def _of_inputs(rows: Tensor) -> WeightedInputs:
    """The extended inputs of stage 1 are `rows`."""
    state = linearize(chain("two layers"), inputs(chain("two layers"), len(rows)))
    return WeightedInputs(
        dataclasses.replace(state, extended=(state.extended[0], Ball.exact(rows)))
    )


def _norms(rows: Tensor, weights: Tensor) -> Tensor:
    return torch.linalg.matrix_norm(weights.T[:, :, None] * rows, 2)  # (m,)


def _bends(rows: Tensor, curvature: Tensor, u: Tensor) -> Tensor:
    """|sum_i c_i h_i h_i^T| for c = u s."""
    c = u[:, None] * curvature  # (n, m)
    return torch.linalg.matrix_norm(torch.einsum("nm,nc,nd->mcd", c, rows, rows), 2)


@pytest.mark.parametrize("grown", [0.0, 1e-3, 0.3])
@pytest.mark.parametrize("turned", [0.0, 1e-3, 0.2])
@pytest.mark.parametrize(("n", "c", "m"), [(30, 7, 12), (6, 20, 3), (40, 5, 90)])
def test_maxima_hold_on_the_ball_after_the_start(
    n: int, c: int, m: int, turned: float, grown: float
) -> None:
    rows = torch.randn(n, c, generator=torch.Generator().manual_seed(n), dtype=torch.float64)
    weights, curvature = _positive(n, m, seed=1), _positive(n, m, seed=2)
    wider = weights + grown * _positive(n, m, seed=3) * (_positive(n, m, seed=4) - 0.4)
    curved = curvature + grown * _positive(n, m, seed=5)
    zero, changes = torch.zeros(n, dtype=torch.float64), turned * _positive(n, seed=6)
    sizes = norm_upper(rows, 1)
    warm, cold = (UnitMaxima(_of_inputs(rows), rough=False) for _ in range(2))
    warm.combined_upper(curvature, sizes, weights, 1, zero)
    warm.norm_upper(weights, 1, zero)
    warm.bend_upper(curvature, sizes, 1, zero)

    reach = sizes + 1.0001 * changes
    norm = warm.norm_upper(wider, 1, changes)
    bend = warm.bend_upper(curved, reach, 1, changes)
    both = warm.combined_upper(curved, reach, wider, 1, changes)
    assert norm <= cold.norm_upper(wider, 1, changes) * (1.0 + 1e-6)
    assert bend <= cold.bend_upper(curved, reach, 1, changes) * (1.0 + 1e-6)
    assert both <= cold.combined_upper(curved, reach, wider, 1, changes) * (1.0 + 1e-6)

    generator = torch.Generator().manual_seed(7)
    for _ in range(20):
        step = torch.randn(n, c, generator=generator, dtype=torch.float64)
        other = rows + step * (changes / step.norm(dim=1))[:, None]
        u = torch.randn(n, generator=generator, dtype=torch.float64)
        if float(torch.rand((), generator=generator)) < 0.5:
            u = u.abs()
        tau, sigma = _bends(other, curved, u / u.norm()), _norms(other, wider)
        pair = (tau + (tau.square() + 4.0 * sigma.square()).sqrt()) / 2.0
        assert float(sigma.amax()) * (1.0 - SVD_ERROR) <= norm
        assert float(tau.amax()) * (1.0 - SVD_ERROR) <= bend
        assert float(pair.amax()) * (1.0 - SVD_ERROR) <= both


def test_what_is_known_alone_is_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without any other bound of the ball: what grows and what turns are both counted."""
    n, c, m = 12, 4, 5
    rows = torch.randn(n, c, generator=torch.Generator().manual_seed(8), dtype=torch.float64)
    zero, changes = torch.zeros(n, dtype=torch.float64), 0.3 * _positive(n, seed=9)
    before = _positive(n, m, seed=10)
    after = before + _positive(n, m, seed=11)
    maxima = UnitMaxima(_of_inputs(rows), rough=False)
    maxima.norm_upper(before, 1, zero)
    unknown = torch.full((m,), torch.inf, dtype=torch.float64)
    for name in ("cheap_norms_upper", "power_norms_upper", "norms_upper"):
        monkeypatch.setattr(
            WeightedInputs, name, lambda self, w, a, changes: unknown[: w.shape[1]].clone()
        )
    bound = maxima.norm_upper(after, 1, changes)
    assert bound < torch.inf
    other = rows * (1.0 + changes / rows.norm(dim=1))[:, None]
    assert float(_norms(other, after).amax()) * (1.0 - SVD_ERROR) <= bound


@pytest.mark.parametrize("seed", range(5))
def test_a_ball_gets_no_less_than_without_a_start(seed: int) -> None:
    """The checker has no memory and must be able to confirm what is found."""
    n, c, m = 20, 4, 6
    rows = torch.randn(n, c, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    sizes, changes = norm_upper(rows, 1), 1e-3 * _positive(n, seed=seed + 20)
    weights, curvature = _positive(n, m, seed=seed + 40), _positive(n, m, seed=seed + 60)
    warm, cold = (UnitMaxima(_of_inputs(rows), rough=False) for _ in range(2))
    warm.combined_upper(curvature, sizes, weights, 1, torch.zeros_like(changes))
    reach = sizes + 1.0001 * changes
    found, alone = (
        maxima.combined_upper(1.001 * curvature, reach, 1.001 * weights, 1, changes)
        for maxima in (warm, cold)
    )
    assert abs(found - alone) <= 1e-6 * alone


def test_only_the_start_is_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = torch.eye(3, dtype=torch.float64)
    maxima = UnitMaxima(_of_inputs(rows), rough=False)
    maxima.norm_upper(_positive(3, 2, seed=1), 1, torch.full((3,), 0.1, dtype=torch.float64))
    assert not maxima._norms
    kept: list[int] = []
    keep = unit_maxima._keep
    monkeypatch.setattr(unit_maxima, "_keep", lambda *a: (kept.append(a[1]), keep(*a)))
    maxima.norm_upper(_positive(3, 2, seed=1), 1, torch.zeros(3, dtype=torch.float64))
    assert kept == [1]
    assert list(maxima._norms) == [1]
