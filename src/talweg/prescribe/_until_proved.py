"""Train until it can be proved: any optimiser, and the first iterate with a proof (T6, P5).

Between two checks every iterate is kept. At a check the residual norms of the iterates since the
last one are held against ``sigma_0^2 / (2 beta)``, which changes slowly; those near or below it
get a missing factor of their own (float kernel, float eigenvalue), and those whose factor is not
clearly above 1 are certified, in order. So an iterate that meets the criterion only in passing is
found as well, and the first one certified is the trapping time. Where the criterion holds and
something else stands in the way, the next iterates meet it too: only the last one up to the next
check is tried then, and after a few of them the search ends.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from talweg._display import Grid, Sheet, Shown
from talweg._errors import InputError
from talweg.certificate import Certificate, certify
from talweg.prescribe._outlook import (
    DEFAULT_STEPS,
    Outlook,
    outlook_approx,
    price_rows,
)
from talweg.prescribe._training_loss import TrainingLoss, training_loss
from talweg.prescribe._trapping_watch import (
    FixedPart,
    Iterate,
    TrapCheck,
    TrappingWatch,
    copied,
    restore,
)
from talweg.prescribe._weight_bounds import checked_pair

OptimizerFactory = Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer]
SchedulerFactory = Callable[[torch.optim.Optimizer], Any]
Progress = Callable[[str], None]

LEARNING_RATE = 1e-3
BETAS = (0.97, 0.999)
"""Of the default, Adam with cosine decay; the first moment's coefficient as in ``talweg demo``."""

CHECK_EVERY = 250
OBSTACLES = 3
"""Certificates refused for another reason than the criterion, after which the search ends."""

STORED_BYTES = 1 << 29
"""Of iterates kept between two checks; checks come more often where a model is larger."""


@dataclass(frozen=True, eq=False, repr=False)
class TrainedUntilProved(Shown):
    """The answer of `train_until_proved`.

    Attributes:
        status: "PROVED" where gradient descent from `model` is certified, else "UNDECIDED".
        reason: One sentence.
        trapping_time: The first iterate (optimiser steps from the start) that was certified; None
            without one. Every iterate before it was looked at: by its residual norm, by a float
            missing factor where that was near, and by `talweg.certify` where the factor was (once
            up to the next check, where the criterion held and something else stood in the way).
            The criterion need not hold at every later iterate of the optimiser.
        certified_from: The same: gradient descent is certified from these weights.
        steps: Steps that were taken in all, up to the check after the trapping time.
        rejected: Iterates before it that were certified without success.
        certificate: For the weights at the trapping time; else for the last ones.
        model: The trained module, with those weights: the one passed if it was trained in place.
        checks: The history.
        outlook: Measured gradient descent from there.
    """

    status: str
    reason: str
    trapping_time: int | None
    steps: int
    rejected: tuple[int, ...]
    certificate: Certificate
    model: nn.Module
    checks: tuple[TrapCheck, ...]
    outlook: Outlook | None

    @property
    def certified_from(self) -> int | None:
        """The step from which gradient descent may take over."""
        return self.trapping_time

    def to_dict(self) -> dict[str, Any]:
        """The numbers as plain data."""
        return {
            "status": self.status, "reason": self.reason, "trapping_time": self.trapping_time,
            "steps": self.steps, "rejected": list(self.rejected),
            "halving_steps": self.certificate.halving_steps,
            "checks": [vars(check) for check in self.checks],
            "certificate": self.certificate.to_dict(),
            "outlook": None if self.outlook is None else vars(self.outlook),
        }  # fmt: skip

    def rows(self) -> list[tuple[str, str]]:
        """Label and text of every line, without the price."""
        when = self.trapping_time
        text = "none"
        if when is not None:
            text = (
                f"{when:,} (the first iterate that {self.certificate.theorem} certifies; plain "
                "gradient descent is certified from it)"
            )
        return [("status", self.status), ("reason", self.reason), ("trapping time", text)]

    def grids(self) -> tuple[Grid, ...]:
        """The checks on the way, as a table."""
        rows = [
            (f"{c.step:,}", f"{c.residual_norm:.3g}", f"{c.missing_factor:.4g}")
            for c in self.checks
        ]
        need = "|r|" if self.certificate.initial_gap is None else "sqrt(2 G / mu)"
        columns = ("step", need, "missing factor")
        return (Grid(columns, rows, "Checks (float estimates)", frozenset(range(3))),)

    def _sheet(self) -> Sheet:
        rows = self.rows() + price_rows(self.certificate, self.outlook)
        return Sheet.of_status("trained until proved", self.status, rows, *self.grids())


def train_until_proved(
    model: nn.Module,
    data: tuple[Tensor, Tensor],
    optimizer: torch.optim.Optimizer | OptimizerFactory | None = None,
    *,
    scheduler: Any = None,
    step: Callable[[nn.Module], None] | None = None,
    max_steps: int = 20_000,
    check_every: int = CHECK_EVERY,
    loss: str = "mse",
    label_smoothing: float = 0.0,
    held_out: tuple[Tensor, Tensor] | None = None,
    descent_steps: int = DEFAULT_STEPS,
    progress: Progress | None = None,
) -> TrainedUntilProved:
    """Train with any optimiser until T11 or T4 proves that gradient descent finishes the job.

    If training converges to a solution with a regular Jacobian this ends (T6), in floats as long
    as sigma_0^2 is above the rounding floor. Full batch. Nothing is said about the optimiser's own
    further steps: the claim is about plain gradient descent from the weights at the trapping time.

    Interrupted by Ctrl-C, a module trained in place holds the last iterate that was completed.

    Source: theory T6, P5.

    Args:
        model: Any network that `certify` reads, at its initial weights.
        data: ``(X, y)``.
        optimizer: A torch optimiser that holds the model's parameters: the model is then trained
            in place. Or a function of the parameters that makes one: a copy is trained. None is
            Adam(1e-3, betas=(0.97, 0.999)) with cosine decay over ``max_steps``, on a copy.
        scheduler: A learning rate scheduler, or a function of the optimiser that makes one;
            stepped after each step.
        step: Instead of an optimiser, a function that takes one training step on the module it is
            given, in place; a copy is trained. It may change parameters with requires_grad only:
            frozen parameters and buffers are no part of an iterate (refused), nor are numbers kept
            as attributes (not looked for).
        max_steps: At most so many steps.
        check_every: Steps between checks of the criterion; fewer where the iterates of one
            interval would fill more than 512 MiB.
        loss: "mse", "sse" or "half_sse" (T11); "cross_entropy" or "cross_entropy_sum" (T4), whose
            targets are class indices.
        label_smoothing: Of a cross-entropy, as in `torch.nn.CrossEntropyLoss`; above 0, because
            without it there are no weights to end at.
        held_out: Rows to measure the held-out error on.
        descent_steps: Steps of the measured gradient descent from the trapping time.
        progress: Called with a short text at each check.

    Returns:
        The trapping time, the certificate, and the trained model.

    Raises:
        InputError: An argument is malformed, or a step changed frozen parameters or buffers.
        UnsupportedModelError: The model cannot be read.
    """
    call = "train_until_proved"
    X, y = checked_pair(data, "data", call)
    if held_out is not None:
        held_out = checked_pair(held_out, "held_out", call)
    trains = training_loss(loss, label_smoothing, call)
    _check_counts(max_steps, check_every, call)
    say = progress if progress is not None else _silent
    first = certify(model, (X, y), **trains.settings, attack=False)
    watcher = TrappingWatch(model, X, y, trains)
    if held_out is not None:  # what does not fit is better known now than after the training
        outlook_approx(model, (X, y), None, **trains.settings, held_out=held_out, steps=0)
    if first.status == "REFUTED" or watcher.hopeless is not None:
        reason = watcher.hopeless or first.reason
        return TrainedUntilProved(first.status, reason, None, 0, (), first, model, (), None)
    in_place = isinstance(optimizer, torch.optim.Optimizer)
    trained = model if in_place else copy.deepcopy(model)
    advance = _advance(trained, X, y, trains, optimizer, scheduler, step, max_steps)
    if first.status == "PROVED":
        return _proved(trained, (X, y), 0, 0, (), first, (), trains, held_out, descent_steps)
    parameters = [p for p in trained.parameters() if p.requires_grad]
    size = sum(p.numel() * p.element_size() for p in parameters)
    every = max(1, min(check_every, STORED_BYTES // max(size, 1)))

    checks = [watcher.check(trained, 0, None)]
    rejected: list[int] = []
    obstacles: list[str] = []
    answer: Certificate = first
    window: list[Iterate] = []
    taken = 0
    fixed = FixedPart(trained)
    with _gradients_kept(parameters), _last_iterate_kept(parameters, window, fixed):
        while taken < max_steps:
            window.clear()
            window.append(copied(parameters))
            start = taken
            while taken < max_steps and taken - start < every:
                advance()
                taken += 1
                fixed.require_unchanged(taken)
                window.append(copied(parameters))
            last = checks[-1]
            checks.append(watcher.check(trained, taken, last))
            say(
                f"step {taken:,}: {trains.need_name} = {checks[-1].residual_norm:.3g}, missing "
                f"factor {checks[-1].missing_factor:.4g}"
            )
            if not math.isfinite(checks[-1].residual_norm):
                reason = f"training diverged before step {taken:,}: the outputs are not finite."
                return TrainedUntilProved(
                    "UNDECIDED", reason, None, taken, tuple(rejected), answer, trained,
                    tuple(checks), None,
                )  # fmt: skip
            blocked = False
            for offset in watcher.candidates(window, trained, checks[-2], checks[-1]):
                if blocked and offset < len(window) - 1:
                    continue
                say(f"certify iterate {start + offset:,}")
                restore(parameters, window[offset])
                answer = certify(trained, (X, y), **trains.settings, attack=False)
                if answer.status == "PROVED":
                    window[:] = [window[offset]]
                    return _proved(
                        trained, (X, y), start + offset, taken, tuple(rejected), answer,
                        tuple(checks), trains, held_out, descent_steps,
                    )  # fmt: skip
                rejected.append(start + offset)
                if answer.verdict is not None and answer.verdict.conclusion is not None:
                    blocked = True  # the theorem holds, and the claim is refused all the same
                    obstacles.append(f"iterate {start + offset:,}: {answer.reason}")
                watcher.calibrate(answer.as_given.missing_factor)
            restore(parameters, window[-1])
            if len(obstacles) >= OBSTACLES:
                break
    answer = certify(trained, (X, y), **trains.settings, attack=False)
    least = min(check.missing_factor for check in checks)
    reason = (
        f"the criterion was not met within {taken:,} steps; the smallest missing factor at a "
        f"check was {least:.4g}. Train longer (max_steps), with a learning rate that decays, or "
        "use a wider model; certify(polish=True) may get there from these weights."
    )
    if obstacles:
        reason = f"the criterion was met, but something else stands in the way at {obstacles[-1]}"
    return TrainedUntilProved(
        "UNDECIDED", reason, None, taken, tuple(rejected), answer, trained, tuple(checks), None
    )


def _proved(
    model: nn.Module, data: tuple[Tensor, Tensor], when: int, taken: int,
    rejected: tuple[int, ...], certificate: Certificate, checks: tuple[TrapCheck, ...],
    loss: TrainingLoss, held_out: tuple[Tensor, Tensor] | None, descent_steps: int,
) -> TrainedUntilProved:  # fmt: skip
    outlook = outlook_approx(
        model, data, certificate.step_size, **loss.settings, held_out=held_out, steps=descent_steps
    )
    reason = (
        f"{certificate.theorem} applies from iterate {when:,}: gradient descent is certified from "
        "there."
    )
    return TrainedUntilProved(
        "PROVED", reason, when, taken, rejected, certificate, model, checks, outlook
    )


def _advance(
    model: nn.Module, X: Tensor, y: Tensor, loss: TrainingLoss,
    optimizer: torch.optim.Optimizer | OptimizerFactory | None, scheduler: Any,
    step: Callable[[nn.Module], None] | None, max_steps: int,
) -> Callable[[], None]:  # fmt: skip
    """A function that takes one training step."""
    if step is not None:
        if optimizer is not None or scheduler is not None:
            raise InputError(
                "`step` of train_until_proved() takes the place of `optimizer` and `scheduler`; "
                "got both. Pass one of them."
            )
        if not callable(step):
            raise InputError(
                "`step` of train_until_proved() must be a function of the module; got "
                f"{type(step).__name__}. It takes one training step in place."
            )
        taken: Callable[[nn.Module], None] = step
        return lambda: taken(model)
    parameters = [p for p in model.parameters() if p.requires_grad]
    if not parameters:
        raise InputError(
            "`model` of train_until_proved() must have a parameter that trains; all are frozen. "
            "Call requires_grad_() on what shall be trained."
        )
    if optimizer is None:
        made: torch.optim.Optimizer = torch.optim.Adam(parameters, lr=LEARNING_RATE, betas=BETAS)
        if scheduler is None:
            scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(made, max_steps)
    elif isinstance(optimizer, torch.optim.Optimizer):
        made = optimizer
    else:
        made = optimizer(parameters) if callable(optimizer) else optimizer
    if not isinstance(made, torch.optim.Optimizer):
        raise InputError(
            "`optimizer` of train_until_proved() must be a torch.optim.Optimizer, or a function of "
            f"the parameters that makes one; got {type(made).__name__}. For example "
            "lambda p: torch.optim.Adam(p, lr=1e-3)."
        )
    held = {id(p) for group in made.param_groups for p in group["params"]}
    if not held & {id(p) for p in parameters}:
        raise InputError(
            "`optimizer` of train_until_proved() must hold parameters of `model`; it holds none of "
            "them. Build it from model.parameters()."
        )
    schedule = scheduler(made) if callable(scheduler) else scheduler

    def closure() -> float:
        with torch.enable_grad():
            value = loss.value(model(X), y)
            gradients = torch.autograd.grad(value, parameters)
        for p, g in zip(parameters, gradients, strict=True):
            p.grad = g
        return float(value.detach())

    def advance() -> None:
        made.step(closure)
        if schedule is not None:
            schedule.step()

    return advance


@contextmanager
def _gradients_kept(parameters: list[nn.Parameter]) -> Iterator[None]:
    """Put back the ``.grad`` that each parameter had."""
    before = [p.grad for p in parameters]
    try:
        yield
    finally:
        for p, grad in zip(parameters, before, strict=True):
            p.grad = grad


@contextmanager
def _last_iterate_kept(
    parameters: list[nn.Parameter], window: list[Iterate], fixed: FixedPart
) -> Iterator[None]:
    """After an error or Ctrl-C, leave the last complete iterate in the module."""
    try:
        yield
    except BaseException:
        if window:
            restore(parameters, window[-1])
            fixed.restore()
        raise


def _check_counts(max_steps: int, check_every: int, call: str) -> None:
    for name, value in (("max_steps", max_steps), ("check_every", check_every)):
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise InputError(
                f"`{name}` of {call}() must be a whole number >= 1; got {value!r}. It counts "
                "optimiser steps."
            )


def _silent(_: str) -> None:
    return None
