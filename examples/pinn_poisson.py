"""A physics-informed network as a model whose outputs are residuals of a differential equation.

    -u''(x) = f(x),   u(0) = u(1) = 0,   u(x) = x (1 - x) N(x),   N(x) = a . tanh(w x + b).

The derivatives of N are written out, with the same weights, so that "zero training loss" says that
the equation holds at every collocation point:

    talweg certify examples/pinn_poisson.py:problem
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

POINTS, WIDTH = 24, 64


class PoissonResidual(nn.Module):
    """``-u''`` at the collocation points.

    Inputs ``(n, 2)``: the point x and the constant 1, the direction of the derivative.
    """

    def __init__(self, width: int = WIDTH) -> None:
        super().__init__()
        self.hidden = nn.Linear(1, width)
        self.out = nn.Linear(width, 1, bias=False)
        self.register_buffer("one", torch.ones(width))

    def forward(self, inputs: Tensor) -> Tensor:
        """``(n, 1)``."""
        x, direction = inputs[:, :1], inputs[:, 1:]
        t = torch.tanh(self.hidden(x))
        w = F.linear(direction, self.hidden.weight)  # d(w x + b)/dx
        slope = self.one - t * t  # tanh'
        value = self.out(t)  # N
        first = self.out(slope * w)  # N'
        second = self.out(-2.0 * (t * slope * w * w))  # N''
        bump = x * (direction - x)  # x (1 - x)
        # (x (1 - x) N)'' = -2 N + 2 (1 - 2 x) N' + x (1 - x) N''
        return 2.0 * value - 2.0 * ((direction - 2.0 * x) * first) - bump * second


def problem() -> dict[str, object]:
    """The network before training, the points and f = pi^2 sin(pi x): then u = sin(pi x)."""
    torch.manual_seed(0)
    model = PoissonResidual().double()
    with torch.no_grad():  # frequencies that the interval can tell apart
        model.hidden.weight.uniform_(-12.0, 12.0)
        model.hidden.bias.uniform_(-6.0, 6.0)
    x = (torch.arange(POINTS, dtype=torch.float64) + 0.5) / POINTS
    inputs = torch.stack([x, torch.ones_like(x)], 1)
    return {"model": model, "X": inputs, "y": (math.pi**2 * torch.sin(math.pi * x))[:, None]}
