"""What the data alone say: scale and spread of the features, scale of the targets, contradictions.

Equal inputs with different targets leave a part of the loss that no weights can remove (F3):

    squared error: the variance of the targets within groups of equal inputs, mean over all entries
    cross-entropy: the entropy of the labels within groups, mean over the samples

A first layer's tangent kernel is the inputs' Gram matrix, entry by entry times that of the signals
that come back: features of unequal size make it ill-conditioned, and E1's rate is mu/L.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from talweg._errors import InputError

MOST_READ = 4096
"""Samples after which reading stops."""


@dataclass(frozen=True)
class DataFacts:
    """Facts about a sample of the data.

    Attributes:
        samples: Number of samples that were read.
        outputs: Targets per sample; the number of classes where targets are labels.
        classes: Whether targets are labels.
        input_size: Root mean square of all inputs; nan where inputs are no real numbers.
        spread: Largest root mean square of a feature over the median of those that are not 0.
        offset: |mean| of the inputs over their standard deviation, both over samples and features.
        target_size: Root mean square of the targets; nan for labels.
        target_offset: Their |mean| over their standard deviation; nan for labels.
        conflicting: Share of the samples whose input occurs again with another target.
        floor: The part of a mean squared error or a cross-entropy that contradictions leave.
    """

    samples: int
    outputs: int
    classes: bool
    input_size: float
    spread: float
    offset: float
    target_size: float
    target_offset: float
    conflicting: float
    floor: float


def inspect_data(batches: Iterable[Any], samples: int = MOST_READ) -> DataFacts | None:
    """Facts about one pass over the data, or its first samples.

    Args:
        batches: Pairs of inputs and targets, each with the samples first, or one such pair.
        samples: Reading stops after that many.

    Returns:
        The facts; None where batches are not pairs of two tensors.

    Raises:
        InputError: there is no batch.
    """
    if isinstance(batches, tuple) and len(batches) == 2 and isinstance(batches[0], Tensor):
        batches = [batches]
    inputs: list[Tensor] = []
    targets: list[Tensor] = []
    read = 0
    for batch in batches:
        if not (isinstance(batch, list | tuple) and len(batch) == 2):
            return None
        X, y = batch
        if not (isinstance(X, Tensor) and isinstance(y, Tensor) and X.ndim and len(X) == len(y)):
            return None
        inputs.append(X.detach().cpu())
        targets.append(y.detach().cpu())
        read += len(X)
        if read >= samples:
            break
    if not read:
        raise InputError("loader of diagnose: at least one batch is required; got none; add data")
    X, y = torch.cat(inputs), torch.cat(targets)
    classes = not y.is_floating_point()
    input_size, spread, offset = _features(X) if X.is_floating_point() else (math.nan,) * 3
    target_size, target_offset = (math.nan, math.nan) if classes else _size_and_offset(y.double())
    conflicting, floor = _contradictions(X, y, classes)
    outputs = int(y.max()) + 1 if classes else max(1, y[0].numel())
    return DataFacts(
        len(X), outputs, classes, input_size, spread, offset, target_size, target_offset,
        conflicting, floor,
    )  # fmt: skip


def _features(X: Tensor) -> tuple[float, float, float]:
    """Size, spread and offset; a feature is a channel of an image, else an entry of the last axis.

    The offset compares the mean of all entries with their spread about it.
    """
    rows = X.double()
    rows = rows.movedim(1, -1) if X.ndim >= 4 else rows
    rows = rows.reshape(-1, rows.shape[-1]) if rows.ndim > 1 else rows[:, None]
    rms = (rows * rows).mean(0).sqrt()
    sizes = rms[rms > 0].sort().values
    # The lower median: of two features the smaller one is the reference.
    spread = float(sizes[-1] / sizes[(len(sizes) - 1) // 2]) if len(sizes) else 1.0
    size, offset = _size_and_offset(rows)
    return size, spread, offset


def _size_and_offset(values: Tensor) -> tuple[float, float]:
    size = float((values * values).mean().sqrt())
    mean, deviation = float(values.mean().abs()), float(values.std(correction=0))
    return size, mean / deviation if deviation > 0 else 0.0


def _contradictions(X: Tensor, y: Tensor, classes: bool) -> tuple[float, float]:
    """Share of contradicting samples, and what they leave of the loss."""
    groups: dict[bytes, list[int]] = defaultdict(list)
    rows = X.reshape(len(X), -1).contiguous()
    for i, row in enumerate(rows):
        groups[row.numpy().tobytes()].append(i)
    conflicting, floor = 0, 0.0
    flat = y.reshape(len(y), -1)
    for members in groups.values():
        if len(members) == 1:
            continue
        found = flat[members]
        if bool((found == found[0]).all()):
            continue
        conflicting += len(members)
        if classes:
            counts = Counter(tuple(row) for row in found.tolist())
            total = len(members)
            floor += sum(c * math.log(total / c) for c in counts.values())
        else:
            values = found.double()
            floor += float(((values - values.mean(0)) ** 2).mean(1).sum())
    return conflicting / len(X), floor / len(X)
