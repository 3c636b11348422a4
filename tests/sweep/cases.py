"""Small problems, and the plain training loop that referees every fast path."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from talweg.nn import Scale, Sin, SmoothLeakyReLU

D = 4


def data(n: int = 5, k: int = 1) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    X = torch.randn(n, D, generator=generator, dtype=torch.float64)
    return X, torch.randn(n, k, generator=generator, dtype=torch.float64)


def network(k: int = 1, bias: bool = True) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(D, D, bias=bias), SmoothLeakyReLU(), nn.Linear(D, D, bias=bias),
        SmoothLeakyReLU(0.2), nn.Linear(D, k, bias=bias),
    )  # fmt: skip


def every_rule(k: int = 2) -> nn.Sequential:
    """Each elementwise module that the batched formulas know, nested and doubled."""
    return nn.Sequential(
        nn.Linear(D, 6), nn.Tanh(), Scale(2.0, 3.0),
        nn.Sequential(nn.Linear(6, 5, bias=False), Sin(), nn.Identity()),
        nn.Linear(5, 5), nn.Sigmoid(), nn.Linear(5, 4), nn.ReLU(), SmoothLeakyReLU(0.3),
        nn.Linear(4, k), Scale(1.5),
    )  # fmt: skip


def plain_descent(
    model: nn.Module,
    start: dict[str, Tensor],
    lr: float,
    steps: int,
    loss: Callable[[nn.Module], Tensor],
) -> list[tuple[float, float, float]]:
    """Loss, gradient norm and distance at each step of `torch.optim.SGD`."""
    model = copy.deepcopy(model).double()
    with torch.no_grad():
        for name, weights in start.items():
            model.get_parameter(name).copy_(weights)
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    optimizer = torch.optim.SGD(trained.values(), lr=lr)
    points = []
    for _ in range(steps + 1):
        optimizer.zero_grad()
        value = loss(model)
        value.backward()  # type: ignore[no-untyped-call]
        gradient = math.sqrt(sum(float(p.grad.square().sum()) for p in trained.values()))  # type: ignore[union-attr]
        moved = math.sqrt(
            sum(float((p.detach() - start[n]).square().sum()) for n, p in trained.items())
        )
        points.append((float(value.detach()), gradient, moved))
        optimizer.step()
    return points
