"""The bounds that a certificate claims, computed at one set of weights."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from talweg.certificate._objective import Objective
from talweg.certificate._padding import padded_down, padded_up
from talweg.enclosure import Interval
from talweg.network import (
    LipschitzBound,
    Network,
    NetworkState,
    network_state,
    state_kernel_ball,
    state_lipschitz,
)
from talweg.verified import psd_largest_eigenvalue_upper, smallest_eigenvalue_lower


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
        start: what the loss says of the outputs at w0, by the name of the claim
            (``residual_norm_upper`` for a squared loss).
        sigma_min_lower: smallest singular value of the Jacobian on the gradients that the loss
            can have, 0 when none was shown.
        jacobian_norm_upper: largest singular value there.
        lipschitz: the Lipschitz bound of the Jacobian, not padded.
        state: the linearization they were computed from.
    """

    start: Mapping[str, float]
    sigma_min_lower: float
    jacobian_norm_upper: float
    lipschitz: LipschitzBound
    state: NetworkState

    def lipschitz_upper(self, radius: float) -> float:
        """Padded ``beta(radius)``."""
        return padded_up(self.lipschitz.upper(radius))


def measured_bounds(network: Network, objective: Objective, watch: Stopwatch) -> MeasuredBounds:
    """Bounds of loss, kernel spectrum and Jacobian at the stored weights.

    Args:
        network: Any network.
        objective: The loss with its data.
        watch: Where the seconds of each stage are booked.
    """
    begun = time.perf_counter()
    state = network_state(network, objective.rows.inputs, objective.rows.multiplicity)
    start = objective.start_bounds(state)
    kernel = objective.kernel(state_kernel_ball(state))
    begun = watch.add("kernel", begun)
    smallest = smallest_eigenvalue_lower(kernel)
    largest = psd_largest_eigenvalue_upper(kernel)
    begun = watch.add("eigenvalues", begun)
    lipschitz = state_lipschitz(state)
    watch.add("lipschitz", begun)
    sigma = Interval.point(smallest).sqrt().lo if 0.0 < smallest < math.inf else 0.0
    norm = Interval.point(largest).sqrt().hi if 0.0 <= largest < math.inf else math.inf
    return MeasuredBounds(start, padded_down(sigma), padded_up(norm), lipschitz, state)
