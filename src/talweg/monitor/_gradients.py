"""|grad f|^2 and the noise of a mini-batch gradient, estimated without bias from micro-batches.

Split a batch of B fresh samples into m parts of b = B/m. Their gradients g_1..g_m are independent
with mean g = grad f and covariance Sigma/b, Sigma that of one sample. With their Gram matrix G:

    |g|^2       ~  sum_{i != j} G_ij / (m (m - 1))          expectation exactly |g|^2
    tr Sigma    ~  b (sum_i G_ii - |sum_i g_i|^2 / m) / (m - 1)
    noise scale =  tr Sigma / |g|^2                          the batch size at which noise = signal

|g_B|^2 of the whole batch has expectation |g|^2 + tr Sigma / B instead: it is reported under the
name "batch" and feeds nothing. Standard errors are jackknifed over the parts.

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
    m = len(gram)
    square, spread = _moments(gram)
    left_out = [
        _moments(gram[kept][:, kept])
        for i in range(m)
        if m > 2
        for kept in [[j for j in range(m) if j != i]]
    ]
    part = samples / m
    return GradientEstimate(
        squared_norm=square,
        squared_norm_error=_jackknife([s for s, _ in left_out]),
        noise=part * spread,
        noise_error=part * _jackknife([s for _, s in left_out]),
        batch_squared_norm=float(gram.sum()) / m**2,
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


def _moments(gram: Tensor) -> tuple[float, float]:
    """(|g|^2, tr of the covariance of one part), both unbiased."""
    m, total, diagonal = len(gram), float(gram.sum()), float(gram.diagonal().sum())
    return (total - diagonal) / (m * (m - 1)), (diagonal - total / m) / (m - 1)


def _jackknife(values: Sequence[float]) -> float:
    m = len(values)
    if m < 3:
        return math.nan
    spread = float(torch.tensor(values, dtype=torch.float64).std())  # nan beyond double precision
    return (m - 1) / math.sqrt(m) * spread
