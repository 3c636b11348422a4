"""Rules of a constant factor, ``y = (numerator / denominator) x``."""

from __future__ import annotations

import torch

from talweg.enclosure import Ball
from talweg.network._graph import Scale
from talweg.network.layers.elementwise import Jet


def factor(operation: Scale, device: torch.device) -> Ball:
    """The factor as a ball of shape ()."""
    numerator = torch.tensor(operation.numerator, dtype=torch.float64, device=device)
    if operation.denominator == 1.0:
        return Ball.exact(numerator)
    denominator = torch.tensor(operation.denominator, dtype=torch.float64, device=device)
    return Ball.exact(numerator) / Ball.exact(denominator)


def jet(operation: Scale, z: Ball) -> Jet:
    """``c z``, ``c`` and 0, of the shape of ``z``."""
    c = factor(operation, z.device)
    one = Ball.exact(torch.ones_like(z.mid))
    return z * c, one * c, Ball.exact(torch.zeros_like(z.mid))
