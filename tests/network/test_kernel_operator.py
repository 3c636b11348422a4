"""Matrix-free products and Lanczos estimates against the dense kernel."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.sparse.linalg import aslinearoperator
from torch import nn

from talweg._errors import InputError
from talweg.network import TangentKernelOperator, extreme_eigenvalues_approx, tangent_kernel


def problem() -> tuple[nn.Sequential, torch.Tensor]:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 3, 3), nn.GroupNorm(1, 3), nn.Tanh(), nn.Flatten(), nn.Linear(27, 2)
    )
    X = torch.randn(7, 1, 5, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    return model.double(), X


def dense(model: nn.Module, X: torch.Tensor) -> np.ndarray:
    kernel = tangent_kernel(model, X)
    rows = kernel.shape[0] * kernel.shape[1]
    return kernel.reshape(rows, rows).numpy()


@pytest.mark.parametrize("budget", [1, 150_000, 2**30])
def test_products_are_those_of_the_dense_kernel(budget: int) -> None:
    model, X = problem()
    operator = TangentKernelOperator(model, X, memory_budget=budget)
    K = dense(model, X)
    assert operator.shape == K.shape
    assert operator.dtype == np.float64
    vectors = np.random.default_rng(0).standard_normal((len(K), 3))
    np.testing.assert_allclose(operator @ vectors, K @ vectors, rtol=1e-11, atol=1e-11)
    np.testing.assert_allclose(operator.T @ vectors[:, 0], K @ vectors[:, 0], rtol=1e-11)
    assert aslinearoperator(operator) is operator


def test_float32_and_progress() -> None:
    model, X = problem()
    seen: list[tuple[int, int]] = []
    operator = TangentKernelOperator(
        model, X, dtype=torch.float32, memory_budget=100_000,
        progress=lambda done, of: seen.append((done, of)),
    )  # fmt: skip
    value = operator @ np.ones(14)
    assert value.dtype == np.float32
    np.testing.assert_allclose(value, dense(model, X) @ np.ones(14), rtol=1e-4)
    assert seen[-1] == (14, 14)
    assert len(seen) > 2
    assert seen == sorted(seen)


def test_extreme_eigenvalues() -> None:
    model, X = problem()
    expected = np.linalg.eigvalsh(dense(model, X))
    low, high = extreme_eigenvalues_approx(TangentKernelOperator(model, X), count=2)
    np.testing.assert_allclose(low, expected[:2], rtol=1e-5)
    np.testing.assert_allclose(high, expected[-2:], rtol=1e-5)


def test_nothing_is_left_behind() -> None:
    model, X = problem()
    state = torch.get_rng_state()
    TangentKernelOperator(model, X) @ np.ones(14)
    assert torch.equal(state, torch.get_rng_state())
    assert all(p.grad is None for p in model.parameters())


def test_misuse_is_refused() -> None:
    model, X = problem()
    random = nn.Sequential(model, nn.Dropout(0.5))
    operator = TangentKernelOperator(model, X)
    cases = [
        ("memory_budget", lambda: TangentKernelOperator(model, X, memory_budget=0)),
        ("dtype of the parameters", lambda: TangentKernelOperator(model, X.float())),
        ("Dropout at 1", lambda: TangentKernelOperator(random, X)),
        ("count", lambda: extreme_eigenvalues_approx(operator, count=7)),
        (
            "convergence",
            lambda: extreme_eigenvalues_approx(
                TangentKernelOperator(model, torch.randn(40, 1, 5, 5).double()),
                max_iterations=1,
                tolerance=1e-14,
            ),
        ),
    ]
    for message, call in cases:
        with pytest.raises(InputError, match=message):
            call()
