"""Gaussian draws restricted to an interval, accurate far into the tail."""

from __future__ import annotations

import math

import torch
from scipy.special import ndtr, ndtri
from torch import Tensor

from talweg._errors import InputError

DEEPEST = 30.0
"""Standard deviations up to which the tail, 5e-198 there, is inverted."""


def truncated_normal(
    shape: torch.Size, low: float, high: float, generator: torch.Generator
) -> Tensor:
    """Independent standard normals conditioned on [low, high], by inverting the upper tail.

    With Q(x) = 1 - Phi(x) and U uniform on [Q(high), Q(low)], x = -Phi^{-1}(U). For low > 0 both
    ends are small numbers with full relative accuracy, where Phi near 1 would have none.

    Args:
        shape: Of the result.
        low: In standard deviations, > 0.
        high: In standard deviations, > low; may be inf.
        generator: On the CPU.

    Returns:
        float64 tensor with entries in [low, high].

    Raises:
        InputError: low is beyond `DEEPEST` standard deviations.
    """
    if not low <= DEEPEST:
        raise InputError(
            f"The lower end of a truncated Gaussian must be at most {DEEPEST:g} standard "
            f"deviations; got {low!r}. Use positive_(), whose entries need no Gaussian."
        )
    # SciPy's pair keeps relative accuracy in the lower tail; torch.special.ndtr underflows at -9
    upper, lower = float(ndtr(-low)), float(ndtr(-high))
    uniform = torch.rand(shape, generator=generator, dtype=torch.float64)
    x = torch.from_numpy(-ndtri((lower + (upper - lower) * uniform).numpy()))
    # rounding of ndtri may step over an end
    return x.clamp(min=low, max=high if high < math.inf else None)
