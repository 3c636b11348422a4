"""Cross-entropies and their distance from the infimum, enclosed, without cancellation.

With m the largest output of a sample, S = sum_{j != m} e^{z_j - z_m} and q the (smoothed) label,

    log p_j = z_j - z_m - log(1 + S),      -log p_y = z_m - z_y + log(1 + S),
    KL(q || p) <= sum_j (q_j - p_j)^2 / max(p_j, 2 min(p_j, q_j)).

The last line keeps its digits where p is close to q, which is where the theorems apply; it holds
because phi(t) = t log t - t + 1 is at most (t-1)^2 and at most (t-1)^2 / (2 min(1, t)), and
KL(q || p) = sum_j p_j phi(q_j / p_j) (docs/theory/T4.md).
"""

from __future__ import annotations

import torch
from torch import Tensor

from talweg.enclosure import (
    Ball,
    Interval,
    div_up,
    mul_up,
    sum_nonnegative_upper,
)
from talweg.enclosure._elementary import enclose


def smoothed_labels(labels: Tensor, classes: int, label_smoothing: float) -> Ball:
    """``(1 - a) [j = y_i] + a / k`` with the binary64 value of a, ball ``(n, k)``.

    Args:
        labels: ``(n,)`` int64.
        classes: k.
        label_smoothing: a, in [0, 1].
    """
    off = Interval.point(label_smoothing) / Interval.point(classes)
    on = (1.0 - Interval.point(label_smoothing)) + off
    hit = torch.nn.functional.one_hot(labels, classes).bool()
    lo, hi = (
        torch.where(hit, torch.tensor(a, dtype=torch.float64), torch.tensor(b, dtype=torch.float64))
        for a, b in ((on.lo, off.lo), (on.hi, off.hi))
    )
    return Ball.from_bounds(lo, hi)


def cross_entropy_upper(outputs: Ball, labels: Tensor, multiplicity: Tensor) -> float:
    """Upper bound of ``sum_i m_i (-log p_{i, y_i})``; inf where the outputs are not bounded.

    Args:
        outputs: ``(n, k)`` ball on the CPU.
        labels: ``(n,)`` int64.
        multiplicity: ``(n,)`` m.
    """
    shifted = _shifted(outputs)
    if shifted is None:
        return float("inf")
    relative, normaliser = shifted
    chosen = relative[torch.arange(len(labels)), labels]
    losses = (normaliser - chosen).upper().clamp(min=0.0)  # (n,); every -log p is >= 0
    return _weighted_sum_upper(losses, multiplicity)


def kullback_leibler_upper(outputs: Ball, labels: Ball, multiplicity: Tensor) -> float:
    """Upper bound of ``sum_i m_i KL(q_i || p_i)``; inf where the outputs are not bounded.

    Args:
        outputs: ``(n, k)`` ball on the CPU.
        labels: ``(n, k)`` ball of probabilities q, positive.
        multiplicity: ``(n,)`` m.
    """
    shifted = _shifted(outputs)
    if shifted is None:
        return float("inf")
    relative, normaliser = shifted
    n = len(outputs)
    log_p = relative - normaliser.reshape(n, 1)
    direct = (labels * (_log(labels) - log_p)).sum(1).upper().clamp(min=0.0)  # (n,)
    p = _exp(log_p)
    apart = (labels - p).magnitude_upper()
    p_lower, q_lower = p.lower().clamp(min=0.0), labels.lower().clamp(min=0.0)
    below = torch.maximum(p_lower, 2.0 * torch.minimum(p_lower, q_lower))  # doubling is exact
    terms = torch.where(below > 0.0, div_up(mul_up(apart, apart), below), float("inf"))
    divergence = torch.minimum(direct, sum_nonnegative_upper(terms, 1))
    return _weighted_sum_upper(divergence, multiplicity)


def smallest_label_lower(labels: Ball) -> float:
    """Lower bound of the smallest probability.

    Args:
        labels: ``(n, k)``.
    """
    return float(labels.lower().amin())


def _shifted(outputs: Ball) -> tuple[Ball, Ball] | None:
    """``z - z_m`` and ``log(1 + S)``; None where an output has no finite enclosure.

    The difference of the largest output with itself is zero, whatever its enclosure.
    """
    if not bool(outputs.rad.isfinite().all()):
        return None
    n, k = outputs.shape
    top = outputs.mid.argmax(1)  # (n,)
    rows = torch.arange(n)
    relative = outputs - outputs[rows, top].reshape(n, 1)
    is_top = torch.nn.functional.one_hot(top, k).bool()
    relative = Ball(relative.mid.masked_fill(is_top, 0.0), relative.rad.masked_fill(is_top, 0.0))
    if not bool(relative.rad.isfinite().all()):
        return None
    exponentials = _exp(relative)
    others = Ball(
        exponentials.mid.masked_fill(is_top, 0.0), exponentials.rad.masked_fill(is_top, 0.0)
    ).sum(1)
    lo, hi = others.lower().clamp(min=0.0), others.upper()
    if not bool(hi.isfinite().all()):
        return None
    return relative, Ball.from_bounds(enclose("log1p", lo)[0], enclose("log1p", hi)[1])


def _exp(x: Ball) -> Ball:
    return Ball.from_bounds(*enclose("exp", x.lower(), x.upper()))


def _log(x: Ball) -> Ball:
    return Ball.from_bounds(*enclose("log", x.lower(), x.upper()))


def _weighted_sum_upper(values: Tensor, multiplicity: Tensor) -> float:
    weighted = mul_up(values, multiplicity.to(torch.float64))
    return float(sum_nonnegative_upper(weighted, 0))
