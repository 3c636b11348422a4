"""The bounds that a certificate claims, computed at one set of weights."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field

from torch import Tensor

from talweg.enclosure import Interval
from talweg.network import (
    JacobianLipschitz,
    Linearization,
    Network,
    kernel_ball,
    linearize,
    residual_norm_bound,
)
from talweg.verified import psd_largest_eigenvalue_upper, smallest_eigenvalue_lower

PAD = 1e-6
"""Relative slack between what was computed and what is claimed (docs/certificate-format.md)."""


@dataclass
class Stopwatch:
    """Seconds by stage; a stage entered twice adds up."""

    seconds: dict[str, float] = field(default_factory=dict)

    def add(self, stage: str, since: float) -> float:
        """Book the time since ``since`` under ``stage`` and return the present."""
        now = time.perf_counter()
        self.seconds[stage] = self.seconds.get(stage, 0.0) + now - since
        return now


@dataclass(frozen=True, eq=False)
class MeasuredBounds:
    """Rigorous bounds at the stored weights of a network, padded as they will be claimed.

    Attributes:
        residual_norm_upper: ``|F(w0) - y|``.
        sigma_min_lower: smallest singular value of the Jacobian, 0 when none was shown.
        jacobian_norm_upper: largest singular value of the Jacobian.
        lipschitz: the Lipschitz bound of the Jacobian, not padded.
        state: the linearization they were computed from.
    """

    residual_norm_upper: float
    sigma_min_lower: float
    jacobian_norm_upper: float
    lipschitz: JacobianLipschitz
    state: Linearization

    def lipschitz_upper(self, radius: float) -> float:
        """Padded ``beta(radius)``."""
        return padded_up(self.lipschitz.upper(radius))


def measured_bounds(
    network: Network, inputs: Tensor, targets: Tensor, multiplicity: Tensor, watch: Stopwatch
) -> MeasuredBounds:
    """Bounds of residual, kernel spectrum and Jacobian at the stored weights.

    Args:
        network: A chain.
        inputs: Distinct rows ``(n, d)``.
        targets: ``(n, k)``.
        multiplicity: ``(n,)`` how often each row stands in the data.
        watch: Where the seconds of each stage are booked.
    """
    begun = time.perf_counter()
    state = linearize(network, inputs, multiplicity)
    residual = residual_norm_bound(state, targets)
    kernel = kernel_ball(state)
    begun = watch.add("kernel", begun)
    smallest = smallest_eigenvalue_lower(kernel)
    largest = psd_largest_eigenvalue_upper(kernel)
    begun = watch.add("eigenvalues", begun)
    lipschitz = JacobianLipschitz(state)
    watch.add("lipschitz", begun)
    sigma = Interval.point(smallest).sqrt().lo if 0.0 < smallest < math.inf else 0.0
    norm = Interval.point(largest).sqrt().hi if 0.0 <= largest < math.inf else math.inf
    return MeasuredBounds(
        padded_up(residual), padded_down(sigma), padded_up(norm), lipschitz, state
    )


def padded_up(value: float) -> float:
    """``value (1 + PAD)`` rounded up; inf stays inf."""
    if not value < math.inf:
        return math.inf
    return (Interval.point(value) * (Interval.point(1.0) + PAD)).hi


def padded_down(value: float) -> float:
    """``value (1 - PAD)`` rounded down, for value >= 0."""
    return (Interval.point(value) * (Interval.point(1.0) - PAD)).lo
