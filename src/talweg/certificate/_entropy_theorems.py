"""T4 and T13 as `certify` applies them to cross-entropies."""

from __future__ import annotations

import math
from dataclasses import dataclass

from talweg.certificate._bounds import MeasuredBounds
from talweg.certificate._theorems import (
    REAL_DESCENT,
    Applied,
    Numbers,
    descent_numbers,
    epsilon_for,
)
from talweg.enclosure import Interval
from talweg.theory import (
    SOFTMAX_SMOOTHNESS,
    CrossEntropy,
    DescentConvergence,
    SingularValueProfile,
    TargetReached,
    composite_loss_converges,
    cross_entropy_budget,
    cross_entropy_target_reached,
    steps_to_shrink_upper,
)


@dataclass(frozen=True)
class EntropyDescent:
    """T4 for a cross-entropy with smoothed labels, on the scale of ``loss``."""

    loss: CrossEntropy
    id: str = "T4"
    semantics: str = REAL_DESCENT
    assumptions: tuple[str, ...] = ()

    def budget(self, bounds: MeasuredBounds) -> float:
        """``sqrt(2 G / mu_l)``."""
        gap, mu = bounds.start["initial_gap_upper"], bounds.start["pl_lower"]
        return math.sqrt(2.0 * gap / mu) if mu > 0.0 and gap < math.inf else math.inf

    def need(self, bounds: MeasuredBounds) -> float:
        """The same with room for epsilon."""
        return 1.02 * self.budget(bounds)

    def apply(self, bounds: MeasuredBounds, profile: SingularValueProfile) -> Applied:
        """See the theory room."""
        unit = self.loss.unit
        need, available = self.budget(bounds), profile.integral_lower(profile.radius)
        epsilon = epsilon_for(need, available)
        verdict = composite_loss_converges(
            (bounds.start["initial_gap_upper"] * unit).hi,
            profile,
            profile.jacobian_norm(bounds.jacobian_norm_upper),
            profile.lipschitz,
            pl_lower=(bounds.start["pl_lower"] * unit).lo,
            smoothness_upper=(SOFTMAX_SMOOTHNESS * unit).hi,
            epsilon=epsilon,
        )
        return Applied(verdict, {"epsilon": epsilon})

    def numbers(self, conclusion: DescentConvergence) -> Numbers:
        """Radius, step and rates, these of the loss above its infimum."""
        return descent_numbers(conclusion)


@dataclass(frozen=True)
class EntropyTarget:
    """T13: a cross-entropy brought down to a target."""

    loss: CrossEntropy
    target: float
    id: str = "T13"
    semantics: str = REAL_DESCENT
    assumptions: tuple[str, ...] = ()

    @property
    def summed_target(self) -> float:
        """The target on the scale of the summed loss, rounded down."""
        return (self.target / self.loss.unit).lo

    def budget(self, bounds: MeasuredBounds) -> float:
        """``int du / psi`` from the loss down to the target: without one nothing would do."""
        f0 = bounds.start["initial_loss_upper"]
        if not f0 < math.inf:
            return math.inf
        return cross_entropy_budget(f0, self.summed_target, self.loss).hi

    def need(self, bounds: MeasuredBounds) -> float:
        """The same with room for epsilon and the last step."""
        return 1.02 * self.budget(bounds)

    def apply(self, bounds: MeasuredBounds, profile: SingularValueProfile) -> Applied:
        """See the theory room."""
        epsilon = epsilon_for(self.budget(bounds), profile.integral_lower(profile.radius))
        verdict = cross_entropy_target_reached(
            bounds.start["initial_loss_upper"],
            self.summed_target,
            profile,
            profile.jacobian_norm(bounds.jacobian_norm_upper),
            profile.lipschitz,
            loss=self.loss,
            epsilon=epsilon,
        )
        return Applied(verdict, {"epsilon": epsilon})

    def numbers(self, conclusion: TargetReached) -> Numbers:
        """Radius, step, steps; the rate holds until the target."""
        gain = conclusion.one_minus_rate_lower
        common = {
            "radius": conclusion.radius_upper, "step_size": conclusion.step_size,
            "rate": (1.0 - Interval.point(gain)).hi, "one_minus_rate": gain,
            "halving_steps": steps_to_shrink_upper(2.0, gain),
        }  # fmt: skip
        extra = {
            "target_loss": self.target, "steps_upper": conclusion.steps_upper,
            "overshoot_radius": conclusion.final_radius_upper,
        }  # fmt: skip
        return Numbers(common, extra)
