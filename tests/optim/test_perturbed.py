"""PerturbedGD: plain descent where it should be, one perturbation where not, and what it keeps."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest
import torch

from talweg._errors import InputError
from talweg.optim import PerturbedGD

OPTIONS: dict[str, Any] = {
    "lr": 0.5, "gradient_threshold": 1e-3, "radius": 1e-2, "interval": 5, "seed": 0,
}  # fmt: skip


def weights(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64, requires_grad=True)


def saddle(w: torch.Tensor) -> torch.Tensor:
    return 0.5 * w[0] ** 2 + torch.cos(w[1])


def advance(optimizer: torch.optim.Optimizer, w: torch.Tensor, calls: int) -> list[list[float]]:
    path = []
    for _ in range(calls):
        optimizer.zero_grad()
        saddle(w).backward()
        optimizer.step()
        path.append(w.detach().tolist())
    return path


def test_far_from_critical_points_it_is_gradient_descent() -> None:
    a, b = weights(1.0, 0.7), weights(1.0, 0.7)
    plain = advance(torch.optim.SGD([a], lr=0.5), a, 8)
    optimizer = PerturbedGD([b], **{**OPTIONS, "gradient_threshold": 1e-9})
    assert advance(optimizer, b, 8) == plain
    assert optimizer.perturbations == 0
    assert optimizer.param_groups[0]["effective_lr"] == 0.5


def test_it_leaves_the_saddle_that_plain_descent_stays_at() -> None:
    a, b = weights(1.0, 0.0), weights(1.0, 0.0)
    advance(torch.optim.SGD([a], lr=0.5), a, 80)
    assert a[1] == 0.0
    assert saddle(a.detach()) == pytest.approx(1.0)
    advance(PerturbedGD([b], **{**OPTIONS, "interval": 40}), b, 80)
    assert saddle(b.detach()) < -0.999


def test_a_perturbation_is_a_call_without_a_step_and_opens_an_episode() -> None:
    w = weights(0.0, 0.0)
    optimizer = PerturbedGD([w], **OPTIONS)
    advance(optimizer, w, 1)
    assert optimizer.perturbations == 1
    assert optimizer.param_groups[0]["effective_lr"] == 0.0
    assert 0.0 < float(w.detach().norm()) <= 1e-2
    before = w.detach().clone()
    advance(optimizer, w, 1)  # inside the episode: a plain step, however small the gradient
    assert optimizer.perturbations == 1
    assert optimizer.param_groups[0]["effective_lr"] == 0.5
    expected = before - 0.5 * torch.stack([before[0], -torch.sin(before[1])])
    assert torch.allclose(w.detach(), expected, rtol=1e-15)


def test_interval_counts_gradient_steps() -> None:
    w = weights(0.0)
    optimizer = PerturbedGD([w], **{**OPTIONS, "gradient_threshold": 1e9, "interval": 3})
    counts = []
    for _ in range(9):
        optimizer.zero_grad()
        (w**2).sum().backward()
        optimizer.step()
        counts.append(optimizer.perturbations)
    assert counts == [1, 1, 1, 1, 2, 2, 2, 2, 3]


def test_perturbations_are_uniform_in_the_ball_of_all_parameters_together() -> None:
    """Over two groups: |xi| <= r, E (|xi|/r)^d = 1/2, and no direction is preferred."""
    a, b = weights(0.0), weights(0.0, 0.0)
    optimizer = PerturbedGD([{"params": [a]}, {"params": [b], "lr": 0.1}], **OPTIONS)
    samples = []
    for _ in range(4000):
        with torch.no_grad():
            a.zero_()
            b.zero_()
        a.grad, b.grad = torch.zeros_like(a), torch.zeros_like(b)
        optimizer._remaining = 0
        optimizer.step()
        samples.append(torch.cat([a.detach(), b.detach()]))
    xi = torch.stack(samples) / 1e-2
    norms = xi.norm(dim=1)
    assert float(norms.max()) <= 1.0 + 1e-12
    assert float((norms**3).mean()) == pytest.approx(0.5, abs=0.025)
    assert xi.mean(dim=0).abs().max() < 0.04
    second = (xi.T @ xi) / len(xi)  # E xi xi^T = I / (d + 2)
    assert torch.allclose(second, torch.eye(3, dtype=torch.float64) / 5, atol=0.015)


def test_groups_keep_their_own_step() -> None:
    a, b = weights(1.0), weights(1.0)
    optimizer = PerturbedGD([{"params": [a]}, {"params": [b], "lr": 0.1}], **OPTIONS)
    (0.5 * a**2 + 0.5 * b**2).sum().backward()
    optimizer.step()
    assert a.item() == 0.5
    assert b.item() == 0.9
    assert [g["effective_lr"] for g in optimizer.param_groups] == [0.5, 0.1]
    optimizer.param_groups[0]["lr"] = 0.25  # as a scheduler does
    optimizer.step()
    assert a.item() == 0.25


def test_seeds_repeat_and_the_global_generator_is_left_alone() -> None:
    state = torch.get_rng_state()
    paths = []
    for seed in (1, 1, 2):
        w = weights(0.0, 0.0)
        paths.append(advance(PerturbedGD([w], **{**OPTIONS, "seed": seed}), w, 3))
    assert paths[0] == paths[1] != paths[2]
    assert torch.equal(state, torch.get_rng_state())
    own = torch.Generator().manual_seed(1)
    options = {k: v for k, v in OPTIONS.items() if k != "seed"}
    w = weights(0.0, 0.0)
    assert advance(PerturbedGD([w], **options, generator=own), w, 3) == paths[0]


def test_a_state_dict_takes_up_the_run(tmp_path: Any) -> None:
    """Saved inside an episode, to a file, and loaded by an optimiser with other settings."""
    w = weights(0.0, 0.0)
    optimizer = PerturbedGD([w], **{**OPTIONS, "gradient_threshold": 10.0})
    advance(optimizer, w, 4)
    torch.save((w.detach(), optimizer.state_dict()), tmp_path / "run.pt")
    expected = advance(optimizer, w, 20)
    values, state = torch.load(tmp_path / "run.pt", weights_only=True)
    v = values.clone().requires_grad_()
    other = PerturbedGD([v], **{**OPTIONS, "seed": 99, "interval": 77, "lr": 0.3})
    other.load_state_dict(state)
    assert advance(other, v, 20) == expected
    assert other.perturbations == optimizer.perturbations > 1


def test_a_copy_runs_on_its_own() -> None:
    w = weights(0.0, 0.0)
    optimizer = PerturbedGD([w], **{**OPTIONS, "gradient_threshold": 10.0})
    advance(optimizer, w, 3)
    twin, v = copy.deepcopy((optimizer, w))
    assert advance(optimizer, w, 12) == advance(twin, v, 12)


def test_closures_are_accepted_and_their_loss_returned() -> None:
    w = weights(1.0, 0.7)
    optimizer = PerturbedGD([w], **OPTIONS)

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = saddle(w)
        loss.backward()
        return loss

    loss = optimizer.step(closure)
    assert float(loss.detach()) == pytest.approx(0.5 + math.cos(0.7))
    w.grad = torch.ones_like(w)
    assert optimizer.step() is None


def test_parameters_without_a_gradient_are_not_moved() -> None:
    w, idle = weights(0.0, 0.0), weights(3.0)
    advance(PerturbedGD([w, idle], **OPTIONS), w, 3)
    assert idle.item() == 3.0


@pytest.mark.parametrize("name", ["lr", "gradient_threshold", "radius", "interval"])
@pytest.mark.parametrize("bad", [0, -1.0, math.nan, math.inf, "1", None, True])
def test_bad_options_are_refused(name: str, bad: Any) -> None:
    with pytest.raises(InputError, match=f"`{name}` of PerturbedGD"):
        PerturbedGD([weights(1.0)], **{**OPTIONS, name: bad})


def test_bad_seeds_groups_and_states_are_refused() -> None:
    w = weights(1.0)
    options = {k: v for k, v in OPTIONS.items() if k != "seed"}
    with pytest.raises(InputError, match="got neither"):
        PerturbedGD([w], **options)
    with pytest.raises(InputError, match="got both"):
        PerturbedGD([w], **OPTIONS, generator=torch.Generator())
    with pytest.raises(InputError, match="seed"):
        PerturbedGD([w], **options, seed=1.5)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="generator"):
        PerturbedGD([w], **options, generator=3)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="lr"):
        PerturbedGD([{"params": [w], "lr": -1.0}], **OPTIONS)
    optimizer = PerturbedGD([w], **OPTIONS)
    with pytest.raises(InputError, match="must have a gradient"):
        optimizer.step()
    with pytest.raises(InputError, match="perturbation"):
        optimizer.load_state_dict(torch.optim.SGD([w], lr=0.1).state_dict())


def test_sparse_gradients_are_refused() -> None:
    table = torch.nn.Embedding(4, 2, sparse=True)
    table(torch.tensor([1])).sum().backward()
    with pytest.raises(InputError, match="sparse"):
        PerturbedGD(table.parameters(), **OPTIONS).step()
