"""Polish: Levenberg-Marquardt in function space until the criterion holds (theory P5).

    w <- w + J^T (K + lambda I)^{-1} (y - F(w)),      K = J J^T.

Floating point, on a copy of the weights. Whatever it ends with is judged by the same rigorous
bounds as weights from anywhere else.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from talweg.certificate._cluster_system import (
    ClusterFactoredSystem,
    ClusterPreconditionedSystem,
)
from talweg.certificate._damped_system import (
    DampedSystem,
    FactoredSystem,
    centred_rows,
)
from talweg.certificate._objective import PolishGoal
from talweg.certificate._preconditioned_system import PreconditionedSystem
from talweg.cluster import Cluster
from talweg.network import FlatFunction, Network

FIRST_DAMPING = 1.0
FIRST_DAMPING_LARGE = 1e-2
"""Of the kernel's mean eigenvalue, where the residual is still large. A cautious first step ends
nearer to the start, where the Lipschitz bound is tighter, and takes a step or two more; where each
of them is expensive, less caution is enough."""

EXPENSIVE_FROM = 3000
"""Residual entries of a chain from which a step is."""

LEAST_DAMPING = 1e-15
MAX_REJECTIONS = 12

AMPLE = 8.0
"""Where the criterion has so much room, the constant is not evaluated again for a proposal."""

PRECONDITIONED_FROM = 3000
"""Residual entries from which the kernel is no longer factored in float64 at every step."""

CLUSTER_PRECONDITIONED_FROM = 12_000
"""The same on a cluster: there each iteration of conjugate gradients costs as much in messages as a
factorisation of a few thousand rows."""


@dataclass(frozen=True, eq=False)
class Proposal:
    """Weights that a theorem may be tried on.

    Attributes:
        network: The network with the weights, stored as float64.
        distance: Euclidean distance from the weights at the start, float.
        residual_norm: ``|r|`` there, float.
        steps: Accepted steps so far.
    """

    network: Network
    distance: float
    residual_norm: float
    steps: int


class Polish:
    """A search from the weights of a network for weights at which a theorem holds.

    Args:
        network: A chain; its weights are the start.
        inputs: Distinct rows ``(n, d)``.
        goal: The outputs to reach.
        multiplicity: ``(n,)``.
        cluster: Where the kernel lives, None for this machine.
    """

    def __init__(
        self, network: Network, inputs: Tensor, goal: PolishGoal, multiplicity: Tensor,
        cluster: Cluster | None = None,
    ) -> None:  # fmt: skip
        root = multiplicity.to(torch.float64).sqrt()
        self._goal = goal
        self._function = FlatFunction(network, inputs, root)
        self._outputs = goal.outputs * root.reshape(-1, 1)
        self._start = self._function.start
        self._cluster = cluster
        self._system = self._new_system()

    def _new_system(self) -> DampedSystem:
        """Factorisations where they are cheap, and on an accelerator; else conjugate gradients."""
        function, centred, outputs = self._function, self._goal.centred, self._outputs
        first = PRECONDITIONED_FROM if self._cluster is None else CLUSTER_PRECONDITIONED_FROM
        if outputs.numel() < first or outputs.device.type != "cpu" or not function.network.is_chain:
            return self._factored_system()
        if self._cluster is not None:
            return ClusterPreconditionedSystem(self._cluster, function, centred=centred)
        return PreconditionedSystem(function, centred=centred)

    def _factored_system(self) -> DampedSystem:
        if self._cluster is not None:
            return ClusterFactoredSystem(self._cluster, self._function, centred=self._goal.centred)
        return FactoredSystem(self._function, centred=self._goal.centred)

    def smallest_at_start(self) -> float | None:
        """The kernel's smallest eigenvalue at the start, estimated, where bounds would cost more.

        From above, up to roundings: a Ritz value, or LAPACK's eigenvalue for a graph. None for a
        small chain, or one whose kernel is factored on a cluster.
        """
        is_estimated = isinstance(self._system, PreconditionedSystem)
        if not is_estimated and self._function.network.is_chain:
            return None
        self._system.move_to(self._start)
        return self._system.find_smallest()

    def steps(
        self, *, lipschitz: Callable[[Network], float], lipschitz_at_start: float,
        estimated: bool = False, max_steps: int = 80,
    ) -> Iterator[Proposal]:  # fmt: skip
        """Weights along the path at which the criterion ``need < sigma_0^2 / (2 beta)`` looks met.

        Args:
            lipschitz: Lipschitz constant of the Jacobian at given weights (R -> 0).
            lipschitz_at_start: The same at the start.
            estimated: Whether both are estimates from below, cheap beside a bound: then more room
                is asked for, as long as steps still gain some.
            max_steps: Accepted steps at most.

        Yields:
            Candidates; the caller tries its theorem and stops when it holds.
        """
        goal, function, system, start = self._goal, self._function, self._system, self._start

        def residual_at(w: Tensor) -> Tensor:
            difference = self._outputs - function(w)
            return centred_rows(difference) if goal.centred else difference

        w = start
        residual = residual_at(w)
        norm = float(residual.norm())
        damping: float | None = None
        beta = lipschitz_at_start
        steps = 0
        while steps < max_steps and norm > 0.0:
            system.move_to(w)
            need = goal.need(residual)
            if _looks_met(system, need, 0.5 * beta):
                here = function.network_at(w)
                if estimated or not _looks_met(system, need, AMPLE * beta):
                    beta = lipschitz(here)
                if _looks_met(system, need, (AMPLE if estimated else 1.0) * beta):
                    system.release()
                    yield Proposal(here, float((w - start).norm()), norm, steps)
            mean = system.mean
            if damping is None:
                large = self._outputs.numel() >= EXPENSIVE_FROM and function.network.is_chain
                damping = (FIRST_DAMPING_LARGE if large else FIRST_DAMPING) * mean
            rejected = False
            for _ in range(MAX_REJECTIONS):
                step = system.step(residual, damping)
                if step is None and isinstance(system, PreconditionedSystem):
                    # Too ill-conditioned for a factor in float32: from here on in float64.
                    system = self._system = self._factored_system()
                    system.move_to(w)
                    step = system.step(residual, damping)
                if step is not None:
                    trial = w + step
                    trial_residual = residual_at(trial)
                    trial_norm = float(trial_residual.norm())
                    if trial_norm < norm:
                        break
                rejected = True
                damping = max(10.0 * damping, LEAST_DAMPING * mean)
            else:  # at the rounding floor, or stuck
                if estimated and _looks_met(system, need, beta):
                    yield Proposal(function.network_at(w), float((w - start).norm()), norm, steps)
                return
            # Where less damping has just failed, it is not tried again at once.
            shrink = 1.0 if rejected else min(0.1, (trial_norm / norm) ** 2)
            damping = max(damping * shrink, LEAST_DAMPING * mean)
            w, residual, norm = trial, trial_residual, trial_norm
            steps += 1


def _looks_met(system: DampedSystem, need: float, beta: float) -> bool:
    """Whether ``lambda_min(K) > 2 beta need``, in floats."""
    threshold = 2.0 * beta * need * (1.0 + 1e-5)
    return math.isfinite(threshold) and system.smallest_exceeds(threshold)
