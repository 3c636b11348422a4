"""The tangent kernel of a few samples against dense references and closed forms."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import talweg
from talweg.monitor import _kernel
from talweg.monitor._kernel import look_at_kernel

Row = dict[str, Any]


def row_of(
    model: nn.Module, loss: Callable[[Tensor, Tensor], Tensor], X: Tensor, y: Tensor, f: float = 0.0
) -> Row:
    return look_at_kernel(model, lambda m, batch: loss(m(batch[0]), batch[1]), (X, y), len(X), f)


def reference_kernel(
    model: nn.Module, loss: Callable[[Tensor, Tensor], Tensor], X: Tensor, y: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """(K, whole tangent kernel, |a|^2), dense, one entry of the outputs at a time."""
    outputs = model(X)
    leaves = [p for p in model.parameters() if p.requires_grad]
    rows = [
        torch.cat([g.reshape(-1) for g in torch.autograd.grad(o, leaves, retain_graph=True)])
        for o in outputs.reshape(-1)
    ]
    J = torch.stack(rows)  # (n k, p)
    (pull,) = torch.autograd.grad(loss(outputs, y), outputs)
    P = torch.block_diag(*[(r / r.norm()).reshape(1, -1) for r in pull.reshape(len(X), -1)])
    whole = J @ J.T
    return P @ whole @ P.T, whole, pull.square().sum()


@pytest.mark.parametrize("outputs", [1, 3])
def test_against_the_dense_kernel(outputs: int) -> None:
    torch.manual_seed(outputs)
    model = nn.Sequential(nn.Linear(4, 9), nn.Tanh(), nn.Linear(9, outputs)).double()
    X, y = torch.randn(6, 4).double(), torch.randn(6, outputs).double()
    row = row_of(model, F.mse_loss, X, y)
    kernel, whole, _ = reference_kernel(model, F.mse_loss, X, y)
    values, all_values = torch.linalg.eigvalsh(kernel), torch.linalg.eigvalsh(whole)
    assert row["kernel_samples"] == 6
    assert row["kernel_max"] == pytest.approx(float(values[-1]), rel=1e-10)
    assert row["kernel_min"] == pytest.approx(float(values[0]), rel=1e-8)
    assert row["kernel_condition"] == pytest.approx(float(values[-1] / values[0]), rel=1e-8)
    rank = float(values.sum() ** 2 / values.square().sum())
    assert row["kernel_rank"] == pytest.approx(rank, rel=1e-10)
    # Interlacing: inside the spectrum of the whole kernel, which talweg.measure gives as well.
    measured = talweg.measure(model, (X, y))
    assert measured.kernel_largest == pytest.approx(float(all_values[-1]), rel=1e-8)
    assert float(all_values[0]) <= row["kernel_min"] * (1 + 1e-9)
    assert row["kernel_max"] <= float(all_values[-1]) * (1 + 1e-9)
    if outputs == 1:
        assert row["kernel_max"] == pytest.approx(float(all_values[-1]), rel=1e-8)
        assert row["kernel_min"] == pytest.approx(float(all_values[0]), rel=1e-8)


@pytest.mark.parametrize("loss", [F.mse_loss, lambda o, y: F.cross_entropy(o, y.argmax(1))])
def test_the_kernel_grants_no_more_than_the_pl_ratio(loss: Callable[..., Tensor]) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 9), nn.Tanh(), nn.Linear(9, 3)).double()
    X, y = torch.randn(5, 4).double(), torch.randn(5, 3).double()
    row = row_of(model, loss, X, y)
    kernel, _, pull = reference_kernel(model, loss, X, y)
    f = loss(model(X), y)
    gradient = torch.autograd.grad(f, list(model.parameters()))
    f = f.detach()
    ratio = sum(float(g.square().sum()) for g in gradient) / (2 * float(f))
    smallest = float(torch.linalg.eigvalsh(kernel)[0])
    assert row["kernel_pl"] == pytest.approx(smallest * float(pull) / (2 * float(f)), rel=1e-8)
    assert row["kernel_pl"] <= ratio <= row["kernel_pl"] * row["kernel_condition"] * (1 + 1e-9)


def test_linear_regression_in_closed_form() -> None:
    """F = X w: K = X X^T, and with f = |F - y|^2 / n the PL constant is 2 lambda_min / n."""
    torch.manual_seed(0)
    singular = torch.tensor([3.0, 2.0, 1.0, 0.5], dtype=torch.float64)
    U, V = (torch.linalg.qr(torch.randn(n, 4).double())[0] for n in (4, 7))
    X = U @ torch.diag(singular) @ V.T  # (4, 7)
    model = nn.Linear(7, 1, bias=False).double()
    row = row_of(model, F.mse_loss, X, torch.randn(4, 1).double())
    assert row["kernel_max"] == pytest.approx(9.0)
    assert row["kernel_min"] == pytest.approx(0.25)
    assert row["kernel_condition"] == pytest.approx(36.0)
    assert row["kernel_rank"] == pytest.approx(14.25**2 / (81 + 16 + 1 + 0.0625))
    assert row["kernel_pl"] == pytest.approx(2 * 0.25 / 4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_what_cannot_be_told_from_zero_is_no_condition_number(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    model = nn.Linear(3, 1, bias=False).to(dtype)  # three parameters, five samples
    row = row_of(model, F.mse_loss, torch.randn(5, 3).to(dtype), torch.randn(5, 1).to(dtype))
    assert row["kernel_min"] <= row["kernel_resolution"]
    assert row["kernel_condition"] == math.inf
    assert row["kernel_resolution"] == pytest.approx(5 * torch.finfo(dtype).eps * row["kernel_max"])
    assert "kernel_pl" not in row


def test_samples_without_residual_are_left_out() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 1)).double()
    X = torch.randn(5, 3).double()
    y = model(X).detach()
    assert row_of(model, F.mse_loss, X, y) == {"kernel_samples": 0}
    y[:2] += 1.0
    row = row_of(model, F.mse_loss, X, y)
    kernel, _, _ = reference_kernel(model, F.mse_loss, X[:2], y[:2])
    assert row["kernel_samples"] == 2
    assert row["kernel_max"] == pytest.approx(float(torch.linalg.eigvalsh(kernel)[-1]), rel=1e-10)


class WithLogits(nn.Module):
    """Outputs in the form of transformers: a dict with a loss, logits and hidden states."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor, labels: Tensor) -> dict[str, Tensor]:
        hidden = self.inner[:-1](x)  # type: ignore[index]
        logits = self.inner[-1](hidden)  # type: ignore[index]
        return {"loss": F.cross_entropy(logits, labels), "logits": logits, "hidden": hidden}


def test_outputs_in_a_dict() -> None:
    torch.manual_seed(0)
    inner = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 4))
    batch = {"x": torch.randn(6, 3), "labels": torch.randint(4, (6,))}
    row = look_at_kernel(WithLogits(inner), lambda m, b: m(**b)["loss"], batch, 6, 0.0)
    assert row == row_of(inner, F.cross_entropy, batch["x"], batch["labels"])
    assert row["kernel_samples"] == 6


class Converted(WithLogits):
    """Logits in another precision than that of the loss."""

    def forward(self, x: Tensor, labels: Tensor) -> dict[str, Tensor]:
        outputs = super().forward(x, labels)
        return outputs | {"logits": outputs["logits"].double()}


def test_outputs_that_were_converted_after_the_loss() -> None:
    torch.manual_seed(0)
    inner = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 4))
    batch = {"x": torch.randn(6, 3), "labels": torch.randint(4, (6,))}
    row = look_at_kernel(Converted(inner), lambda m, b: m(**b)["loss"], batch, 6, 0.0)
    expected = row_of(inner, F.cross_entropy, batch["x"], batch["labels"])
    assert row == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(
    "loss",
    [
        lambda m, x: m[0](x).mean(),  # the model itself is not called
        lambda m, x: m(x).mean() + m(2 * x).mean(),  # twice
        lambda m, x: m(x.repeat(2, 1)).mean(),  # other rows than samples
        lambda m, x: sum(p.square().sum() for p in m.parameters()) + 0 * m(x).detach().mean(),
    ],
)
def test_losses_that_are_no_function_of_outputs_by_sample(loss: Any) -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Tanh())
    row = look_at_kernel(model, loss, torch.randn(4, 2), 4, 0.0)
    assert row == {"kernel_samples": 0}
    assert not model._forward_hooks


def test_fewer_samples_where_memory_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    model = nn.Linear(3, 1, bias=False)
    monkeypatch.setattr(_kernel, "MOST_BYTES", 3 * 3 * 4)
    row = row_of(model, F.mse_loss, torch.eye(3).repeat(2, 1), torch.ones(6, 1))
    assert row["kernel_samples"] == 3


def test_a_run_that_diverged_has_no_spectrum() -> None:
    model = nn.Linear(3, 1)
    with torch.no_grad():
        model.weight.fill_(math.inf)
    row = row_of(model, F.mse_loss, torch.ones(4, 3), torch.zeros(4, 1))
    assert row == {"kernel_samples": 4}
    model = nn.Sequential(nn.Linear(3, 1), nn.Linear(1, 1))
    with torch.no_grad():
        model[0].weight.fill_(1e30)
        model[1].weight.fill_(1e30)
    row = look_at_kernel(model, lambda m, x: m(x).tanh().mean(), 1e20 * torch.eye(3), 3, 0.0)
    assert not any(math.isfinite(row.get(f"kernel_{key}", math.nan)) for key in ("max", "min"))


def test_batch_normalisation_is_the_map_of_its_batch() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 6), nn.BatchNorm1d(6), nn.Tanh(), nn.Linear(6, 1)).double()
    X, y = torch.randn(6, 3).double(), torch.randn(6, 1).double()
    before = {name: b.clone() for name, b in model.named_buffers()}
    row = row_of(model, F.mse_loss, X, y)
    assert all(torch.equal(b, before[name]) for name, b in model.named_buffers())
    values = torch.linalg.eigvalsh(reference_kernel(model, F.mse_loss, X, y)[0])
    assert row["kernel_max"] == pytest.approx(float(values[-1]), rel=1e-9)


def test_the_monitor_looks_at_it_when_it_is_due() -> None:
    model = nn.Linear(3, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    every = {"gradient": 0, "curvature": 0, "units": 0, "updates": 0, "kernel": 2}
    with talweg.Monitor(model, optimizer, F.mse_loss, every=every, kernel_samples=5) as m:
        for _ in range(4):
            m.step((torch.randn(8, 3), torch.randn(8, 2)))
    assert [(row["step"], row["kernel_samples"]) for row in m.rows] == [(0, 5), (2, 5)]
    with pytest.raises(talweg.InputError, match="kernel_samples of Monitor"):
        talweg.Monitor(model, optimizer, F.mse_loss, kernel_samples=1)
