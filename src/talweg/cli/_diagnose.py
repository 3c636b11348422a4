"""``talweg diagnose``."""

from __future__ import annotations

import contextlib
import copy
import math
import sys
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from talweg import diagnose
from talweg._errors import InputError
from talweg.cli._console import print_json, print_result
from talweg.cli._optimizers import OPTIMIZERS
from talweg.cli._outcome import DONE
from talweg.cli._progress import run_shown
from talweg.cli._spec import Problem, any_model_run, load_problem


def _mse(outputs: Tensor, targets: Tensor) -> Tensor:
    """As `certify` reads targets: ``(n,)`` and ``(n, 1)`` are the same thing.

    PyTorch would broadcast them to n x n differences.
    """
    if outputs.numel() == targets.numel() == len(outputs) == len(targets):
        targets = targets.reshape(outputs.shape)
    return F.mse_loss(outputs, targets)


IGNORED = -100
"""The label that PyTorch's cross-entropy leaves out unless it is told otherwise."""

LOSSES: dict[str, Callable[..., Tensor]] = {
    "mse": _mse,
    "cross_entropy": F.cross_entropy,
}


def run_diagnose(
    spec: str,
    optimizer: str,
    lr: float | None,
    batch: int,
    steps: int,
    loss: str | None,
    label_smoothing: float | None = None,
    *,
    quiet: bool = False,
    as_json: bool,
) -> int:
    """Try out the training of a specification, and print what limits it, one finding per line.

    Raises:
        TalwegError: As `load_problem` and `talweg.diagnose`.
    """
    recipe = OPTIMIZERS[optimizer]
    usual = recipe.batch_rate if recipe.batch_rate is not None else recipe.full_batch_rate
    rate = usual if lr is None else lr
    if not (math.isfinite(rate) and rate > 0):
        raise InputError(
            f"--lr of diagnose: a positive number is required; got {rate}; give the step size that "
            "you train with"
        )
    problem = load_problem(spec)
    chosen = _loss(problem, loss)
    smoothing = _smoothing(problem, chosen, label_smoothing)
    generator = torch.Generator().manual_seed(0)
    with (
        contextlib.redirect_stdout(sys.stderr),
        run_shown("talweg diagnose", steps, quiet=quiet) as show,
        any_model_run(spec, "talweg diagnose"),
    ):
        trained = [p for p in problem.model.parameters() if p.requires_grad]
        if not trained:
            raise InputError(
                f"SPEC {spec!r} must return a model with at least one parameter that requires a "
                "gradient; got none; unfreeze one"
            )
        _require_fitting(problem, chosen)
        data = torch.utils.data.TensorDataset(problem.X, problem.y)
        loader = torch.utils.data.DataLoader(data, batch, shuffle=True, generator=generator)
        found = diagnose(
            problem.model, loader,
            torch.nn.CrossEntropyLoss(label_smoothing=smoothing) if smoothing else LOSSES[chosen],
            recipe.make(trained, rate, full_batch=False), steps=steps,
            progress=lambda step, row: show(row),
        )  # fmt: skip
    if as_json:
        setting = {
            "label_smoothing": smoothing, "optimizer": optimizer, "lr": rate, "batch": batch,
            "steps": steps,
        }  # fmt: skip
        findings = [finding.to_dict() for finding in found]
        print_json({"findings": findings, "loss": chosen, **setting})
    else:
        for number, finding in enumerate(found, 1):
            print_result(f"{number}. {finding}")
        smoothed = f" with label smoothing {smoothing:g}" if smoothing else ""
        print_result(
            f"Tried: {steps} steps of {optimizer}, step size {rate:g}, batches of {batch}, "
            f"{chosen}{smoothed}."
        )
    return DONE


def _loss(problem: Problem, given: str | None) -> str:
    """The loss asked for, that of the specification, or the one that suits the targets."""
    stated = given or problem.settings.get("loss")
    if stated is None:
        return "mse" if problem.y.is_floating_point() else "cross_entropy"
    if stated not in LOSSES:
        raise InputError(
            f"--loss of diagnose: a mean over the batch is required, one of {', '.join(LOSSES)}; "
            f"got {stated!r}; choose one and a step size for it"
        )
    return str(stated)


def _smoothing(problem: Problem, loss: str, given: float | None) -> float:
    stated = problem.settings.get("label_smoothing", 0.0) if given is None else given
    if isinstance(stated, bool) or not isinstance(stated, int | float) or not 0.0 <= stated <= 1.0:
        raise InputError(
            f"--label-smoothing of diagnose: a number from 0 to 1 is required; got {stated!r}; 0.1 "
            "is usual"
        )
    if stated and loss != "cross_entropy":
        raise InputError(
            f"--label-smoothing of diagnose: a cross-entropy is required; got the loss {loss}; "
            "choose --loss cross_entropy"
        )
    return float(stated)


def _require_fitting(problem: Problem, loss: str) -> None:
    """Targets that PyTorch would stretch to the outputs, or refuse in its own words."""
    X, y = problem.X, problem.y
    if len(X) != len(y):
        raise InputError(
            f"y of diagnose: one row for each row of X is required; got {len(y)} for {len(X)}; "
            "pair them up"
        )
    for name, t in (("X", X), ("y", y)):
        bad = ~t.isfinite()
        if bool(bad.any()):
            row = int(bad.nonzero()[0][0])
            raise InputError(
                f"{name} of diagnose: finite numbers are required; got {int(bad.sum())} others, "
                f"the first in row {row}; repair or remove these rows"
            )
    trial = copy.deepcopy(problem.model).eval()
    with torch.no_grad():
        outputs = trial(X[:1])
    if not isinstance(outputs, Tensor):
        raise InputError(
            f"model of diagnose: one tensor of outputs is required; got {type(outputs).__name__}; "
            "return the outputs alone"
        )
    shape, wanted = tuple(y.shape[1:]), tuple(outputs.shape[1:])
    if loss == "mse":
        if shape != wanted and not outputs.numel() == y[:1].numel() == 1:
            raise InputError(
                f"y of diagnose: the shape of the outputs, (n, {', '.join(map(str, wanted))}), is "
                f"required for mse; got {tuple(y.shape)}; reshape y, or choose --loss "
                "cross_entropy for class labels"
            )
    elif not y.is_floating_point():
        k = outputs.shape[1] if outputs.ndim > 1 else 0
        low, high = (int(y.min()), int(y.max())) if y.numel() else (0, 0)
        ignored = y == IGNORED
        if bool(ignored.any()):
            raise InputError(
                f"y of diagnose: class labels from 0 to {k - 1}, one for each sample, are required "
                f"for cross_entropy; got {int(ignored.sum())} of {IGNORED}, the first in row "
                f"{int(ignored.nonzero()[0][0])}: PyTorch leaves such labels out of the loss, so "
                "they have nothing to learn from; drop these rows: keep = y != -100; "
                "X, y = X[keep], y[keep]"
            )
        if shape != wanted[1:] or low < 0 or high >= k:
            raise InputError(
                f"y of diagnose: class labels from 0 to {k - 1}, one for each sample, are required "
                f"for cross_entropy; got shape {tuple(y.shape)}, labels from {low} to {high}; "
                "number the classes from 0"
            )
    elif shape != wanted:
        raise InputError(
            "y of diagnose: class labels, int64 (n,), or a probability for each output are "
            f"required for cross_entropy; got {y.dtype} {tuple(y.shape)}; cast labels: y.long()"
        )
