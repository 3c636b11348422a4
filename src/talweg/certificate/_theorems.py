"""The theorems as `certify` applies them: one class each, chosen by loss, target and request.

A class says what its criterion needs (for the search of radii), applies its theorem to a profile,
and turns the conclusion into the numbers that a certificate claims.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from talweg.certificate._bounds import MeasuredBounds
from talweg.enclosure import Interval
from talweg.theory import (
    DescentConvergence,
    SingularValueProfile,
    SquaredLoss,
    SquaredLossConvergence,
    TargetReached,
    Verdict,
    composite_loss_converges,
    squared_loss_converges,
    squared_loss_target_reached,
    steps_to_shrink_upper,
)

REAL_DESCENT = "real-arithmetic full-batch gradient descent on the exact stored weights"


@dataclass(frozen=True, eq=False)
class Applied:
    """One theorem evaluated on one profile.

    Attributes:
        verdict: What it says.
        extra: Claims that it needed beside the bounds, by name (epsilon).
    """

    verdict: Verdict[Any]
    extra: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Numbers:
    """What a conclusion claims.

    Attributes:
        common: radius, step_size, rate, one_minus_rate and halving_steps.
        extra: Further claims of the theorem, by name.
    """

    common: Mapping[str, Any]
    extra: Mapping[str, float] = field(default_factory=dict)


class Theorem(Protocol):
    """A theorem with the loss and target that it is asked about."""

    @property
    def id(self) -> str:
        """As in docs/theory."""
        ...

    @property
    def semantics(self) -> str:
        """What kind of descent the claim speaks of, as in the file."""
        ...

    @property
    def assumptions(self) -> tuple[str, ...]:
        """What the claim assumes beside the stored numbers; empty for the top grade."""
        ...

    def budget(self, bounds: MeasuredBounds) -> float:
        """What ``int_0^R s`` would have to reach without a target, a float estimate."""
        ...

    def need(self, bounds: MeasuredBounds) -> float:
        """What ``int_0^R s`` has to reach, a float estimate with some room."""
        ...

    def apply(self, bounds: MeasuredBounds, profile: SingularValueProfile) -> Applied:
        """The theorem on one profile."""
        ...

    def numbers(self, conclusion: Any) -> Numbers:
        """The claims that a conclusion makes."""
        ...


def descent_numbers(conclusion: SquaredLossConvergence | DescentConvergence) -> Numbers:
    """The claims of a theorem about convergence to the infimum.

    Args:
        conclusion: Of T11 or T4.
    """
    return Numbers({
        "radius": conclusion.radius_upper, "step_size": conclusion.step_size,
        "rate": conclusion.loss_rate_upper, "one_minus_rate": conclusion.one_minus_rate_lower,
        "halving_steps": conclusion.halving_steps_upper,
    })  # fmt: skip


def epsilon_for(need: float, available: float) -> float:
    """T4's epsilon: the rate goes with epsilon (1 - epsilon), so 1/2 where the criterion allows it.

    Else half of what it allows, and the least one where none would do: the criterion, which divides
    by 1 - epsilon, then misses by the factor that it misses by for any epsilon.

    Args:
        need: What ``(1 - epsilon) int s`` has to exceed.
        available: ``int s``.
    """
    if need < 0.5 * available:
        return 0.5
    return max(0.5 * (1.0 - need / available), 1e-3) if need < available else 1e-6


@dataclass(frozen=True)
class SquaredConvergence:
    """T11."""

    loss: SquaredLoss
    id: str = "T11"
    semantics: str = REAL_DESCENT
    assumptions: tuple[str, ...] = ()

    def budget(self, bounds: MeasuredBounds) -> float:
        """``|r_0|``."""
        return bounds.start["residual_norm_upper"]

    def need(self, bounds: MeasuredBounds) -> float:
        """``|r_0|``."""
        return self.budget(bounds)

    def apply(self, bounds: MeasuredBounds, profile: SingularValueProfile) -> Applied:
        """See the theory room."""
        r0, norm = bounds.start["residual_norm_upper"], bounds.jacobian_norm_upper
        return Applied(squared_loss_converges(r0, profile, norm, loss=self.loss))

    def numbers(self, conclusion: SquaredLossConvergence) -> Numbers:
        """Radius, step and rates."""
        return descent_numbers(conclusion)


@dataclass(frozen=True)
class SquaredDescent:
    """T4 for a squared loss, on the scale of ``loss``."""

    loss: SquaredLoss
    id: str = "T4"
    semantics: str = REAL_DESCENT
    assumptions: tuple[str, ...] = ()

    def budget(self, bounds: MeasuredBounds) -> float:
        """``|r_0|``."""
        return bounds.start["residual_norm_upper"]

    def need(self, bounds: MeasuredBounds) -> float:
        """``|r_0|`` and room for epsilon."""
        return 1.02 * self.budget(bounds)

    def apply(self, bounds: MeasuredBounds, profile: SingularValueProfile) -> Applied:
        """See the theory room."""
        r0 = bounds.start["residual_norm_upper"]
        epsilon = epsilon_for(r0, profile.integral_lower(profile.radius))
        verdict = composite_loss_converges(
            self.loss.loss_upper(r0),
            profile,
            profile.jacobian_norm(bounds.jacobian_norm_upper),
            profile.lipschitz,
            pl_lower=self.loss.pl_lower,
            smoothness_upper=self.loss.smoothness_upper,
            epsilon=epsilon,
        )
        return Applied(verdict, {"epsilon": epsilon})

    def numbers(self, conclusion: DescentConvergence) -> Numbers:
        """Radius, step and rates."""
        return descent_numbers(conclusion)


@dataclass(frozen=True)
class SquaredTarget:
    """T7 with the constants of T11."""

    loss: SquaredLoss
    target: float
    id: str = "T7"
    semantics: str = REAL_DESCENT
    assumptions: tuple[str, ...] = ()

    def budget(self, bounds: MeasuredBounds) -> float:
        """``|r_0| - rho``."""
        return self._above(bounds, 1.0)

    def need(self, bounds: MeasuredBounds) -> float:
        """The same with some room for the last step."""
        return self._above(bounds, 0.9)

    def _above(self, bounds: MeasuredBounds, share: float) -> float:
        target = self.loss.residual_norm_lower(self.target)
        return max(bounds.start["residual_norm_upper"] - share * target, 0.0)

    def apply(self, bounds: MeasuredBounds, profile: SingularValueProfile) -> Applied:
        """See the theory room."""
        r0, norm = bounds.start["residual_norm_upper"], bounds.jacobian_norm_upper
        return Applied(squared_loss_target_reached(r0, self.target, profile, norm, loss=self.loss))

    def numbers(self, conclusion: TargetReached) -> Numbers:
        """The theorem's rate speaks of |r|, the file's of the loss."""
        x = Interval.point(conclusion.one_minus_rate_lower)
        one_minus = (x * (2.0 - x)).lo
        common = {
            "radius": conclusion.radius_upper, "step_size": conclusion.step_size,
            "rate": (1.0 - Interval.point(one_minus)).hi, "one_minus_rate": one_minus,
            "halving_steps": steps_to_shrink_upper(2.0, one_minus),
        }  # fmt: skip
        extra = {
            "target_loss": float(self.target), "steps_upper": conclusion.steps_upper,
            "overshoot_radius": conclusion.final_radius_upper,
        }  # fmt: skip
        return Numbers(common, extra)
