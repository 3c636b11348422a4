"""The damped Gauss-Newton system with kernel and factor on a cluster, in floats.

The ways of `_damped_system.py` and `_preconditioned_system.py`. What is on the cluster is what
grows with N^2: the kernel in tiles, its factor. Outputs and products with the Jacobian and its
transpose stay here; they grow with n p. Nothing here is a bound.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.func import vjp

from talweg.certificate._preconditioned_system import PreconditionedSystem
from talweg.cluster import Cluster, TiledFactor, TiledKernel
from talweg.network import FlatFunction, kernel_terms_approx


class ClusterFactoredSystem:
    """K in float64 tiles, factored anew for each damping.

    Args:
        cluster: Where.
        function: Outputs of the rows, a chain.
        centred: Whether only differences between the outputs of a sample matter.
    """

    def __init__(self, cluster: Cluster, function: FlatFunction, *, centred: bool) -> None:
        self._cluster = cluster
        self._function = function
        self._centred = centred
        self._kernel: TiledKernel | None = None
        self._mean = float("nan")

    @property
    def mean(self) -> float:
        """Mean eigenvalue."""
        return self._mean

    def move_to(self, w: Tensor) -> None:
        """Send the factors of the kernel.

        Args:
            w: ``(p,)``.
        """
        self._kernel = _tiled(self._cluster, self._function, w, torch.float64, self._centred)
        self._mean = float(self._kernel.diagonal().mean())
        self._pullback = vjp(self._function, w)[1]

    def smallest_exceeds(self, threshold: float) -> bool:
        """By a Cholesky factorisation, unless the threshold is above the mean.

        Args:
            threshold: Finite.
        """
        return threshold < self._mean and self._factor(-threshold) is not None

    def find_smallest(self) -> float | None:
        """None: no cheaper than the bound."""
        return None

    def release(self) -> None:
        """Nothing: a factor lives no longer than the call that needs it."""

    def step(self, residual: Tensor, damping: float) -> Tensor | None:
        """Two triangular solves.

        Args:
            residual: ``(n, k)``.
            damping: > 0.
        """
        factor = self._factor(damping)
        if factor is None:
            return None
        x = factor.solve(residual.reshape(-1, 1)).reshape(residual.shape)
        step: Tensor = self._pullback(x)[0]
        return step

    def _factor(self, shift: float) -> TiledFactor | None:
        if self._kernel is None:
            raise RuntimeError("a system was asked before it was moved to weights; please report")
        return self._kernel.factor(shift)


class ClusterPreconditionedSystem(PreconditionedSystem):
    """K through products made here, with a float32 factor in tiles.

    Args:
        cluster: Where.
        function: Outputs of the rows, a chain on the CPU.
        centred: Whether only differences between the outputs of a sample matter.
    """

    def __init__(self, cluster: Cluster, function: FlatFunction, *, centred: bool) -> None:
        super().__init__(function, centred=centred)
        self._cluster = cluster

    def kernel_here(self, w: Tensor) -> TiledKernel:
        """The kernel in float32 tiles.

        Args:
            w: ``(p,)``.
        """
        return _tiled(self._cluster, self._function, w, torch.float32, self._centred)


def _tiled(
    cluster: Cluster, function: FlatFunction, w: Tensor, dtype: torch.dtype, centred: bool
) -> TiledKernel:
    terms = kernel_terms_approx(
        function.network_at(w), function.inputs, function.root, dtype, centred=centred
    )
    return TiledKernel(cluster, terms)
