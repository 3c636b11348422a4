"""Certificates for convolutional, residual, attention and physics-informed networks, checked.

    python benchmarks/architectures.py                 # all rows, some hours on one core
    python benchmarks/architectures.py --only residual-mlp pinn
    python benchmarks/architectures.py --samples 40    # fewer rows of data, a few minutes

Data are scikit-learn's digits (8 x 8 pixels / 16): odd against even as +-1 under a squared loss, or
(k = 10) the ten classes under a cross-entropy with label smoothing 0.1; the encoder reads the eight
rows of an image as tokens. Weights are PyTorch's defaults from seed 0 in float64, polished by
`certify`; every certificate is then given to `talweg-check` in a process of its own.

`one-hot-10` (only when asked for) is the same network with one-hot targets under a squared loss.
It can only be UNDECIDED for more rows of data than features: one-hot targets sum to one, so at zero
loss the sum of the outputs no longer sees the convolutions.

Printed: slack (Lipschitz bound over the strongest attack), seconds by stage, the verdict of the
checker and its seconds.
"""

from __future__ import annotations

import argparse
import itertools
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import Tensor, nn

import talweg

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "examples"))


class ResidualBlock(nn.Module):
    """``x + tanh(W x + b)``, W a linear layer or a convolution."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        """The sum."""
        return x + torch.tanh(self.layer(x))


class Encoder(nn.Module):
    """One block of a transformer encoder, normalised first, over eight tokens of eight pixels."""

    def __init__(self, width: int = 16, heads: int = 2) -> None:
        super().__init__()
        self.embed = nn.Linear(8, width)
        self.place = nn.Parameter(0.02 * torch.randn(8, width))
        self.norm_attention, self.norm_mlp = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, heads, batch_first=True)
        self.up, self.down = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)
        self.out = nn.Linear(width, 1)

    def forward(self, x: Tensor) -> Tensor:
        """``(n, 1)``."""
        x = self.embed(x) + self.place
        z = self.norm_attention(x)
        x = x + self.attention(z, z, z, need_weights=False)[0]
        x = x + self.down(F.gelu(self.up(self.norm_mlp(x))))
        return self.out(x.mean(1))


def convolutional(k: int) -> nn.Module:
    """Three convolutions with average pooling."""
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), nn.Tanh(), nn.AvgPool2d(2),
        nn.Conv2d(8, 16, 3, padding=1), nn.Tanh(), nn.AvgPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1), nn.Tanh(), nn.AdaptiveAvgPool2d(1),
        nn.Flatten(), nn.Linear(32, k),
    )  # fmt: skip


def residual_mlp() -> nn.Module:
    """Six residual blocks of width 32."""
    blocks = [ResidualBlock(nn.Linear(32, 32)) for _ in range(6)]
    return nn.Sequential(nn.Linear(64, 32), *blocks, nn.Linear(32, 1))


def residual_convolutional() -> nn.Module:
    """Two residual blocks of eight channels, pooled between."""
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), nn.Tanh(), nn.AvgPool2d(2),
        ResidualBlock(nn.Conv2d(8, 8, 3, padding=1)), nn.AvgPool2d(2),
        ResidualBlock(nn.Conv2d(8, 8, 3, padding=1)), nn.AdaptiveAvgPool2d(1),
        nn.Flatten(), nn.Linear(8, 1),
    )  # fmt: skip


def mlp(*widths: int) -> nn.Module:
    """Tanh between linear layers."""
    layers: list[nn.Module] = []
    for d_in, d_out in itertools.pairwise(widths):
        layers += [nn.Linear(d_in, d_out), nn.Tanh()]
    return nn.Sequential(*layers[:-1])


@dataclass(frozen=True)
class Case:
    """One row: the model, the shape of a sample, outputs, samples, aimed slack, targets.

    `targets` are "parity", "classes" (smoothed cross-entropy) or "one-hot".
    """

    build: Callable[[], nn.Module]
    shape: tuple[int, ...]
    k: int
    samples: int
    aim: float
    targets: str = "parity"


CASES: dict[str, Case] = {
    "mlp-3": Case(lambda: mlp(64, 64, 64, 1), (64,), 1, 200, 1.5),
    "mlp-4": Case(lambda: mlp(64, 64, 64, 64, 1), (64,), 1, 200, 1.5),
    "convolutional-1": Case(lambda: convolutional(1), (1, 8, 8), 1, 300, 2.0),
    "convolutional-10": Case(lambda: convolutional(10), (1, 8, 8), 10, 300, 2.0, "classes"),
    "residual-mlp": Case(residual_mlp, (64,), 1, 200, 2.0),
    "residual-conv": Case(residual_convolutional, (1, 8, 8), 1, 100, 2.0),
    "encoder": Case(Encoder, (8, 8), 1, 50, 4.0),
    "one-hot-10": Case(lambda: convolutional(10), (1, 8, 8), 10, 300, 2.0, "one-hot"),
}
DEFAULT = [name for name in CASES if name != "one-hot-10"]
SMOOTHED = {"loss": "cross_entropy", "label_smoothing": 0.1}


Problem = tuple[nn.Module, Tensor, Tensor, float, dict[str, Any]]


def problem(name: str, limit: int | None) -> Problem:
    """The model and data of one row, its aim, and what `certify` is told of the loss."""
    if name == "pinn":
        import pinn_poisson

        found = pinn_poisson.problem()
        return found["model"], found["X"], found["y"], 2.0, {}  # type: ignore[return-value]
    case = CASES[name]
    count = case.samples if limit is None else min(limit, case.samples)
    digits = load_digits()
    X = torch.tensor(digits.images[:count] / 16.0).reshape(count, *case.shape)
    label = torch.tensor(digits.target[:count])
    targets = {
        "parity": (2.0 * (label % 2) - 1.0).double()[:, None],
        "classes": label,
        "one-hot": F.one_hot(label, 10).double(),
    }
    torch.manual_seed(0)
    loss = SMOOTHED if case.targets == "classes" else {}
    return case.build().double(), X, targets[case.targets], case.aim, loss


def row(name: str, limit: int | None, folder: Path) -> str:
    """Certify and check one row."""
    model, X, y, aim, loss = problem(name, limit)
    begun = time.perf_counter()
    certificate = talweg.certify(model, (X, y), polish=True, **loss)
    seconds = time.perf_counter() - begun
    stages = ", ".join(f"{k} {v:.0f}" for k, v in certificate.seconds.items() if k != "total")
    verdict, checked = "-", float("nan")
    if certificate.status == "PROVED":
        path = folder / f"{name}.talweg"
        certificate.save(path)
        begun = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-m", "talweg_check", str(path), "--json"],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        checked = time.perf_counter() - begun
        verdict = json.loads(done.stdout)["verdict"] if done.stdout else f"exit {done.returncode}"
    slack = float("nan") if certificate.slack is None else certificate.slack
    return (
        f"| {name} | {len(X)} x {certificate.outputs} | {certificate.parameters} | "
        f"{certificate.status} | {slack:.2f} | {aim} | {seconds:.0f} ({stages}) | {verdict} | "
        f"{checked:.0f} |"
    )


def main() -> None:
    """Print one row for each case."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--only", nargs="+", choices=[*CASES, "pinn"], default=[*DEFAULT, "pinn"])
    parser.add_argument("--samples", type=int, default=None)
    arguments = parser.parse_args()
    print("| model | n x k | p | status | slack | aim | seconds | check | its seconds |")
    print("|---|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for name in arguments.only:
            print(row(name, arguments.samples, Path(folder)), flush=True)


if __name__ == "__main__":
    main()
