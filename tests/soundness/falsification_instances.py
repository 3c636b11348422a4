"""Provable problems that lie far from ordinary ones: deep, wide, degenerate, of odd scales.

A first certificate for random targets says by which factor the residual misses the criterion; the
targets of the others are placed so that a drawn share of the criterion is used up.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import talweg
import talweg.nn
from talweg.certificate import Certificate

LOSSES = ("mse", "sse", "half_sse")
ENTROPIES = ("cross_entropy", "cross_entropy_sum")
VARIANTS = 5


def family(kind: str, seed: int) -> Iterator[Certificate | None]:
    """Certificates about one drawn network and data, for several targets; None where not proved."""
    rng = np.random.default_rng([seed, 7])
    shape = SHAPES[int(rng.choice(len(SHAPES), p=CHANCES))]
    outputs = int(rng.integers(2, 4)) if kind.startswith("entropy") else int(rng.integers(1, 4))
    model, X = shape(rng, kind != "T9", outputs)
    make = {"entropy T4": _smoothed, "entropy T13": _entropy_targets}.get(kind, _squared)
    return make(rng, model, X, kind)


def _squared(
    rng: np.random.Generator, model: nn.Sequential, X: Tensor, kind: str
) -> Iterator[Certificate | None]:
    """Residuals of random directions that use up drawn shares of the criterion."""
    with torch.no_grad():
        outputs = model(X)
    fixed = {"theorem": kind} if kind in ("T4", "T9") else {}
    residual = 1e-3 * (float(outputs.norm()) or 1.0) * _direction(rng, outputs)
    first = _certified(model, X, outputs + residual, fixed)
    admitted = _admitted(first, float(residual.norm()))
    for _ in range(VARIANTS if admitted is not None else 0):
        share = float(rng.choice([rng.uniform(0.2, 0.95), 0.99, 10.0 ** rng.uniform(-9, 0)]))
        arguments: dict[str, Any] = {**fixed, "loss": LOSSES[int(rng.integers(3))]}
        length = share * admitted
        if kind == "T7":
            unit = {"mse": 1.0 / outputs.numel(), "sse": 1.0, "half_sse": 0.5}[arguments["loss"]]
            end = length * float(rng.choice([3.0, 0.5, 0.01]))  # |r| at the target
            arguments["target"] = max(unit * end * end, 1e-300)
            length += end
        residual = length * _direction(rng, outputs)
        yield _certified(model, X, outputs + residual, arguments)


def _smoothed(
    rng: np.random.Generator, model: nn.Sequential, X: Tensor, kind: str
) -> Iterator[Certificate | None]:
    """One label for all rows; a last layer of little weight, its bias near the logarithms of q."""
    last = model[-1]
    assert isinstance(last, nn.Linear)
    k, label = last.out_features, int(rng.integers(last.out_features))
    labels = torch.full((len(X),), label)
    a = float(rng.choice([1.0, 0.5, 0.1, rng.uniform(0.01, 1.0)]))
    q = torch.full((k,), a / k, dtype=torch.float64)
    q[label] += 1.0 - a
    last.bias = nn.Parameter(q.log() - q.log().mean())
    fixed = {"label_smoothing": a, "loss": ENTROPIES[int(rng.integers(2))]}
    size = 1e-4
    _redrawn(rng, last, size)
    admitted = _admitted(_certified(model, X, labels, fixed), size)
    for _ in range(VARIANTS if admitted is not None else 0):
        _redrawn(rng, last, float(rng.choice([0.2, 0.5, 10.0 ** rng.uniform(-6, 0)])) * admitted)
        yield _certified(model, X, labels, fixed)


def _redrawn(rng: np.random.Generator, layer: nn.Linear, size: float) -> None:
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(size * rng.standard_normal(tuple(layer.weight.shape))))


def _entropy_targets(
    rng: np.random.Generator, model: nn.Sequential, X: Tensor, kind: str
) -> Iterator[Certificate | None]:
    """Targets below the loss by drawn shares of what the criterion admits."""
    with torch.no_grad():
        outputs = model(X)
    n, k = outputs.shape
    labels = torch.from_numpy(rng.integers(0, k, n))
    root = math.sqrt(n)
    start = float(nn.functional.cross_entropy(outputs, labels, reduction="sum")) / root

    def target(reach: float) -> float:
        """log((e^start - 1) / (e^t - 1)) = reach."""
        return root * math.log1p(math.expm1(start) * math.exp(-reach))

    fixed = {"loss": "cross_entropy_sum"}
    if not 0.0 < start < 300.0:
        return
    admitted = _admitted(_certified(model, X, labels, {**fixed, "target": target(1.0)}), 1.0)
    for _ in range(VARIANTS if admitted is not None else 0):
        share = float(rng.choice([rng.uniform(0.05, 0.6), 10.0 ** rng.uniform(-4, -1)]))
        mean = bool(rng.integers(2))
        goal = target(min(share * admitted, 300.0)) / (n if mean else 1)
        yield _certified(model, X, labels, {"loss": ENTROPIES[0 if mean else 1], "target": goal})


def _admitted(first: Certificate | None, tried: float) -> float | None:
    """What the criterion admits, where `tried` missed it by the reported factor."""
    factor = None if first is None else first.as_given.missing_factor
    if factor is None or not 0.0 < factor < math.inf:
        return None
    return tried / factor


def _direction(rng: np.random.Generator, like: Tensor) -> Tensor:
    drawn = torch.from_numpy(rng.standard_normal(tuple(like.shape)))
    return drawn / drawn.norm()


def _certified(
    model: nn.Sequential, X: Tensor, y: Tensor, arguments: dict[str, Any]
) -> Certificate | None:
    try:
        return talweg.certify(model, (X, y), attack=False, **arguments)
    except talweg.TalwegError:
        return None


def _layers(
    rng: np.random.Generator, widths: list[int], smooth: bool, spread: float = 1.0
) -> nn.Sequential:
    activation = _activation(rng, smooth)
    layers: list[nn.Module] = []
    for index, (wide, high) in enumerate(pairwise(widths)):
        layer = nn.Linear(wide, high, bias=bool(rng.random() < 0.7)).double()
        for parameter in layer.parameters():
            drawn = rng.standard_normal(tuple(parameter.shape)) * spread / math.sqrt(wide)
            parameter.data = torch.from_numpy(drawn)
        layers.append(layer)
        if index < len(widths) - 2:
            layers.append(activation())
    return nn.Sequential(*layers)


def _activation(rng: np.random.Generator, smooth: bool) -> Callable[[], nn.Module]:
    classic: list[Callable[[], nn.Module]] = [nn.Tanh, nn.Sigmoid]
    further: list[Callable[[], nn.Module]] = [nn.SiLU, nn.GELU, talweg.nn.Sin, nn.Identity]
    choices = classic + further if smooth else classic
    return choices[int(rng.integers(len(choices)))]


def _small(rng: np.random.Generator, smooth: bool, outputs: int) -> tuple[nn.Sequential, Tensor]:
    """One hidden layer, a few rows: the ordinary case."""
    widths = [int(rng.integers(1, 5)), int(rng.integers(3, 9)), outputs]
    model = _layers(rng, widths, smooth, spread=float(rng.uniform(0.5, 2.0)))
    return model, torch.from_numpy(rng.standard_normal((int(rng.integers(1, 5)), widths[0])))


def _deep(rng: np.random.Generator, smooth: bool, outputs: int) -> tuple[nn.Sequential, Tensor]:
    depth, width = int(rng.integers(3, 7)), int(rng.integers(3, 6))
    widths = [int(rng.integers(1, 4)), *[width] * (depth - 1), outputs]
    model = _layers(rng, widths, smooth, spread=float(rng.uniform(0.8, 1.6)))
    return model, torch.from_numpy(rng.standard_normal((int(rng.integers(1, 4)), widths[0])))


def _wide(rng: np.random.Generator, smooth: bool, outputs: int) -> tuple[nn.Sequential, Tensor]:
    widths = [int(rng.integers(2, 12)), int(rng.integers(40, 100)), outputs]
    return _layers(rng, widths, smooth), torch.from_numpy(
        rng.standard_normal((int(rng.integers(2, 6)), widths[0]))
    )


def _degenerate(
    rng: np.random.Generator, smooth: bool, outputs: int
) -> tuple[nn.Sequential, Tensor]:
    """Rows that are nearly equal, nearly collinear, or zero."""
    widths = [int(rng.integers(1, 4)), int(rng.integers(4, 12)), outputs]
    n = int(rng.integers(2, 5))
    rows = np.outer(np.arange(1, n + 1), rng.standard_normal(widths[0]))
    if rng.random() < 0.5:
        rows = np.repeat(rng.standard_normal((1, widths[0])), n, axis=0)
    rows += 10.0 ** float(rng.uniform(-5, -0.5)) * rng.standard_normal(rows.shape)
    if rng.random() < 0.3:
        rows[0] = 0.0
    return _layers(rng, widths, smooth), torch.from_numpy(rows)


def _scaled(rng: np.random.Generator, smooth: bool, outputs: int) -> tuple[nn.Sequential, Tensor]:
    """Inputs and first layer, or outputs, of scales from 1e-12 to 1e12; the rest of order one."""
    widths = [int(rng.integers(1, 4)), int(rng.integers(3, 9)), outputs]
    model = _layers(rng, widths, smooth)
    X = torch.from_numpy(rng.standard_normal((int(rng.integers(1, 5)), widths[0])))
    scale = 10.0 ** float(rng.uniform(-12, 12))
    first, last = model[0], model[-1]
    assert isinstance(first, nn.Linear)
    assert isinstance(last, nn.Linear)
    with torch.no_grad():
        if rng.random() < 0.6:
            first.weight /= scale
            X *= scale
        if rng.random() < 0.5:
            last.weight *= 10.0 ** float(rng.uniform(-12, 12))
        if rng.random() < 0.2:
            X[:, 0] *= 10.0 ** float(rng.uniform(-6, 6))
    return model, X


def _minimal(rng: np.random.Generator, smooth: bool, outputs: int) -> tuple[nn.Sequential, Tensor]:
    """A sample or two, a handful of weights: bounds are sharpest here."""
    widths = [1, *[int(rng.integers(1, 3))] * int(rng.integers(0, 3)), outputs]
    model = _layers(rng, widths, smooth, spread=float(rng.uniform(0.3, 3.0)))
    return model, torch.from_numpy(rng.standard_normal((int(rng.integers(1, 3)), 1)))


SHAPES = (_small, _minimal, _degenerate, _scaled, _deep, _wide)
CHANCES = (0.5, 0.15, 0.1, 0.15, 0.05, 0.05)
