"""One training of the bench: a set-up, watched or not, and its loss on all data."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from benchmarks.faults.families import FAMILIES, Shape
from benchmarks.faults.tasks import Task
from torch import Tensor, nn

import talweg
from talweg.monitor import Finding

STEPS, BATCH = 400, 64
OPTIMIZERS = {
    "SGD": lambda p, lr: torch.optim.SGD(p, lr),
    "momentum": lambda p, lr: torch.optim.SGD(p, lr / 10, momentum=0.9),
    "Nesterov": lambda p, lr: torch.optim.SGD(p, lr / 10, momentum=0.9, nesterov=True),
    "Adam": lambda p, lr: torch.optim.Adam(p, lr / 100),
    "AdamW": lambda p, lr: torch.optim.AdamW(p, lr / 100),
}  # the rates as they relate to one another in use


@dataclass
class Setup:
    """Everything that a fault can change.

    Attributes:
        family: Key of `FAMILIES`.
        task: Data that the training sees.
        shape: Of the network.
        optimizer: Key of `OPTIMIZERS`.
        lr: Its rate, in those units.
        seed: Of weights and batches.
        batch: Batch size.
        steps: Steps.
        noise: Standard deviation of fresh noise in the targets of every batch; for labels the
            share that is drawn anew.
        spoil: Changes the model after it was built: a key of `SPOIL`.
        trained: "all"; "head" gives only the last layer to the optimiser; "fixed" lets only the
            last layer require gradients.
    """

    family: str
    task: Task
    shape: Shape
    optimizer: str
    lr: float
    seed: int
    batch: int = BATCH
    steps: int = STEPS
    noise: float = 0.0
    spoil: str = ""
    trained: str = "all"

    def build(self) -> tuple[nn.Module, torch.optim.Optimizer]:
        """The model and its optimiser."""
        torch.manual_seed(self.seed)
        model = FAMILIES[self.family](self.task.X[0], self.task.outputs, self.shape)
        if self.spoil:
            with torch.no_grad():
                SPOIL[self.spoil](model)
        trained = list(model.parameters())
        if self.trained != "all":
            trained = list(model.head.parameters())
        if self.trained == "fixed":
            model.requires_grad_(False)
            for p in trained:
                p.requires_grad_(True)
        return model, OPTIMIZERS[self.optimizer](trained, self.lr)

    def batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Shuffled batches, for ever."""
        generator = torch.Generator().manual_seed(self.seed + 1)
        n = len(self.task.X)
        while True:
            order = torch.randperm(n, generator=generator)
            for start in range(0, n - self.batch + 1, self.batch):
                rows = order[start : start + self.batch]
                yield self.task.X[rows], self._blurred(self.task.y[rows], generator)

    def _blurred(self, y: Tensor, generator: torch.Generator) -> Tensor:
        if not self.noise:
            return y
        if self.task.labels:
            drawn = torch.randint(self.task.outputs, y.shape, generator=generator)
            chosen = torch.rand(y.shape, generator=generator) < self.noise
            return torch.where(chosen, drawn, y)
        return y + self.noise * torch.randn(y.shape, generator=generator)


def _hidden(model: nn.Module) -> list[nn.Module]:
    return [m for m in model.body.modules() if isinstance(m, nn.Linear | nn.Conv2d)]


def _scale(model: nn.Module, factor: float, head: bool = True) -> None:
    for m in [*_hidden(model), *([model.head] if head else [])]:
        m.weight *= factor
        m.bias *= min(factor, 1.0)


def _constant(model: nn.Module) -> None:
    for m in [*_hidden(model), model.head]:
        m.weight.fill_(1 / m.weight[0].numel())
        m.bias.zero_()


def _dead(model: nn.Module) -> None:
    for m in _before_activation(model):
        m.bias -= 20


def _saturated(model: nn.Module) -> None:
    for m in _before_activation(model):
        m.weight *= 100
        m.bias *= 100


def _before_activation(model: nn.Module) -> list[nn.Module]:
    if any(hasattr(m, "up") for m in model.modules()):
        return [m.up for m in model.modules() if hasattr(m, "up")]
    return _hidden(model)


SPOIL = {
    "tiny": lambda model: _scale(model, 1e-3),
    "large": lambda model: _scale(model, 8.0, head=False),
    "constant": _constant,
    "dead": _dead,
    "saturated": _saturated,
}


def train(setup: Setup, looks: int = 1) -> float:
    """The mean loss on all clean data after the training; inf where it is not finite.

    With several looks, the smallest of those at that many points of the training.
    """
    model, optimizer = setup.build()
    batches, losses = setup.batches(), []
    for _ in range(looks):
        for _ in range(setup.steps // looks):
            X, y = next(batches)
            optimizer.zero_grad()
            setup.task.loss(model(X), y).backward()
            optimizer.step()
        losses.append(clean_loss(setup, model))
    return min(losses)


def watch(setup: Setup) -> tuple[tuple[Finding, ...], float]:
    """The findings about this training, and its loss."""
    model, optimizer = setup.build()
    batches = setup.batches()
    every = {"gradient": 10, "curvature": 20, "units": 50, "updates": 0, "kernel": 0}
    with talweg.Monitor(model, optimizer, setup.task.loss, every=every) as monitor:
        for _ in range(setup.steps):
            X, y = next(batches)
            monitor.step((X, y))
            optimizer.zero_grad()
            setup.task.loss(model(X), y).backward()
            optimizer.step()
    return monitor.findings([(setup.task.X, setup.task.y)]), clean_loss(setup, model)


def clean_loss(setup: Setup, model: nn.Module) -> float:
    """Mean loss over all data."""
    with torch.no_grad():
        loss = float(setup.task.loss(model(setup.task.X), setup.task.y))
    return loss if loss == loss else float("inf")
