"""What loss functions are: a mean of parts, whatever weights labels have, or refused."""

from __future__ import annotations

import functools
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import talweg


def network(outputs: int = 3) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, outputs)).double()


def data(samples: int = 24) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    X = torch.randn(samples, 4, generator=generator, dtype=torch.float64)
    return X, torch.randint(3, (samples,), generator=generator)


def looked(loss_fn: Callable[..., Tensor], X: Tensor, y: Tensor) -> dict[str, float]:
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with talweg.Monitor(model, optimizer, loss_fn, every={"gradient": 1}) as m:
        row = m.step((X, y))
    assert row is not None
    return row


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("weights", [None, [1.0, 10.0, 0.1]])
@pytest.mark.parametrize("ignored", [0, 14])
def test_parts_have_the_loss_and_the_gradient_of_the_batch(
    smoothing: float, weights: list[float] | None, ignored: int
) -> None:
    """Two of four parts may hold ignored labels alone: their loss by themselves is undefined."""
    X, y = data()
    y[:ignored] = -100
    weight = None if weights is None else torch.tensor(weights, dtype=torch.float64)
    loss_fn = nn.CrossEntropyLoss(weight=weight, label_smoothing=smoothing)
    row = looked(loss_fn, X, y)
    model = network()
    loss = loss_fn(model(X), y)
    gradient = torch.autograd.grad(loss, list(model.parameters()))
    square = sum(float(g.square().sum()) for g in gradient)
    assert row["loss"] == pytest.approx(float(loss.detach()), rel=1e-12)
    assert row["gradient_squared_batch"] == pytest.approx(square, rel=1e-10)


@pytest.mark.parametrize(
    ("loss_fn", "words"),
    [
        (nn.CrossEntropyLoss(reduction="sum"), "got CrossEntropyLoss with"),
        (nn.MSELoss(reduction="sum"), 'got MSELoss with reduction="sum"; take reduction="mean"'),
        (nn.MSELoss(reduction="none"), 'reduction="none"'),
        (functools.partial(F.mse_loss, reduction="sum"), "got mse_loss with"),
    ],
)
def test_a_sum_is_refused(loss_fn: Callable[..., Tensor], words: str) -> None:
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with pytest.raises(talweg.InputError, match=f"loss_fn of Monitor: a mean .*{words}"):
        talweg.Monitor(model, optimizer, loss_fn)
    with pytest.raises(talweg.InputError, match="loss_fn of diagnose: a mean over the batch"):
        talweg.diagnose(model, data(), loss_fn, optimizer)


@pytest.mark.parametrize("loss_fn", [nn.MSELoss(), F.mse_loss, nn.HuberLoss()])
def test_class_labels_are_no_numbers(loss_fn: Callable[..., Tensor]) -> None:
    X, y = data()
    words = (
        r"numbers of the outputs' shape, \(n, 3\), are required; got torch.int64 of shape "
        r"\(n\), which look like class labels; use nn.CrossEntropyLoss\(\), or one-hot targets: "
        r"F.one_hot\(y, 3\).float\(\)"
    )
    with pytest.raises(talweg.InputError, match=words):
        looked(loss_fn, X, y)
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with pytest.raises(talweg.InputError, match=words):
        talweg.diagnose(model, (X, y), loss_fn, optimizer, steps=10)


def test_one_hot_integers_are_numbers() -> None:
    X, y = data()
    row = looked(F.mse_loss, X, F.one_hot(y, 3))
    assert row["loss"] == pytest.approx(
        float(F.mse_loss(network()(X), F.one_hot(y, 3).double()).detach())
    )
