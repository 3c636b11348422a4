"""A kernel that is factored once, and its factor, wherever they are; in floats.

`PreconditionedSystem` asks no more of them than this. In memory the factor takes the place of the
kernel; on a cluster both are tiles (`talweg.cluster`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from talweg.verified import cholesky_in_place


class Factor(Protocol):
    """A Cholesky factor, wherever it is."""

    def solve(self, b: Tensor) -> Tensor:
        """X with L L^T X = B, ``(N, m)``."""
        ...


class Kernel(Protocol):
    """K at some weights, to be factored once."""

    def __len__(self) -> int: ...

    def diagonal(self) -> Tensor:
        """``K_ii``."""
        ...

    def factor(self, sigma: float) -> Factor | None:
        """L with L L^T = K + sigma I up to rounding; None where none was found."""
        ...


@dataclass(frozen=True, eq=False)
class FactorInMemory:
    """A factor on this machine.

    Args:
        lower: L, ``(N, N)``.
    """

    lower: Tensor

    def solve(self, b: Tensor) -> Tensor:
        """X with L L^T X = B.

        Args:
            b: ``(N, m)``, of the factor's dtype.
        """
        y: Tensor = torch.linalg.solve_triangular(self.lower, b, upper=False)
        x: Tensor = torch.linalg.solve_triangular(self.lower.mT, y, upper=True)
        return x


@dataclass(frozen=True, eq=False)
class KernelInMemory:
    """A kernel on this machine; factoring it overwrites it.

    Args:
        full: K, ``(N, N)``, contiguous.
    """

    full: Tensor

    def __len__(self) -> int:
        return len(self.full)

    def diagonal(self) -> Tensor:
        """``K_ii``."""
        return self.full.diagonal()

    def factor(self, sigma: float) -> FactorInMemory | None:
        """L in the memory of K.

        Args:
            sigma: Added to the diagonal.
        """
        lower = cholesky_in_place(self.full, sigma)
        return None if lower is None else FactorInMemory(lower)
