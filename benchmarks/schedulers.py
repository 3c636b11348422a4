"""Learning-rate schedules from starting rates that nobody tuned: steps to a target loss.

    python benchmarks/schedulers.py [--quick]

Six tasks, none of which was used to choose a constant of `NoiseFloorScheduler` (those are in
`benchmarks/scheduler_rules.py`). For each, constant rates on a grid of half decades are run first;
the best one, by its median loss at the end of the budget, is the tuned constant, and the loss it
ends with is the target. Every schedule then starts from that rate, three times it and a third of
it. Losses are of all the training data, after every 20 steps; a target is reached where the median
of three successive evaluations is at or below it. A cell shows the median over seeds of the steps
to the target ("-": not within the budget in most seeds) and, in brackets, the loss at the end over
the target: below 1 is better than the tuned constant.

ReduceLROnPlateau has its defaults and is stepped once an epoch with the mean training loss; cosine
falls to zero over the budget. "noise floor" does not know the budget, "with end" does. The Polyak
step (plain SGD only) is capped at the starting rate and knows f*: 0 for labels, the least-squares
minimum for the linear model, whose loss is counted from there in every column.
"""

from __future__ import annotations

import argparse
import math
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.optim.lr_scheduler import ReduceLROnPlateau

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.faults.families import Shape, convnet, mlp, transformer
from benchmarks.faults.tasks import TEST, Task, _task
from benchmarks.faults.training import OPTIMIZERS

from talweg.optim import NoiseFloorScheduler, StochasticPolyakStep

EVERY, LAST = 20, 5
GRID = (0.03, 0.1, 0.3, 1.0, 3.0)
STARTS = {"1/3": 1 / 3, "1": 1.0, "3": 3.0}


@dataclass(frozen=True)
class Problem:
    """A task with its model, optimiser, batch size and lower bound (None: no Polyak step).

    `unit` multiplies the grid.
    """

    task: Task
    build: Callable[[Task], nn.Module]
    optimizer: str
    batch: int
    f_star: float | None = None
    unit: float = 1.0

    @property
    def epoch(self) -> int:
        """Steps in an epoch."""
        return len(self.task.X) // self.batch


class Factors(nn.Module):
    """Entries of a matrix as products of rows of two thin ones."""

    def __init__(self, rows: int, columns: int, rank: int) -> None:
        super().__init__()
        self.left = nn.Parameter(torch.randn(rows, rank) / rank**0.5)
        self.right = nn.Parameter(torch.randn(columns, rank) / rank**0.5)

    def forward(self, entries: Tensor) -> Tensor:
        i, j = entries.long().unbind(1)
        return (self.left[i] * self.right[j]).sum(1, keepdim=True)


def _diabetes() -> Task:
    from sklearn.datasets import load_diabetes

    X, y = load_diabetes(return_X_y=True)
    return _task(X / X.std(0), y, (10,))


def _least_squares(task: Task) -> float:
    X = torch.cat([task.X, torch.ones(len(task.X), 1)], 1).double()
    y = task.y.double()
    return float((X @ torch.linalg.lstsq(X, y).solution - y).square().mean())


def _ratings() -> Task:
    rng = np.random.default_rng(11)
    whole = rng.standard_normal((60, 4)) @ rng.standard_normal((4, 40)) / 2
    seen = np.argwhere(rng.random(whole.shape) < 0.6)
    y = whole[seen[:, 0], seen[:, 1]] + 0.3 * rng.standard_normal(len(seen))
    return Task(
        torch.tensor(seen, dtype=torch.float32), torch.tensor(y, dtype=torch.float32)[:, None]
    )


def _noisy_teacher() -> Task:
    task = TEST["MLP"]["teacher"]()
    noise = torch.randn(task.y.shape, generator=torch.Generator().manual_seed(13))
    return Task(task.X, task.y + 0.5 * noise)


def _net(family: Callable[..., nn.Module], width: int, depth: int, activation: str):
    return lambda task: family(task.X[0], task.outputs, Shape(width, depth, activation))


@cache
def problems() -> dict[str, Problem]:
    """The tasks by name."""
    diabetes = _diabetes()
    return {
        "diabetes, linear, SGD": Problem(
            diabetes, lambda task: nn.Linear(10, 1), "SGD", 8, _least_squares(diabetes), 0.03
        ),
        "breast cancer, MLP, SGD": Problem(
            TEST["MLP"]["breast cancer"](), _net(mlp, 24, 2, "tanh"), "SGD", 16, 0.0
        ),
        "noisy teacher, MLP, Nesterov": Problem(
            _noisy_teacher(), _net(mlp, 32, 2, "tanh"), "Nesterov", 16
        ),
        "noisy matrix, factors, momentum": Problem(
            _ratings(), lambda task: Factors(60, 40, 4), "momentum", 16
        ),
        "patches, ConvNet, Adam": Problem(
            TEST["ConvNet"]["patches"](), _net(convnet, 8, 2, "relu"), "Adam", 16
        ),
        "directions, transformer, AdamW": Problem(
            TEST["transformer"]["directions"](), _net(transformer, 16, 1, "gelu"), "AdamW", 16
        ),
    }


def batches(problem: Problem, seed: int) -> Iterator[Tensor]:
    """Rows of shuffled batches, for ever."""
    generator = torch.Generator().manual_seed(seed)
    while True:
        order = torch.randperm(len(problem.task.X), generator=generator)
        yield from order[: problem.epoch * problem.batch].split(problem.batch)


Step = Callable[[int, float], None]


def constant(optimizer: torch.optim.Optimizer, steps: int, epoch: int) -> Step:
    return lambda k, loss: None


def cosine(optimizer: torch.optim.Optimizer, steps: int, epoch: int) -> Step:
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    return lambda k, loss: scheduler.step()


def plateau(optimizer: torch.optim.Optimizer, steps: int, epoch: int) -> Step:
    scheduler, losses = ReduceLROnPlateau(optimizer), []

    def step(k: int, loss: float) -> None:
        losses.append(float(loss))
        if k % epoch == 0:
            scheduler.step(sum(losses) / len(losses))
            losses.clear()

    return step


def noise_floor(optimizer: torch.optim.Optimizer, steps: int, epoch: int) -> Step:
    scheduler = NoiseFloorScheduler(optimizer)
    return lambda k, loss: scheduler.step(loss)


def with_end(optimizer: torch.optim.Optimizer, steps: int, epoch: int) -> Step:
    scheduler = NoiseFloorScheduler(optimizer, total_steps=steps)
    return lambda k, loss: scheduler.step(loss)


SCHEDULES = {
    "plateau": plateau,
    "cosine": cosine,
    "noise floor": noise_floor,
    "with end": with_end,
}


def train(problem: Problem, make: Callable[..., Step] | None, rate: float, seed: int, steps: int):
    """Losses on all data after every `EVERY` steps; `make` None is the Polyak step."""
    torch.manual_seed(seed)
    model, task = problem.build(problem.task), problem.task
    if make is None:
        optimizer = StochasticPolyakStep(
            model.parameters(), problem.f_star, max_step=rate, slack=1.0
        )
    else:
        optimizer = OPTIMIZERS[problem.optimizer](model.parameters(), rate)
        schedule = make(optimizer, steps, problem.epoch)
    rows, losses = batches(problem, seed + 1000), []
    for k in range(1, steps + 1):
        chosen = next(rows)
        if make is None:
            optimizer.step(
                [task.loss(model(task.X[half]), task.y[half]) for half in chosen.chunk(2)]
            )
        else:
            optimizer.zero_grad()
            loss = task.loss(model(task.X[chosen]), task.y[chosen])
            loss.backward()
            optimizer.step()
            if not math.isfinite(float(loss.detach())):
                return losses + [math.inf] * (steps // EVERY - len(losses))
            schedule(k, loss.detach())
        if k % EVERY == 0:
            with torch.no_grad():
                losses.append(float(task.loss(model(task.X), task.y)) - (problem.f_star or 0.0))
    return [loss if loss == loss else math.inf for loss in losses]


def end(losses: list[float]) -> float:
    """The loss that a run ends with."""
    return statistics.median(losses[-LAST:])


def steps_to(losses: list[float], target: float) -> float:
    """Steps until the target is reached; inf if it is not."""
    for i in range(3, len(losses) + 1):
        if statistics.median(losses[i - 3 : i]) <= target:
            return float(i * EVERY)
    return math.inf


def main() -> int:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--quick", action="store_true", help="one seed, 400 steps")
    parser.add_argument("--steps", type=int, default=1200)
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    steps, seeds = (400, range(1)) if options.quick else (options.steps, range(options.seeds))
    begun = time.perf_counter()
    names = ["constant", *SCHEDULES, "Polyak"]
    table = Table("task", "start", *names, title=f"steps to the target, of {steps} (loss / target)")
    reached: dict[str, list[float]] = {name: [] for name in names}
    ratios: dict[str, list[float]] = {name: [] for name in names}
    for title, problem in problems().items():
        runs = {
            problem.unit * r: [train(problem, constant, problem.unit * r, s, steps) for s in seeds]
            for r in GRID
        }
        best = min(runs, key=lambda r: statistics.median(map(end, runs[r])))
        target = statistics.median(map(end, runs[best]))
        print(f"{time.perf_counter() - begun:.0f} s: {title}", file=sys.stderr)
        for label, times in STARTS.items():
            row = []
            for name in names:
                make = {"constant": constant, "Polyak": None, **SCHEDULES}[name]
                if make is None and problem.f_star is None:
                    row.append("")
                    continue
                if name == "constant" and label == "1":
                    found = runs[best]
                else:
                    found = [train(problem, make, best * times, s, steps) for s in seeds]
                first = statistics.median(steps_to(losses, target) for losses in found)
                ratio = statistics.median(map(end, found)) / target
                reached[name].append(first)
                ratios[name].append(ratio)
                took = f"{first:.0f}" if math.isfinite(first) else "-"
                row.append(f"{took} ({ratio:.3g})")
            print(f"{label}: {row}", file=sys.stderr)
            shown = f"{title}, best {best:g}, target {target:.3g}" if label == "1/3" else ""
            table.add_row(shown, label, *row)
        table.add_section()
    tail = [
        f"{sum(map(math.isfinite, reached[n]))}/{len(reached[n])} ({_mean(ratios[n]):.2g})"
        for n in names
    ]
    table.add_row("reached (geometric mean of loss / target)", "", *tail)
    Console(width=None if sys.stdout.isatty() else 180).print(table)
    print(f"{len(seeds)} seeds, {time.perf_counter() - begun:.0f} s")
    return 0


def _mean(ratios: list[float]) -> float:
    return math.exp(statistics.fmean(math.log(min(r, 100.0)) for r in ratios)) if ratios else 1.0


if __name__ == "__main__":
    sys.exit(main())
