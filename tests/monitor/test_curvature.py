"""Curvature, stability limits, and the coordinates of the optimiser, against closed forms."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import nn

from talweg.monitor import extremes, hessian_product, step_operator


class Quadratic(nn.Module):
    """1/2 sum_i h_i w_i^2."""

    def __init__(self, h: list[float], start: float = 1.0) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.full((len(h),), start, dtype=torch.float64))
        self.register_buffer("h", torch.tensor(h, dtype=torch.float64))

    def forward(self) -> torch.Tensor:
        return 0.5 * (self.h * self.w.square()).sum()


def test_lanczos_finds_both_ends() -> None:
    h = [-3.0, 0.1, 0.5, 1.0, 7.0, *[0.3] * 40]
    model = Quadratic(h)
    product, gradient = hessian_product(model(), [model.w])
    torch.testing.assert_close(gradient, model.h.clone())
    ends = extremes(product, gradient, 12)
    assert abs(ends.largest - 7.0) < 1e-9
    assert abs(ends.smallest + 3.0) < 1e-9
    assert ends.products <= 6  # six distinct eigenvalues


def test_ritz_values_lie_inside_and_their_errors_hold() -> None:
    h = torch.linspace(0.0, 1.0, 500).tolist()
    model = Quadratic(h)
    product, gradient = hessian_product(model(), [model.w])
    for steps in (1, 2, 5, 12):
        ends = extremes(product, gradient, steps)
        assert 0.0 <= ends.smallest <= ends.largest <= 1.0 + 1e-12
        nearest = min(abs(value - ends.largest) for value in h)
        assert nearest <= ends.largest_error + 1e-12


def test_the_global_generators_are_not_used() -> None:
    model = Quadratic([1.0, 2.0])
    product, gradient = hessian_product(model(), [model.w])
    before = torch.get_rng_state()
    extremes(product, gradient, 2)
    assert torch.equal(before, torch.get_rng_state())


def test_an_affine_loss_has_no_curvature() -> None:
    w = torch.ones(3, requires_grad=True)
    product, gradient = hessian_product(w.sum(), [w])
    assert extremes(product, gradient, 3).largest == 0.0


OPTIMISERS: dict[str, Any] = {
    "gd": lambda p, lr: torch.optim.SGD(p, lr=lr),
    "heavy ball": lambda p, lr: torch.optim.SGD(p, lr=lr, momentum=0.8),
    "nesterov": lambda p, lr: torch.optim.SGD(p, lr=lr, momentum=0.8, nesterov=True),
    "decayed": lambda p, lr: torch.optim.SGD(p, lr=lr, weight_decay=0.5),
}


@pytest.mark.parametrize("name", OPTIMISERS)
def test_a_quadratic_diverges_exactly_above_the_limit(name: str) -> None:
    """The largest learning rate that `step_operator` calls stable is the one that is."""
    h = 4.0
    decay = 0.5 if name == "decayed" else 0.0

    def stability(lr: float) -> float:
        model = Quadratic([h, 1.0])
        operator = step_operator(OPTIMISERS[name]([model.w], lr), [model.w])
        assert operator is not None
        assert operator.known
        product, gradient = hessian_product(model(), [model.w])
        return extremes(operator.preconditioned(product), gradient, 2).largest / operator.limit

    def grows(lr: float) -> bool:
        model = Quadratic([h, 1.0])
        optimizer = OPTIMISERS[name]([model.w], lr)
        for _ in range(3000):
            optimizer.zero_grad()
            model().backward()
            optimizer.step()
            if not float(model.w.detach().abs().max()) < 1e6:
                return True
        return float(model.w.detach().abs().max()) > 10.0

    limit = 0.1 / stability(0.1)
    assert stability(limit) == pytest.approx(1.0)
    assert grows(1.01 * limit)
    assert not grows(0.99 * limit)
    if name in ("gd", "decayed"):
        assert limit == pytest.approx(2 / (h + decay))


def test_adam_is_stable_below_its_limit_with_frozen_moments() -> None:
    """S = lr / (sqrt(v) + eps); with v frozen, Adam is heavy ball with the step S (1 - b)."""
    b, lr = 0.9, 0.01
    model = Quadratic([3.0, 1.0])
    optimizer = torch.optim.Adam([model.w], lr=lr, betas=(b, 0.999), eps=0.0)
    assert step_operator(optimizer, [model.w]) is None  # no second moments yet
    model().backward()
    optimizer.step()
    operator = step_operator(optimizer, [model.w])
    assert operator is not None
    assert operator.uniform is None
    assert operator.limit == pytest.approx(2 * 1.9 / 0.1)
    v = optimizer.state[model.w]["exp_avg_sq"] / (1 - 0.999)
    root = operator.scaled(torch.ones(2, dtype=torch.float64))
    torch.testing.assert_close(root, (lr / v.sqrt()).sqrt())
    # m <- b m + (1 - b) h w, then w <- w - s m
    for factor, stable in ((0.999, True), (1.001, False)):
        sh = factor * operator.limit
        iteration = torch.tensor([[b, 1 - b], [-sh * b, 1 - sh * (1 - b)]], dtype=torch.float64)
        assert bool((torch.linalg.eigvals(iteration).abs() < 1).all()) == stable


def test_parameters_of_no_group_do_not_move() -> None:
    model = nn.Linear(2, 2).double()
    optimizer = torch.optim.SGD([model.weight], lr=0.3)
    operator = step_operator(optimizer, list(model.parameters()))
    assert operator is not None
    assert operator.roots[1] == 0.0
    assert operator.uniform is None
    assert math.isclose(float(operator.roots[0]), 0.3**0.5)
