"""Which rule finds the noise floor: the development tasks of `NoiseFloorScheduler`.

    python benchmarks/scheduler_rules.py [--quick]

Six set-ups (two data sets, three optimisers, two of them with wrong labels or noisy targets), each
from two starting rates, 1,200 steps, one seed. A cell is the loss on all data at the end; the last
column their geometric mean (a loss above 10 counts as 10). The rows: known schedules; the rule as
it is; the rule with one of its constants changed; and other tests of stationarity, looked at as
often and with the same factor:

* Pflug: the sum of products of successive gradients is negative.
* fluctuation-dissipation: the mean of |w'|^2 - |w|^2 is zero to 2 % of |w' - w|^2, with 95 %
  confidence by batch means (Yaida; Lang, Zhang, Xiao).
* distance: |w - w_start|^2 grows with a power below 0.6 of the steps (Pesme, Dieuleveut,
  Flammarion, with their constants).
"""

from __future__ import annotations

import argparse
import contextlib
import math
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.faults.families import Shape, mlp
from benchmarks.faults.tasks import DEV, Task
from benchmarks.schedulers import Problem, constant, cosine, end, plateau, train

from talweg.optim import NoiseFloorScheduler, _loss_trend, _noise_floor


def setups(steps: int) -> Iterator[tuple[str, Problem, float]]:
    """Name, problem and starting rate."""
    for name, optimizer, noise, batch, rates in (
        ("digits", "SGD", 0.1, 16, (0.3, 1.0)),
        ("digits", "Adam", 0.1, 16, (0.3, 1.0)),
        ("digits", "momentum", 0.0, 32, (0.3, 1.0)),
        ("moment", "SGD", 0.3, 16, (0.1, 0.3)),
        ("moment", "momentum", 0.3, 16, (0.1, 0.3)),
        ("moment", "Adam", 0.0, 16, (0.3, 1.0)),
    ):
        task = spoilt(DEV["MLP"][name](), noise)
        build = lambda task: mlp(task.X[0], task.outputs, Shape(24, 2, "relu"))  # noqa: E731
        for rate in rates:
            yield f"{name} {optimizer} {rate:g}", Problem(task, build, optimizer, batch), rate


def spoilt(task: Task, noise: float) -> Task:
    """A share of labels drawn anew, or noise added to the targets; the same for ever."""
    generator = torch.Generator().manual_seed(99)
    if not noise:
        return task
    if not task.labels:
        return Task(task.X, task.y + noise * torch.randn(task.y.shape, generator=generator))
    chosen = torch.rand(task.y.shape, generator=generator) < noise
    drawn = torch.randint(task.outputs, task.y.shape, generator=generator)
    return Task(task.X, torch.where(chosen, drawn, task.y))


class Rival:
    """A rule on weights and gradients that halves the rate."""

    def __init__(self, optimizer: torch.optim.Optimizer, steps: int, epoch: int) -> None:
        self.optimizer, self.before = optimizer, None
        self.begin()

    def begin(self) -> None:
        self.n, self.look = 0, 40
        self.series: list[tuple[float, float]] = []

    def vector(self, gradient: bool = False) -> torch.Tensor:
        params = [p for group in self.optimizer.param_groups for p in group["params"]]
        pieces = [(p.grad if gradient else p.detach()).reshape(-1).double() for p in params]
        return torch.cat(pieces)

    def __call__(self, k: int, loss: float) -> None:
        self.n += 1
        self.take()
        if self.n >= self.look:
            self.look = math.ceil(1.1 * self.n)
            if self.stationary():
                for group in self.optimizer.param_groups:
                    group["lr"] *= 0.5
                self.begin()


class Pflug(Rival):
    def take(self) -> None:
        g = self.vector(gradient=True)
        if self.n > 1:
            self.series.append((float(g @ self.before), 0.0))
        self.before = g

    def stationary(self) -> bool:
        return sum(product for product, _ in self.series) < 0


class Dissipation(Rival):
    def take(self) -> None:
        w = self.vector()
        if self.n > 1:
            moved = float((w - self.before).square().sum())
            self.series.append((float(w @ w - self.before @ self.before), moved))
        self.before = w

    def stationary(self) -> bool:
        w = len(self.series) // 20
        kept = torch.tensor(self.series[-10 * w :], dtype=torch.float64)
        means = kept[:, 0].reshape(10, w).mean(1)
        error = 1.833 * float(means.std()) / 10**0.5  # 95 %, nine degrees of freedom
        return abs(float(means.mean())) + error < 0.02 * float(kept[:, 1].mean())


class Distance(Rival):
    def begin(self) -> None:
        super().begin()
        self.look, self.last = 8, None

    def take(self) -> None:
        if self.n == 1:
            self.start = self.vector().clone()

    def stationary(self) -> bool:
        self.look = math.ceil(1.5 * self.n)
        now = float((self.vector() - self.start).square().sum())
        last, self.last = self.last, (self.n, now)
        return last is not None and math.log(now / last[1]) < 0.6 * math.log(self.n / last[0])


def rule(optimizer: torch.optim.Optimizer, steps: int, epoch: int, ends: bool = False, **options):
    scheduler = NoiseFloorScheduler(optimizer, total_steps=steps if ends else None, **options)
    return lambda k, loss: scheduler.step(loss)


@contextlib.contextmanager
def changed(module: object, name: str, value: float) -> Iterator[None]:
    """A constant of a module, for a while."""
    before = getattr(module, name)
    setattr(module, name, value)
    try:
        yield
    finally:
        setattr(module, name, before)


ROWS: dict[str, tuple[Callable, tuple[object, str, float] | None]] = {
    "constant": (constant, None),
    "plateau": (plateau, None),
    "cosine": (cosine, None),
    "noise floor": (rule, None),
    "with end": (partial(rule, ends=True), None),
    "factor 1/4": (partial(rule, factor=0.25), None),
    "factor 1/10": (partial(rule, factor=0.1), None),
    "window: latter half": (rule, (_loss_trend, "WINDOW", 0.5)),
    "horizon: as long again": (rule, (_noise_floor, "HORIZON", 1.0)),
    "one standard error": (rule, (_noise_floor, "CONFIDENT", 1.0)),
    "no standard error": (rule, (_noise_floor, "CONFIDENT", 0.0)),
    "Pflug": (Pflug, None),
    "fluctuation-dissipation": (Dissipation, None),
    "distance": (Distance, None),
}


def main() -> int:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--quick", action="store_true", help="300 steps")
    steps = 300 if parser.parse_args().quick else 1200
    torch.set_num_threads(1)
    begun = time.perf_counter()
    chosen = list(setups(steps))
    table = Table("rule", *[name for name, _, _ in chosen], "mean", title="loss at the end")
    for name, (make, change) in ROWS.items():
        with changed(*change) if change else contextlib.nullcontext():
            losses = [end(train(problem, make, rate, 0, steps)) for _, problem, rate in chosen]
        mean = math.exp(statistics.fmean(math.log(min(loss, 10.0)) for loss in losses))
        table.add_row(name, *[f"{loss:.2g}" for loss in losses], f"{mean:.3g}")
        print(f"{time.perf_counter() - begun:.0f} s: {name} {mean:.3g}", file=sys.stderr)
    Console(width=None if sys.stdout.isatty() else 240).print(table)
    print(f"{time.perf_counter() - begun:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
