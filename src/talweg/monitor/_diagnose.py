"""Diagnose a training that is set up: watch a copy of it for a while, and say what limits it."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from talweg._errors import InputError
from talweg.monitor._finding import Findings
from talweg.monitor._loss_form import require_mean
from talweg.monitor._monitor import Monitor, Row
from talweg.monitor._undisturbed import Loss

LOOKS = 40  # at the gradient in one trial; half as many at curvature


def diagnose(
    model: nn.Module,
    loader: Iterable[Any],
    loss_fn: Callable[..., Tensor] | None,
    optimizer: torch.optim.Optimizer,
    *,
    steps: int = 400,
    loss_of: Loss | None = None,
    f_star: float | None = None,
    progress: Callable[[int, Row], None] | None = None,
) -> Findings:
    """What limits this training, from the present weights on, by evidence.

    A copy of the model and the optimiser is trained for `steps` steps with a Monitor; the
    originals and torch's generators are left as they are. Nothing here is a proof.

    Source: E5.

    Args:
        model: The model, at the start of the training or in its middle.
        loader: Batches ``(inputs, targets)``, iterated as often as needed. With `loss_fn`, a pair
            of tensors is one full batch.
        loss_fn: ``loss_fn(outputs, targets)`` -> mean loss.
        optimizer: The optimiser of the model's parameters.
        steps: Length of the trial.
        loss_of: As of Monitor; then `loss_fn` is None.
        f_star: A lower bound of the loss, as of Monitor.
        progress: Called with the step and its row after every look.

    Returns:
        Findings, the likeliest cause first; never empty.

    Raises:
        InputError: no batch, fewer than 10 steps, numbers in a batch that are not finite, or what
            Monitor does not accept.
    """
    if steps < 10:
        raise InputError(
            f"steps of diagnose: at least 10 are required; got {steps}; allow a longer trial"
        )
    require_mean(loss_fn, "diagnose")
    if loss_fn is not None and _is_pair(loader):
        loader = [tuple(loader)]
    own_model, own_optimizer = copy.deepcopy((model, optimizer))
    period = max(1, steps // LOOKS)
    every = {"gradient": period, "curvature": 2 * period, "units": 4 * period}
    every |= {"updates": 0, "kernel": 0}
    with torch.random.fork_rng():
        with Monitor(
            own_model, own_optimizer, loss_fn, loss_of=loss_of, f_star=f_star, every=every
        ) as monitor:
            for step, batch in enumerate(itertools.islice(_endless(loader), steps)):
                _require_finite(batch)
                row = monitor.step(batch)
                own_optimizer.zero_grad()
                torch.autograd.backward(monitor.loss(own_model, batch))
                own_optimizer.step()
                if progress is not None and row is not None:
                    progress(step, row)
        return monitor.findings(loader)


def _require_finite(batch: Any) -> None:
    for item in batch if isinstance(batch, tuple | list) else ():
        if isinstance(item, Tensor) and item.is_floating_point():
            bad = ~item.isfinite()
            if bool(bad.any()):
                place = tuple(int(i) for i in bad.nonzero()[0])
                raise InputError(
                    f"loader of diagnose: finite numbers are required; got {float(item[place])} in "
                    f"row {place[0] if place else 0} of a batch ({int(bad.sum())} such entries of "
                    f"{item.numel()}); repair or remove these rows"
                )


def _is_pair(loader: Iterable[Any]) -> bool:
    """Inputs and targets themselves instead of batches of them."""
    pair = isinstance(loader, tuple | list) and len(loader) == 2
    return pair and all(isinstance(item, Tensor) for item in loader)


def _endless(loader: Iterable[Any]) -> Iterator[Any]:
    """Epoch after epoch."""
    while True:
        empty = True
        for batch in loader:
            empty = False
            yield batch
        if empty:
            raise InputError(
                "loader of diagnose: at least one batch is required each time it is iterated; got "
                "none; pass a list or a DataLoader, not a generator"
            )
