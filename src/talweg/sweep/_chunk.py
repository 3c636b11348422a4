"""One chunk of a sweep: neighbouring runs, trained together, possibly in another process."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pyarrow
import torch
from torch import Tensor, nn

from talweg.sweep._chain import read_chain
from talweg.sweep._descend import Objective, descend
from talweg.sweep._general import LossFunction, Vectorized
from talweg.sweep._grid import Grid
from talweg.sweep._shards import shard_path, write_shard
from talweg.sweep._starts import stacked_starts
from talweg.sweep._tables import steps_table

LOSSES: dict[str, Callable[[int], float]] = {
    "mse": lambda entries: 1.0 / entries,
    "sse": lambda entries: 1.0,
    "half_sse": lambda entries: 0.5,
}
"""Squared losses, as the factor of the sum of squares given the number of entries."""


@dataclass(frozen=True)
class Plan:
    """Everything that the training of a chunk depends on.

    Attributes:
        model: In the dtype to compute in.
        X: Inputs.
        y: Targets, in the shape of the outputs.
        grid: The axes.
        loss: One of `LOSSES`, or a function of outputs and targets.
        steps: Largest number of steps.
        record_every: Steps between recorded points.
        target: Loss at which a run ends, or None.
        chunk_size: Runs trained together.
        engine: "chain", "vmap", or "auto": the chain where the model is one.
    """

    model: nn.Module
    X: Tensor
    y: Tensor
    grid: Grid
    loss: str | LossFunction
    steps: int
    record_every: int
    target: float | None
    chunk_size: int
    engine: str

    @property
    def chunks(self) -> int:
        """Number of chunks."""
        return -(-self.grid.size // self.chunk_size)

    def bounds(self, index: int) -> tuple[int, int]:
        """First run of a chunk, and the first one after it."""
        first = index * self.chunk_size
        return first, min(first + self.chunk_size, self.grid.size)

    def objective(self) -> Objective:
        """Losses and gradients at stacked weights."""
        if callable(self.loss):
            return Vectorized(self.model, self.X, self.y, self.loss)
        factor = LOSSES[self.loss](self.y.numel())
        chain = None
        if self.engine != "vmap":
            chain = read_chain(self.model, self.X, self.y, factor)
        if chain is not None:
            return chain
        return Vectorized(self.model, self.X, self.y, functools.partial(_squared, factor))

    def starts(self, first: int, last: int) -> dict[str, Tensor]:
        """Stacked starting weights of the runs ``first`` to ``last - 1``."""
        runs = self.grid.runs(first, last)
        return stacked_starts(self.model, runs, self.grid.initialisers, self.grid.extra)


def _squared(factor: float, outputs: Tensor, targets: Tensor) -> Tensor:
    return factor * (outputs - targets).square().sum()


def train_chunk(plan: Plan, index: int) -> pyarrow.Table:
    """Train the runs of one chunk; the same numbers in whichever process it happens."""
    first, last = plan.bounds(index)
    runs = plan.grid.runs(first, last)
    lr = torch.tensor([run["lr"] for run in runs], dtype=torch.float64)
    trajectories = descend(
        plan.objective(),
        plan.starts(first, last),
        lr,
        steps=plan.steps,
        record_every=plan.record_every,
        target=plan.target,
    )
    return steps_table(trajectories, runs, first)


def store_chunk(plan: Plan, index: int, folder: Path, mark: str) -> int:
    """Train a chunk and write its shard; its index, so that little travels between processes."""
    if torch.get_num_threads() != 1:  # sums of one thread do not depend on the machine's cores
        torch.set_num_threads(1)
    write_shard(shard_path(folder, index), train_chunk(plan, index), mark, index)
    return index
