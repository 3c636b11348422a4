"""What `certify` needs to know of a training loss: one implementation per kind of loss."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import torch
from torch import Tensor

from talweg.certificate._padding import padded_up
from talweg.enclosure import Ball
from talweg.network import MergedRows, NetworkState, state_residual_norm_bound
from talweg.theory import SquaredLoss

LossName = Literal["mse", "sse", "half_sse", "cross_entropy", "cross_entropy_sum"]
SQUARED_SCALINGS: dict[str, Literal["mean", "sum", "half_sum"]] = {
    "mse": "mean",
    "sse": "sum",
    "half_sse": "half_sum",
}


@dataclass(frozen=True, eq=False)
class PolishGoal:
    """What polishing aims at.

    Attributes:
        outputs: ``(n, k)`` float64, network outputs at the minimum of the loss.
        need: What ``int_0^R s`` has to reach, a float estimate, from the residual ``(n, k)``: goal
            minus outputs, the rows scaled by the root multiplicities.
        centred: Whether only the differences between the outputs of one sample matter.
    """

    outputs: Tensor
    need: Callable[[Tensor], float]
    centred: bool = False


class Objective(Protocol):
    """A training loss together with its data."""

    @property
    def kind(self) -> str:
        """The kind of loss as in the file: "squared" or "cross_entropy"."""
        ...

    @property
    def name(self) -> LossName:
        """The loss as the user spells it."""
        ...

    @property
    def rows(self) -> MergedRows:
        """Distinct rows; their targets are what the loss compares the outputs with."""
        ...

    @property
    def stored_targets(self) -> Tensor:
        """The targets as they were given, for the file and its hash."""
        ...

    @property
    def record(self) -> dict[str, Any]:
        """The object under ``loss`` in the file."""
        ...

    def start_bounds(self, state: NetworkState) -> Mapping[str, float]:
        """What the theorems ask of the outputs at w0, by the name of the claim, padded."""
        ...

    @property
    def projects(self) -> bool:
        """Whether `kernel` differs from the tangent kernel."""
        ...

    def kernel(self, full: Ball) -> Ball:
        """A kernel whose extreme eigenvalues bound those on the gradients this loss can have."""
        ...

    def polish_goal(self) -> PolishGoal | None:
        """Where the loss is least; None where it is least nowhere."""
        ...


@dataclass(frozen=True, eq=False)
class SquaredObjective:
    """c |F - y|^2.

    Attributes:
        name: "mse", "sse" or "half_sse".
        loss: The scaling, for the theorems.
        rows: Distinct rows.
        stored_targets: ``(n, k)``, as given.
    """

    name: LossName
    loss: SquaredLoss
    rows: MergedRows
    stored_targets: Tensor
    kind: str = "squared"
    projects: bool = False

    @property
    def record(self) -> dict[str, Any]:
        """Kind and scaling."""
        return {"kind": self.kind, "scaling": self.loss.scaling}

    def start_bounds(self, state: NetworkState) -> Mapping[str, float]:
        """``|F(w0) - y|``.

        Args:
            state: The network at w0 on the distinct rows.
        """
        return {
            "residual_norm_upper": padded_up(state_residual_norm_bound(state, self.rows.targets))
        }

    def kernel(self, full: Ball) -> Ball:
        """The tangent kernel itself: every residual can occur.

        Args:
            full: The tangent kernel ``(N, N)``.
        """
        return full

    def polish_goal(self) -> PolishGoal:
        """The targets."""
        return PolishGoal(self.rows.targets.to(torch.float64), lambda r: float(r.norm()))
