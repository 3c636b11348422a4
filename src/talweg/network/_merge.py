"""Equal input rows: merged where their targets agree, a proof of impossibility where they do not.

Equality is equality of real numbers, so -0.0 and 0.0 are the same input. Merged training data
(``theory``, T11 on distinct rows): distinct rows weighted by the square root of the multiplicity
have the same loss and the same gradient descent as the original rows.
"""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass
from fractions import Fraction

import torch
from torch import Tensor

from talweg._errors import InputError

# Exact rational sums cost about a microsecond an entry and more as they grow; the bound stays a
# lower bound when groups beyond this many entries are left out.
_EXACT_ENTRIES = 100_000


@dataclass(frozen=True, eq=False)
class MergedRows:
    """Distinct rows in order of first appearance.

    Attributes:
        inputs: ``(m, d)`` distinct inputs.
        targets: ``(m, k)`` their targets.
        multiplicity: ``(m,)`` int64, how often each row appears; sums to ``n``.
        inverse: ``(n,)`` int64, the merged row of each original row.
    """

    inputs: Tensor
    targets: Tensor
    multiplicity: Tensor
    inverse: Tensor


@dataclass(frozen=True)
class ConflictingRows:
    """Equal inputs with different targets: no function fits them, so zero loss is impossible.

    Attributes:
        pairs: For each group in conflict, two rows with equal inputs and different targets.
        groups: All rows of each group in conflict.
        squares_lower: A rigorous lower bound on ``sum_i |F(x_i) - y_i|^2`` for every function F:
            the sum over groups of ``sum_i |y_i - mean|^2``, in exact arithmetic, rounded down.
    """

    pairs: tuple[tuple[int, int], ...]
    groups: tuple[tuple[int, ...], ...]
    squares_lower: float


def merge_duplicates(X: Tensor, y: Tensor) -> MergedRows | ConflictingRows:
    """Group equal rows of the inputs.

    Args:
        X: Inputs ``(n, d)``, float64 as `check_data` returns them, each sample flattened.
        y: Targets ``(n, k)``, float64, on the same device.

    Returns:
        The distinct rows with multiplicities, or the rows that contradict each other.

    Raises:
        InputError: The tensors are not two-dimensional float64 with equally many rows.
    """
    for name, tensor in (("X", X), ("y", y)):
        if tensor.ndim != 2 or tensor.dtype != torch.float64 or len(tensor) != len(X):
            raise InputError(
                f"{name} of merge_duplicates must be float64 (n, d) with one row per sample; got "
                f"{tensor.dtype}, shape {tuple(tensor.shape)} (X has {tuple(X.shape)}). Pass what "
                "check_data returns."
            )
    groups = _equal_rows(X)
    leader = list(range(len(X)))
    for rows in groups:
        for row in rows:
            leader[row] = rows[0]
    first = torch.tensor(leader, device="cpu")
    differs = (y != y[first.to(y.device)]).any(dim=1).tolist()
    conflicts = [rows for rows in groups if any(differs[row] for row in rows)]
    if conflicts:
        pairs = tuple((rows[0], next(row for row in rows if differs[row])) for rows in conflicts)
        return ConflictingRows(pairs, tuple(conflicts), _within_group_squares_lower(y, conflicts))
    kept, inverse, multiplicity = torch.unique(first, return_inverse=True, return_counts=True)
    place = kept.to(X.device)
    return MergedRows(X[place], y[place], multiplicity.to(X.device), inverse.to(X.device))


def _equal_rows(inputs: Tensor) -> list[tuple[int, ...]]:
    """Groups of two or more equal rows, each in ascending order, ordered by first row.

    A linear hash of the bit patterns finds candidates; the bytes themselves decide.
    """
    bits = (inputs + 0.0).contiguous().view(torch.int64)  # -0.0 + 0.0 = 0.0; (n, d)
    generator = torch.Generator("cpu").manual_seed(0x7A17E6)
    limit = 2**63 - 1
    factors = torch.randint(-limit, limit, (bits.shape[1],), generator=generator, device="cpu") | 1
    hashes = (bits * factors.to(bits.device)).sum(dim=1)  # wraps modulo 2^64
    _, inverse, counts = torch.unique(hashes, return_inverse=True, return_counts=True)
    candidates = (counts[inverse] > 1).nonzero().flatten().cpu()
    rows_by_bytes: dict[bytes, list[int]] = defaultdict(list)
    data = bits[candidates.to(bits.device)].cpu().numpy()
    for row, values in zip(candidates.tolist(), data, strict=True):
        rows_by_bytes[values.tobytes()].append(row)
    return sorted(tuple(rows) for rows in rows_by_bytes.values() if len(rows) > 1)


def _within_group_squares_lower(targets: Tensor, groups: list[tuple[int, ...]]) -> float:
    """``sum_groups sum_i |y_i - mean|^2``, exact, then rounded down."""
    total, entries = Fraction(0), 0
    for rows in groups:
        if entries and entries + len(rows) * targets.shape[1] > _EXACT_ENTRIES:
            break
        entries += len(rows) * targets.shape[1]
        for column in targets[list(rows)].T.tolist():
            values = [Fraction(value) for value in column]
            mean = sum(values, Fraction(0)) / len(values)
            total += sum(((v - mean) ** 2 for v in values), Fraction(0))
    try:
        nearest = float(total)
    except OverflowError:
        return math.nextafter(math.inf, 0.0)
    return math.nextafter(nearest, 0.0) if nearest > total else nearest
