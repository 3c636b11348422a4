"""The damped Gauss-Newton system in function space, (K + lambda I) x = r with K = J J^T, in floats.

For one loop of Levenberg-Marquardt steps (`_polish.py`) there are several ways to solve it. Here is
the one that forms K and factors it at every step and for every damping, exact, n^3 / 3; conjugate
gradients are in `_preconditioned_system.py`, a cluster's tiles in `_cluster_system.py`.

With P centring the outputs of each sample, P K P + c (I - P) stands for K where only differences
between outputs matter. Nothing here is a bound.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor
from torch.func import vjp

from talweg.network import FlatFunction, tangent_kernel_of
from talweg.verified import cholesky_in_place


class DampedSystem(Protocol):
    """K at the weights it was last moved to."""

    @property
    def mean(self) -> float:
        """Mean eigenvalue of K."""
        ...

    def move_to(self, w: Tensor) -> None:
        """Linearise at the weights ``w`` ``(p,)``."""
        ...

    def smallest_exceeds(self, threshold: float) -> bool:
        """Whether ``lambda_min(K)`` looks larger."""
        ...

    def find_smallest(self) -> float | None:
        """``lambda_min(K)``, estimated from above; None where nothing was found."""
        ...

    def release(self) -> None:
        """Give the memory of factors back; they are made again when they are needed."""
        ...

    def step(self, residual: Tensor, damping: float) -> Tensor | None:
        """``J^T (K + lambda I)^{-1} r``, ``(p,)``; None where no solution was found."""
        ...


class FactoredSystem:
    """K in float64, factored anew for each damping.

    Args:
        function: Outputs of the rows.
        centred: Whether only differences between the outputs of a sample matter.
    """

    def __init__(self, function: FlatFunction, *, centred: bool) -> None:
        self._function = function
        self._centred = centred
        self._kernel = torch.empty(0, 0)
        self._buffer = torch.empty(0, 0)

    @property
    def mean(self) -> float:
        """Mean eigenvalue."""
        return float(self._kernel.diagonal().mean())

    def move_to(self, w: Tensor) -> None:
        """Form the kernel.

        Args:
            w: ``(p,)``.
        """
        self._kernel = kernel_at(self._function, w, torch.float64, centred=self._centred)
        self._pullback = vjp(self._function, w)[1]

    def smallest_exceeds(self, threshold: float) -> bool:
        """By a Cholesky factorisation.

        Args:
            threshold: Finite.
        """
        return self._factor(-threshold) is not None

    def find_smallest(self) -> float | None:
        """By LAPACK."""
        try:
            return float(torch.linalg.eigvalsh(self._kernel)[0])
        except RuntimeError:
            return None

    def release(self) -> None:
        """Drop the buffer, not the kernel."""
        self._buffer = torch.empty(0, 0)

    def step(self, residual: Tensor, damping: float) -> Tensor | None:
        """Two triangular solves.

        Args:
            residual: ``(n, k)``.
            damping: > 0.
        """
        factor = self._factor(damping)
        if factor is None:
            return None
        x = torch.cholesky_solve(residual.reshape(-1, 1), factor).reshape(residual.shape)
        step: Tensor = self._pullback(x)[0]
        return step

    def _factor(self, shift: float) -> Tensor | None:
        if self._buffer.shape != self._kernel.shape:
            self._buffer = torch.empty_like(self._kernel, memory_format=torch.contiguous_format)
        self._buffer.copy_(self._kernel)
        return cholesky_in_place(self._buffer, shift)


def kernel_at(function: FlatFunction, w: Tensor, dtype: torch.dtype, *, centred: bool) -> Tensor:
    """Tangent kernel ``(N, N)`` of the rows scaled as in the function, contiguous.

    Args:
        function: Outputs of the rows.
        w: ``(p,)``.
        dtype: To compute in.
        centred: Whether it is projected, see `centred_kernel`.
    """
    if not function.network.is_chain:
        jacobian = function.jacobian(w).to(dtype)
        kernel = jacobian @ jacobian.T
        return centred_kernel(kernel, function.network.output_dim) if centred else kernel
    kernel = tangent_kernel_of(function.network_at(w), function.inputs, dtype=dtype)
    n, k = kernel.shape[:2]
    flat = kernel.reshape(n * k, n * k).contiguous()
    if function.root is not None and bool((function.root != 1.0).any()):
        scale = function.root.to(dtype).reshape(-1).repeat_interleave(k)
        flat.mul_(scale).mul_(scale.reshape(-1, 1))
    return centred_kernel(flat, k) if centred else flat


def centred_rows(outputs: Tensor) -> Tensor:
    """The outputs of each sample minus their mean.

    Args:
        outputs: ``(n, k)``.
    """
    return outputs - outputs.mean(dim=1, keepdim=True)


def centred_kernel(kernel: Tensor, k: int) -> Tensor:
    """``P K P + c (I - P)``, P subtracting the mean over the k outputs of each sample.

    c is the mean diagonal entry of P K P: the added part decides no extreme eigenvalue.

    Args:
        kernel: ``(N, N)``, N = n k.
        k: Outputs.
    """
    N = len(kernel)
    blocks = kernel.reshape(N // k, k, N // k, k)
    blocks = blocks - blocks.mean(dim=1, keepdim=True)
    blocks = blocks - blocks.mean(dim=3, keepdim=True)
    c = blocks.reshape(N, N).diagonal().mean()
    sample = torch.arange(N // k, device=kernel.device)
    blocks[sample, :, sample, :] += c / k
    return blocks.reshape(N, N)
