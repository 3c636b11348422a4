"""The suite of two-layer linear networks: shapes, scales, imbalances, conditioning, losses."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from talweg.optim import LinearModelLoss
from talweg.theory import LinearLossKind

SQUARED_SHAPES = ((5, 8, 3), (4, 4, 4), (8, 20, 2), (2, 6, 6), (10, 5, 5))
GENERAL_SHAPES = ((5, 8, 3), (8, 4, 4))
SQUARED_SETTINGS = (
    (1.0, 1.0, 1.0), (1.0, 1.0, 30.0), (0.1, 1.0, 10.0), (0.05, 8.0, 10.0), (1.0, 5.0, 10.0),
    (2.0, 1.0, 100.0),
)  # fmt: skip
GENERAL_SETTINGS = ((1.0, 1.0, 1.0), (0.1, 1.0, 10.0), (0.05, 8.0, 10.0), (1.0, 5.0, 10.0))


@dataclass(frozen=True, eq=False)
class Problem:
    """A loss, a start, and the infimum of the loss.

    Attributes:
        name: kind, shape d x h x m, condition of X^T X, scale and imbalance of the start.
        loss: l.
        first: W1 at the start, entries N(0, (scale imbalance)^2 / h).
        second: W2 at the start, entries N(0, (scale / imbalance)^2 / h).
        infimum: l* by Newton's method in W, in floating point.
    """

    name: str
    loss: LinearModelLoss
    first: Tensor
    second: Tensor
    infimum: float

    @property
    def kind(self) -> LinearLossKind:
        """The kind of the loss."""
        return self.loss.kind

    @property
    def initial_gap(self) -> float:
        """f_0 - l*, in floating point."""
        return self.loss.value(self.first @ self.second) - self.infimum


def suite(seed: int, *, every: int = 1) -> list[Problem]:
    """The 54 problems of the benchmark, or every so many of them.

    Args:
        seed: base seed.
        every: 1 for all, 3 for every third.
    """
    choices: list[tuple[LinearLossKind, tuple[int, int, int], tuple[float, float, float]]]
    choices = [("squared", s, t) for s in SQUARED_SHAPES for t in SQUARED_SETTINGS]
    general: tuple[LinearLossKind, ...] = ("huber", "logistic", "cross_entropy")
    choices += [(k, s, t) for k in general for s in GENERAL_SHAPES for t in GENERAL_SETTINGS]
    numbered = list(enumerate(choices))[::every]
    return [build(kind, shape, *setting, seed=seed + i) for i, (kind, shape, setting) in numbered]


def build(
    kind: LinearLossKind,
    shape: tuple[int, int, int],
    scale: float,
    imbalance: float,
    condition: float,
    *,
    seed: int,
) -> Problem:
    """One problem with random data.

    Args:
        kind: of the loss; the squared one has no ridge, the others 0.1 (condition 1) or 0.03.
        shape: d, h, m.
        scale: of the start.
        imbalance: W1 is multiplied, W2 divided by it.
        condition: of X^T X, singular values spread geometrically.
        seed: of the data and the start.
    """
    d, h, m = shape
    n = 40 if kind == "squared" else 60
    g = torch.Generator().manual_seed(seed)

    def normal(*size: int) -> Tensor:
        return torch.randn(*size, generator=g, dtype=torch.float64)

    left = torch.linalg.qr(normal(n, d))[0]
    right = torch.linalg.qr(normal(d, d))[0]
    spread = condition ** (-0.5 * torch.linspace(0.0, 1.0, d, dtype=torch.float64))
    x = (left * spread) @ right.T
    if kind != "squared":
        x = x * n**0.5  # entries of order one
    z = x @ normal(d, m)
    noise = normal(n, m)
    weight, ridge = (
        (1.0, 0.0) if kind == "squared" else (1.0 / n, 0.1 if condition == 1.0 else 0.03)
    )
    if kind == "squared":
        y = z + 0.05 * noise / n**0.5
    elif kind == "huber":
        outliers = torch.rand(n, m, generator=g, dtype=torch.float64) < 0.1
        y = z + 0.3 * noise + 5.0 * outliers * normal(n, m)
    elif kind == "logistic":
        y = torch.where(z + 0.5 * noise >= 0.0, 1.0, -1.0).to(torch.float64)
    else:
        labels = (2.0 * z + noise).argmax(1)
        hot = torch.nn.functional.one_hot(labels, m).to(torch.float64)
        y = 0.9 * hot + 0.1 / m  # label smoothing
    loss = LinearModelLoss(x, y, kind, ridge=ridge, weight=weight)
    first = normal(d, h) * (scale * imbalance / h**0.5)
    second = normal(h, m) * (scale / imbalance / h**0.5)
    name = f"{kind} {d}x{h}x{m} cond {condition:g} scale {scale:g} imbalance {imbalance:g}"
    return Problem(name, loss, first, second, loss.value(minimiser(loss)))


def minimiser(loss: LinearModelLoss) -> Tensor:
    """argmin of l over W, by Newton's method with halving, in floating point."""
    d, m = loss.inputs.shape[1], loss.targets.shape[1]
    w = torch.zeros(d, m, dtype=torch.float64)

    def gradient(flat: Tensor) -> Tensor:
        return loss.gradient(flat.reshape(d, m)).reshape(-1)

    for _ in range(100):
        g = gradient(w.reshape(-1))
        if float(g.norm()) < 1e-13:
            break
        hessian = torch.func.jacfwd(gradient)(w.reshape(-1))
        step = torch.linalg.solve(hessian, g).reshape(d, m)
        size, before = 1.0, loss.value(w)
        while loss.value(w - size * step) > before and size > 1e-9:
            size *= 0.5
        w = w - size * step
    return w
