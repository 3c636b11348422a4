"""NoiseFloorScheduler: on quadratics whose floor is known, and as a scheduler among others."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch

from talweg._errors import InputError
from talweg.optim import NoiseFloorScheduler
from talweg.optim._noise_power import floor_approx

CURVATURES = torch.logspace(-1, 0, 20, dtype=torch.float64)


class Quadratic:
    """f = 1/2 sum h x^2 + 1 with Gaussian noise in the gradients and in the losses."""

    def __init__(
        self,
        make: Callable[..., torch.optim.Optimizer],
        *,
        seed: int = 0,
        start: float = 30.0,
        noise: float = 1.0,
        loss_noise: float = 0.1,
        dtype: torch.dtype = torch.float64,
    ) -> None:
        self.generator = torch.Generator().manual_seed(seed)
        self.h = CURVATURES.to(dtype)
        self.x = torch.full_like(self.h, start, requires_grad=True)
        self.optimizer = make([self.x])
        self.noise, self.loss_noise = noise, loss_noise

    def value(self) -> torch.Tensor:
        return (0.5 * (self.h * self.x.detach() ** 2).sum()) + 1.0

    def step(self) -> torch.Tensor:
        xi = torch.randn(21, generator=self.generator, dtype=torch.float64).to(self.x.dtype)
        loss = self.value() + self.loss_noise * xi[20]
        self.x.grad = self.h * self.x.detach() + self.noise * xi[:20] / 20**0.5  # s^2 = noise^2
        self.optimizer.step()
        return loss


def sgd(lr: float, **options: Any) -> Callable[..., torch.optim.Optimizer]:
    return lambda p: torch.optim.SGD(p, lr, **options)


@pytest.mark.parametrize("seed", range(4))
def test_decays_soon_after_the_floor_is_reached_and_not_before(seed: int) -> None:
    """The window is clear of the descent after four times its length; looks are 10 % apart."""
    run = Quadratic(sgd(0.2), seed=seed)
    scheduler = NoiseFloorScheduler(run.optimizer)
    floor = float((0.2 / 40 / (2 - 0.2 * run.h)).sum())  # sum h C / 2, C = eta s_i^2/(h(2-eta h))
    assert floor == pytest.approx(0.2 / 4, rel=0.05)
    reached = 0
    while not scheduler.decays and scheduler.last_epoch < 2000:
        scheduler.step(run.step())
        if not reached and float(run.value()) - 1.0 < 2 * floor:
            reached = scheduler.last_epoch
    assert 60 < reached < scheduler.decays[0] <= 1.1 * 4 * reached
    assert scheduler.get_last_lr() == [0.1]


@pytest.mark.parametrize("seed", range(2))
def test_follows_the_floor_down(seed: int) -> None:
    """Every phase is about twice as long as the last: the rate falls like 1/t (E2 (d))."""
    run = Quadratic(sgd(0.5), seed=seed)
    scheduler = NoiseFloorScheduler(run.optimizer)
    above = []
    for _ in range(4000):
        scheduler.step(run.step())
        above.append(float(run.value()) - 1.0)
    assert 3 <= len(scheduler.decays) <= 6
    assert all(b > 1.3 * a for a, b in itertools.pairwise(scheduler.decays))
    assert sum(above[-500:]) / 500 < 0.5 / 4 / 4


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize(
    "make",
    [sgd(1.0), sgd(0.1), sgd(0.3, momentum=0.9), sgd(0.1, momentum=0.9, nesterov=True)],
)
def test_full_batch_descent_is_never_decayed(
    make: Callable[..., torch.optim.Optimizer], dtype: torch.dtype
) -> None:
    """Linear convergence to f* = 1, down to rounding; the theorem covers the first two."""
    run = Quadratic(make, noise=0.0, loss_noise=0.0, dtype=dtype)
    scheduler = NoiseFloorScheduler(run.optimizer)
    for _ in range(2500):
        scheduler.step(run.step())
    assert scheduler.decays == []
    assert float(run.value()) == pytest.approx(1.0, abs=1e-6)


def test_a_step_that_bounces_is_decayed() -> None:
    """f = log cosh x with a step above 2/L settles on a cycle: no noise, and no descent."""
    x = torch.tensor([3.0], dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.SGD([x], 4.0)
    scheduler = NoiseFloorScheduler(optimizer)
    for _ in range(300):
        optimizer.zero_grad()
        loss = x.cosh().log().sum()
        loss.backward()
        optimizer.step()
        scheduler.step(loss)
    assert optimizer.param_groups[0]["lr"] <= 2.0
    assert abs(x.item()) < 1e-6


OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "SGD": sgd(0.3),
    "momentum": sgd(0.03, momentum=0.9),
    "dampened": sgd(0.3, momentum=0.9, dampening=0.9),
    "Nesterov": sgd(0.03, momentum=0.9, nesterov=True),
    "Adam": lambda p: torch.optim.Adam(p, 0.1),
    "amsgrad": lambda p: torch.optim.Adam(p, 0.1, amsgrad=True),
    "AdamW": lambda p: torch.optim.AdamW(p, 0.1, weight_decay=1e-4),
    "NAdam": lambda p: torch.optim.NAdam(p, 0.1),
    "RMSprop": lambda p: torch.optim.RMSprop(p, 0.1),
    "Adagrad": lambda p: torch.optim.Adagrad(p, 2.0),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_works_with(name: str) -> None:
    run = Quadratic(OPTIMIZERS[name], start=3.0, loss_noise=0.02)
    scheduler = NoiseFloorScheduler(run.optimizer)
    first = run.optimizer.param_groups[0]["lr"]
    for _ in range(1500):
        scheduler.step(run.step())
    decays = len(scheduler.decays)
    assert name == "Adagrad" or 1 <= decays <= 6  # Adagrad's own rate falls already
    assert run.optimizer.param_groups[0]["lr"] == first * 0.5**decays


def test_floor_of_adam_is_that_of_its_step_operator() -> None:
    x = torch.tensor([1.0, -2.0, 3.0], dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.Adam([x], 0.1, betas=(0.9, 0.99), eps=1e-3)
    assert floor_approx(optimizer) is None
    second = torch.zeros_like(x)
    for k in range(1, 4):
        g = torch.tensor([0.5, 1.0, k], dtype=torch.float64)
        x.grad = g.clone()
        optimizer.step()
        second = 0.99 * second + 0.01 * g**2
        expected = (0.1 * g**2 / ((second / (1 - 0.99**k)).sqrt() + 1e-3)).sum() / 4
        assert float(floor_approx(optimizer)) == pytest.approx(float(expected), rel=1e-12)


def test_groups_keep_their_ratio_and_stop_at_min_lr() -> None:
    generator = torch.Generator().manual_seed(1)
    a, b = torch.zeros(5, requires_grad=True), torch.zeros(5, requires_grad=True)
    rate = torch.tensor(0.2)
    optimizer = torch.optim.SGD([{"params": [a], "lr": 0.1}, {"params": [b], "lr": rate}])
    scheduler = NoiseFloorScheduler(optimizer, factor=0.1, min_lr=0.004)
    for _ in range(600):
        a.grad, b.grad = torch.randn(2, 5, generator=generator).unbind()
        optimizer.step()
        scheduler.step(1.0 + 0.01 * float(torch.randn((), generator=generator)))
        a.data.zero_(), b.data.zero_()
    assert optimizer.param_groups[1]["lr"] is rate
    assert scheduler.get_last_lr() == pytest.approx([0.004, 0.004])
    assert len(scheduler.decays) == 2


def test_with_an_end_the_rate_falls_before_it_and_stays_after_it() -> None:
    run = Quadratic(sgd(0.2))
    scheduler = NoiseFloorScheduler(run.optimizer, total_steps=1000)
    for k in range(1, 1500):
        scheduler.step(run.step())
        if k == 1000:
            at_end = run.optimizer.param_groups[0]["lr"]
    assert at_end <= 0.05
    assert run.optimizer.param_groups[0]["lr"] == at_end


def test_another_scheduler_starts_the_statistics_anew() -> None:
    run = Quadratic(sgd(0.2), start=0.0)
    scheduler = NoiseFloorScheduler(run.optimizer)
    warmup = torch.optim.lr_scheduler.LinearLR(run.optimizer, 0.25, total_iters=300)
    for _ in range(300):
        loss = run.step()
        warmup.step()
        scheduler.step(loss)
    assert scheduler.decays == []
    assert scheduler.get_last_lr() == pytest.approx([0.2])


def test_a_saved_run_goes_on_as_it_would_have() -> None:
    runs = [Quadratic(sgd(0.2)) for _ in range(2)]
    one, two = (NoiseFloorScheduler(run.optimizer, factor=0.3) for run in runs)
    for _ in range(555):
        one.step(runs[0].step())
        two.step(runs[1].step())
    saved = json.loads(json.dumps(one.state_dict()))
    rates = runs[1].optimizer.param_groups[0]["lr"]
    other = NoiseFloorScheduler(runs[1].optimizer)
    other.load_state_dict(saved)
    for _ in range(600):
        one.step(runs[0].step())
        other.step(runs[1].step())
    assert rates > one.get_last_lr()[0]
    assert one.decays == other.decays
    assert torch.equal(runs[0].x, runs[1].x)
    assert one.state_dict() == other.state_dict()


def test_training_is_bit_for_bit_the_same_until_it_decays() -> None:
    results = []
    for watched in (False, True):
        torch.manual_seed(3)
        model = torch.nn.Sequential(
            torch.nn.Linear(4, 8), torch.nn.Dropout(0.5), torch.nn.Linear(8, 1)
        )
        optimizer = torch.optim.Adam(model.parameters(), 1e-3)
        scheduler = NoiseFloorScheduler(optimizer)
        for _ in range(60):
            X = torch.randn(8, 4)
            optimizer.zero_grad()
            loss = (model(X) - 50.0).square().mean()
            loss.backward()
            optimizer.step()
            if watched:
                scheduler.step(loss)
        assert scheduler.decays == []
        results.append([*model.parameters(), torch.get_rng_state()])
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


def test_is_a_scheduler_for_torch() -> None:
    run = Quadratic(sgd(0.2))
    scheduler = NoiseFloorScheduler(run.optimizer)
    assert isinstance(scheduler, torch.optim.lr_scheduler.LRScheduler)
    assert scheduler.get_last_lr() == scheduler.get_lr() == [0.2]
    assert scheduler.last_epoch == 0


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("factor", 1.0),
        ("factor", 0),
        ("factor", math.nan),
        ("min_lr", -1.0),
        ("min_lr", "0"),
        ("total_steps", 0),
        ("total_steps", 1.5),
        ("total_steps", True),
    ],
)
def test_bad_options_are_refused(name: str, value: Any) -> None:
    with pytest.raises(InputError, match=rf"`{name}` of NoiseFloorScheduler\(\) must be"):
        NoiseFloorScheduler(Quadratic(sgd(0.2)).optimizer, **{name: value})


def test_bad_calls_are_refused() -> None:
    with pytest.raises(InputError, match=r"must be a torch\.optim\.Optimizer; got float"):
        NoiseFloorScheduler(0.1)  # type: ignore[arg-type]
    run = Quadratic(sgd(0.2))
    scheduler = NoiseFloorScheduler(run.optimizer)
    for loss in ("1", None, True, torch.ones(2), torch.tensor(1), 1j):
        with pytest.raises(InputError, match="`loss` of NoiseFloorScheduler"):
            scheduler.step(loss)
    with pytest.raises(InputError, match=r"before\s+optimizer\.zero_grad"):
        scheduler.step(1.0)
    with pytest.raises(InputError, match="got one without"):
        scheduler.load_state_dict(torch.optim.lr_scheduler.StepLR(run.optimizer, 1).state_dict())


def test_a_step_that_a_gradient_scaler_skipped_does_no_harm() -> None:
    results = []
    for overflow in (False, True):
        run = Quadratic(sgd(0.2), start=3.0, loss_noise=0.02)
        scheduler = NoiseFloorScheduler(run.optimizer)
        for k in range(500):
            loss = run.step()
            if overflow and k == 5:
                run.x.grad.fill_(math.inf)
            scheduler.step(loss)
        results.append(scheduler.decays)
    assert results[0] == results[1] != []


def test_a_loss_that_was_not_finite_is_named_at_the_next_look() -> None:
    run = Quadratic(sgd(0.2))
    scheduler = NoiseFloorScheduler(run.optimizer)
    for k in range(39):
        run.step()
        scheduler.step(math.nan if k == 20 else 1.0)
    with pytest.raises(InputError, match="among the last 40 was one that is not"):
        scheduler.step(1.0)
