"""The networks of the tangent kernel benchmark, in PyTorch, with weights from a seed."""

from __future__ import annotations

import torch
from torch import Tensor, nn

SHAPES = {"mlp": (784,), "resmlp": (784,), "convnet": (3, 16, 16), "resconv": (3, 16, 16)}


class Residual(nn.Module):
    """``x + inner(x)``."""

    def __init__(self, *inner: nn.Module) -> None:
        super().__init__()
        self.inner = nn.Sequential(*inner)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.inner(x)


def network(name: str, k: int) -> nn.Sequential:
    """One of the four networks, with PyTorch's initialisation from seed 0."""
    torch.manual_seed(0)
    if name == "mlp":
        return nn.Sequential(
            nn.Linear(784, 512), nn.Tanh(), nn.Linear(512, 512), nn.Tanh(), nn.Linear(512, k)
        )
    if name == "resmlp":
        blocks = [Residual(nn.Linear(256, 256), nn.Tanh(), nn.Linear(256, 256)) for _ in range(2)]
        return nn.Sequential(nn.Linear(784, 256), *blocks, nn.Tanh(), nn.Linear(256, k))
    if name == "convnet":
        return nn.Sequential(
            nn.Conv2d(3, 32, 3, padding=1), nn.ReLU(),
            nn.Conv2d(32, 32, 3, stride=2, padding=1), nn.ReLU(),
            nn.Conv2d(32, 64, 3, stride=2, padding=1), nn.ReLU(),
            nn.Flatten(), nn.Linear(1024, k),
        )  # fmt: skip
    blocks = [
        Residual(
            nn.ReLU(), nn.Conv2d(16, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 16, 3, padding=1)
        )
        for _ in range(2)
    ]
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1), *blocks, nn.ReLU(), nn.AvgPool2d(4), nn.Flatten(),
        nn.Linear(256, k),
    )  # fmt: skip


def inputs(name: str, n: int) -> Tensor:
    """Standard normal inputs from seed 1, in float64."""
    generator = torch.Generator().manual_seed(1)
    return torch.randn(n, *SHAPES[name], generator=generator, dtype=torch.float64)
