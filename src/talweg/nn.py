"""Smooth modules that complete `torch.nn` for provable training.

Every module here is elementwise, has no parameters of its own, and is real analytic, so that the
training loss is smooth wherever the loss of the outputs is.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from talweg._errors import InputError

__all__ = ["Scale", "Sin", "SmoothLeakyReLU"]

_LOG_2 = math.log(2.0)


class SmoothLeakyReLU(nn.Module):
    """Smooth leaky ReLU of slope ``a``: ``y = a x + (1 - a) (log(1 + e^x) - log 2)``.

    Increasing and convex, with slope ``a`` at minus infinity and 1 at plus infinity, and zero at
    zero. The softplus is evaluated as ``-logsigmoid(-x)``, which neither overflows nor switches to
    another branch, unlike `torch.nn.Softplus` above its threshold.

    Source: `chatterjee2022`, the activation of its fully connected networks.

    Args:
        slope: ``a``, a number strictly between 0 and 1. The default 0.5 is talweg's: the middle
            between the identity and the softplus.

    Raises:
        InputError: ``slope`` is not a number strictly between 0 and 1.
    """

    slope: float

    def __init__(self, slope: float = 0.5) -> None:
        super().__init__()
        if isinstance(slope, bool) or not isinstance(slope, int | float) or not 0.0 < slope < 1.0:
            raise InputError(
                "slope of talweg.nn.SmoothLeakyReLU must be a number strictly between 0 and 1; "
                f"got {slope!r}. Slope 1 is the identity (leave the layer out), slope 0 is "
                "torch.nn.Softplus shifted by log 2."
            )
        self.slope = float(slope)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the function entrywise; any shape and floating dtype, both are kept."""
        return self.slope * x + (1.0 - self.slope) * (-F.logsigmoid(-x) - _LOG_2)

    def extra_repr(self) -> str:
        """The slope, for `repr`."""
        return f"slope={self.slope}"


class Sin(nn.Module):
    """The sine, entrywise: ``y = sin(x)``."""

    def forward(self, x: Tensor) -> Tensor:
        """Apply the function entrywise; any shape and floating dtype, both are kept."""
        return torch.sin(x)


class Scale(nn.Module):
    """A constant factor between layers: ``y = (numerator / denominator) x``.

    The NTK parametrisation puts ``Scale(denominator=math.sqrt(width))`` after each linear layer.
    The quotient is never formed as one binary64 number, so ``Scale(1, 3)`` is one third.

    Args:
        numerator: A finite nonzero number; 1 where it is not given.
        denominator: A finite nonzero number; 1 where it is not given.

    Raises:
        InputError: One of them is zero, not finite, or not a number.
    """

    numerator: float
    denominator: float

    def __init__(self, numerator: float = 1.0, denominator: float = 1.0) -> None:
        super().__init__()
        for name, value in (("numerator", numerator), ("denominator", denominator)):
            number = isinstance(value, int | float) and not isinstance(value, bool)
            if not number or not math.isfinite(value) or value == 0:
                raise InputError(
                    f"{name} of talweg.nn.Scale must be a finite nonzero number; got {value!r}. "
                    "Pass a Python number, and leave the layer out for a factor of 1."
                )
        self.numerator = float(numerator)
        self.denominator = float(denominator)

    def forward(self, x: Tensor) -> Tensor:
        """Multiply, then divide; any shape and floating dtype, both are kept."""
        return x * self.numerator / self.denominator

    def extra_repr(self) -> str:
        """The two constants, for `repr`."""
        return f"numerator={self.numerator}, denominator={self.denominator}"
