"""|grad f|^2 and the noise of a mini-batch gradient, estimated without bias from micro-batches.

Split a batch of B fresh samples into m parts of b = B/m. Their gradients g_1..g_m are independent
with mean g = grad f and covariance Sigma/b, Sigma that of one sample. With their Gram matrix G:

    |g|^2       ~  sum_{i != j} G_ij / (m (m - 1))          expectation exactly |g|^2
    tr Sigma    ~  b (sum_i G_ii - |sum_i g_i|^2 / m) / (m - 1)
    noise scale =  tr Sigma / |g|^2                          the batch size at which noise = signal

|g_B|^2 of the whole batch has expectation |g|^2 + tr Sigma / B instead: it is reported under the
name "batch" and feeds nothing. Standard errors are jackknifed over the parts.

All of it follows from G_ii and <g_i, S>, S = sum_j g_j: the sum of G is sum_i <g_i, S>, and without
part i it is less by 2 <g_i, S> - G_ii. Processes therefore need not exchange their gradients, only
add them up once.

Source: E2, E5; the estimator of the noise scale is McCandlish et al. 2018 without its two batches.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class GradientEstimate:
    """What micro-batches say of one gradient.

    Attributes:
        squared_norm: Unbiased estimate of |grad f|^2; it may come out negative.
        squared_norm_error: Its standard error; nan with fewer than three parts.
        noise: Estimate of tr Sigma, the variance of the gradient of one sample.
        noise_error: Its standard error; nan with fewer than three parts.
        batch_squared_norm: |g_B|^2 of the whole batch: too large by noise / B on average.
        parts: Number of micro-batches m.
        samples: B.
    """

    squared_norm: float
    squared_norm_error: float
    noise: float
    noise_error: float
    batch_squared_norm: float
    parts: int
    samples: int

    @property
    def noise_scale(self) -> float:
        """tr Sigma / |grad f|^2 in samples; inf where no signal was seen."""
        return self.noise / self.squared_norm if self.squared_norm > 0 else math.inf

    @property
    def batch_variance(self) -> float:
        """s^2 = tr Sigma / B, the variance of the gradient of one batch of this size (E2)."""
        return self.noise / self.samples


def estimate(gram: Tensor, samples: int) -> GradientEstimate:
    """The estimate from the Gram matrix of the micro-batch gradients.

    Args:
        gram: ``(m, m)`` float64, m >= 2; entry ij is <g_i, g_j>, each g_i of a mean over its part.
        samples: B = m b, the samples of all parts together.
    """
    return estimate_from_sums(gram.diagonal(), gram.sum(1), samples)


def estimate_from_sums(squares: Tensor, crosses: Tensor, samples: int) -> GradientEstimate:
    """The estimate from the squared lengths of the parts' gradients and their products with S.

    Args:
        squares: ``(m,)`` float64, m >= 2: G_ii = |g_i|^2.
        crosses: ``(m,)`` float64: <g_i, S>, S the sum of all g_j.
        samples: B = m b, the samples of all parts together.
    """
    m = len(squares)
    total, diagonal = crosses.sum(), squares.sum()
    square, spread = _moments(total, diagonal, m)
    rest = [torch.empty(0)] * 2
    if m > 2:
        rest = [*_moments(total - 2 * crosses + squares, diagonal - squares, m - 1)]
    part = samples / m
    return GradientEstimate(
        squared_norm=float(square),
        squared_norm_error=_jackknife(rest[0]),
        noise=part * float(spread),
        noise_error=part * _jackknife(rest[1]),
        batch_squared_norm=float(total) / m**2,
        parts=m,
        samples=samples,
    )


def gram_matrix(gradients: Sequence[Sequence[Tensor]]) -> Tensor:
    """<g_i, g_j> of gradients given as lists of tensors, accumulated in float64, ``(m, m)``.

    Args:
        gradients: m lists of tensors of equal shapes.
    """
    m = len(gradients)
    gram = torch.zeros(m, m, dtype=torch.float64)
    for tensors in zip(*gradients, strict=True):
        rows = torch.stack([t.detach().reshape(-1) for t in tensors]).to(torch.float64)
        gram += (rows @ rows.T).cpu()
    return gram


def _moments(total: Tensor, diagonal: Tensor, m: int) -> tuple[Tensor, Tensor]:
    """(|g|^2, tr of the covariance of one part), both unbiased, from the sum of G and its trace."""
    return (total - diagonal) / (m * (m - 1)), (diagonal - total / m) / (m - 1)


def _jackknife(values: Tensor) -> float:
    m = len(values)
    if m < 3:
        return math.nan
    return (m - 1) / math.sqrt(m) * float(values.std())  # nan beyond double precision
