"""The losses that "train until it can be proved" knows, in floats: what to minimise, how far it is.

For a squared loss the theorem is T11 and what ``int s`` has to reach is ``|F(w) - y|``. For a
cross-entropy with smoothed labels q it is T4, with the summed distance from the infimum

    G = sum_i KL(q_i || p_i),      need = sqrt(2 G / mu_l),

mu_l the PL constant of the loss, and the kernel on the directions that sum to zero in each sample.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from talweg._errors import InputError
from talweg.prescribe._weight_bounds import SCALINGS
from talweg.theory import cross_entropy_pl_lower

ENTROPIES = ("cross_entropy", "cross_entropy_sum")


class TrainingLoss(Protocol):
    """A loss with a theorem about descent to its infimum."""

    @property
    def name(self) -> str:
        """As `certify` spells it."""
        ...

    @property
    def settings(self) -> dict[str, Any]:
        """Arguments of `certify`."""
        ...

    @property
    def measure(self) -> str:
        """What `value_above` is, in words."""
        ...

    @property
    def need_name(self) -> str:
        """What `need` is, in signs."""
        ...

    @property
    def centred(self) -> bool:
        """Whether gradients sum to zero within each sample."""
        ...

    def rows(self, y: Tensor, outputs: int) -> Tensor:
        """The targets as rows ``(n, k)``."""
        ...

    def data(self, y: Tensor) -> Tensor:
        """The targets for a float64 model."""
        ...

    def value(self, outputs: Tensor, y: Tensor) -> Tensor:
        """The loss, differentiable."""
        ...

    def value_above(self, outputs: Tensor, y: Tensor) -> float:
        """The loss above its infimum."""
        ...

    def need(self, outputs: Tensor, rows: Tensor, root: Tensor) -> float:
        """What ``int s`` has to reach."""
        ...


@dataclass(frozen=True)
class SquaredTraining:
    """mse, sse or half_sse; the theorem is T11."""

    name: str
    measure: str = "loss"
    need_name: str = "|r|"
    centred: bool = False

    @property
    def settings(self) -> dict[str, Any]:
        """The name alone."""
        return {"loss": self.name}

    def rows(self, y: Tensor, outputs: int) -> Tensor:
        """The targets themselves; what is wrong with them is for the data check.

        Args:
            y: As given.
            outputs: k.
        """
        return y

    def data(self, y: Tensor) -> Tensor:
        """In float64.

        Args:
            y: As given.
        """
        return y.detach().double()

    def value(self, outputs: Tensor, y: Tensor) -> Tensor:
        """The named loss; ``(n,)`` and ``(n, 1)`` are the same thing.

        Args:
            outputs: Of the model.
            y: As many numbers.
        """
        squares = (outputs - y.reshape(outputs.shape)).square()
        if self.name == "mse":
            return squares.mean()
        return squares.sum() if self.name == "sse" else 0.5 * squares.sum()

    def value_above(self, outputs: Tensor, y: Tensor) -> float:
        """The loss: its infimum is 0.

        Args:
            outputs: Of the model.
            y: As many numbers.
        """
        return float(self.value(outputs, y))

    def need(self, outputs: Tensor, rows: Tensor, root: Tensor) -> float:
        """``|r|``.

        Args:
            outputs: ``(n, k)``.
            rows: ``(n, k)``.
            root: ``(n, 1)`` roots of the multiplicities.
        """
        return float(((outputs - rows.reshape(outputs.shape)) * root).norm())


@dataclass(frozen=True)
class EntropyTraining:
    """A cross-entropy with smoothed labels; the theorem is T4."""

    name: str
    label_smoothing: float
    measure: str = "loss above its infimum"
    need_name: str = "sqrt(2 G / mu)"
    centred: bool = True

    @property
    def settings(self) -> dict[str, Any]:
        """Name and smoothing."""
        return {"loss": self.name, "label_smoothing": self.label_smoothing}

    def rows(self, y: Tensor, outputs: int) -> Tensor:
        """One-hot rows in float64; `certify` was asked before and has looked at the labels.

        Args:
            y: Class indices ``(n,)``.
            outputs: k.
        """
        return F.one_hot(y.detach(), outputs).to(torch.float64)

    def data(self, y: Tensor) -> Tensor:
        """The class indices.

        Args:
            y: As given.
        """
        return y.detach()

    def value(self, outputs: Tensor, y: Tensor) -> Tensor:
        """As `torch.nn.CrossEntropyLoss` has it.

        Args:
            outputs: ``(n, k)``.
            y: Class indices ``(n,)``.
        """
        reduction = "mean" if self.name == "cross_entropy" else "sum"
        return F.cross_entropy(
            outputs, y, label_smoothing=self.label_smoothing, reduction=reduction
        )

    def value_above(self, outputs: Tensor, y: Tensor) -> float:
        """KL(q || p), in the scaling of the loss, without cancellation.

        Args:
            outputs: ``(n, k)``.
            y: Class indices ``(n,)``.
        """
        gap = float(self._gaps(outputs, self.rows(y, outputs.shape[1])).sum())
        return gap / len(outputs) if self.name == "cross_entropy" else gap

    def need(self, outputs: Tensor, rows: Tensor, root: Tensor) -> float:
        """``sqrt(2 G / mu_l)``; infinite where nothing is known of mu_l.

        Args:
            outputs: ``(n, k)``.
            rows: ``(n, k)``, one-hot.
            root: ``(n, 1)`` roots of the multiplicities.
        """
        gap = float((root.square().reshape(-1) * self._gaps(outputs, rows)).sum())
        least = self.label_smoothing / outputs.shape[1]
        mu = cross_entropy_pl_lower(least, gap) if math.isfinite(gap) else 0.0
        return math.sqrt(2.0 * gap / mu) if mu > 0.0 else math.inf

    def _gaps(self, outputs: Tensor, rows: Tensor) -> Tensor:
        """KL(q_i || p_i), at most, as `certify` bounds it (docs/theory/T4.md); ``(n,)``."""
        a, k = self.label_smoothing, outputs.shape[1]
        q = (1.0 - a) * rows + a / k
        p = outputs.double().softmax(1)
        direct = (q * (q.log() - outputs.double().log_softmax(1))).sum(1)
        near = ((q - p).square() / torch.maximum(p, 2.0 * torch.minimum(p, q))).sum(1)
        return torch.where(near.isfinite(), torch.minimum(direct.clamp(min=0.0), near), direct)


def training_loss(name: str, label_smoothing: float, call: str) -> TrainingLoss:
    """The loss of a name.

    Args:
        name: "mse", "sse", "half_sse", "cross_entropy" or "cross_entropy_sum".
        label_smoothing: Of a cross-entropy, > 0; 0 for the others.
        call: The function that was called, for the message.

    Raises:
        InputError: There is no such loss, or the smoothing does not go with it.
    """
    if name in SCALINGS:
        if label_smoothing != 0.0:
            raise InputError(
                f"`label_smoothing` of {call}() must be 0 for a squared loss, which has no labels; "
                f"got {label_smoothing!r}. Leave it out, or train a cross-entropy."
            )
        return SquaredTraining(name)
    if name not in ENTROPIES:
        raise InputError(
            f"`loss` of {call}() must be one of {', '.join((*SCALINGS, *ENTROPIES))}; got "
            f"{name!r}. For other losses no theorem is implemented yet."
        )
    number = isinstance(label_smoothing, int | float) and not isinstance(label_smoothing, bool)
    if not (number and 0.0 < label_smoothing <= 1.0):
        raise InputError(
            f"`label_smoothing` of {call}() must be above 0 and at most 1 for a cross-entropy: "
            "without it no weights are best, and training never ends at a proof; got "
            f"{label_smoothing!r}. Pass 0.1, or name a target to talweg.certify instead."
        )
    return EntropyTraining(name, float(label_smoothing))
