"""The certified step, and training until it can be proved."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import talweg
from talweg import InputError
from talweg.prescribe import TrainedUntilProved, _until_proved, certified_step, train_until_proved

Data = tuple[Tensor, Tensor]


def data(n: int = 5, seed: int = 1) -> Data:
    generator = torch.Generator().manual_seed(seed)
    X = torch.randn(n, 3, generator=generator, dtype=torch.float64)
    return X, torch.randn(n, 1, generator=generator, dtype=torch.float64)


def network(width: int = 24, seed: int = 2) -> nn.Sequential:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(3, width), nn.Tanh(), nn.Linear(width, 1)).double()


def weights(model: nn.Module) -> Tensor:
    return torch.cat([p.detach().reshape(-1) for p in model.parameters()])


STEPS = 500


def adam(parameters: Any) -> torch.optim.Optimizer:
    return torch.optim.Adam(parameters, lr=1e-2, betas=(0.97, 0.999))


def cosine(optimizer: torch.optim.Optimizer) -> Any:
    return torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)


def run(**settings: Any) -> TrainedUntilProved:
    chosen = {"max_steps": STEPS, "check_every": 60, "descent_steps": 0} | settings
    return train_until_proved(network(), data(), adam, scheduler=cosine, **chosen)


@pytest.fixture(scope="module")
def trained() -> TrainedUntilProved:
    return run(held_out=data(6, 8), descent_steps=50)


def test_training_ends_with_a_proof(trained: TrainedUntilProved) -> None:
    assert trained.status == "PROVED"
    assert trained.trapping_time is not None
    assert trained.certified_from == trained.trapping_time
    assert talweg.certify(trained.model, data(), attack=False).status == "PROVED"
    assert trained.outlook is not None
    assert trained.outlook.held_out_error is not None
    assert trained.outlook.loss_last < trained.outlook.loss_first
    assert trained.checks[0].missing_factor > 1.0


def test_the_trapping_time_is_the_first_iterate_that_certify_proves(
    trained: TrainedUntilProved,
) -> None:
    """The same Adam run by hand, certify asked at every late iterate before the trapping time."""
    model = network()
    X, y = data()
    optimizer = adam(model.parameters())
    schedule = cosine(optimizer)
    when = trained.trapping_time
    assert when is not None
    for step in range(when):
        if step > when - 6:
            assert talweg.certify(model, (X, y), attack=False).status == "UNDECIDED"
        optimizer.zero_grad()
        nn.functional.mse_loss(model(X), y).backward()
        optimizer.step()
        schedule.step()
    assert torch.equal(weights(model), weights(trained.model))
    assert talweg.certify(model, (X, y), attack=False).status == "PROVED"


def test_the_interval_between_checks_does_not_matter(trained: TrainedUntilProved) -> None:
    assert run(check_every=STEPS).trapping_time == trained.trapping_time


def test_a_copy_is_trained_unless_the_optimiser_holds_the_model() -> None:
    model = network()
    before = weights(model)
    train_until_proved(model, data(), lambda p: torch.optim.SGD(p, lr=0.05), max_steps=5)
    assert torch.equal(weights(model), before)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    found = train_until_proved(model, data(), optimizer, max_steps=5)
    assert found.model is model
    assert not torch.equal(weights(model), before)
    assert all(p.grad is None for p in model.parameters())


def test_passing_through_is_noticed(trained: TrainedUntilProved) -> None:
    """A step function that meets the criterion for one iterate only, between two checks."""
    good = weights(trained.model)
    start = (
        good + 1e-2 * torch.randn(good.shape, generator=torch.Generator().manual_seed(3)).double()
    )
    visited = 0

    def step(model: nn.Module) -> None:
        nonlocal visited
        visited += 1
        target = good if visited == 13 else start + 1e-5 * visited
        with torch.no_grad():
            torch.nn.utils.vector_to_parameters(target, model.parameters())

    model = network()
    torch.nn.utils.vector_to_parameters(start, model.parameters())
    found = train_until_proved(model, data(), step=step, max_steps=40, check_every=20)
    assert found.trapping_time == 13


class _Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(3, 24), nn.Linear(24, 24)
        self.norm, self.out = nn.LayerNorm(24), nn.Linear(24, 1)

    def forward(self, x: Tensor) -> Tensor:
        h = self.first(x)
        return self.out(h + torch.nn.functional.gelu(self.second(self.norm(h))))


def test_networks_that_branch_are_trained_as_well() -> None:
    torch.manual_seed(3)
    model = _Residual().double()
    X, y = torch.randn(5, 3, dtype=torch.float64), torch.randn(5, 1, dtype=torch.float64)
    X, y = torch.cat([X, X[:1]]), torch.cat([y, y[:1]])  # a row that occurs twice
    found = train_until_proved(model, (X, y), max_steps=3000, descent_steps=5)
    assert found.status == "PROVED", found.reason
    assert found.trapping_time is not None
    assert found.checks[-1].missing_factor < 1.1
    assert found.checks[0].missing_factor > 10.0


def test_lbfgs_works() -> None:
    found = train_until_proved(
        network(), data(),
        lambda p: torch.optim.LBFGS(p, line_search_fn="strong_wolfe"), max_steps=60, check_every=5,
        descent_steps=0,
    )  # fmt: skip
    assert found.status == "PROVED"


def test_not_yet_is_an_answer() -> None:
    found = train_until_proved(network(), data(), max_steps=10, check_every=4)
    assert found.status == "UNDECIDED"
    assert found.trapping_time is None
    assert [c.step for c in found.checks] == [0, 4, 8, 10]
    assert "not met within 10 steps" in found.reason


def test_divergence_is_an_answer() -> None:
    found = train_until_proved(
        network(), data(), lambda p: torch.optim.SGD(p, lr=1e200), max_steps=50, check_every=50
    )
    assert found.status == "UNDECIDED"
    assert "diverged" in found.reason


def test_conflicting_rows_are_refuted_before_training() -> None:
    X, y = data()
    bad = torch.cat([X, X[:1]]), torch.cat([y, y[:1] + 1.0])
    found = train_until_proved(network(), bad, max_steps=3)
    assert found.status == "REFUTED"
    assert found.steps == 0


def test_ctrl_c_leaves_a_whole_iterate() -> None:
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    seen: list[Tensor] = []

    class Interrupt:
        def step(self) -> None:
            seen.append(weights(model))
            if len(seen) == 5:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_until_proved(model, data(), optimizer, scheduler=Interrupt(), max_steps=50)
    assert any(torch.equal(weights(model), iterate) for iterate in seen)


def gradient_step(model: nn.Module) -> None:
    X, y = data()
    parameters = [p for p in model.parameters() if p.requires_grad]
    gradients = torch.autograd.grad((model(X) - y).square().mean(), parameters)
    with torch.no_grad():
        for p, g in zip(parameters, gradients, strict=True):
            p.sub_(0.05 * g)


@pytest.mark.parametrize("undone", [False, True])
def test_a_step_that_moves_a_frozen_parameter_is_refused(undone: bool) -> None:
    """Else the weights given back would be those of one iterate and the bias of another."""
    model = network()
    model[0].bias.requires_grad_(False)
    calls = 0

    def step(module: nn.Module) -> None:
        nonlocal calls
        calls += 1
        gradient_step(module)
        if calls in (3, 4):
            with torch.no_grad():
                module[0].bias.copy_(model[0].bias + (calls == 3 or not undone))  # type: ignore[index]

    with pytest.raises(InputError, match=r"step 3 changed '0\.bias'"):
        train_until_proved(model, data(), step=step, max_steps=40, check_every=20)


class Shifted(nn.Module):
    """A network whose output bias is a buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden, _, self.last = network()
        self.register_buffer("shift", self.last.bias.detach().clone())

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.linear(torch.tanh(self.hidden(x)), self.last.weight, self.shift)


def test_a_step_that_moves_a_buffer_is_refused() -> None:
    def step(module: nn.Module) -> None:
        gradient_step(module)
        module.shift.add_(1e-3)  # type: ignore[operator, union-attr]

    model = Shifted()
    del model.last.bias
    with pytest.raises(InputError, match="step 1 changed 'shift'"):
        train_until_proved(model, data(), step=step, max_steps=5)
    assert train_until_proved(model, data(), step=gradient_step, max_steps=5).steps == 5


@pytest.mark.parametrize("how", ["replace", "freeze"])
def test_a_step_that_changes_which_parameters_there_are_is_refused(how: str) -> None:
    def step(module: nn.Module) -> None:
        last = module[2]  # type: ignore[index]
        if how == "replace":
            last.bias = nn.Parameter(last.bias.detach() + 0.01)
        else:
            last.bias.requires_grad_(False)

    with pytest.raises(InputError, match="step 1 replaced, froze or thawed"):
        train_until_proved(network(), data(), step=step, max_steps=5)


def test_an_optimiser_that_moves_a_frozen_parameter_is_undone() -> None:
    """torch's optimisers step whatever has a gradient, frozen or not."""
    model = network()
    model[0].bias.requires_grad_(False)
    model[0].bias.grad = torch.ones_like(model[0].bias)
    before = weights(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    with pytest.raises(InputError, match=r"step 1 changed '0\.bias'"):
        train_until_proved(model, data(), optimizer, max_steps=5)
    assert torch.equal(weights(model), before)


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"max_steps": 0}, "max_steps"),
        ({"check_every": 1.5}, "check_every"),
        ({"loss": "l1"}, "loss"),
        ({"optimizer": "adam"}, "optimizer"),
        ({"step": print, "optimizer": torch.optim.SGD}, "step"),
    ],
)
def test_bad_arguments_are_named(settings: dict[str, Any], named: str) -> None:
    with pytest.raises(InputError, match=f"`{named}` of train_until_proved"):
        train_until_proved(network(), data(), **settings)


def test_a_foreign_optimiser_is_refused() -> None:
    other = torch.optim.SGD(network(seed=4).parameters(), lr=0.1)
    with pytest.raises(InputError, match="holds none of them"):
        train_until_proved(network(), data(), other)


def test_the_largest_step_is_t4s_where_the_residual_is_small(trained: TrainedUntilProved) -> None:
    close = copy.deepcopy(trained.model)
    X, y = data()
    for _ in range(3):  # Gauss-Newton steps: far inside the ball
        J = torch.autograd.functional.jacobian(
            lambda v: torch.func.functional_call(close, unflatten(close, v), (X,)).reshape(-1),
            weights(close),
        )
        r = (close(X) - y).detach().reshape(-1)
        torch.nn.utils.vector_to_parameters(
            weights(close) - torch.linalg.lstsq(J, r[:, None]).solution[:, 0], close.parameters()
        )
    found = certified_step(close, (X, y), descent_steps=200)
    assert found.status == "PROVED"
    assert found.theorem == "T4"
    assert found.step_size is not None
    assert found.best_rate_step is not None
    assert found.gauss_newton_limit_approx is not None
    assert found.stability_limit_approx is not None
    assert 1.9 * found.best_rate_step < found.step_size < found.gauss_newton_limit_approx
    assert found.stability_limit_approx == pytest.approx(found.gauss_newton_limit_approx, rel=1e-3)
    assert found.halving_steps is not None
    assert found.best_rate_halving_steps is not None
    assert found.halving_steps > found.best_rate_halving_steps


def unflatten(model: nn.Module, vector: Tensor) -> dict[str, Tensor]:
    named = dict(model.named_parameters())
    parts = torch.split(vector, [p.numel() for p in named.values()])
    return {k: part.reshape(p.shape) for (k, p), part in zip(named.items(), parts, strict=True)}


def test_float_limits_match_dense_eigenvalues() -> None:
    model, (X, y) = network(6), data()
    found = certified_step(model, (X, y), loss="half_sse")
    start = weights(model)

    def loss(v: Tensor) -> Tensor:
        outputs = torch.func.functional_call(model, unflatten(model, v), (X,))
        return 0.5 * (outputs - y).square().sum()

    hessian = torch.autograd.functional.hessian(loss, start)
    largest = float(torch.linalg.eigvalsh(hessian)[-1])
    assert found.stability_limit_approx == pytest.approx(2.0 / largest, rel=1e-3)
    assert found.status == "UNDECIDED"
    assert found.step_size is None
    assert math.isfinite(found.gauss_newton_limit_approx or math.nan)


def test_an_obstacle_besides_the_criterion_ends_the_search(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # PyTorch's softplus returns its input beyond a threshold: no theorem speaks of that function.
    torch.manual_seed(0)
    X, y = torch.randn(12, 3).double(), torch.randn(12, 1).double()
    model = nn.Sequential(nn.Linear(3, 64), nn.Softplus(), nn.Linear(64, 1)).double()
    with torch.no_grad():
        model[0].weight.mul_(15.0)
    calls = []
    genuine = _until_proved.certify

    def counted(*args: object, **settings: object) -> object:
        calls.append(1)
        return genuine(*args, **settings)

    monkeypatch.setattr(_until_proved, "certify", counted)
    found = train_until_proved(
        model, (X, y),
        lambda p: torch.optim.LBFGS(p, line_search_fn="strong_wolfe"), max_steps=100, check_every=5,
        descent_steps=0,
    )  # fmt: skip
    assert found.status == "UNDECIDED"
    assert found.reason.startswith("the criterion was met, but something else stands in the way at")
    assert "softplus at '1' is not its ideal function" in found.reason
    assert min(check.missing_factor for check in found.checks) < 1.0
    assert found.steps < 100
    assert len(calls) < 12
