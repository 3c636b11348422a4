"""The training losses, above their infimum, in float64 and in Arb; on distinct rows.

Every loss is ``factor * l``: l is ``|r|^2`` for a squared loss, the sum over the samples for a
cross-entropy. Both are counted with the multiplicities of the rows. With label smoothing l stands
for the sum of the divergences KL(q, p), so that its infimum is 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from flint import arb, arb_mat
from torch import Tensor


@dataclass(frozen=True, eq=False)
class SquaredLoss:
    """factor |F - y|^2.

    Attributes:
        factor: Numerator and denominator.
        targets: ``(n, k)``, float64.
        multiplicity: ``(n,)``.
    """

    factor: tuple[int, int]
    targets: Tensor
    multiplicity: Tensor
    zero_sum: bool = False

    @property
    def outputs(self) -> int:
        """Outputs k of one sample."""
        return self.targets.shape[1]

    def values_approx(self, outputs: Tensor) -> Tensor:
        """l at outputs ``(P, n, k)``."""
        weights = self.multiplicity[:, None].to(torch.float64)
        return (weights * (outputs - self.targets) ** 2).sum(dim=(1, 2))

    def exact_value(self, outputs: Any) -> Any:
        """l at an Arb matrix ``(n, k)``."""
        total = arb(0)
        for m, row, wanted in zip(
            self.multiplicity.tolist(), outputs.tolist(), self.targets.tolist(), strict=True
        ):
            for z, y in zip(row, wanted, strict=True):
                total += m * (z - y) ** 2
        return total

    def exact_slope(self, outputs: Any) -> Any:
        """The derivative of l with respect to the outputs, an Arb matrix."""
        return arb_mat([
            [2 * m * (z - y) for z, y in zip(row, wanted, strict=True)]
            for m, row, wanted in zip(
                self.multiplicity.tolist(), outputs.tolist(), self.targets.tolist(), strict=True
            )
        ])  # fmt: skip


@dataclass(frozen=True, eq=False)
class CrossEntropyLoss:
    """factor sum_i m_i <q_i, log q_i - log p_i>, the first term only with label smoothing.

    Attributes:
        factor: Numerator and denominator.
        labels: Class indices ``(n,)``.
        multiplicity: ``(n,)``.
        outputs: Classes k.
        smoothing: a; q = (1 - a) e_y + a / k.
    """

    factor: tuple[int, int]
    labels: Tensor
    multiplicity: Tensor
    outputs: int
    smoothing: float
    zero_sum: bool = True

    def values_approx(self, outputs: Tensor) -> Tensor:
        """l at outputs ``(P, n, k)``."""
        q = torch.full((len(self.labels), self.outputs), self.smoothing / self.outputs)
        q = q.to(torch.float64)
        q[torch.arange(len(self.labels)), self.labels] += 1.0 - self.smoothing
        logs = torch.log_softmax(outputs, dim=-1)
        own = torch.special.xlogy(q, q) if self.smoothing else torch.zeros_like(q)
        weights = self.multiplicity[:, None].to(torch.float64)
        return (weights * (own - q * logs)).sum(dim=(1, 2))

    def exact_value(self, outputs: Any) -> Any:
        """l at an Arb matrix ``(n, k)``."""
        total = arb(0)
        for m, row, q in self._rows(outputs):
            top = max(row, key=lambda z: float(z.mid()))
            log_sum = top + sum(((z - top).exp() for z in row), arb(0)).log()
            for z, weight in zip(row, q, strict=True):
                if weight > 0:
                    own = weight.log() if self.smoothing else arb(0)
                    total += m * weight * (own - z + log_sum)
        return total

    def exact_slope(self, outputs: Any) -> Any:
        """The derivative of l with respect to the outputs, an Arb matrix."""
        rows = []
        for m, row, q in self._rows(outputs):
            top = max(row, key=lambda z: float(z.mid()))
            shares = [(z - top).exp() for z in row]
            total = sum(shares, arb(0))
            rows.append([m * (e / total - weight) for e, weight in zip(shares, q, strict=True)])
        return arb_mat(rows)

    def _rows(self, outputs: Any) -> list[tuple[int, list[Any], list[Any]]]:
        """Multiplicity, outputs and smoothed label of every row."""
        a, k = arb(self.smoothing), self.outputs
        found = []
        for m, row, label in zip(
            self.multiplicity.tolist(), outputs.tolist(), self.labels.tolist(), strict=True
        ):
            q = [a / k + (1 - a if j == label else 0) for j in range(k)]
            found.append((m, row, q))
        return found


Loss = SquaredLoss | CrossEntropyLoss
