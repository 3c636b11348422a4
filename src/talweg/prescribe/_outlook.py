"""What plain gradient descent does, in floats, from weights that were certified: no claim.

A certificate may be slow (1e8 steps to halve the loss) or lazy (a model that fits by moving its
weights so little that nothing is learned beyond the kernel). Both show here: how far the loss came
in a given number of steps, and what it is on rows that were held out.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from talweg._display import Sheet, Shown
from talweg._errors import InputError
from talweg.certificate import Certificate

DEFAULT_STEPS = 1000
"""Of gradient descent: a second or so on small networks."""

LOSS_FLOOR = 1e-12
"""Of the first loss; below it nothing on held-out rows moves any more."""

_FACTORS = {"mse": "mean", "sse": "sum", "half_sse": "half"}


@dataclass(frozen=True, repr=False)
class Outlook(Shown):
    """Measured in float64, on the way that a certificate speaks of.

    Attributes:
        steps: Steps of gradient descent that were run, at the certified step size.
        loss_first: Training loss before them.
        loss_last: Training loss after them.
        held_out_error: Mean squared error on the held-out rows after them; None without such rows.
        held_out_wrong: Share of held-out rows with the wrong sign (targets +-1) or the wrong
            largest output (one-hot targets); None for other targets.
        distance: Euclidean length of the displacement of the weights.
    """

    steps: int
    loss_first: float
    loss_last: float
    held_out_error: float | None
    held_out_wrong: float | None
    distance: float

    def rows(self) -> list[tuple[str, str]]:
        """Label and text of each line for a report."""
        measured = (
            f"{self.steps:,} steps of gradient descent in float64: loss {self.loss_first:.4g} -> "
            f"{self.loss_last:.4g}, weights moved by {self.distance:.3g}"
        )
        lines = [("measured", measured)]
        if self.held_out_error is None:
            lines.append(("held-out error", "no held-out rows given (X_test, y_test)"))
        else:
            wrong = self.held_out_wrong
            share = "" if wrong is None else f", {100.0 * wrong:.1f} % of the rows wrong"
            text = f"{self.held_out_error:.4g} (mean squared){share}, after these steps"
            lines.append(("held-out error", text))
        return lines

    def _sheet(self) -> Sheet:
        return Sheet("gradient descent, measured", self.rows(), note="A measurement, not a proof.")


def price_rows(certificate: Certificate | None, outlook: Outlook | None) -> list[tuple[str, str]]:
    """What a prescription costs: certified steps beside measured ones.

    Args:
        certificate: Of what is prescribed; None, or not PROVED, adds nothing.
        outlook: None adds nothing.
    """
    lines = []
    if certificate is not None and certificate.status == "PROVED":
        lines += [
            ("certified step", f"{certificate.step_size:.6g} (lr of plain full-batch SGD)"),
            ("halving steps <=", f"{certificate.halving_steps:,.0f} (certified)"),
        ]
    return lines + ([] if outlook is None else outlook.rows())


def shown(value: float | None, form: str) -> str:
    """A number, or a dash where there is none.

    Args:
        value: The number.
        form: As of `format`.
    """
    return "-" if value is None else format(value, form)


def outlook_approx(
    model: nn.Module,
    data: tuple[Tensor, Tensor],
    step_size: float | None,
    *,
    loss: str,
    held_out: tuple[Tensor, Tensor] | None,
    held_out_offset: Tensor | None = None,
    steps: int = DEFAULT_STEPS,
) -> Outlook:
    """Run plain gradient descent on a float64 copy of the model and look at held-out rows.

    Args:
        model: The certified model; it is left alone.
        data: Training inputs and targets.
        step_size: ``lr`` on ``loss``; None runs no step.
        loss: "mse", "sse" or "half_sse".
        held_out: Inputs and targets that were not trained on.
        held_out_offset: Outputs to be subtracted from the model's on the held-out rows.
        steps: At most so many.

    Raises:
        InputError: The held-out rows do not fit the model.
    """
    twin = copy.deepcopy(model).double()
    X, y = data[0].detach().double(), data[1].detach().double()
    trained = [p for p in twin.parameters() if p.requires_grad]
    start = [p.detach().clone() for p in trained]
    first = last = math.nan
    taken = 0
    for _ in range((steps if step_size is not None and trained else 0) + 1):
        value = residual_loss(twin(X), y, loss)
        last = float(value.detach())
        if taken == 0 and math.isnan(first):
            first = last
        if taken >= steps or step_size is None or not last > LOSS_FLOOR * first:
            break
        gradients = torch.autograd.grad(value, trained)
        with torch.no_grad():
            for p, g in zip(trained, gradients, strict=True):
                p.sub_(g, alpha=step_size)
        taken += 1
    moved = math.sqrt(
        sum(float((p.detach() - q).square().sum()) for p, q in zip(trained, start, strict=True))
    )
    error, wrong = held_out_errors(twin, held_out, held_out_offset)
    return Outlook(taken, first, last, error, wrong, moved)


def residual_loss(outputs: Tensor, targets: Tensor, loss: str) -> Tensor:
    """The named squared loss; ``(n,)`` and ``(n, 1)`` are the same thing.

    Args:
        outputs: Of the model.
        targets: As many numbers.
        loss: "mse", "sse" or "half_sse".
    """
    squares = (outputs - targets.reshape(outputs.shape)).square()
    kind = _FACTORS[loss]
    if kind == "mean":
        return squares.mean()
    return squares.sum() if kind == "sum" else 0.5 * squares.sum()


@torch.no_grad()
def held_out_errors(
    model: nn.Module, held_out: tuple[Tensor, Tensor] | None, offset: Tensor | None = None
) -> tuple[float | None, float | None]:
    """Mean squared error and share of wrong rows; None where it says nothing.

    Args:
        model: Any module in float64.
        held_out: Inputs and targets, or None.
        offset: Subtracted from the outputs.

    Raises:
        InputError: Inputs or targets do not fit the model's outputs.
    """
    if held_out is None:
        return None, None
    X, y = held_out[0].detach().double(), held_out[1].detach().double()
    try:
        outputs: Any = model(X)
    except RuntimeError as error:
        raise InputError(
            f"`held_out` must hold inputs that the model takes; its call failed with: {error}. "
            "Pass rows like those trained on."
        ) from None
    if offset is not None:
        outputs = outputs - offset
    if outputs.numel() != y.numel() or len(outputs) != len(y):
        raise InputError(
            f"`held_out` must hold one target for each output; got targets {tuple(y.shape)} for "
            f"outputs {tuple(outputs.shape)}. Pass (X, y) of the same form as `data`."
        )
    y = y.reshape(len(y), -1)
    outputs = outputs.reshape(y.shape)
    return float((outputs - y).square().mean()), _wrong_share(outputs, y)


def _wrong_share(outputs: Tensor, targets: Tensor) -> float | None:
    if targets.shape[1] == 1:
        if bool((targets.abs() == 1.0).all()):
            return float((outputs * targets <= 0.0).double().mean())
        return None
    one_hot = ((targets == 0.0) | (targets == 1.0)).all() and (targets.sum(1) == 1.0).all()
    if bool(one_hot):
        return float((outputs.argmax(1) != targets.argmax(1)).double().mean())
    return None
