"""Where training stands, in floats: PL ratio, kernel spectrum, sharpness, regime.

With N = n k outputs, p trainable parameters, residual ``r = F(w) - y`` and loss f = c |r|^2
(c = 1/N for "mse", 1 for "sse", 1/2 for "half_sse"):

    PL ratio           |grad f|^2 / (2 (f - f*))                      f* = 0 unless stated otherwise
    kernel spectrum    extreme eigenvalues of K = J J^T, (N x N)
    sharpness          lambda_max of the Hessian of f
    step limit         2 / sharpness, above which plain gradient descent is locally unstable

No number here is a bound, and none may enter a certificate.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse.linalg import ArpackNoConvergence, LinearOperator, eigsh
from torch import Tensor, nn

from talweg._errors import InputError
from talweg._measurement import Measurement
from talweg.network._sample_jacobian import DEFAULT_MEMORY_BUDGET, SampleFunction
from talweg.network._tangent_kernel import tangent_kernel

LOSSES = ("mse", "sse", "half_sse")


def _described(data: object) -> str:
    if isinstance(data, tuple | list) and len(data) <= 4:
        return f"({', '.join(type(item).__name__ for item in data)})"
    return type(data).__name__


def measure(
    model: nn.Module,
    data: tuple[Tensor, Tensor],
    *,
    loss: str = "mse",
    infimum: float = 0.0,
    dtype: torch.dtype | None = torch.float64,
    dense_limit: int = 3000,
    memory_budget: int = DEFAULT_MEMORY_BUDGET,
    tolerance: float = 1e-4,
    seed: int = 0,
) -> Measurement:
    """Measure a model on its training set, in floating point.

    Source: the quantities of E5 at one point of a run; the kernel's spectrum as in liu2020.

    Args:
        model: Any module whose outputs for one sample depend on that sample only.
        data: Inputs ``(n, ...)`` and targets with as many entries as the outputs.
        loss: "mse" (mean over all N entries), "sse" (sum of squares) or "half_sse" (half of it).
        infimum: The f* that the PL ratio uses. 0 is always below a squared loss; where zero loss is
            out of reach the ratio with 0 understates the truth.
        dtype: Dtype to compute in, None for the model's. The default is float64, because a
            condition number above 1e7 cannot be seen in float32.
        dense_limit: Largest N for all eigenvalues (`eigvalsh`, some seconds at 3000 on two cores);
            above it Lanczos gives the extreme ones.
        memory_budget: Bytes of Jacobian rows held at once where the layers are not known.
        tolerance: Relative accuracy asked of Lanczos.
        seed: Seed of the start vectors; torch's and NumPy's global generators are not used.

    Returns:
        The measurement.

    Raises:
        InputError: unknown loss, shapes that do not match, non-finite data, a loss below `infimum`,
            no trainable parameter, or a module that mixes samples or draws random numbers.
    """
    if loss not in LOSSES:
        raise InputError(
            f"loss of measure: one of {', '.join(LOSSES)} is required; got {loss!r}; choose one "
            f"of them"
        )
    if not (
        isinstance(data, tuple | list)
        and len(data) == 2
        and all(isinstance(item, Tensor) for item in data)
    ):
        raise InputError(
            "data of measure: a pair (X, y) of tensors is required; got "
            f"{_described(data)}; convert arrays with torch.as_tensor"
        )
    X, y = data
    function = SampleFunction(model, dtype, "measure")
    inputs = function.inputs(X, "X")
    point = _Point(function, inputs, y, loss)
    f, gradient_norm = point.loss, point.gradient_norm
    if not math.isfinite(f) or f < infimum:
        raise InputError(
            f"infimum of measure: a finite loss of at least f* = {infimum:g} is required; the "
            f"loss is "
            f"{f:g}; pass an infimum below it, or repair the weights"
        )
    sharpness = point.sharpness_approx(tolerance, seed)
    N, p = point.residual.numel(), point.size
    kernel = tangent_kernel(model, X, dtype=dtype, memory_budget=memory_budget)
    # The order of rows does not change the spectrum: keep the kernel's own memory order.
    matrix = kernel.permute(1, 0, 3, 2).reshape(N, N)
    largest, smallest, method = _spectrum(matrix, dense_limit, tolerance, seed)
    resolution = N * torch.finfo(matrix.dtype).eps * max(largest or 0.0, 0.0)
    gap = f - infimum
    return Measurement(
        loss_name=loss,
        loss=f,
        infimum=infimum,
        gradient_norm=gradient_norm,
        pl_ratio=gradient_norm**2 / (2.0 * gap) if gap > 0 else None,
        residual_norm=point.residual.norm().item(),
        kernel_largest=largest,
        kernel_smallest=smallest,
        kernel_condition=_condition(largest, smallest, resolution, N, p),
        kernel_resolution=resolution,
        kernel_method=method,
        sharpness=sharpness,
        step_limit=2.0 / sharpness if sharpness is not None and sharpness > 0 else None,
        regime="overparameterised" if p >= N else "underparameterised",
        samples=len(X),
        outputs=N // len(X),
        equations=N,
        parameters=p,
        dtype=str(function.dtype).removeprefix("torch."),
    )


class _Point:
    """The loss at the current weights, with one graph kept for gradient and Hessian products."""

    def __init__(self, function: SampleFunction, X: Tensor, y: Tensor, loss: str) -> None:
        self._leaves = {n: t.clone().requires_grad_() for n, t in function.parameters.items()}
        with torch.enable_grad():
            outputs = function.outputs(self._leaves, X)
            n, k = outputs.shape
            if y.numel() != n * k or len(y) != n or not bool(torch.isfinite(y).all()):
                raise InputError(
                    f"y of measure: {n} rows of {k} finite targets are required; got shape "
                    f"{tuple(y.shape)}; reshape or clean the targets (one-hot for classes)"
                )
            residual = outputs - y.detach().reshape(n, k).to(outputs)
            scale = {"mse": 1.0 / residual.numel(), "sse": 1.0, "half_sse": 0.5}[loss]
            value = scale * residual.square().sum()
            gradients = torch.autograd.grad(
                value, list(self._leaves.values()), create_graph=True, materialize_grads=True
            )
            self._gradient = torch.cat([g.flatten() for g in gradients])  # (p,)
        self.residual = residual.detach()
        self.loss = value.item()
        self.gradient_norm = self._gradient.detach().norm().item()
        self.size = self._gradient.numel()

    def hessian_product(self, v: Tensor) -> Tensor:
        """``D^2 f(w) v``, ``(p,)``: a second backward pass through the kept graph."""
        if not self._gradient.requires_grad:  # f is affine in w
            return torch.zeros_like(v)
        products = torch.autograd.grad(
            self._gradient,
            list(self._leaves.values()),
            grad_outputs=v.reshape(-1).to(self._gradient),
            retain_graph=True,
            materialize_grads=True,
        )
        return torch.cat([h.flatten() for h in products])

    def sharpness_approx(self, tolerance: float, seed: int) -> float | None:
        """Largest eigenvalue of the Hessian, by Lanczos; None if that does not converge."""
        if self.size <= _DENSE_HESSIAN:
            basis = torch.eye(self.size, dtype=self._gradient.dtype, device=self._gradient.device)
            hessian = torch.stack([self.hessian_product(e) for e in basis])
            return float(torch.linalg.eigvalsh((hessian + hessian.T) / 2)[-1])

        def matvec(v: NDArray[Any]) -> NDArray[Any]:
            return _array(self.hessian_product(torch.from_numpy(v)))

        return _largest_eigenvalue_approx(matvec, self.size, self._gradient.dtype, tolerance, seed)


# Below this size a dense Hessian is cheaper than Lanczos, which also needs more dimensions than
# this.
_DENSE_HESSIAN = 32


def _spectrum(
    matrix: Tensor, dense_limit: int, tolerance: float, seed: int
) -> tuple[float | None, float | None, str]:
    """Largest and smallest eigenvalue of a symmetric matrix, and how they were found."""
    N = len(matrix)
    if dense_limit >= N or N <= _DENSE_HESSIAN:
        values = torch.linalg.eigvalsh(matrix)
        return values[-1].item(), values[0].item(), "eigvalsh"

    def product(v: NDArray[Any]) -> NDArray[Any]:
        return _array(matrix @ torch.from_numpy(v).to(matrix).reshape(-1))

    def inverse_product(v: NDArray[Any]) -> NDArray[Any]:
        return _array(torch.cholesky_solve(torch.from_numpy(v).to(matrix).reshape(-1, 1), factor))

    largest = _largest_eigenvalue_approx(product, N, matrix.dtype, tolerance, seed)
    # Lanczos on K misses a small eigenvalue beside a large one; on the inverse it does not.
    factor, failed = torch.linalg.cholesky_ex(matrix)
    if failed:
        return largest, None, "lanczos_approx"  # the smallest is lost in rounding
    inverse = _largest_eigenvalue_approx(inverse_product, N, matrix.dtype, tolerance, seed)
    return largest, None if inverse is None else 1.0 / inverse, "lanczos_approx"


def _array(tensor: Tensor) -> NDArray[Any]:
    array: NDArray[Any] = tensor.reshape(-1).cpu().numpy()
    return array


def _largest_eigenvalue_approx(
    matvec: Callable[[NDArray[Any]], NDArray[Any]],
    size: int,
    dtype: torch.dtype,
    tolerance: float,
    seed: int,
) -> float | None:
    """Largest eigenvalue by Lanczos (ARPACK) from a seeded start; None if not converged."""
    number = np.float32 if dtype == torch.float32 else np.float64
    operator = LinearOperator((size, size), matvec=matvec, dtype=number)
    start = np.random.default_rng(seed).standard_normal(size).astype(number)
    try:
        values = eigsh(
            operator, k=1, which="LA", v0=start, tol=tolerance, return_eigenvectors=False
        )
    except ArpackNoConvergence:
        return None
    return float(values[0])


def _condition(
    largest: float | None, smallest: float | None, resolution: float, N: int, p: int
) -> float | None:
    """``largest / smallest``; infinite if p < N or if the smallest is lost in rounding."""
    if p < N:
        return math.inf
    if largest is None or smallest is None:
        return None
    return largest / smallest if smallest > resolution else math.inf
