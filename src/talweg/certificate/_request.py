"""What one call of `certify` asks for, and what a family of losses makes of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor

from talweg.certificate._objective import Objective
from talweg.certificate._theorems import Theorem
from talweg.network import MergedRows, Network


@dataclass(frozen=True)
class Request:
    """Arguments of `certify` that choose loss and theorem, as they were given.

    Attributes:
        loss: Name of the loss.
        target: The loss to reach, None for the infimum; positive and finite.
        theorem: The theorem asked for, None for the default.
        label_smoothing: Of a cross-entropy.
    """

    loss: str
    target: float | None
    theorem: str | None
    label_smoothing: Any


@dataclass(frozen=True, eq=False)
class Answer:
    """An answer that needs no computation.

    Attributes:
        status: "UNDECIDED" or "REFUTED".
        reason: Why, in one sentence.
    """

    status: str
    reason: str


@dataclass(frozen=True, eq=False)
class Reading:
    """The data as the loss reads them.

    Attributes:
        samples: Rows, as given.
        theorem: What is asked, with its constants.
        objective: The loss with its data, or an answer.
        residuals: How many directions the kernel must resolve, None without an objective.
        notes: What was normalised.
    """

    samples: int
    theorem: Theorem
    objective: Objective | Answer
    residuals: int | None
    notes: tuple[str, ...]


class Family(Protocol):
    """The losses of one kind."""

    def require(self, request: Request) -> None:
        """Raises InputError where the arguments do not fit each other."""
        ...

    def stored_targets(self, network: Network, X: Tensor, y: Tensor) -> Tensor:
        """The targets as the file holds them; raises InputError where data are malformed."""
        ...

    def reading(self, request: Request, network: Network, X: Tensor, y: Tensor) -> Reading:
        """Checks the data and chooses the theorem; raises InputError."""
        ...


def merge_note(rows: MergedRows) -> tuple[str, ...]:
    """What merging equal rows did, for the report; empty where it did nothing.

    Args:
        rows: The distinct rows.
    """
    n, distinct = len(rows.inverse), len(rows.inputs)
    if distinct == n:
        return ()
    note = (
        f"{n} rows hold {distinct} distinct inputs; equal rows with equal targets are merged, "
        f"multiplicities up to {int(rows.multiplicity.max())}"
    )
    return (note,)


def shown_pairs(pairs: tuple[tuple[int, int], ...]) -> str:
    """The first rows in conflict, in words.

    Args:
        pairs: Two rows with equal inputs and different targets, for each group.
    """
    text = "; ".join(f"rows {i}, {j}" for i, j in pairs[:5])
    return text + (f" and {len(pairs) - 5} more groups" if len(pairs) > 5 else "")
