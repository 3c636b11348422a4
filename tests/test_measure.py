"""`measure` against dense references and closed forms."""

from __future__ import annotations

import copy
import io
import json
import math

import numpy as np
import pytest
import torch
from rich.console import Console
from torch import Tensor, nn

from talweg._errors import InputError
from talweg._measure import measure


def problem(k: int = 2, n: int = 6, width: int = 9) -> tuple[nn.Sequential, Tensor, Tensor]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, width), nn.Tanh(), nn.Linear(width, k)).double()
    return model, torch.randn(n, 4).double(), torch.randn(n, k).double()


def reference_hessian(
    model: nn.Module, X: Tensor, y: Tensor, scale: float
) -> tuple[Tensor, Tensor]:
    """Gradient and dense Hessian of ``scale |F - y|^2`` in the flat parameters."""
    names = [name for name, _ in model.named_parameters()]
    shapes = [p.shape for p in model.parameters()]
    flat = torch.cat([p.detach().flatten() for p in model.parameters()])

    def f(w: Tensor) -> Tensor:
        parts = w.split([s.numel() for s in shapes])
        values = {a: b.view(s) for a, b, s in zip(names, parts, shapes, strict=True)}
        return scale * (torch.func.functional_call(model, values, (X,)) - y).square().sum()

    return torch.func.grad(f)(flat), torch.func.jacrev(torch.func.jacrev(f))(flat)


@pytest.mark.parametrize(("loss", "scale"), [("mse", 1 / 12), ("sse", 1.0), ("half_sse", 0.5)])
def test_numbers_are_those_of_dense_derivatives(loss: str, scale: float) -> None:
    model, X, y = problem()
    m = measure(model, (X, y), loss=loss)
    gradient, hessian = reference_hessian(model, X, y, scale)
    f = scale * (model(X) - y).square().sum().item()
    assert m.loss == pytest.approx(f)
    assert m.gradient_norm == pytest.approx(gradient.norm().item())
    assert m.pl_ratio == pytest.approx(gradient.norm().item() ** 2 / (2 * f))
    sharpness = torch.linalg.eigvalsh(hessian)[-1].item()
    assert m.sharpness == pytest.approx(sharpness, rel=1e-3)  # ten times Lanczos' tolerance
    assert m.step_limit == pytest.approx(2 / sharpness, rel=1e-3)
    assert (m.samples, m.outputs, m.equations, m.parameters) == (6, 2, 12, 65)
    assert m.regime == "overparameterised"


def test_pl_ratio_lies_between_the_kernel_extremes() -> None:
    model, X, y = problem()
    m = measure(model, (X, y), loss="half_sse")
    assert m.kernel_smallest is not None
    assert m.kernel_largest is not None
    assert m.pl_ratio is not None
    assert 0 < m.kernel_smallest <= m.pl_ratio <= m.kernel_largest
    assert m.kernel_condition == pytest.approx(m.kernel_largest / m.kernel_smallest)


def test_lanczos_agrees_with_all_eigenvalues() -> None:
    model, X, y = problem(n=40, width=60)
    dense = measure(model, (X, y))
    lanczos = measure(model, (X, y), dense_limit=10, tolerance=1e-8)
    assert (dense.kernel_method, lanczos.kernel_method) == ("eigvalsh", "lanczos_approx")
    assert lanczos.kernel_largest == pytest.approx(dense.kernel_largest, rel=1e-7)
    assert dense.kernel_largest is not None
    assert lanczos.kernel_smallest == pytest.approx(dense.kernel_smallest, rel=1e-6)
    assert measure(model, (X, y)) == dense


def test_underparameterised_kernels_have_no_finite_condition() -> None:
    torch.manual_seed(0)
    m = measure(nn.Linear(3, 1), (torch.randn(9, 3), torch.randn(9, 1)))
    assert m.regime == "underparameterised"
    assert m.kernel_condition == math.inf
    assert m.to_dict()["kernel_condition"] == "inf"
    assert m.sharpness is not None
    assert m.sharpness > 0


def test_any_module_can_be_measured() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU(), nn.Flatten(), nn.Linear(8, 3)
    ).eval()
    m = measure(model, (torch.randn(4, 1, 4, 4), torch.randn(4, 3)))
    assert m.kernel_smallest is not None
    assert m.dtype == "float64"
    assert (
        measure(model, (torch.randn(4, 1, 4, 4), torch.randn(4, 3)), dtype=None).dtype == "float32"
    )


def test_a_loss_at_its_infimum_has_no_pl_ratio() -> None:
    model, X, _ = problem()
    m = measure(model, (X, model(X).detach()))
    assert m.pl_ratio is None
    assert m.loss == 0.0


def test_nothing_is_left_behind() -> None:
    model, X, y = problem()
    before = copy.deepcopy(model.state_dict())
    random, numpy_random = torch.get_rng_state(), np.random.get_state()[1].copy()
    measure(model, (X, y))
    assert all(p.grad is None and p.requires_grad for p in model.parameters())
    assert all(torch.equal(v, before[key]) for key, v in model.state_dict().items())
    assert all(m.training for m in model.modules())
    assert torch.equal(random, torch.get_rng_state())
    assert np.array_equal(numpy_random, np.random.get_state()[1])


def test_the_report_is_json_and_says_that_it_is_no_proof() -> None:
    model, X, y = problem()
    m = measure(model, (X, y))
    json.dumps(m.to_dict(), allow_nan=False)
    console = Console(width=120, file=io.StringIO())
    console.print(m)
    assert "not a proof" in console.file.getvalue()  # type: ignore[attr-defined]
    assert "not a proof" in str(m)
    assert "not a proof" in m._repr_html_()
    assert "PROVED" not in str(m)
    assert m.__rich__().row_count == 10


def test_misuse_is_refused() -> None:
    model, X, y = problem()
    cases = [
        ("loss of measure", lambda: measure(model, (X, y), loss="l1")),
        ("data of measure.*ndarray", lambda: measure(model, (X.numpy(), y.numpy()))),
        ("data of measure.*got Tensor", lambda: measure(model, X)),
        ("y of measure", lambda: measure(model, (X, y[:, :1]))),
        ("y of measure", lambda: measure(model, (X, y * math.nan))),
        ("X of measure", lambda: measure(model, (X * math.inf, y))),
        ("infimum of measure", lambda: measure(model, (X, y), infimum=1e9)),
        (
            "model of measure",
            lambda: measure(nn.Sequential(model, nn.BatchNorm1d(2)).double(), (X, y)),
        ),
        ("model of measure", lambda: measure(copy.deepcopy(model).requires_grad_(False), (X, y))),
    ]
    for message, call in cases:
        with pytest.raises(InputError, match=message):
            call()


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("loss", ["cross_entropy", "cross_entropy_sum"])
def test_a_cross_entropy_is_that_of_dense_derivatives(loss: str, smoothing: float) -> None:
    """Gradient and Hessian by torch.func; the kernel on zero-sum vectors by a projector."""
    model, X, _ = problem(k=3)
    y = torch.arange(6) % 3
    m = measure(model, (X, y), loss=loss, label_smoothing=smoothing)
    names = [name for name, _ in model.named_parameters()]
    shapes = [p.shape for p in model.parameters()]
    flat = torch.cat([p.detach().flatten() for p in model.parameters()])
    reduction = "mean" if loss == "cross_entropy" else "sum"

    def outputs(w: Tensor) -> Tensor:
        parts = w.split([s.numel() for s in shapes])
        values = {a: b.view(s) for a, b, s in zip(names, parts, shapes, strict=True)}
        return torch.func.functional_call(model, values, (X,))

    def f(w: Tensor) -> Tensor:
        return nn.functional.cross_entropy(
            outputs(w), y, reduction=reduction, label_smoothing=smoothing
        )

    gradient = torch.func.grad(f)(flat)
    hessian = torch.func.jacrev(torch.func.jacrev(f))(flat)
    q = [1 - smoothing + smoothing / 3, smoothing / 3, smoothing / 3]
    entropy = -sum(s * math.log(s) for s in q if s > 0) * (1 if reduction == "mean" else 6)
    assert m.loss == pytest.approx(f(flat).item())
    assert m.infimum == pytest.approx(entropy)
    assert m.gradient_norm == pytest.approx(gradient.norm().item())
    assert m.pl_ratio == pytest.approx(gradient.norm().item() ** 2 / (2 * (m.loss - entropy)))
    assert m.sharpness == pytest.approx(torch.linalg.eigvalsh(hessian)[-1].item(), rel=1e-3)
    jacobian = torch.func.jacrev(outputs)(flat).reshape(18, -1)
    centre = torch.eye(3).double() - 1 / 3
    centred = torch.block_diag(*[centre] * 6) @ jacobian
    values = torch.linalg.eigvalsh(centred @ centred.T)
    assert float(values[5]) < 1e-10 * float(values[-1])  # one zero for each sample
    assert m.kernel_largest == pytest.approx(float(values[-1]))
    assert m.kernel_smallest == pytest.approx(float(values[6]), rel=1e-6)
    assert (m.outputs, m.equations) == (3, 12)
    # |grad f|^2 >= lambda_min |r|^2 for the sum: what the kernel grants.
    scale = 1 if reduction == "sum" else 6
    assert m.kernel_smallest is not None
    assert (scale * m.gradient_norm) ** 2 >= m.kernel_smallest * m.residual_norm**2
    assert "softmax" in str(m)


def test_labels_that_do_not_fit_are_refused() -> None:
    model, X, y = problem()
    labels = torch.arange(6) % 2
    for bad in (y, labels + 1, labels - 100, labels[:, None], labels.double()):
        with pytest.raises(InputError, match="6 integer labels from 0 to k - 1"):
            measure(model, (X, bad), loss="cross_entropy")
    with pytest.raises(InputError, match="one-hot, or"):
        measure(model, (X, labels))
    with pytest.raises(InputError, match="label_smoothing of measure: a cross-entropy"):
        measure(model, (X, y), label_smoothing=0.1)
    with pytest.raises(InputError, match="label_smoothing of measure: a number from 0 to 1"):
        measure(model, (X, labels), loss="cross_entropy", label_smoothing=2.0)


def test_a_loss_at_the_entropy_of_its_labels_has_no_pl_ratio() -> None:
    model = nn.Linear(1, 2).double()
    with torch.no_grad():
        for p in model.parameters():
            p.zero_()
    m = measure(
        model, (torch.ones(2, 1).double(), torch.tensor([0, 1])), loss="cross_entropy",
        label_smoothing=1.0,
    )  # fmt: skip
    assert m.loss == pytest.approx(math.log(2))
    assert m.gradient_norm == pytest.approx(0.0, abs=1e-12)
