"""StochasticPolyakStep: its estimates, its step, and what it does where f_star is not reached."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from typing import Any

import pytest
import torch

from talweg._errors import InputError
from talweg.optim import StochasticPolyakStep


def weights(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64, requires_grad=True)


def linear(seed: int, samples: int = 400, noise: float = 0.0) -> tuple[torch.Tensor, torch.Tensor]:
    """Inputs and targets of a linear model with weights of ones."""
    generator = torch.Generator().manual_seed(seed)
    X = torch.randn(samples, 5, generator=generator, dtype=torch.float64)
    return X, X.sum(1) + noise * torch.randn(samples, generator=generator, dtype=torch.float64)


def losses_of(w: torch.Tensor, X: torch.Tensor, y: torch.Tensor, parts: int) -> list[torch.Tensor]:
    return [
        0.5 * (x @ w - t).square().mean()
        for x, t in zip(X.chunk(parts), y.chunk(parts), strict=True)
    ]


def draws(seed: int, samples: int, batch: int) -> Iterator[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    while True:
        yield torch.randperm(samples, generator=generator)[:batch]


@pytest.mark.parametrize("parts", [2, 4])
def test_q_has_the_mean_of_the_full_gradient_and_the_batch_has_not(parts: int) -> None:
    X, y = linear(0, noise=2.0)
    w = weights(1.1, 1.0, 1.0, 1.0, 1.0)
    full = float((X.T @ (X @ w.detach() - y) / 400).square().sum())
    found, own = [], []
    for rows in (
        torch.randint(400, (16,), generator=torch.Generator().manual_seed(s)) for s in range(400)
    ):
        optimizer = StochasticPolyakStep([w], 0.0, max_step=1e-300)  # never moves
        optimizer.step(losses_of(w, X[rows], y[rows], parts))
        found.append(optimizer.gradient_squared)
        own.append(float((X[rows].T @ (X[rows] @ w.detach() - y[rows]) / 16).square().sum()))
    error = float(torch.tensor(found).std()) / 400**0.5
    assert abs(sum(found) / 400 - full) < 4 * error
    assert sum(own) / 400 > 10 * full  # |g_B|^2 of a batch: hence not that
    assert min(found) < 0


def test_equal_micro_batches_make_it_the_deterministic_step() -> None:
    """f = 3 w^2 + 2: D = 3 w^2 and Q = 36 w^2, so w halves when nothing is averaged."""
    w = weights(5.0)
    optimizer = StochasticPolyakStep([w], 2.0, max_step=10.0, average=0.0)
    for k in range(1, 6):
        loss = (3 * w**2 + 2).sum()
        value = optimizer.step([loss, loss.clone()])
        assert float(value) == float(loss.detach())
        assert optimizer.param_groups[0]["lr"] == pytest.approx(1 / 12, rel=1e-12)
        assert w.item() == pytest.approx(5.0 * 0.5**k, rel=1e-12)


def test_the_step_is_known_before_the_batch_is_drawn() -> None:
    X, y = linear(1)
    w = weights(0.0, 0.0, 0.0, 0.0, 0.0)
    optimizer = StochasticPolyakStep([w], 0.0, max_step=10.0, scale=2.0)
    rows = draws(0, 400, 16)
    for _ in range(5):
        chosen = next(rows)
        optimizer.step(losses_of(w, X[chosen], y[chosen], 2))
    twin_w = w.detach().clone().requires_grad_()
    twin = copy.deepcopy(optimizer)
    twin.param_groups[0]["params"][0] = twin_w
    expected = optimizer.gap / optimizer.gradient_squared / 2.0
    optimizer.step(losses_of(w, X[:16], y[:16], 2))
    twin.step(losses_of(twin_w, X[200:216], y[200:216], 2))
    assert optimizer.param_groups[0]["lr"] == twin.param_groups[0]["lr"] == expected


@pytest.mark.parametrize("seed", range(3))
def test_converges_linearly_under_interpolation(seed: int) -> None:
    X, y = linear(seed)
    w = weights(0.0, 0.0, 0.0, 0.0, 0.0)
    optimizer = StochasticPolyakStep([w], 0.0, max_step=0.5)
    rows = draws(seed, 400, 16)
    for _ in range(300):
        chosen = next(rows)
        optimizer.step(losses_of(w, X[chosen], y[chosen], 2))
        assert 0.0 < optimizer.param_groups[0]["lr"] <= 0.5
    assert float((w.detach() - 1.0).norm()) < 1e-8


def test_without_interpolation_the_step_is_the_cap() -> None:
    """The bound 0 is not reached: at the floor nothing but noise is left, and Q is about 0."""
    X, y = linear(0, noise=1.0)
    w = weights(0.0, 0.0, 0.0, 0.0, 0.0)
    optimizer = StochasticPolyakStep([w], 0.0, max_step=0.05)
    rows = draws(0, 400, 16)
    taken = []
    for _ in range(300):
        chosen = next(rows)
        optimizer.step(losses_of(w, X[chosen], y[chosen], 2))
        taken.append(optimizer.param_groups[0]["lr"])
    assert set(taken[100:]) == {0.05}


def test_groups_and_unused_parameters() -> None:
    a, b, c, d = weights(1.0), weights(2.0), weights(2.0), weights(7.0)
    groups = [{"params": [a, d]}, {"params": [b], "max_step": 0.01}, {"params": [c], "scale": 4.0}]
    optimizer = StochasticPolyakStep(groups, 0.0, max_step=1.0)
    loss = (0.5 * a**2 + 0.5 * b**2 + 0.5 * c**2).sum()  # 4.5, |grad|^2 = 9
    optimizer.step([loss, loss.clone()])
    assert [g["lr"] for g in optimizer.param_groups] == pytest.approx([0.5, 0.01, 0.125])
    assert [a.item(), b.item(), c.item(), d.item()] == pytest.approx([0.5, 1.98, 1.75, 7.0])
    assert all(p.grad is None for p in (a, b, c, d))
    assert (optimizer.gap, optimizer.gradient_squared) == pytest.approx((4.5, 9.0))


def test_a_saved_run_goes_on_as_it_would_have() -> None:
    X, y = linear(2)
    w = weights(0.0, 0.0, 0.0, 0.0, 0.0)
    optimizer = StochasticPolyakStep([w], 0.0, max_step=0.3)
    rows = draws(0, 400, 16)
    for _ in range(7):
        chosen = next(rows)
        optimizer.step(losses_of(w, X[chosen], y[chosen], 2))
    v = w.detach().clone().requires_grad_()
    other = StochasticPolyakStep([v], 5.0, max_step=1.0)
    other.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    before = torch.get_rng_state()
    for _ in range(7):
        chosen = next(rows)
        optimizer.step(losses_of(w, X[chosen], y[chosen], 2))
        other.step(losses_of(v, X[chosen], y[chosen], 2))
    assert torch.equal(w, v)
    assert torch.equal(before, torch.get_rng_state())
    with pytest.raises(InputError, match="must come from"):
        other.load_state_dict(torch.optim.SGD([v], 0.1).state_dict())


@pytest.mark.parametrize("name", ["f_star", "max_step", "scale", "average", "slack"])
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, "1", None, True])
def test_bad_options_are_refused(name: str, bad: Any) -> None:
    options = {"f_star": 0.0, "max_step": 1.0, name: bad}
    with pytest.raises(InputError, match=f"`{name}` of StochasticPolyakStep"):
        StochasticPolyakStep([weights(1.0)], options.pop("f_star"), **options)


@pytest.mark.parametrize("options", [{"average": 1.0}, {"average": -0.1}, {"slack": -1.0}])
def test_options_out_of_range_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(InputError, match="`slack` and `average` of StochasticPolyakStep"):
        StochasticPolyakStep([weights(1.0)], 0.0, max_step=1.0, **options)
    with pytest.raises(InputError, match="`max_step` of StochasticPolyakStep"):
        StochasticPolyakStep([{"params": [weights(1.0)], "max_step": 0.0}], 0.0, max_step=1.0)


def test_bad_losses_are_refused() -> None:
    w = weights(1.0)
    optimizer = StochasticPolyakStep([w], 0.5, max_step=1.0)
    loss = (w**2).sum()
    for losses in (loss, [loss], None):
        with pytest.raises(InputError, match="a list of at least two"):
            optimizer.step(losses)
    for second in (1.0, loss.detach(), w * torch.ones(2)):
        with pytest.raises(InputError, match="one element and a graph"):
            optimizer.step([loss, second])
    with pytest.raises(InputError, match="must be finite"):
        optimizer.step([loss, (w * math.nan).sum()])
    with pytest.raises(InputError, match="must be a lower bound"):
        optimizer.step([loss * 0.1, loss * 0.2])
    assert w.item() == 1.0
