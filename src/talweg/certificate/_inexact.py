"""T9 as `certify` applies it: float64 gradient descent as it runs, on a squared loss."""

from __future__ import annotations

import math
from dataclasses import dataclass

from talweg.certificate._bounds import MeasuredBounds
from talweg.certificate._padding import padded_up
from talweg.certificate._theorems import Applied, Numbers
from talweg.network import GradientError, Linearization
from talweg.theory import (
    FloorReached,
    SingularValueProfile,
    SquaredLoss,
    largest_inexact_step_lower,
    squared_loss_floor_reached,
)

FLOAT64_DESCENT = (
    "float64 full-batch gradient descent as run by the program of T9 from the exact stored weights"
)
ASSUMPTIONS = (
    (
        "tanh and sigmoid of the library that runs the program are within 2^-50 of their value "
        "relatively (4 units of 2^-52), plus 2^-1000 absolutely"
    ),
    (
        "the program runs in IEEE 754 binary64, rounding to nearest, and every inner product in it "
        "is a sum of products, in some order, with or without fused multiply-add"
    ),
)
THETAS = (1 / 2, 1 / 4, 1 / 10, 1 / 30, 1 / 100)
"""Tried in this order: a large theta has a low floor, a small one an easier criterion."""


@dataclass(frozen=True)
class _PaddedError:
    """The rounding of the run, as it will be claimed."""

    error: GradientError

    def upper(self, radius: float) -> float:
        return padded_up(self.error.upper(radius))


@dataclass(frozen=True)
class SquaredFloat64:
    """T9 with the constants of T11."""

    loss: SquaredLoss
    id: str = "T9"
    semantics: str = FLOAT64_DESCENT
    assumptions: tuple[str, ...] = ASSUMPTIONS

    def budget(self, bounds: MeasuredBounds) -> float:
        """``|r_0|``."""
        return bounds.start["residual_norm_upper"]

    def need(self, bounds: MeasuredBounds) -> float:
        """``int_0^{R*} s`` for the first theta that looks possible, which exceeds ``|r_0|``."""
        r0, sigma = self.budget(bounds), bounds.sigma_min_lower
        beta = bounds.lipschitz_upper(0.0)
        for theta in THETAS:
            reduced = sigma * (1.0 - theta) / (1.0 + theta)
            room = reduced * reduced - 2.04 * beta * r0
            if room > 0.0:
                radius = 2.0 * r0 / (reduced + math.sqrt(room))
                return 1.01 * radius * (sigma - 0.5 * beta * radius)
        return r0

    def apply(self, bounds: MeasuredBounds, profile: SingularValueProfile) -> Applied:
        """The first theta for which the criterion holds, at its largest step."""
        r0, norm = self.budget(bounds), bounds.jacobian_norm_upper
        samples = self.loss.entries // bounds.state.outputs.shape[1]
        if not isinstance(bounds.state, Linearization):
            raise RuntimeError("T9 was asked of a graph, which is refused earlier; please report")
        applied: Applied | None = None
        for theta in THETAS:
            step = largest_inexact_step_lower(r0, profile, norm, theta=theta, loss=self.loss)
            step = step if step > 0.0 else 1.0  # the criterion fails before a step matters
            error = GradientError(
                bounds.state,
                samples=samples,
                residual_norm_upper=r0,
                curvature=self.loss.curvature,
                step_size=step,
            )
            verdict = squared_loss_floor_reached(
                r0, profile, norm, _PaddedError(error), theta=theta, step_size=step, loss=self.loss
            )
            applied = Applied(verdict, {"theta": theta})
            if "criterion" not in [h.name for h in verdict.failed]:
                return applied
        if applied is None:
            raise RuntimeError("unreachable: THETAS is not empty")
        return applied

    def numbers(self, conclusion: FloorReached) -> Numbers:
        """Radius, step, rates, and where the claim ends."""
        common = {
            "radius": conclusion.radius_upper, "step_size": conclusion.step_size,
            "rate": conclusion.loss_rate_upper, "one_minus_rate": conclusion.one_minus_rate_lower,
            "halving_steps": conclusion.halving_steps_upper,
        }  # fmt: skip
        extra = {
            "theta": conclusion.theta, "gradient_error_upper": conclusion.gradient_error_upper,
            "floor": conclusion.floor_upper, "steps_upper": conclusion.steps_upper,
        }  # fmt: skip
        return Numbers(common, extra)
