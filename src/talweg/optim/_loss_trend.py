"""The slope of a long series in bounded memory, with an error that correlated noise does not fool.

The series is kept as at most `BLOCKS` means over blocks of equal length; when they are full,
neighbours are merged and the length doubles. The slope over the last three quarters of the series
comes from least squares on `GROUPS` group means X_1..X_G, groups of w terms,

    slope = sum_i i' X_i / (w sum_i i'^2),   i' = i - (G + 1) / 2,
    error^2 = sum_i (X_i - fit_i)^2 / ((G - 2) w^2 sum_i i'^2):

the method of batch means. It is consistent for stationary noise with summable correlations, since
means over long groups are nearly independent, and it profits where an epoch visits every sample
once, because the mean over an epoch then hardly varies.

Source: Glynn and Whitt 1991 (batch means); used for step sizes by Lang, Zhang, Xiao 2019.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

BLOCKS = 128
WINDOW = 0.75
"""Share of the series that counts; what comes before is the transient of the last change."""
GROUPS = 10
"""Enough that eight degrees of freedom are left, few enough that a group is long."""


@dataclass(frozen=True)
class Trend:
    """Slope of a series and what goes with it.

    Attributes:
        slope: per term.
        error: its standard error, the resolution of the floating-point numbers included.
        level: mean of the finite companion numbers over the same window; nan if there is none.
        terms: length of the window.
    """

    slope: float
    error: float
    level: float
    terms: int


@dataclass
class Series:
    """A series of losses with a companion number in every block.

    Attributes:
        length: terms so far.
        block: terms in a block.
    """

    length: int = 0
    block: int = 1
    _sums: list[Tensor | float] = field(default_factory=list)
    _companions: list[Tensor | float] = field(default_factory=list)
    _partial: Tensor | float = 0.0
    _resolution: float = 2.0**-52

    def add(self, term: Tensor | float) -> bool:
        """Append a term; True when it ends a block, which then wants its `companion`.

        Args:
            term: a number, or a tensor with one element, which is not read before `trend`.
        """
        if isinstance(term, Tensor):
            self._resolution = max(self._resolution, float(torch.finfo(term.dtype).eps))
            wide = torch.float32 if term.device.type == "mps" else torch.float64  # mps has no other
            term = term.to(wide, copy=True)  # a captured graph overwrites its loss
        self._partial = term if self.length % self.block == 0 else self._partial + term
        self.length += 1
        if self.length % self.block:
            return False
        self._sums.append(self._partial)
        return True

    def companion(self, value: Tensor | float) -> None:
        """The companion number of the block that just ended.

        Args:
            value: a number, or a tensor with one element.
        """
        self._companions.append(value)
        if len(self._sums) == BLOCKS:
            self._sums = [a + b for a, b in zip(self._sums[::2], self._sums[1::2], strict=True)]
            self._companions = self._companions[1::2]  # of the later half: nearest to the end
            self.block *= 2

    def trend(self) -> Trend:
        """Slope over the window; needs `2 GROUPS` blocks. Reads all tensors."""
        self._read()
        per_group = int(WINDOW * len(self._sums)) // GROUPS
        kept = per_group * GROUPS
        w = per_group * self.block
        blocks = self._sums[-kept:]
        means = [
            math.fsum(map(float, blocks[i * per_group : (i + 1) * per_group])) / w
            for i in range(GROUPS)
        ]
        centred = [i - (GROUPS - 1) / 2 for i in range(GROUPS)]
        spread = math.fsum(i * i for i in centred)
        rise = math.fsum(i * x for i, x in zip(centred, means, strict=True)) / spread
        centre = math.fsum(means) / GROUPS
        left = [x - centre - rise * i for i, x in zip(centred, means, strict=True)]
        error = math.sqrt(math.fsum(r * r for r in left) / ((GROUPS - 2) * spread))
        resolution = self._resolution * abs(centre) / (w * GROUPS)
        # A gradient scaler leaves gradients that are not finite behind and skips their step.
        known = [c for c in map(float, self._companions[-kept:]) if math.isfinite(c)]
        level = math.fsum(known) / len(known) if known else math.nan
        return Trend(rise / w, error / w + resolution, level, w * GROUPS)

    def state(self) -> dict[str, Any]:
        """Everything as plain numbers."""
        self._read()
        return {
            "length": self.length,
            "block": self.block,
            "sums": list(self._sums),
            "companions": list(self._companions),
            "partial": float(self._partial),
            "resolution": self._resolution,
        }

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Series:
        """The series that `state` described.

        Args:
            state: from `state`.
        """
        return cls(
            state["length"],
            state["block"],
            list(state["sums"]),
            list(state["companions"]),
            state["partial"],
            state["resolution"],
        )

    def _read(self) -> None:
        """Tensors to floats, in one transfer per kind."""
        self._sums = _floats(self._sums)
        self._companions = _floats(self._companions)


def _floats(values: list[Tensor | float]) -> list[Tensor | float]:
    waiting = [v.reshape(()) for v in values if isinstance(v, Tensor)]
    if not waiting:
        return values
    read = iter(torch.stack(waiting).tolist())
    return [next(read) if isinstance(v, Tensor) else v for v in values]
