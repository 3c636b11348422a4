"""The cheapest sections of liu2020 in full view, and the pieces that the others stand on."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from talweg.experiments._record import Section
from talweg.experiments.liu2020 import SECTIONS
from talweg.experiments.liu2020._problems import (
    bounds_of,
    descend,
    ntk_network,
    orthonormal_inputs,
    slope,
    sphere_inputs,
    twin_network,
)

CHEAP = ("target loss", "landscapes")


def section(title: str, folder: Path) -> Section:
    return Section(title, folder, True, 0, lambda _: None)


@pytest.mark.parametrize("title", CHEAP)
def test_no_bound_is_broken(title: str, tmp_path: Path) -> None:
    here = section(title, tmp_path)
    SECTIONS[title](here)
    bounds = [c for c in here.comparisons if c.relation != "reported"]
    assert len(bounds) >= 6
    assert not [c for c in bounds if c.violated]
    assert here.figures
    assert all((tmp_path / name).stat().st_size > 5000 for name in here.figures)
    assert here.tables


def test_runs_are_those_of_the_seed_alone(tmp_path: Path) -> None:
    state = torch.random.get_rng_state()
    first = ntk_network((3, 8, 1), 5)[0].weight
    assert torch.equal(torch.random.get_rng_state(), state)
    assert torch.equal(first, ntk_network((3, 8, 1), 5)[0].weight)
    assert not torch.equal(first, ntk_network((3, 8, 1), 6)[0].weight)


def test_inputs_have_unit_length() -> None:
    for inputs in (sphere_inputs(6, 9, 1), sphere_inputs(6, 9, 1, alike=0.7)):
        assert inputs.norm(dim=1) == pytest.approx(torch.ones(6).tolist(), rel=1e-14)
    rows = orthonormal_inputs(6, 9, 1)
    assert (rows @ rows.T - torch.eye(6)).abs().max() < 1e-14
    plain = torch.linalg.cond(sphere_inputs(6, 9, 1))
    assert torch.linalg.cond(sphere_inputs(6, 9, 1, alike=0.7)) > 2.0 * plain


def test_the_twin_starts_at_zero_and_trains_its_first_layer_only() -> None:
    model = twin_network(5, 8, 3)
    inputs = sphere_inputs(4, 5, 2)
    bounds = bounds_of(model, inputs)
    assert bounds.network.trainable_parameters == 40
    assert bounds.residual_norm_upper(torch.zeros(4, 1, dtype=torch.float64)) < 1e-12
    # F_i = m^{-1/2} sum_j s_j tanh(w_j . x_i): its Jacobian by hand
    z = inputs @ model[0].weight.detach().T
    signs = model[2].weight.detach()
    J = (signs * (1.0 - torch.tanh(z) ** 2) / 8**0.5).unsqueeze(2) * inputs.unsqueeze(1)
    values = torch.linalg.svdvals(J.reshape(4, -1))
    assert bounds.sigma_min_lower <= float(values[-1]) <= bounds.sigma_min_lower * (1 + 1e-3)
    assert float(values[0]) <= bounds.jacobian_norm_upper * (1 + 1e-12)
    assert float(J.flatten(1).norm(dim=1).max()) <= bounds.sample_norm_upper * (1 + 1e-12)


def test_descent_is_the_closed_form_on_a_linear_model() -> None:
    """F = 2 w (one sample), eta = 1/8: r shrinks by 1/2 a step; the path is |r_0| / 2 in all."""
    model = torch.nn.Sequential(torch.nn.Linear(1, 1, bias=False, dtype=torch.float64))
    with torch.no_grad():
        model[0].weight.fill_(0.0)
    inputs = torch.tensor([[2.0]], dtype=torch.float64)
    bounds = bounds_of(model, inputs)
    run = descend(bounds.function, torch.ones(1, 1, dtype=torch.float64), 0.125, 30, floor=0.1)
    assert run.residuals == pytest.approx((1.0, 0.5, 0.25, 0.125, 0.0625), rel=1e-14)
    assert run.path == pytest.approx(0.5 * (1.0 - 0.0625), rel=1e-14)
    assert run.worst_contraction(0.1) == pytest.approx(0.5, rel=1e-14)


def test_slope_of_a_power() -> None:
    x = [1.0, 3.0, 10.0]
    assert slope(x, [7.0 * v**-0.5 for v in x]) == pytest.approx(-0.5, rel=1e-13)
