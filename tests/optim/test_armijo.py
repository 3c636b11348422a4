"""ArmijoGD, and certify_run on what it and others recorded (T12)."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest
import torch
from certificate.problems import problem
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import talweg
from talweg import InputError
from talweg.optim import ArmijoGD, certify_run, parameters_of

Iterates = list[dict[str, Tensor]]


def near_solution(seed: int = 0, loss: str = "mse") -> tuple[nn.Module, tuple[Tensor, Tensor]]:
    model, data = problem(seed, (3, 30, 1))
    cert = talweg.certify(model, data, polish=True, attack=False, loss=loss)  # type: ignore[arg-type]
    assert cert.status == "PROVED", cert.reason
    model = cert.load_into_(model)
    # Near enough for a share as well: some of the steps that were proved.
    assert cert.step_size is not None
    step = torch.optim.SGD(model.parameters(), lr=cert.step_size)
    for _ in range(400):
        step.zero_grad()
        losses(loss)(model(data[0]), data[1]).backward()
        step.step()
    return model, data


def losses(name: str) -> Any:
    squares = nn.functional.mse_loss
    return {
        "mse": squares,
        "sse": lambda a, b: squares(a, b, reduction="sum"),
        "half_sse": lambda a, b: 0.5 * squares(a, b, reduction="sum"),
    }[name]


def recorded(
    model: nn.Module, data: tuple[Tensor, Tensor], steps: int, loss: str = "mse",
    make: Any = lambda p: ArmijoGD(p, lr=4.0, share=0.5),
) -> Iterates:  # fmt: skip
    X, y = data
    optimizer, iterates = make(model.parameters()), [parameters_of(model)]

    def closure() -> Tensor:
        optimizer.zero_grad()
        value = losses(loss)(model(X), y)
        value.backward()
        return value  # type: ignore[no-any-return]

    for _ in range(steps):
        optimizer.step(closure)
        iterates.append(parameters_of(model))
    return iterates


def distance(one: dict[str, Tensor], two: dict[str, Tensor]) -> float:
    return math.sqrt(sum(float((one[n] - two[n]).square().sum()) for n in one))


def test_backtracking_by_hand() -> None:
    """f = 2 x^2 from x = 1, g = 4: f(1 - 4 t) <= 2 - 8 t, i.e. t <= 1/4, with share 1/2."""
    x = torch.nn.Parameter(torch.tensor([1.0], dtype=torch.float64))
    optimizer = ArmijoGD([x], lr=1.0, share=0.5)

    def closure() -> Tensor:
        optimizer.zero_grad()
        value = 2.0 * x.square().sum()
        value.backward()
        return value

    assert float(optimizer.step(closure)) == 2.0
    assert optimizer.accepted
    assert optimizer.param_groups[0]["lr"] == 0.25
    assert x.item() == 0.0
    optimizer.step(closure)  # at the minimum: nothing to do
    assert not optimizer.accepted
    assert x.item() == 0.0


def test_a_step_that_never_succeeds_is_undone() -> None:
    x = torch.nn.Parameter(torch.tensor([1.0], dtype=torch.float64))
    optimizer = ArmijoGD([x], lr=1.0, max_backtracks=3)

    def closure() -> Tensor:
        optimizer.zero_grad()
        value = x.abs().sum() * (1.0 if x.item() == 1.0 else math.inf)
        x.grad = torch.ones_like(x)
        return value

    optimizer.step(closure)
    assert not optimizer.accepted
    assert x.item() == 1.0


@pytest.mark.parametrize(
    "bad", [{"lr": 0.0}, {"share": 1.0}, {"shrink": 1.0}, {"grow": 0.5}, {"max_backtracks": 0}]
)
def test_bad_numbers(bad: dict[str, float]) -> None:
    with pytest.raises(InputError, match=next(iter(bad))):
        ArmijoGD([torch.zeros(1, requires_grad=True)], **bad)  # type: ignore[arg-type]


def test_a_closure_is_required() -> None:
    with pytest.raises(InputError, match="closure"):
        ArmijoGD([torch.zeros(1, requires_grad=True)]).step()


@pytest.mark.parametrize("loss", ["mse", "sse", "half_sse"])
def test_an_armijo_run_is_certified(loss: str) -> None:
    model, data = near_solution(loss=loss)
    iterates = recorded(model, data, 15, loss, lambda p: ArmijoGD(p, lr=4.0, share=0.6))
    run = certify_run(model, data, iterates, loss=loss, share=0.59)
    assert run.status == "PROVED", run.reason
    assert run.radius is not None
    assert run.shrink is not None
    assert max(distance(iterates[0], w) for w in iterates) <= run.radius
    X, y = data
    values = []
    for w in iterates:
        with torch.no_grad():
            values.append(float(losses(loss)(torch.func.functional_call(model, w, X), y)))
    for k, rate in enumerate(run.one_minus_rates):
        assert values[k] <= run.losses_upper[k] * (1 + 1e-9)
        assert values[k + 1] <= (1.0 - rate) * values[k] * (1 + 1e-9)
        assert run.decreases_lower[k] <= (values[k] - values[k + 1]) * (1 + 1e-6)
        assert run.decreases_lower[k] >= 0.5 * (values[k] - values[k + 1])
        assert rate > 0.0
    assert values[-1] <= run.shrink * values[0] * (1 + 1e-9)


def test_the_first_bad_step_is_named() -> None:
    model, data = near_solution()
    iterates = recorded(model, data, 6)
    iterates[4], iterates[3] = iterates[3], iterates[4]
    run = certify_run(model, data, iterates, share=0.4)
    assert run.status == "UNDECIDED"
    assert "k = 3" in run.reason
    assert run.radius is None


def test_a_share_that_the_run_does_not_meet() -> None:
    model, data = near_solution()
    run = certify_run(model, data, recorded(model, data, 6), share=0.999)
    assert run.status == "UNDECIDED"
    assert "decrease" in run.reason


def test_far_from_a_solution_the_criterion_fails() -> None:
    model, data = problem(0, (3, 30, 1))
    run = certify_run(model, data, recorded(model, data, 3), share=0.4)
    assert run.status == "UNDECIDED"
    assert "criterion" in run.reason


def test_conflicting_rows() -> None:
    model, (X, y) = problem(0, (3, 30, 1))
    iterates = [parameters_of(model)] * 2
    run = certify_run(model, (X[[0, 0]], y[:2]), iterates)
    assert run.status == "UNDECIDED"
    assert "rows 0 and 1" in run.reason


def test_malformed_iterates() -> None:
    model, data = problem(0, (3, 30, 1))
    w = parameters_of(model)
    with pytest.raises(InputError, match="at least two"):
        certify_run(model, data, [w])
    with pytest.raises(InputError, match=r"0\.bias"):
        certify_run(model, data, [w, {n: t for n, t in w.items() if n != "0.bias"}])
    with pytest.raises(InputError, match="loss"):
        certify_run(model, data, [w, w], loss="l1")


def with_frozen_layer() -> tuple[nn.Module, tuple[Tensor, Tensor], Iterates]:
    """A run that trains the second layer alone, recorded as whole state dicts."""
    model, (X, y) = near_solution()
    model[0].requires_grad_(False)
    data = (X, y)
    run = recorded(copy.deepcopy(model), data, 3, make=lambda p: ArmijoGD(
        [q for q in p if q.requires_grad], lr=4.0, share=0.6))  # fmt: skip
    frozen = {n: t.clone() for n, t in model.state_dict().items() if n.startswith("0.")}
    return model, data, [w | frozen for w in run]


def test_constants_of_the_loss_may_be_repeated_but_not_changed() -> None:
    model, data, iterates = with_frozen_layer()
    assert set(iterates[0]) == set(model.state_dict())
    run = certify_run(model, data, iterates, share=0.5)
    assert run.status == "PROVED", run.reason
    away = [*iterates[:2], iterates[2] | {"0.weight": (1 + 1e-12) * iterates[2]["0.weight"]}]
    with pytest.raises(InputError, match=r"iterate 2 has other values") as found:
        certify_run(model, data, away, share=0.5)
    assert "'0.weight'" in str(found.value)
    shape = [*iterates[:-1], iterates[-1] | {"0.bias": iterates[-1]["0.bias"][None]}]
    with pytest.raises(InputError, match=r"0\.bias"):
        certify_run(model, data, shape, share=0.5)


def test_names_that_the_model_does_not_have_are_refused() -> None:
    model, data, iterates = with_frozen_layer()
    iterates[1] = iterates[1] | {"4.weight": torch.zeros(1)}
    with pytest.raises(InputError, match=r"iterate 1 names '4\.weight'"):
        certify_run(model, data, iterates, share=0.5)


class Idle(nn.Module):
    """A trained tensor that the forward does not use, and an integer buffer."""

    def __init__(self, used: nn.Module) -> None:
        super().__init__()
        self.used = used
        self.idle = nn.Parameter(torch.zeros(2, dtype=torch.float64))
        self.register_buffer("count", torch.tensor(3))

    def forward(self, x: Tensor) -> Tensor:
        return self.used(x)  # type: ignore[no-any-return]


def test_unused_tensors_may_not_move_either() -> None:
    plain, data = near_solution()
    model = Idle(plain)
    iterates = recorded(copy.deepcopy(model), data, 3)
    iterates = [w | {"count": torch.tensor(3)} for w in iterates]
    assert "idle" in iterates[0]
    assert certify_run(model, data, iterates, share=0.4).status == "PROVED"
    for name, value in (("idle", torch.ones(2).double()), ("count", torch.tensor(4))):
        with pytest.raises(InputError, match=name):
            certify_run(model, data, [*iterates, iterates[-1] | {name: value}], share=0.4)


@pytest.mark.parametrize("size", [1e100, 1e155, 1e200, 1e300, 1e308, math.inf, math.nan])
@pytest.mark.parametrize("first", [True, False])
def test_a_diverged_run_is_undecided(size: float, first: bool) -> None:
    model, data = near_solution()
    w = parameters_of(model)
    far = [{n: torch.full_like(t, s * size) for n, t in w.items()} for s in (1.0, -1.0)]
    run = certify_run(model, data, [*far, w] if first else [w, *far])
    assert run.status == "UNDECIDED"
    assert run.radius is None
    if not math.isfinite(size):
        assert f"iterate {0 if first else 1} is not finite in '0.weight'" in run.reason


@settings(max_examples=10)
@given(
    seed=st.integers(0, 50),
    name=st.sampled_from(["sgd", "momentum", "adam", "noisy"]),
    lr=st.sampled_from([1e-3, 1e-2, 0.1]),
    share=st.sampled_from([0.1, 0.5]),
)
def test_no_proved_run_is_contradicted(seed: int, name: str, lr: float, share: float) -> None:
    """Whatever the method: PROVED means inside the ball and losses that fall as said."""
    model, data = near_solution(seed % 5)
    noise = torch.Generator().manual_seed(seed)

    def make(parameters: Any) -> torch.optim.Optimizer:
        held = list(parameters)
        if name == "adam":
            return torch.optim.Adam(held, lr=1e-4 * lr)
        if name == "noisy":
            for p in held:
                p.register_hook(
                    lambda g: g * (1 + 0.5 * torch.randn(g.shape, generator=noise).double())
                )
        return torch.optim.SGD(held, lr=lr, momentum=0.5 if name == "momentum" else 0.0)

    iterates = recorded(copy.deepcopy(model), data, 8, "mse", make)
    run = certify_run(model, data, iterates, share=share)
    if run.status != "PROVED":
        return
    assert run.radius is not None
    assert max(distance(iterates[0], w) for w in iterates) <= run.radius * (1 + 1e-12)
    X, y = data
    values = []
    for w in iterates:
        with torch.no_grad():
            fitted = torch.func.functional_call(model, w, X)
            values.append(float(nn.functional.mse_loss(fitted, y)))
    for before, after, rate in zip(values, values[1:], run.one_minus_rates, strict=False):
        assert after <= (1.0 - rate) * before * (1 + 1e-9)
