"""Squared losses: which theorem is asked, and what the data say before anything is computed."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

from torch import Tensor

from talweg._errors import InputError
from talweg.certificate._inexact import SquaredFloat64
from talweg.certificate._objective import SQUARED_SCALINGS, LossName, SquaredObjective
from talweg.certificate._request import Answer, Reading, Request, merge_note, shown_pairs
from talweg.certificate._theorems import (
    SquaredConvergence,
    SquaredDescent,
    SquaredTarget,
    Theorem,
)
from talweg.network import (
    ConflictingRows,
    Network,
    check_data,
    merge_duplicates,
    rounding_not_covered,
)
from talweg.theory import SquaredLoss

TO_ZERO: dict[str, Callable[[SquaredLoss], Theorem]] = {
    "T11": SquaredConvergence,
    "T4": SquaredDescent,
    "T9": SquaredFloat64,
}
"""Theorems about the way to zero loss (T9: to the floor of float64); the first is the default."""


@dataclass(frozen=True)
class SquaredFamily:
    """mse, sse and half_sse."""

    def require(self, request: Request) -> None:
        """Theorem and target fit; there are no labels to smooth.

        Args:
            request: The call.

        Raises:
            InputError: They do not.
        """
        names = " or ".join(f'"{name}"' for name in TO_ZERO)
        if request.theorem is not None and request.theorem not in TO_ZERO:
            raise InputError(
                f"`theorem` of certify() must be {names} for a squared loss; got "
                f"{request.theorem!r}. T11 is the default."
            )
        if request.target is not None and request.theorem not in (None, "T11"):
            raise InputError(
                'A `target` of certify() goes with theorem="T11" (T7 with its constants); got '
                f'"{request.theorem}". Leave `theorem` at its default.'
            )
        if request.label_smoothing != 0.0:
            raise InputError(
                "`label_smoothing` of certify() must be 0 for a squared loss, which has no labels; "
                f'got {request.label_smoothing!r}. Leave it out, or use loss="cross_entropy".'
            )

    def stored_targets(self, network: Network, X: Tensor, y: Tensor) -> Tensor:
        """``(n, k)``, in the dtype given.

        Args:
            network: The chain that was read.
            X: Inputs, as given.
            y: Targets, as given.

        Raises:
            InputError: The data are malformed.
        """
        return y.detach().reshape(check_data(X, y, network).targets.shape)

    def reading(self, request: Request, network: Network, X: Tensor, y: Tensor) -> Reading:
        """Targets as numbers, one per output.

        Args:
            request: The call.
            network: The chain that was read.
            X: Inputs, as given.
            y: Targets, as given.

        Raises:
            InputError: The data are malformed.
        """
        checked = check_data(X, y, network)
        n, k = checked.targets.shape
        loss = SquaredLoss(SQUARED_SCALINGS[request.loss], n * k)
        theorem: Theorem
        if request.target is not None:
            theorem = SquaredTarget(loss, float(request.target))
        else:
            theorem = TO_ZERO[request.theorem or "T11"](loss)
        rows = merge_duplicates(checked.inputs, checked.targets)
        if isinstance(rows, ConflictingRows):
            answer = _conflicting(rows, loss, request.target)
            return Reading(n, theorem, answer, None, checked.notes)
        uncovered = rounding_not_covered(network, X, y) if request.theorem == "T9" else None
        if uncovered is not None:
            answer = Answer("UNDECIDED", f"T9 does not speak of this program: {uncovered}.")
            return Reading(n, theorem, answer, None, checked.notes)
        stored = y.detach().reshape(checked.targets.shape)
        objective = SquaredObjective(cast("LossName", request.loss), loss, rows, stored)
        notes = (*checked.notes, *merge_note(rows))
        return Reading(n, theorem, objective, rows.targets.numel(), notes)


def _conflicting(rows: ConflictingRows, loss: SquaredLoss, target: float | None) -> Answer:
    """Equal inputs with different targets: a proof of impossibility (theory F3)."""
    floor = loss.loss_lower(math.nextafter(math.sqrt(rows.squares_lower) * (1.0 - 1e-12), 0.0))
    equal = (
        f"{shown_pairs(rows.pairs)} have equal inputs and different targets, so no weights give a "
        f"loss below {floor:.6g}"
    )
    if target is None:
        return Answer("REFUTED", f"zero loss impossible: {equal}.")
    if target < floor:
        return Answer("REFUTED", f"loss {target!r} impossible: {equal}.")
    return Answer(
        "UNDECIDED",
        f"{equal}: the tangent kernel is singular and no theorem here applies. Merge these rows "
        "into one with the mean target.",
    )
