"""Random small models with data, most of them provable and near the edge of their criterion.

`instance(seed)` draws architecture, storage, data and theorem; targets are then placed so that the
criterion of the theorem uses a drawn share of what it admits. The share comes from floating-point
estimates: a wrong one gives an UNDECIDED certificate, nothing else.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

import talweg
from talweg.certificate import Certificate
from talweg.network import JacobianLipschitz, kernel_ball, linearize, read

Floats = NDArray[np.float64]
LOSSES = ("mse", "sse", "half_sse")
KINDS = ("T11", "T11", "T11", "T4", "T7", "T9", "entropy T4", "entropy T13")
STORED = (torch.float64, torch.float64, torch.float32, torch.float16, torch.bfloat16)


@dataclass(frozen=True, eq=False)
class Instance:
    """A model, its data and the further arguments of `talweg.certify`.

    Attributes:
        model: A chain; talweg.certify leaves it as it is.
        X: Inputs (n, d); float64, or the dtype of the model.
        y: Targets (n, k), or class indices (n,).
        arguments: Keyword arguments of `talweg.certify`.
        description: One line that says what was drawn.
    """

    model: nn.Sequential
    X: Tensor
    y: Tensor
    arguments: Mapping[str, Any]
    description: str


def instance(seed: int) -> Instance:
    """The instance of a seed."""
    rng = np.random.default_rng(seed)
    kind = KINDS[int(rng.integers(len(KINDS)))]
    dtype = torch.float64 if kind == "T9" else STORED[int(rng.integers(len(STORED)))]
    model, words = _model(rng, kind, dtype)
    rows, counts, scale_words = _rows(rng, model, dtype)
    share, wide = _share(rng), float(rng.choice([1e-12, 1e-6, 1e6, 1e12]))
    if kind in ("T4", "entropy T4"):
        share *= 0.995  # epsilon takes at least a thousandth
    X = torch.from_numpy(rows)
    with torch.no_grad():
        if dtype in (torch.float64, torch.float32) and kind[0] == "T" and rng.random() < 0.2:
            _last(model).weight *= wide  # and with it the outputs
            words += f", last layer times {wide:g}"
    if kind == "entropy T4":
        y, arguments = _smoothed(rng, model, X, counts, share)
    elif kind == "entropy T13":
        y, arguments = _entropy_target(rng, model, X, counts, share)
    else:
        y, arguments = _squared(rng, kind, model, X, counts, share)
    order = np.repeat(np.arange(len(rows)), counts)
    rng.shuffle(order)
    description = (
        f"seed {seed}: {kind}, {words}, {str(dtype)[6:]}, {scale_words}, share {share:.3g}"
    )
    X, y = X[order], y[order]
    if kind != "T9" and rng.random() < 0.3:
        X = X.to(dtype)  # exact
    if kind in ("T11", "T4", "T7") and rng.random() < 0.1:
        y = y.to(torch.float32)
    return Instance(model, X, y, arguments, description)


def certified(seed: int) -> Certificate | None:
    """The certificate of an instance, None where talweg refuses or does not prove it."""
    drawn = instance(seed)
    try:
        certificate = talweg.certify(
            drawn.model, (drawn.X, drawn.y), attack=False, **drawn.arguments
        )
    except talweg.TalwegError:
        return None
    return certificate if certificate.status == "PROVED" else None


def _share(rng: np.random.Generator) -> float:
    """Of what the criterion admits; above 1 nothing can be proved."""
    kind = rng.random()
    if kind < 0.6:
        return float(rng.uniform(0.3, 0.99))
    if kind < 0.75:
        return float(rng.choice([0.999, 0.9999, 0.999999]))
    if kind < 0.9:
        return float(10.0 ** rng.uniform(-12, -1))
    return float(rng.uniform(1.0, 3.0))


def _activation(rng: np.random.Generator, kind: str) -> list[nn.Module]:
    if kind == "T9":
        return [[nn.Tanh()], [nn.Sigmoid()], [nn.Tanh(), nn.Identity()], []][int(rng.integers(4))]
    choices: list[nn.Module] = [
        nn.Tanh(), nn.Tanh(), nn.Sigmoid(), nn.SiLU(), nn.GELU(), nn.GELU(approximate="tanh"),
        talweg.nn.Sin(), talweg.nn.SmoothLeakyReLU(float(rng.uniform(0.01, 0.99))),
        nn.Softplus(float(rng.choice([0.5, 1.0, 3.0])), float(rng.choice([20.0, 60.0]))),
    ]  # fmt: skip
    first = choices[int(rng.integers(len(choices)))]
    other = rng.random()
    if other < 0.1:
        return [talweg.nn.Scale(float(rng.uniform(0.5, 2)), float(rng.uniform(0.5, 2))), first]
    if other < 0.15:
        return [first, choices[int(rng.integers(len(choices)))]]
    if other < 0.2:
        return [first, nn.Dropout(0.5).eval(), nn.Identity()]
    return [first]


def _model(rng: np.random.Generator, kind: str, dtype: torch.dtype) -> tuple[nn.Sequential, str]:
    depth = int(rng.choice([1, 2, 3, 4], p=[0.1, 0.6, 0.22, 0.08]))
    outputs = int(rng.integers(2, 5)) if kind.startswith("entropy") else int(rng.integers(1, 4))
    hidden = [int(rng.integers(1, 9)) if rng.random() < 0.3 else int(rng.integers(4, 9))
              for _ in range(depth - 1)]  # fmt: skip
    widths = [int(rng.integers(1, 6)), *hidden, outputs]
    layers: list[nn.Module] = []
    if kind != "T9" and rng.random() < 0.08:
        layers += _activation(rng, kind)
    for index in range(depth):
        fan_in, fan_out = widths[index : index + 2]
        layer = nn.Linear(fan_in, fan_out, bias=bool(rng.random() < 0.8))
        spread = float(rng.choice([0.3, 1.0, 1.0, 2.0])) / math.sqrt(fan_in)
        if rng.random() < 0.05:
            spread = 0.0
        for parameter in layer.parameters():
            parameter.data = torch.from_numpy(spread * rng.standard_normal(parameter.shape))
            parameter.requires_grad_(bool(rng.random() < 0.85))
        layers.append(layer)
        if index < depth - 1 or rng.random() < 0.1:
            layers += _activation(rng, kind)
    model = nn.Sequential(*layers).to(dtype).eval()
    if not any(p.requires_grad for p in model.parameters()):
        _last(model).weight.requires_grad_(True)
    frozen = sum(not p.requires_grad for p in model.parameters())
    words = f"{'-'.join(map(str, widths))} {type(layers[1 % len(layers)]).__name__}"
    return model, words + (f", {frozen} frozen" if frozen else "")


def _last(model: nn.Sequential) -> nn.Linear:
    return [layer for layer in model if isinstance(layer, nn.Linear)][-1]


def _rows(
    rng: np.random.Generator, model: nn.Sequential, dtype: torch.dtype
) -> tuple[Floats, NDArray[np.int64], str]:
    """Distinct input rows, how often each occurs, and words; the first layer may be rescaled."""
    first = next(layer for layer in model if isinstance(layer, nn.Linear))
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    n = int(rng.integers(1, max(2, min(7, trained // _last(model).out_features + 1))))
    rows = rng.standard_normal((n, first.in_features))
    words = f"n={n}"
    for name, chance in (("constant", 0.1), ("collinear", 0.07), ("zero row", 0.07), ("grid", 0.1)):
        if rng.random() < chance:
            words += f" {name}"
            if name == "constant":
                rows[:, 0] = rng.standard_normal()
            elif name == "collinear":
                rows = np.outer(np.arange(1, n + 1), rows[0])
            elif name == "zero row":
                rows[0] = 0.0
            else:
                rows = np.round(2 * rows) / 2
    if rng.random() < 0.25:
        limit = {torch.float16: 3, torch.bfloat16: 12}.get(dtype, 40)
        exponent = int(rng.integers(-limit, limit + 1))
        rows = rows * 2.0**exponent
        words += f" times 2^{exponent}"
        if rng.random() < 0.8:  # so that the first layer still sees numbers of order one
            with torch.no_grad():
                first.weight *= 2.0**-exponent
    rows = torch.from_numpy(rows).to(dtype).to(torch.float64).numpy()
    rows = np.unique(rows + 0.0, axis=0)
    rows = rows[rng.permutation(len(rows))]
    counts = np.ones(len(rows), dtype=np.int64)
    if rng.random() < 0.25:
        counts += rng.integers(0, 3, len(rows))
        words += f" counts {counts.tolist()}"
    return rows, counts, words


@dataclass(frozen=True)
class _Room:
    """Outputs at w0 and estimates of what the criterion admits there."""

    outputs: Floats
    available: float  # int s
    sigma: float
    norm: float
    beta: float


def _room(model: nn.Sequential, X: Tensor, counts: NDArray[np.int64], centred: bool) -> _Room:
    """`talweg.certify` finds the same numbers again, rigorously."""
    nothing = _Room(np.zeros((len(X), _last(model).out_features)), 0.0, 0.0, 0.0, 0.0)
    try:
        state = linearize(read(model, X), X, torch.from_numpy(counts))
    except talweg.TalwegError:
        return nothing
    outputs = state.h[-1].mid.numpy()
    kernel = kernel_ball(state).mid.numpy()
    if not (np.isfinite(kernel).all() and np.isfinite(outputs).all()):
        return nothing
    n, k = outputs.shape
    frame = np.eye(n * k)
    if centred:
        frame = np.kron(np.eye(n), np.linalg.svd(np.ones((1, k)))[2][1:])
    spectrum = np.linalg.eigvalsh(frame @ kernel @ frame.T)
    sigma, norm = (math.sqrt(max(float(value), 0.0)) for value in (spectrum[0], spectrum[-1]))
    lipschitz = JacobianLipschitz(state)
    beta = lipschitz.upper(0.0)
    if not (sigma > 0 and beta < math.inf):
        return _Room(outputs, 0.0, sigma, norm, 0.0)
    end = min(sigma / beta, 1e100) if beta > 0 else 1.0
    available, slope, start = 0.0, sigma, 0.0
    for fraction in (0.125, 0.25, 0.5, 1.0):
        bound = lipschitz.upper(fraction * end)
        if not bound < math.inf:
            break
        stop = min(fraction * end, start + slope / bound) if bound > 0 else fraction * end
        length = stop - start
        available += (slope - bound * length / 2) * length
        slope, start = slope - bound * length, stop
        if stop < fraction * end or slope <= 0:
            break
    return _Room(outputs, available, sigma, norm, beta)


def _squared(
    rng: np.random.Generator, kind: str, model: nn.Sequential, X: Tensor,
    counts: NDArray[np.int64], share: float,
) -> tuple[Tensor, dict[str, Any]]:  # fmt: skip
    """Targets at a distance from the outputs, weighted by the counts, that the share names."""
    room = _room(model, X, counts, centred=False)
    direction = rng.standard_normal(room.outputs.shape)
    if rng.random() < 0.1:
        direction[rng.integers(len(direction))] = 0.0
    weighted = math.sqrt(float((direction**2).sum(axis=1) @ counts))
    if kind == "T9":
        share *= 0.9
    loss = LOSSES[int(rng.integers(len(LOSSES)))]
    arguments: dict[str, Any] = {"loss": loss}
    distance = share * room.available
    if kind in ("T4", "T9"):
        arguments["theorem"] = kind
    elif kind == "T7":
        rest = room.available * float(rng.choice([1e-9, 0.1, 1.0, 3.0]))  # rho
        distance += rest
        scaling = {"mse": 1 / (counts.sum() * direction.shape[1]), "sse": 1.0, "half_sse": 0.5}
        arguments["target"] = float(max(scaling[loss] * rest**2, 1e-300))
    y = room.outputs + direction * (distance / weighted if weighted > 0 else 0.0)
    return torch.from_numpy(y), arguments


def _smoothed(
    rng: np.random.Generator, model: nn.Sequential, X: Tensor, counts: NDArray[np.int64],
    share: float,
) -> tuple[Tensor, dict[str, Any]]:  # fmt: skip
    """Labels whose smoothed probabilities the last layer nearly gives."""
    last = _last(model)
    k, n = last.out_features, len(X)
    labels = rng.integers(0, k, n)
    a = float(rng.choice([1.0, 0.9, 0.5, 0.1, float(rng.uniform(0.01, 1.0))]))
    q = np.full((n, k), a / k)
    q[np.arange(n), labels] += 1 - a
    goal = np.log(q) - np.log(q).mean(axis=1, keepdims=True)
    if model[-1] is last:
        with torch.no_grad():
            before = model[:-1].to(torch.float64)(X).numpy()
            model.to(last.weight.dtype)
            features = np.concatenate([before, np.ones((n, int(last.bias is not None)))], axis=1)
            readout = np.linalg.lstsq(features, goal, rcond=None)[0].T
            last.weight.copy_(torch.from_numpy(readout[:, : before.shape[1]].copy()))
            if last.bias is not None:
                last.bias.copy_(torch.from_numpy(readout[:, -1].copy()))
            room = _room(model, X, counts, centred=True)
            step = rng.standard_normal(last.weight.shape)
            moved = before @ step.T
            moved -= moved.mean(axis=1, keepdims=True)
            # G is about the variance of the move under q, halved.
            variance = (q * moved**2).sum(axis=1) - (q * moved).sum(axis=1) ** 2
            gap = float(variance @ counts) / 2
            budget = math.sqrt(2 * gap * k / a) if gap > 0 else math.inf
            delta = share * room.available / budget
            last.weight += torch.from_numpy(delta * step).to(last.weight.dtype)
    loss = ("cross_entropy", "cross_entropy_sum")[int(rng.integers(2))]
    return torch.from_numpy(labels), {"loss": loss, "label_smoothing": a}


def _entropy_target(
    rng: np.random.Generator, model: nn.Sequential, X: Tensor, counts: NDArray[np.int64],
    share: float,
) -> tuple[Tensor, dict[str, Any]]:  # fmt: skip
    """Labels, and a target as far below the loss as the share of the criterion reaches."""
    room = _room(model, X, counts, centred=True)
    n, k = int(counts.sum()), room.outputs.shape[1]
    labels = rng.integers(0, k, len(X))
    shifted = room.outputs - room.outputs.max(axis=1, keepdims=True)
    losses = np.log(np.exp(shifted).sum(axis=1)) - shifted[np.arange(len(X)), labels]
    start = float(losses @ counts)
    loss = ("cross_entropy", "cross_entropy_sum")[int(rng.integers(2))]
    # int du / psi = sqrt((k-1) n / k) log((e^(f0/sqrt n) - 1) / (e^(t/sqrt n) - 1))
    root = math.sqrt(n)
    reach = 0.5 * share * room.available / math.sqrt((k - 1) * n / k)
    target = start
    if 0 < start < 600 * root and reach < 600:
        target = root * math.log1p(math.expm1(start / root) * math.exp(-reach))
    target = max(target, 1e-300) * (1 / n if loss == "cross_entropy" else 1.0)
    return torch.from_numpy(labels), {"loss": loss, "target": float(target)}
