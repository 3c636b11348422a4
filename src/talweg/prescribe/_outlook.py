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
from talweg.prescribe._training_loss import training_loss

DEFAULT_STEPS = 1000
"""Of gradient descent: a second or so on small networks."""

LOSS_FLOOR = 1e-12
"""Of the first loss; below it nothing on held-out rows moves any more."""


@dataclass(frozen=True, repr=False)
class Outlook(Shown):
    """Measured in float64, on the way that a certificate speaks of.

    Attributes:
        steps: Steps of gradient descent that were run, at the certified step size.
        loss_first: Training loss before them.
        loss_last: Training loss after them.
        held_out_error: Mean squared error on the held-out rows after them, of a cross-entropy that
            without smoothing; None without such rows.
        held_out_wrong: Share of held-out rows with the wrong sign (targets +-1) or the wrong
            largest output (one-hot targets, labels); None for other targets.
        distance: Euclidean length of the displacement of the weights.
        measure: What the two losses are: "loss", or "loss above its infimum".
        error_name: What the held-out error is, in words.
    """

    steps: int
    loss_first: float
    loss_last: float
    held_out_error: float | None
    held_out_wrong: float | None
    distance: float
    measure: str = "loss"
    error_name: str = "mean squared"

    def rows(self) -> list[tuple[str, str]]:
        """Label and text of each line for a report."""
        measured = (
            f"{self.steps:,} steps of gradient descent in float64: {self.measure} "
            f"{self.loss_first:.4g} -> "
            f"{self.loss_last:.4g}, weights moved by {self.distance:.3g}"
        )
        lines = [("measured", measured)]
        if self.held_out_error is None:
            lines.append(("held-out error", "no held-out rows given (X_test, y_test)"))
        else:
            wrong = self.held_out_wrong
            share = "" if wrong is None else f", {100.0 * wrong:.1f} % of the rows wrong"
            text = f"{self.held_out_error:.4g} ({self.error_name}){share}, after these steps"
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
    label_smoothing: float = 0.0,
) -> Outlook:
    """Run plain gradient descent on a float64 copy of the model and look at held-out rows.

    Args:
        model: The certified model; it is left alone.
        data: Training inputs and targets.
        step_size: ``lr`` on ``loss``; None runs no step.
        loss: "mse", "sse" or "half_sse"; with label smoothing "cross_entropy" or
            "cross_entropy_sum".
        held_out: Inputs and targets that were not trained on.
        held_out_offset: Outputs to be subtracted from the model's on the held-out rows.
        steps: At most so many.
        label_smoothing: Of a cross-entropy.

    Raises:
        InputError: The held-out rows do not fit the model.
    """
    trains = training_loss(loss, label_smoothing, "outlook_approx")
    twin = copy.deepcopy(model).double()
    X, y = in_float64(data[0]), trains.data(data[1])
    trained = [p for p in twin.parameters() if p.requires_grad]
    start = [p.detach().clone() for p in trained]
    first = last = math.nan
    taken = 0
    for _ in range((steps if step_size is not None and trained else 0) + 1):
        outputs = twin(X)
        value = trains.value(outputs, y)
        last = trains.value_above(outputs.detach(), y)
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
    if trains.centred:
        error, wrong = held_out_entropy(twin, held_out)
        return Outlook(
            taken, first, last, error, wrong, moved, trains.measure, "cross-entropy, no smoothing"
        )
    error, wrong = held_out_errors(twin, held_out, held_out_offset)
    return Outlook(taken, first, last, error, wrong, moved)


def in_float64(X: Tensor) -> Tensor:
    """Inputs for a float64 model: tokens stay the whole numbers they are.

    Args:
        X: Inputs.
    """
    return X.detach().double() if X.is_floating_point() else X.detach()


@torch.no_grad()
def held_out_entropy(
    model: nn.Module, held_out: tuple[Tensor, Tensor] | None
) -> tuple[float | None, float | None]:
    """Mean cross-entropy without smoothing, and the share of wrong rows; None without rows.

    Args:
        model: Any module in float64.
        held_out: Inputs and class indices, or None.

    Raises:
        InputError: Inputs or labels do not fit the model.
    """
    if held_out is None:
        return None, None
    labels = held_out[1].detach()
    outputs = _outputs(model, held_out[0])
    fits = labels.dtype == torch.int64 and labels.shape == (len(outputs),) and outputs.ndim == 2
    if not fits or not bool(((labels >= 0) & (labels < outputs.shape[-1])).all()):
        raise InputError(
            "`held_out` must hold class indices (n,) of int64 for a cross-entropy, from 0 to the "
            f"number of outputs less one; got {labels.dtype}, shape {tuple(labels.shape)}, for "
            f"outputs {tuple(outputs.shape)}. Pass (X, y) of the same form as `data`."
        )
    wrong = float((outputs.argmax(1) != labels).double().mean())
    return float(torch.nn.functional.cross_entropy(outputs, labels)), wrong


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
    y = held_out[1].detach().double()
    outputs = _outputs(model, held_out[0])
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


def _outputs(model: nn.Module, X: Tensor) -> Any:
    try:
        return model(in_float64(X))
    except (RuntimeError, IndexError) as error:
        raise InputError(
            f"`held_out` must hold inputs that the model takes; its call failed with: {error}. "
            "Pass rows like those trained on."
        ) from None


def _wrong_share(outputs: Tensor, targets: Tensor) -> float | None:
    if targets.shape[1] == 1:
        if bool((targets.abs() == 1.0).all()):
            return float((outputs * targets <= 0.0).double().mean())
        return None
    one_hot = ((targets == 0.0) | (targets == 1.0)).all() and (targets.sum(1) == 1.0).all()
    if bool(one_hot):
        return float((outputs.argmax(1) != targets.argmax(1)).double().mean())
    return None
