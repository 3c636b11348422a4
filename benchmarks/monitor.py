"""What a Monitor costs: time per step with it over time per step without, in one run.

    python benchmarks/monitor.py [--seconds S]

Three models (MLP, ConvNet, transformer) on random data of digits' size, batch 64, one thread. The
bare loop and the watched one alternate in slices of some hundred steps, so that what else the
machine does meets both; the ratio is of the two sums, the first slice of each is left out. "own
account" is what the monitor itself reports as its overhead.

Beside it Cockpit's "economy" set of quantities on two of the models, in an environment of its own
(`make bench-peers`), in the same way; it has no budget, but a period in steps.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.nn import functional as F

import talweg

BATCH, SLICE = 64, 200
HERE = Path(__file__).resolve().parent
PEER = HERE.parent / ".venv-cockpit" / "bin" / "python"


class Transformer(nn.Module):
    """Two encoder layers over eight tokens of eight numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(8, 64)
        layer = nn.TransformerEncoderLayer(64, 4, 128, batch_first=True, dropout=0.1)
        self.layers = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.layers(self.embed(x.reshape(len(x), 8, 8))).mean(1))


MODELS: dict[str, Callable[[], nn.Module]] = {
    "MLP 64-512-512-10": lambda: nn.Sequential(
        nn.Linear(64, 512), nn.ReLU(), nn.Linear(512, 512), nn.ReLU(), nn.Linear(512, 10)
    ),
    "ConvNet 8x8, 2 layers": lambda: nn.Sequential(
        nn.Unflatten(1, (1, 8, 8)), nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(),
        nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(2048, 10),
    ),
    "transformer, 2 layers": Transformer,
}  # fmt: skip


class Loop:
    """One training, watched or not."""

    def __init__(self, build: Callable[[], nn.Module], watched: bool, overhead: float) -> None:
        torch.manual_seed(0)
        self.model = build()
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.01, momentum=0.9)
        self.monitor = talweg.Monitor(
            self.model, self.optimizer, F.cross_entropy, overhead=overhead
        )
        self.watched, self.seconds, self.steps = watched, 0.0, 0
        self.X = torch.randn(SLICE * BATCH, 64)
        self.y = torch.randint(10, (SLICE * BATCH,))

    def slice(self, counted: bool) -> None:
        start = time.perf_counter()
        for X, y in zip(self.X.split(BATCH), self.y.split(BATCH), strict=True):
            if self.watched:
                self.monitor.step((X, y))
            self.optimizer.zero_grad()
            F.cross_entropy(self.model(X), y).backward()
            self.optimizer.step()
        if counted:
            self.seconds += time.perf_counter() - start
            self.steps += SLICE


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--seconds", type=float, default=40.0, help="per model and share")
    options = parser.parse_args()
    torch.set_num_threads(1)
    table = Table(title="time per step with a Monitor / without")
    for column in (
        "model",
        "asked",
        "ratio",
        "own account",
        "ms per step",
        "looks per 1,000 steps",
    ):
        table.add_column(column, justify="right", no_wrap=True)
    for name, build in MODELS.items():
        for share in (0.02, 0.05):
            bare, seen = Loop(build, False, share), Loop(build, True, share)
            with seen.monitor:
                end, rounds = time.perf_counter() + options.seconds, 0
                while time.perf_counter() < end or rounds < 3:
                    # The clock of the budget stands still while the other loop runs.
                    paused = time.perf_counter()
                    bare.slice(rounds > 0)
                    seen.monitor.budget.started += time.perf_counter() - paused
                    seen.slice(rounds > 0)
                    rounds += 1
                account = seen.monitor.overhead
            looks = Counter(
                kind
                for row in seen.monitor.rows
                for kind, key in (
                    ("gradient", "noise"), ("curvature", "curvature_samples"), ("units", "units"),
                    ("updates", "update_ratios"), ("kernel", "kernel_samples"),
                )
                if key in row
            )  # fmt: skip
            said = ", ".join(
                f"{kind} {1000 * n / (seen.steps + SLICE):.1f}" for kind, n in looks.items()
            )
            table.add_row(
                name, f"{share:.0%}", f"{seen.seconds / bare.seconds:.3f}", f"{account:.3f}",
                f"{1000 * bare.seconds / bare.steps:.2f}", said,
            )  # fmt: skip
    console = Console(width=None if sys.stdout.isatty() else 150)
    console.print(table)
    if not PEER.exists():
        console.print("Cockpit is not installed: make bench-peers")
        return 0
    peer = Table(title="time per step with Cockpit / without")
    for column in ("model", "quantities", "every", "ratio"):
        peer.add_column(column, justify="right", no_wrap=True)
    command = [str(PEER), str(HERE / "peers" / "cockpit_overhead.py"), str(options.seconds / 2)]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    for row in map(json.loads, output.splitlines()):
        peer.add_row(row["model"], row["level"], f"{row['interval']} steps", f"{row['ratio']:.2f}")
    console.print(peer)
    return 0


if __name__ == "__main__":
    sys.exit(main())
