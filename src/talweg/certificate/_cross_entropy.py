"""Softmax cross-entropy, with and without label smoothing: objective, theorems, family."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, cast

import torch
from torch import Tensor

from talweg._errors import InputError
from talweg.certificate._entropy_theorems import EntropyDescent, EntropyTarget
from talweg.certificate._objective import LossName, PolishGoal
from talweg.certificate._request import Answer, Reading, Request, merge_note, shown_pairs
from talweg.certificate._softmax import (
    cross_entropy_upper,
    kullback_leibler_upper,
    smallest_label_lower,
    smoothed_labels,
)
from talweg.certificate._theorems import Theorem
from talweg.enclosure import Ball
from talweg.network import (
    ConflictingRows,
    MergedRows,
    Network,
    NetworkState,
    check_data,
    merge_duplicates,
)
from talweg.theory import CrossEntropy, cross_entropy_pl_lower

ENTROPY_SCALINGS: dict[str, Literal["mean", "sum"]] = {
    "cross_entropy": "mean",
    "cross_entropy_sum": "sum",
}


@dataclass(frozen=True, eq=False)
class CrossEntropyObjective:
    """-sum <q, log p>, summed or averaged over the samples.

    Attributes:
        name: "cross_entropy" (mean) or "cross_entropy_sum".
        loss: Scaling and counts, for the theorems.
        label_smoothing: a in q = (1 - a) [label] + a / k, read exactly.
        rows: Distinct rows; their targets are one-hot.
        stored_targets: ``(n,)`` int64, as given.
    """

    name: LossName
    loss: CrossEntropy
    label_smoothing: float
    rows: MergedRows
    stored_targets: Tensor
    kind: str = "cross_entropy"
    projects: bool = True

    @property
    def record(self) -> dict[str, Any]:
        """Kind, scaling and smoothing."""
        return {
            "kind": self.kind, "scaling": self.loss.scaling,
            "label_smoothing": self.label_smoothing.hex(),
        }  # fmt: skip

    @property
    def labels(self) -> Tensor:
        """``(n,)`` int64 labels of the distinct rows, on the CPU."""
        return self.rows.targets.argmax(1).cpu()

    def start_bounds(self, state: NetworkState) -> Mapping[str, float]:
        """The distance from the infimum and mu_l; without smoothing, the loss. Summed, not padded.

        A checker evaluates these in more digits than talweg, so they need no slack.

        Args:
            state: The network at w0 on the distinct rows.
        """
        outputs = Ball(state.outputs.mid.cpu(), state.outputs.rad.cpu())
        counts = self.rows.multiplicity.cpu()
        if self.label_smoothing == 0.0:
            return {"initial_loss_upper": cross_entropy_upper(outputs, self.labels, counts)}
        smoothed = smoothed_labels(self.labels, self.loss.classes, self.label_smoothing)
        gap = kullback_leibler_upper(outputs, smoothed, counts)
        mu = cross_entropy_pl_lower(smallest_label_lower(smoothed), gap)
        return {"initial_gap_upper": gap, "pl_lower": mu}

    def kernel(self, full: Ball) -> Ball:
        """P K P + c (I - P): gradients sum to zero within each sample.

        P K P and I - P commute and their product is 0, so the spectrum is that of K on the
        zero-sum vectors and the number c, the mean diagonal entry of P K P, which lies within it.

        Args:
            full: The tangent kernel ``(N, N)``.
        """
        k = self.loss.classes
        n = len(full) // k
        blocks = full.reshape(n, k, n, k)
        blocks = blocks - (blocks.sum(1) / float(k)).reshape(n, 1, n, k)
        blocks = blocks - (blocks.sum(3) / float(k)).reshape(n, k, n, 1)
        c = float(blocks.mid.reshape(n * k, n * k).diagonal().mean()) * k / (k - 1)
        sample = torch.arange(n, device=full.device)
        lift = torch.zeros_like(blocks.mid)
        lift[sample, :, sample, :] = 1.0
        return (
            (blocks + Ball.exact(lift) * (Ball.exact(lift.new_tensor(c)) / float(k)))
            .reshape(n * k, n * k)
            .symmetrized()
        )

    def polish_goal(self) -> PolishGoal | None:
        """The centred logarithms of the smoothed labels; none without smoothing."""
        if self.label_smoothing == 0.0:
            return None
        k, a = self.loss.classes, self.label_smoothing
        q = torch.full((len(self.rows.inputs), k), a / k, dtype=torch.float64)
        q[torch.arange(len(q)), self.labels] += 1.0 - a
        q = q.to(self.rows.targets.device)
        outputs = q.log() - q.log().mean(1, keepdim=True)
        root = self.rows.multiplicity.to(torch.float64).sqrt().reshape(-1, 1)

        def need(residual: Tensor) -> float:
            """``sqrt(2 G / mu_l)`` at the outputs goal - residual."""
            p = (outputs - residual / root).softmax(1)
            least = torch.maximum(p, 2.0 * torch.minimum(p, q))
            gap = float((root.square() * (q - p).square() / least).sum())
            mu = cross_entropy_pl_lower(float(q.amin()), gap) if math.isfinite(gap) else 0.0
            return math.sqrt(2.0 * gap / mu) if mu > 0.0 else math.inf

        return PolishGoal(outputs, need, centred=True)


@dataclass(frozen=True)
class CrossEntropyFamily:
    """cross_entropy and cross_entropy_sum."""

    def require(self, request: Request) -> None:
        """Smoothing, target and theorem fit each other.

        Args:
            request: The call.

        Raises:
            InputError: They do not.
        """
        a = request.label_smoothing
        if isinstance(a, bool) or not isinstance(a, int | float) or not 0.0 <= a <= 1.0:
            raise InputError(
                f"`label_smoothing` of certify() must be a number from 0 to 1; got {a!r}. "
                "PyTorch's default is 0."
            )
        if a == 0.0 and request.target is None:
            raise InputError(
                "`target` of certify() must be given for a cross-entropy without label smoothing, "
                "whose infimum 0 no finite weights reach; got None. Name the loss to reach, or "
                "pass label_smoothing > 0, with which there are minimisers."
            )
        if a > 0.0 and request.target is not None:
            raise InputError(
                "`target` of certify() must be None with label smoothing: T4 claims convergence to "
                f"the infimum itself; got target={request.target!r} with label_smoothing={a!r}. "
                "Leave one of them out."
            )
        default = "T13" if a == 0.0 else "T4"
        if request.theorem not in (None, default):
            raise InputError(
                f'`theorem` of certify() must be "{default}" for this loss, or left out; got '
                f"{request.theorem!r}. T4 goes with label smoothing, T13 with a target."
            )

    def stored_targets(self, network: Network, X: Tensor, y: Tensor) -> Tensor:
        """Class indices ``(n,)`` int64.

        Args:
            network: The chain that was read.
            X: Inputs, as given.
            y: Targets, as given.

        Raises:
            InputError: The data are malformed.
        """
        check_data(X, _one_hot(y, network.output_dim), network)
        return y.detach()

    def reading(self, request: Request, network: Network, X: Tensor, y: Tensor) -> Reading:
        """Class indices; equal inputs with equal labels are merged.

        Args:
            request: The call.
            network: The chain that was read.
            X: Inputs, as given.
            y: Targets, as given.

        Raises:
            InputError: The data are malformed.
        """
        k = network.output_dim
        checked = check_data(X, _one_hot(y, k), network)
        n, a = len(y), abs(float(request.label_smoothing))  # no -0.0
        loss = CrossEntropy(ENTROPY_SCALINGS[request.loss], n, k)
        theorem: Theorem
        if request.target is None:
            theorem = EntropyDescent(loss)
        else:
            theorem = EntropyTarget(loss, float(request.target))
        rows = merge_duplicates(checked.inputs, checked.targets)
        if isinstance(rows, ConflictingRows):
            reason = (
                f"{shown_pairs(rows.pairs)} have equal inputs and different labels: no weights "
                "give each its own probabilities, the tangent kernel is singular and no theorem "
                "here applies. Remove the contradiction."
            )
            return Reading(n, theorem, Answer("UNDECIDED", reason), None, checked.notes)
        name = cast("LossName", request.loss)
        objective = CrossEntropyObjective(name, loss, a, rows, y.detach())
        notes = (*checked.notes, *merge_note(rows))
        return Reading(n, theorem, objective, len(rows.inputs) * (k - 1), notes)


def _one_hot(y: object, classes: int) -> Tensor:
    """Labels as one-hot rows, after the checks that labels need."""
    if classes < 2:
        raise InputError(
            "`model` of certify() must have at least two outputs for a cross-entropy; got "
            f"{classes}. Give it one output per class."
        )
    if not isinstance(y, Tensor) or y.dtype != torch.int64 or y.ndim != 1:
        came = f"{y.dtype}, shape {tuple(y.shape)}" if isinstance(y, Tensor) else type(y).__name__
        raise InputError(
            "y of certify(model, (X, y)) must be class indices for a cross-entropy, a tensor (n,) "
            f"of int64; got {came}. Use y.long(), or y.argmax(1) for one-hot rows."
        )
    if y.numel() and not (int(y.min()) >= 0 and int(y.max()) < classes):
        raise InputError(
            f"y of certify(model, (X, y)) must hold class indices from 0 to {classes - 1}; got "
            f"{int(y.min())} to {int(y.max())}. Remove rows to be ignored, and number the classes "
            "from 0."
        )
    return torch.nn.functional.one_hot(y.detach(), classes).to(torch.float64)
