"""The faults: how each is planted, what should be found, and how a finding is followed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from benchmarks.faults.families import DEPTH
from benchmarks.faults.tasks import Task
from benchmarks.faults.training import Setup, clean_loss, train
from torch import Tensor

from talweg.monitor import Finding

Planter = Callable[[Setup], Setup | None]


@dataclass(frozen=True)
class Fault:
    """One kind of fault.

    Attributes:
        kind: The finding that names it.
        plant: The faulty set-up; None where the fault does not exist for this set-up.
        repairable: Whether a change of the training can reach the healthy loss.
    """

    kind: str
    plant: Planter
    repairable: bool = True


def _adaptive(s: Setup) -> bool:
    return s.optimizer.startswith("Adam")


def _deep(s: Setup, activation: str, spoil: str = "") -> Setup:
    depth = 4 if s.family == "transformer" else 8 if activation == "sigmoid" else 5
    shape = replace(s.shape, activation=activation, depth=depth, plain=s.family == "transformer")
    return replace(s, shape=shape, spoil=spoil)


def _data(s: Setup, X: Tensor | None = None, y: Tensor | None = None) -> Setup:
    return replace(s, task=Task(s.task.X if X is None else X, s.task.y if y is None else y))


def _features_first(X: Tensor) -> Tensor:
    return X.movedim(1, -1) if X.ndim == 4 else X


def _spread(s: Setup) -> Setup | None:
    """Feature sizes over three orders of magnitude."""
    last = _features_first(s.task.X)
    k = last.shape[-1]
    if k < 3:
        return None
    generator = torch.Generator().manual_seed(s.seed)
    sizes = 10 ** (torch.linspace(-1.5, 1.5, k)[torch.randperm(k, generator=generator)])
    X = last * sizes
    return _data(s, X.movedim(-1, 1) if s.task.X.ndim == 4 else X)


def _contradictory(s: Setup) -> Setup:
    """The second half repeats the inputs of the first, its targets are of other samples."""
    X, y = s.task.X, s.task.y
    half = len(X) // 2
    generator = torch.Generator().manual_seed(s.seed)
    moved = y[torch.randperm(half, generator=generator)]
    return _data(s, torch.cat([X[:half], X[:half]]), torch.cat([y[:half], moved]))


def _noisy(s: Setup) -> Setup | None:
    """Small batches of noisy targets, at a rate at which these batches do well without noise.

    Small batches can need a smaller rate; what they do at a larger one is the fault of the step.
    """
    enough = 2 * train(s) + 0.02 * clean_loss(s, s.build()[0])
    for share in (1.0, 0.3, 0.1):
        small = replace(s, batch=8, lr=share * s.lr)
        if train(small) <= enough:
            return replace(small, noise=0.4 if s.task.labels else 1.0)
    return None


def _narrow(s: Setup) -> Setup:
    width = 2 if s.family == "transformer" else 1
    return replace(s, shape=replace(s.shape, width=width))


def _only(condition: bool, setup: Setup) -> Setup | None:
    return setup if condition else None


FAULTS: dict[str, Fault] = {
    "step x 100": Fault("step_too_large", lambda s: replace(s, lr=100 * s.lr)),
    "step / 300": Fault("step_too_small", lambda s: replace(s, lr=s.lr / 300)),
    "noisy targets, batch 8": Fault("noise_floor", _noisy),
    "weights / 1000": Fault("saddle", lambda s: replace(s, spoil="tiny")),
    "deep sigmoid": Fault("vanishing", lambda s: _deep(s, "sigmoid")),
    "deep, weights x 8": Fault("exploding", lambda s: _deep(s, "relu", "large")),
    "biases - 20": Fault("dead_units", lambda s: _only(
        True, replace(s, shape=replace(s.shape, activation="relu"), spoil="dead"))),
    "weights x 100": Fault("saturated_units", lambda s: replace(
        s, shape=replace(s.shape, activation="tanh"), spoil="saturated")),
    "width 1": Fault("rank_deficient", _narrow),
    "contradictions": Fault("conflicting_targets", _contradictory, repairable=False),
    "inputs spread": Fault("inputs", _spread),
    "inputs x 100": Fault("inputs", lambda s: _data(s, 100 * s.task.X)),
    "inputs + 30": Fault("inputs", lambda s: _data(s, s.task.X + 30)),
    "targets x 100": Fault("target_scale", lambda s: _only(
        not s.task.labels, _data(s, y=100 * s.task.y))),
    "targets + 100": Fault("target_scale", lambda s: _only(
        not s.task.labels, _data(s, y=s.task.y + 100))),
    "constant weights": Fault("symmetric", lambda s: replace(s, spoil="constant")),
    "body frozen": Fault("frozen", lambda s: replace(s, trained="fixed")),
    "body not in the optimiser": Fault("frozen", lambda s: replace(s, trained="head")),
    "body detached": Fault("disconnected", lambda s: replace(s, shape=replace(s.shape, cut=True))),
}  # fmt: skip


def followed(setup: Setup, finding: Finding) -> Setup:
    """The set-up changed as the finding suggests; vanishing gradients also get the usual depth."""
    action = finding.action
    new = setup
    if "batch_factor" in action:
        new = replace(new, batch=new.batch * int(action["batch_factor"]))
    elif "lr_factor" in action:
        new = replace(new, lr=new.lr * float(action["lr_factor"]))
    if "reinitialize" in action:
        new = replace(new, spoil="")
        if finding.kind == "vanishing":  # a slope of one at zero, usual depth
            shape = replace(new.shape, activation="tanh", plain=False, depth=DEPTH[new.family])
            new = replace(new, shape=shape)
        if finding.kind == "exploding":
            new = replace(new, shape=replace(new.shape, plain=False))
    if action.get("standardize_inputs"):
        last = _features_first(new.task.X)
        flat = last.reshape(-1, last.shape[-1])
        X = (last - flat.mean(0)) / flat.std(0).clamp_min(1e-12)
        new = _data(new, X.movedim(-1, 1) if new.task.X.ndim == 4 else X)
    if action.get("standardize_targets"):
        new = _data(new, y=(new.task.y - new.task.y.mean()) / new.task.y.std())
    if "unfreeze" in action:
        new = replace(new, trained="all")
    if "connect" in action:
        new = replace(new, shape=replace(new.shape, cut=False))
    if "widen" in action:
        new = replace(new, shape=replace(new.shape, width=max(32, new.shape.width)))
    return new
