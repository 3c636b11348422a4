"""Where training stands, in floats: PL ratio, kernel spectrum, sharpness, regime.

With N = n k outputs, p trainable parameters, residual r and loss f (`talweg._output_loss`):

    PL ratio           |grad f|^2 / (2 (f - f*))           f* = 0, or the entropy of smoothed labels
    kernel spectrum    extreme eigenvalues of K = J J^T, (N x N); for a cross-entropy on vectors
                       that sum to zero in each sample, N = n (k - 1)
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
from talweg._output_loss import output_loss, require_loss
from talweg.network._sample_jacobian import DEFAULT_MEMORY_BUDGET, SampleFunction
from talweg.network._tangent_kernel import tangent_kernel


def _described(data: object) -> str:
    if isinstance(data, tuple | list) and len(data) <= 4:
        return f"({', '.join(type(item).__name__ for item in data)})"
    return type(data).__name__


def measure(
    model: nn.Module,
    data: tuple[Tensor, Tensor],
    *,
    loss: str = "mse",
    label_smoothing: float = 0.0,
    infimum: float | None = None,
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
        data: Inputs ``(n, ...)`` and targets with as many entries as the outputs; for a
            cross-entropy labels ``(n,)`` from 0 to k - 1.
        loss: "mse" (mean over all N entries), "sse" (sum of squares), "half_sse" (half of it),
            "cross_entropy" (softmax, mean over the samples) or "cross_entropy_sum".
        label_smoothing: Of a cross-entropy, as in `torch.nn.CrossEntropyLoss`.
        infimum: The f* that the PL ratio uses. None is 0, and for smoothed labels their entropy;
            where that is out of reach the ratio understates the truth.
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
    require_loss(loss, label_smoothing)
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
    point = _Point(function, inputs, y, loss, label_smoothing)
    f, gradient_norm = point.loss, point.gradient_norm
    if infimum is None:
        infimum = min(point.infimum, f) if math.isfinite(f) else point.infimum  # f: rounding
    if not math.isfinite(f) or f < infimum:
        raise InputError(
            f"infimum of measure: a finite loss of at least f* = {infimum:g} is required; the "
            f"loss is "
            f"{f:g}; pass an infimum below it, or repair the weights"
        )
    sharpness = point.sharpness_approx(tolerance, seed)
    p = point.size
    kernel = tangent_kernel(model, X, dtype=dtype, memory_budget=memory_budget)  # (n, k, n, k)
    if point.basis is not None:
        basis = point.basis.to(kernel)  # (k, k - 1)
        kernel = torch.einsum("iajb,ac,bd->icjd", kernel, basis, basis)
    N = kernel.shape[0] * kernel.shape[1]
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
        outputs=point.residual.shape[1],
        equations=N,
        parameters=p,
        dtype=str(function.dtype).removeprefix("torch."),
    )


class _Point:
    """The loss at the current weights, with one graph kept for gradient and Hessian products."""

    def __init__(
        self, function: SampleFunction, X: Tensor, y: Tensor, loss: str, label_smoothing: float
    ) -> None:
        self._leaves = {n: t.clone().requires_grad_() for n, t in function.parameters.items()}
        with torch.enable_grad():
            outputs = function.outputs(self._leaves, X)
            at = output_loss(outputs, y, loss, label_smoothing)
            gradients = torch.autograd.grad(
                at.value, list(self._leaves.values()), create_graph=True, materialize_grads=True
            )
            self._gradient = torch.cat([g.flatten() for g in gradients])  # (p,)
        self.residual, self.infimum, self.basis = at.residual, at.infimum, at.basis
        self.loss = at.value.item()
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
