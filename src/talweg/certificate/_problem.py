"""The checked input of one call of `certify`: what can be wrong is found first."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor, nn

from talweg._errors import InputError
from talweg.certificate._bounds import MeasuredBounds, Stopwatch, measured_bounds
from talweg.certificate._certificate import AsGiven, Certificate
from talweg.certificate._search import TheoremId
from talweg.network import (
    ConflictingRows,
    MergedRows,
    Network,
    check_data,
    gate,
    merge_duplicates,
    read,
)
from talweg.theory import SquaredLoss

LossName = Literal["mse", "sse", "half_sse"]
SCALINGS = {"mse": "mean", "sse": "sum", "half_sse": "half_sum"}


@dataclass(frozen=True, eq=False)
class Problem:
    """Checked input of one call."""

    network: Network
    inputs: Tensor
    targets: Tensor
    rows: MergedRows
    loss_name: LossName
    loss: SquaredLoss
    theorem: TheoremId
    target: float | None
    notes: tuple[str, ...]

    @property
    def samples(self) -> int:
        return len(self.inputs)

    @property
    def outputs(self) -> int:
        return self.targets.shape[1]

    def bounds(self, network: Network, watch: Stopwatch) -> MeasuredBounds:
        rows = self.rows
        return measured_bounds(network, rows.inputs, rows.targets, rows.multiplicity, watch)


def checked_problem(
    model: nn.Module,
    data: tuple[Tensor, Tensor],
    loss: str,
    target: float | None,
    theorem: str,
) -> Problem | Certificate:
    """Everything that can be wrong with the input, before anything is computed."""
    if loss not in SCALINGS:
        raise InputError(
            f"`loss` of certify() must be one of {', '.join(SCALINGS)}; got {loss!r}. For other "
            "losses no theorem is implemented yet."
        )
    if theorem not in ("T11", "T4"):
        raise InputError(
            f'`theorem` of certify() must be "T11" or "T4"; got {theorem!r}. T11 is the default.'
        )
    if target is not None and not (isinstance(target, int | float) and 0.0 < target < math.inf):
        raise InputError(
            f"`target` of certify() must be a finite number > 0, or None for zero loss; got "
            f"{target!r}. Pass the loss that gradient descent is to reach."
        )
    if target is not None and theorem == "T4":
        raise InputError(
            'A `target` of certify() goes with theorem="T11" (T7 with its constants); got "T4". '
            "Leave `theorem` at its default."
        )
    if not (isinstance(data, tuple | list) and len(data) == 2):
        raise InputError(
            "`data` of certify(model, data) must be a pair (X, y) of tensors; got "
            f"{type(data).__name__}. Pass inputs and targets together."
        )
    X, y = data
    network = read(model, X)
    checked = check_data(X, y, network)
    gate(model, network, X)
    targets = y.detach().reshape(checked.targets.shape)
    n, k = checked.targets.shape
    name: TheoremId = "T7" if target is not None else ("T4" if theorem == "T4" else "T11")
    squared = SquaredLoss(SCALINGS[loss], n * k) if loss == "mse" else SquaredLoss(SCALINGS[loss])  # type: ignore[arg-type]
    notes = (*network.notes, *checked.notes)
    base = {
        "theorem": name, "loss": loss, "samples": n, "outputs": k,
        "parameters": network.trainable_parameters, "target": target,
    }  # fmt: skip
    rows = merge_duplicates(checked.inputs, checked.targets)
    if isinstance(rows, ConflictingRows):
        return _conflicting(rows, squared, target, base, notes)
    if len(rows.inputs) < n:
        notes += (
            (
                f"{n} rows hold {len(rows.inputs)} distinct inputs; equal rows with equal targets "
                f"are merged, multiplicities up to {int(rows.multiplicity.max())}"
            ),
        )
    residuals = len(rows.inputs) * k
    if network.trainable_parameters < residuals:
        reason = (
            f"p = {network.trainable_parameters} trainable parameters are fewer than N = "
            f"{residuals} residuals ({len(rows.inputs)} distinct rows x {k} outputs): the tangent "
            "kernel is singular, so the criterion cannot hold. Use a wider model or fewer rows."
        )
        return _unproved("UNDECIDED", reason, base, notes)
    return Problem(
        network, X.detach(), targets, rows, loss, squared, name, target, notes,  # type: ignore[arg-type]
    )  # fmt: skip


def _conflicting(
    rows: ConflictingRows,
    loss: SquaredLoss,
    target: float | None,
    base: dict[str, Any],
    notes: tuple[str, ...],
) -> Certificate:
    """Equal inputs with different targets: a proof of impossibility (theory F3)."""
    shown = "; ".join(f"rows {i}, {j}" for i, j in rows.pairs[:5])
    more = f" and {len(rows.pairs) - 5} more groups" if len(rows.pairs) > 5 else ""
    floor = loss.loss_lower(math.nextafter(math.sqrt(rows.squares_lower) * (1.0 - 1e-12), 0.0))
    equal = (
        f"{shown}{more} have equal inputs and different targets, so no weights give a loss below "
        f"{floor:.6g}"
    )
    if target is None:
        return _unproved("REFUTED", f"zero loss impossible: {equal}.", base, notes)
    if target < floor:
        return _unproved("REFUTED", f"loss {target!r} impossible: {equal}.", base, notes)
    reason = (
        f"{equal}: the tangent kernel is singular and no theorem here applies. Merge these rows "
        "into one with the mean target."
    )
    return _unproved("UNDECIDED", reason, base, notes)


def _unproved(
    status: str, reason: str, base: dict[str, Any], notes: tuple[str, ...]
) -> Certificate:
    return Certificate(
        status=status, reason=reason, as_given=AsGiven(status, reason, None), notes=notes, **base
    )
