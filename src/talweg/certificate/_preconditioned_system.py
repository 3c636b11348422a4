"""The damped system by preconditioned conjugate gradients, without forming its kernel.

Products J v and J^T u stand in for K = J J^T, conjugate gradients solve (K + lambda I) x = r, and a
Cholesky factor in float32 of K at some earlier weights preconditions them; it is renewed when the
iterations grow many. Nothing here is a bound.
"""

from __future__ import annotations

import math
import warnings

import numpy as np
import torch
from scipy.sparse.linalg import LinearOperator, cg, lobpcg
from torch import Tensor

from talweg.certificate._damped_system import centred_rows, kernel_at
from talweg.certificate._kernel_factor import Factor, Kernel, KernelInMemory
from talweg.network import FlatFunction, JacobianProducts

LOOSE_TOLERANCE, LINEAR_TOLERANCE = 5e-2, 3e-3
"""Of the linear residual, relative: while the damping is strong, and later."""

STRONG_DAMPING = 1e-3
"""Of the mean eigenvalue."""

MOST_ITERATIONS = 120
"""Of conjugate gradients with a fresh preconditioner."""

STALE_ITERATIONS = 20
"""Iterations from which a fresh factorisation is the cheaper way on; more where N is large."""

STALE_ORDER = 400
"""N over this is that number for large N: a factorisation grows with a higher power of N."""

LEAST_SHARE = 3e-7
"""Damping of the float32 factor at least, of the largest diagonal entry times the root of N."""

PLAUSIBLE = 0.05
"""Of the mean eigenvalue: no smallest eigenvalue is looked for that would have to be larger."""

RITZ_WIDTH = 2
RITZ_ITERATIONS = 12
FIRST_RITZ_ITERATIONS = 6
"""At the start, where the order of magnitude is enough."""


class PreconditionedSystem:
    """K through products, with a float32 factor of an earlier K.

    Args:
        function: Outputs of the rows, on the CPU.
        centred: Whether only differences between the outputs of a sample matter.
    """

    def __init__(self, function: FlatFunction, *, centred: bool) -> None:
        self._function = function
        self._centred = centred
        self._factor: Factor | None = None  # of K + mu I at earlier weights, float32
        self._fresh = False
        self._w: Tensor | None = None
        self._products: dict[torch.dtype, JacobianProducts] = {}
        self._directions: np.ndarray | None = None
        self._smallest: float | None = None  # at these weights
        self._last_smallest: float | None = None
        self._mean = math.nan
        self.factorisations = 0
        self.iterations = 0

    @property
    def mean(self) -> float:
        """Mean eigenvalue at the last factorisation."""
        return self._mean

    def move_to(self, w: Tensor) -> None:
        """Linearise; the first time, factor as well.

        Args:
            w: ``(p,)``.
        """
        if self._w is w:
            return
        self._w, self._fresh, self._smallest = w, False, None
        self._products.clear()
        self._network = self._function.network_at(w)
        self._shape = torch.Size((len(self._function.inputs), self._network.output_dim))
        if self._factor is None and math.isnan(self._mean):
            kernel = self.kernel_here(w)
            self._mean = float(kernel.diagonal().mean())
            self._factored(kernel, 1e-2 * self._mean)

    def smallest_exceeds(self, threshold: float) -> bool:
        """By the smallest Ritz value that locally optimal conjugate gradients find.

        Args:
            threshold: Finite.
        """
        known = self._last_smallest
        plausible = PLAUSIBLE * self._mean if known is None else 4.0 * known
        if self._factor is None or threshold > plausible:
            return False
        smallest = self.find_smallest()
        return smallest is not None and smallest > threshold

    def find_smallest(self) -> float | None:
        """The Ritz value at these weights; None where none was found."""
        if self._smallest is None and self._factor is not None:
            first = self._directions is None
            self._smallest = self._ritz()
            if not first:  # the first one is rough, and the kernel will change a lot
                self._last_smallest = self._smallest
        return self._smallest

    def release(self) -> None:
        """Drop the factor."""
        self._factor = None

    def step(self, residual: Tensor, damping: float) -> Tensor | None:
        """Conjugate gradients, with a fresh factor where the old one has become too slow.

        Args:
            residual: ``(n, k)``.
            damping: > 0.
        """
        start: np.ndarray | None = None
        for renewed in (False, True):
            if renewed:
                self._refactor(damping)
            if self._factor is None:
                continue
            stale = max(STALE_ITERATIONS, residual.numel() // STALE_ORDER)
            x, start = self._solved(
                residual, damping, MOST_ITERATIONS if self._fresh else stale, start
            )
            if x is not None:
                pulled = self._products_in(torch.float64).pull(x)
                return torch.cat([part.reshape(-1) for part in pulled])
            if self._fresh:
                return None
        return None

    def _refactor(self, damping: float) -> None:
        self._factor = None  # its memory first
        if self._w is None:
            raise RuntimeError("a system was asked before it was moved to weights; please report")
        kernel = self.kernel_here(self._w)
        self._mean = float(kernel.diagonal().mean())
        self._factored(kernel, damping)

    def kernel_here(self, w: Tensor) -> Kernel:
        """The kernel in float32, to be factored.

        Args:
            w: ``(p,)``.
        """
        return KernelInMemory(kernel_at(self._function, w, torch.float32, centred=self._centred))

    def _factored(self, kernel: Kernel, damping: float) -> None:
        """Factor K + mu I in place, mu at least what float32 needs; None if it takes too much."""
        least = LEAST_SHARE * math.sqrt(len(kernel)) * float(kernel.diagonal().max())
        self._factor = kernel.factor(max(damping, least))
        self._fresh = self._factor is not None
        self.factorisations += 1

    def _solved(
        self, residual: Tensor, damping: float, most: int, start: np.ndarray | None
    ) -> tuple[Tensor | None, np.ndarray | None]:
        """The solution, or None and where to go on from."""
        size = float(residual.norm())
        b = (residual / size).reshape(-1).numpy()
        strong = damping >= STRONG_DAMPING * self._mean
        tolerance = LOOSE_TOLERANCE if strong else LINEAR_TOLERANCE
        # Damped so much, and solved so roughly, the system is well enough known in float32.
        dtype = torch.float32 if strong else torch.float64
        count = 0

        def counted(_: np.ndarray) -> None:
            nonlocal count
            count += 1

        x, info = cg(
            self._operator(damping, dtype), b, rtol=tolerance, atol=0.0, maxiter=most,
            M=self._preconditioner(), callback=counted, x0=start,
        )  # fmt: skip
        self.iterations += count
        if not np.isfinite(x).all():
            return None, None
        if info != 0:
            return None, x
        return (torch.from_numpy(x) * size).reshape(residual.shape), x

    def _products_in(self, dtype: torch.dtype) -> JacobianProducts:
        if dtype not in self._products:
            self._products[dtype] = JacobianProducts(
                self._network, self._function.inputs, self._function.root, dtype
            )
        return self._products[dtype]

    def _operator(self, damping: float, dtype: torch.dtype = torch.float64) -> LinearOperator:
        n = self._shape.numel()

        def apply(x: np.ndarray) -> np.ndarray:
            u = np.asarray(x, dtype=np.float64).reshape(-1)
            product = self._product(torch.from_numpy(u), dtype).numpy()
            product += damping * u
            return product

        return LinearOperator((n, n), matvec=apply, dtype=np.float64)

    def _product(self, x: Tensor, dtype: torch.dtype) -> Tensor:
        """K x, or P K P x + c (I - P) x, computed in a dtype, float64."""
        u = x.reshape(self._shape)
        inner = centred_rows(u) if self._centred else u
        product = self._products_in(dtype).kernel_product(inner.to(dtype)).to(torch.float64)
        if self._centred:
            product = centred_rows(product) + self._mean * (u - inner)
        return product.reshape(-1)

    def _preconditioner(self) -> LinearOperator:
        factor = self._factor
        if factor is None:
            raise RuntimeError("a preconditioner was asked for before it was made; please report")

        def apply(x: np.ndarray) -> np.ndarray:
            b = torch.from_numpy(np.ascontiguousarray(x.reshape(len(x), -1)))
            size = b.norm(dim=0).clamp(min=1e-300)
            y = factor.solve((b / size).to(torch.float32)).to(torch.float64) * size
            solution: np.ndarray = y.numpy().reshape(x.shape)
            return solution

        n = self._shape.numel()
        return LinearOperator((n, n), matvec=apply, matmat=apply, dtype=np.float64)

    def _ritz(self) -> float | None:
        """The smallest Ritz value; an upper bound of lambda_min up to rounding."""
        n = self._shape.numel()
        first = self._directions is None
        if self._directions is None:
            start = torch.randn(n, RITZ_WIDTH, generator=torch.Generator().manual_seed(7),
                                dtype=torch.float64)  # fmt: skip
            self._directions = start.numpy()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it warns where it stops early, which is fine here
            values, vectors = lobpcg(
                self._operator(0.0), self._directions, M=self._preconditioner(), largest=False,
                maxiter=FIRST_RITZ_ITERATIONS if first else RITZ_ITERATIONS, tol=1e-4 * self._mean,
            )  # fmt: skip
        if not np.isfinite(values).all():
            return None
        self._directions = vectors
        return float(values.min())
