"""``talweg diagnose``."""

from __future__ import annotations

import contextlib
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
        data = torch.utils.data.TensorDataset(problem.X, problem.y)
        loader = torch.utils.data.DataLoader(data, batch, shuffle=True, generator=generator)
        found = diagnose(
            problem.model, loader, LOSSES[chosen],
            recipe.make(trained, rate, full_batch=False), steps=steps,
            progress=lambda step, row: show(row),
        )  # fmt: skip
    if as_json:
        setting = {"optimizer": optimizer, "lr": rate, "batch": batch, "steps": steps}
        findings = [finding.to_dict() for finding in found]
        print_json({"findings": findings, "loss": chosen, **setting})
    else:
        for number, finding in enumerate(found, 1):
            print_result(f"{number}. {finding}")
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
