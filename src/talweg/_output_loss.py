"""The losses that `measure` knows, as functions of the outputs F, (n, k).

    "mse", "sse", "half_sse"              c |F - y|^2, c = 1 / (n k), 1, 1/2
    "cross_entropy", "cross_entropy_sum"  softmax cross-entropy, mean or sum over the samples

For squared losses the residual is r = F - y. For a cross-entropy with (smoothed) labels q it is
r = softmax(F) - q, the derivative of the summed loss by the outputs. It sums to zero in each
sample, so only such vectors matter to the gradient J^T r: the kernel is taken on them, and k - 1
equations are counted per sample (T13). Its infimum is the entropy of the smoothed labels (T4), 0
without smoothing, where no finite weights reach it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from talweg._errors import InputError

ENTROPIES = ("cross_entropy", "cross_entropy_sum")
LOSSES = ("mse", "sse", "half_sse", *ENTROPIES)


@dataclass(frozen=True)
class OutputLoss:
    """A loss at the outputs of a model.

    Attributes:
        value: f, with the graph of the outputs.
        residual: r, ``(n, k)``, without it.
        infimum: A lower bound of f that no weights go below.
        basis: Orthonormal columns ``(k, m)`` that span what r can be in one sample; None for all.
    """

    value: Tensor
    residual: Tensor
    infimum: float
    basis: Tensor | None


def require_loss(loss: str, label_smoothing: float) -> None:
    """A known loss, and a smoothing that goes with it; InputError otherwise."""
    if loss not in LOSSES:
        raise InputError(
            f"loss of measure: one of {', '.join(LOSSES)} is required; got {loss!r}; choose one "
            f"of them"
        )
    number = isinstance(label_smoothing, int | float) and not isinstance(label_smoothing, bool)
    if not (number and 0.0 <= label_smoothing <= 1.0):
        raise InputError(
            "label_smoothing of measure: a number from 0 to 1 is required; got "
            f"{label_smoothing!r}; 0.1 is usual"
        )
    if label_smoothing and loss not in ENTROPIES:
        raise InputError(
            f"label_smoothing of measure: a cross-entropy is required; got the loss {loss!r}; "
            'choose loss="cross_entropy"'
        )


def smoothed_infimum(classes: int, label_smoothing: float) -> float:
    """Entropy of a smoothed label: what a cross-entropy cannot fall below (T4).

    Args:
        classes: k >= 1.
        label_smoothing: s in [0, 1]; the label has 1 - s + s / k, the others s / k.
    """
    other = label_smoothing / classes
    shares = [1.0 - label_smoothing + other, *[other] * (classes - 1)]
    return -sum(share * math.log(share) for share in shares if share > 0.0)


def output_loss(outputs: Tensor, y: Tensor, loss: str, label_smoothing: float) -> OutputLoss:
    """The loss at these outputs.

    Args:
        outputs: F, ``(n, k)``.
        y: Targets of n k entries, or labels ``(n,)`` from 0 to k - 1 of an integer type.
        loss: One of `LOSSES`.
        label_smoothing: Of a cross-entropy.

    Raises:
        InputError: targets that do not fit.
    """
    if loss in ENTROPIES:
        return _entropy(outputs, y, loss, label_smoothing)
    n, k = outputs.shape
    if y.numel() != n * k or len(y) != n or not bool(torch.isfinite(y).all()):
        raise InputError(
            f"y of measure: {n} rows of {k} finite targets are required; got shape "
            f"{tuple(y.shape)}; reshape or clean the targets (for classes: one-hot, or "
            'loss="cross_entropy" and labels)'
        )
    residual = outputs - y.detach().reshape(n, k).to(outputs)
    scale = {"mse": 1.0 / residual.numel(), "sse": 1.0, "half_sse": 0.5}[loss]
    return OutputLoss(scale * residual.square().sum(), residual.detach(), 0.0, None)


def _entropy(outputs: Tensor, y: Tensor, loss: str, label_smoothing: float) -> OutputLoss:
    n, k = outputs.shape
    whole = not (y.is_floating_point() or y.is_complex() or y.dtype == torch.bool)
    if not (whole and k > 1 and y.shape == (n,) and 0 <= int(y.min()) <= int(y.max()) < k):
        found = f"from {int(y.min())} to {int(y.max())}" if whole and y.numel() else ""
        raise InputError(
            f"y of measure: {n} integer labels from 0 to k - 1 and k >= 2 outputs are required for "
            f"a cross-entropy; got {y.dtype} of shape {tuple(y.shape)} {found} for k = {k}; number "
            "the classes from 0"
        )
    labels = y.detach().to(outputs.device, torch.int64)
    reduction = "mean" if loss == "cross_entropy" else "sum"
    value = F.cross_entropy(
        outputs, labels, reduction=reduction, label_smoothing=float(label_smoothing)
    )
    q = F.one_hot(labels, k).to(outputs) * (1.0 - label_smoothing) + label_smoothing / k  # (n, k)
    infimum = smoothed_infimum(k, label_smoothing) * (1 if reduction == "mean" else n)
    columns = torch.eye(k, dtype=torch.float64)
    columns[:, 0] = 1.0
    basis = torch.linalg.qr(columns).Q[:, 1:].to(outputs)  # orthogonal to the ones, (k, k - 1)
    return OutputLoss(value, (outputs.softmax(1) - q).detach(), infimum, basis)
