"""The bounds that a certificate claims, computed at one set of weights."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from talweg.certificate._objective import Objective
from talweg.certificate._padding import padded_down, padded_up
from talweg.cluster import (
    Cluster,
    TiledKernel,
    tiled_largest_eigenvalue_upper,
    tiled_smallest_eigenvalue_lower,
)
from talweg.enclosure import Ball, Interval
from talweg.network import (
    FlatFunction,
    Linearization,
    LipschitzBound,
    Network,
    NetworkState,
    enclosed_kernel_terms,
    lipschitz_attack_approx,
    network_state,
    state_kernel_ball,
    state_lipschitz,
    state_symmetric_kernel,
)
from talweg.verified import (
    SymmetricBall,
    psd_largest_eigenvalue_upper,
    smallest_eigenvalue_lower,
)

ROUGH_FROM = 1500
"""Residual entries from which a rough Lipschitz constant is tried first: below, both are cheap."""

HOPELESS = 1e4
"""Missing factor with the rough constant beyond which the sharp one is not asked for.

The rough constant is some percent too large for two layers and a few times for five; weights that
miss the criterion by less than this are judged by the sharp one.
"""

COMFORTABLE = 0.25
"""Missing factor with the rough constant up to which the sharp one is not asked for either.

The rate is then at most a quarter slower than with the smallest of all constants, the ball at most
8 % larger; for two layers about half of that.
"""

ATTACK_ROUNDS = 12
"""Rounds of the attack that stands in for a rough constant: most of its value comes early."""


@dataclass
class Stopwatch:
    """Seconds by stage; a stage entered twice adds up."""

    seconds: dict[str, float] = field(default_factory=dict)

    def add(self, stage: str, since: float) -> float:
        """Book the time since ``since`` under ``stage`` and return the present."""
        now = time.perf_counter()
        self.seconds[stage] = self.seconds.get(stage, 0.0) + now - since
        return now


GRAPH_SLACK = 2.0
"""What the bound of a graph is over the strongest attack, about: where only an attack was made."""


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
        is_rough: whether the Lipschitz bound is the rough one.
        rough: the rough one that was replaced; None where there was none.
    """

    start: Mapping[str, float]
    sigma_min_lower: float
    jacobian_norm_upper: float
    lipschitz: LipschitzBound
    state: NetworkState
    is_rough: bool = False
    rough: LipschitzBound | None = None

    def lipschitz_upper(self, radius: float) -> float:
        """Padded ``beta(radius)``."""
        return padded_up(self.lipschitz.upper(radius))

    def sharpened(self, need: float) -> MeasuredBounds:
        """These bounds with the sharp Lipschitz constant, if it may decide or say much more.

        Args:
            need: What ``int s <= sigma^2 / (2 beta)`` has to reach.
        """
        if not self.is_rough:
            return self
        needed, square = 2.0 * need * self.lipschitz.upper(0.0), self.sigma_min_lower**2
        if needed >= HOPELESS * square or needed <= COMFORTABLE * square:
            return self
        sharp = state_lipschitz(self.state)
        return replace(self, lipschitz=sharp, is_rough=False, rough=self.lipschitz)


Linearised = tuple[NetworkState, LipschitzBound]
"""A network at its weights, and the Lipschitz bound there: the rough one where it is large."""


def linearised(network: Network, objective: Objective) -> Linearised:
    """Both for the rows of an objective.

    Args:
        network: Any network.
        objective: The loss with its data.
    """
    state = network_state(network, objective.rows.inputs, objective.rows.multiplicity)
    return state, state_lipschitz(state, rough=is_large(state))


def measured_bounds(
    network: Network, objective: Objective, watch: Stopwatch, cluster: Cluster | None = None,
    known: Linearised | None = None,
) -> MeasuredBounds:  # fmt: skip
    """Bounds of loss, kernel spectrum and Jacobian at the stored weights.

    Args:
        network: Any network; a chain where there is a cluster.
        objective: The loss with its data.
        watch: Where the seconds of each stage are booked.
        cluster: Where the kernel lives, None for this machine.
        known: What `linearised` found for this very network and objective, not to be made twice.
    """
    begun = time.perf_counter()
    if known is None:
        state = network_state(network, objective.rows.inputs, objective.rows.multiplicity)
    else:
        state = known[0]
    start = objective.start_bounds(state)
    if cluster is not None and isinstance(state, Linearization):
        smallest, largest = _spectrum_on(cluster, state, objective, watch, begun)
    else:
        smallest, largest = _spectrum(state, objective, watch, begun)
    sigma = Interval.point(smallest).sqrt().lo if 0.0 < smallest < math.inf else 0.0
    norm = Interval.point(largest).sqrt().hi if 0.0 <= largest < math.inf else math.inf
    # Most weights are far from the criterion, and then a rough constant says so as well.
    rough = is_large(state)
    begun = time.perf_counter()
    lipschitz = state_lipschitz(state, rough=rough) if known is None else known[1]
    watch.add("lipschitz", begun)
    return MeasuredBounds(start, padded_down(sigma), padded_up(norm), lipschitz, state, rough)


def is_large(state: NetworkState) -> bool:
    """Whether a rough Lipschitz constant is worth trying first; graphs have none.

    Args:
        state: The network at its weights.
    """
    n, k = state.outputs.shape
    return isinstance(state, Linearization) and n * k >= ROUGH_FROM


def _spectrum(
    state: NetworkState, objective: Objective, watch: Stopwatch, begun: float
) -> tuple[float, float]:
    """Bounds of the extreme eigenvalues; the kernel lives no longer than this call."""
    kernel: Ball | SymmetricBall = (
        objective.kernel(state_kernel_ball(state))
        if objective.projects
        else state_symmetric_kernel(state)
    )
    begun = watch.add("kernel", begun)
    bounds = smallest_eigenvalue_lower(kernel, positive=True), psd_largest_eigenvalue_upper(kernel)
    watch.add("eigenvalues", begun)
    return bounds


def _spectrum_on(
    cluster: Cluster, state: Linearization, objective: Objective, watch: Stopwatch, begun: float
) -> tuple[float, float]:
    """The same of a kernel in tiles."""
    terms, radius_rows = enclosed_kernel_terms(state, centred=objective.projects)
    if not terms.factors:  # nothing is trained
        return -math.inf, math.inf
    kernel = TiledKernel(cluster, terms)
    begun = watch.add("kernel", begun)
    bounds = (
        tiled_smallest_eigenvalue_lower(kernel, radius_rows),
        max(tiled_largest_eigenvalue_upper(kernel, radius_rows), 0.0),
    )
    watch.add("eigenvalues", begun)
    return bounds


def estimated_missing_factor(
    network: Network, objective: Objective, need: Callable[[MeasuredBounds], float], smallest: float
) -> tuple[float, float]:
    """``2 beta need / lambda_min``, what `Outcome` would say, about; and the beta it was made with.

    That is the rough constant of a chain. A graph has none: there it is the strongest value of a
    short attack, less than any bound, and the factor is at least about what is returned.

    Args:
        network: Any network.
        objective: The loss with its data.
        need: Of the theorem.
        smallest: An estimate of the kernel's smallest eigenvalue, > 0.
    """
    rows = objective.rows
    state = network_state(network, rows.inputs, rows.multiplicity)
    lipschitz: LipschitzBound
    if isinstance(state, Linearization):
        lipschitz = state_lipschitz(state, rough=True)
    else:
        lipschitz = _Estimate(attacked_lipschitz(network, objective))
    start = objective.start_bounds(state)
    bounds = MeasuredBounds(start, math.sqrt(smallest), math.inf, lipschitz, state, True)
    beta = lipschitz.upper(0.0)
    return 2.0 * beta * need(bounds) / smallest, beta


def attacked_lipschitz(network: Network, objective: Objective) -> float:
    """The strongest value of a short attack: less than any bound, and for a graph far cheaper.

    Args:
        network: Any network.
        objective: The loss with its data.
    """
    root = objective.rows.multiplicity.to(torch.float64).sqrt()
    function = FlatFunction(network, objective.rows.inputs, root)
    return lipschitz_attack_approx(function, restarts=1, iterations=ATTACK_ROUNDS).value


@dataclass(frozen=True)
class _Estimate:
    """A number in the place of a bound, where nothing is claimed."""

    beta: float

    def upper(self, radius: float) -> float:
        return self.beta

    def layer_matrix_upper(self, radius: float) -> Tensor:
        raise RuntimeError("unreachable: an estimate has no layers; please report")

    def nonideal_path(self, radius: float) -> str | None:
        return None
