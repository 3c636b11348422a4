"""Untuned steps along the gradient of a two-layer linear network.

Every rule looks at the loss along the step, which costs no product of matrices (`StepLine`).

    dai_yuan           two exact line minimisations, then the step of Yuan twice, and again:
                       with exact steps a, b and the first displacement s
                           2 / ( sqrt((1/a - 1/b)^2 + 4 |g|^2 / |s|^2) + 1/a + 1/b ),
                       which ends in two steps on a quadratic of two variables; capped below twice
                       the exact step
    barzilai_borwein   the short step where short / long < 1/2 (the least of the last five), else
                       the long one; two exact steps wherever the loss would not decrease
    exact              first minimum along the line; zig-zags
    shortened          0.8 of it
    majorant           minimum of D2's quartic with the global curvature: needs no look at the loss
    local_smoothness   eta L(eta) = 1 with D2's bound in norms, the step of xu2025's kind

Source: D2; Dai and Yuan (2005), Barzilai and Borwein (1988), adapted to a loss that is quartic and
not quadratic along the line.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

import torch
from torch import Tensor

from talweg.enclosure import Interval
from talweg.optim._linear_model_loss import StepLine
from talweg.theory import StepQuartic

StepRule = Literal[
    "dai_yuan", "barzilai_borwein", "exact", "shortened", "majorant", "local_smoothness"
]

CAP = 1.98  # times the exact step: a quadratic still decreases there
SHORTEN = 0.8  # best of 0.5 to 1 on the suite in benchmarks/linear_network_steps.py
MEMORY = 5
SWITCH = 0.5


@dataclass
class Situation:
    """What a rule may look at.

    Attributes:
        line: the loss along the step.
        curvature: kappa of D4.
        smoothness: K of D4.
        factors: W1 and W2.
        output_gradient_norm: |G|.
        displacement_dot_change: <s, y> with the last step s and the gradient's change y; None at
            the first step.
        change_square: <y, y>.
    """

    line: StepLine
    curvature: float
    smoothness: float
    factors: tuple[Tensor, Tensor]
    output_gradient_norm: float
    displacement_dot_change: float | None = None
    change_square: float = 0.0

    @cached_property
    def jacobian_norm(self) -> float:
        """|J| = sqrt(|W1|^2 + |W2|^2), in floating point."""
        return math.hypot(*(float(torch.linalg.matrix_norm(w, 2)) for w in self.factors))


@dataclass
class RuleState:
    """What a rule remembers from step to step.

    Attributes:
        count: steps taken.
        step: the last step.
        exact: the last exact step.
        gradient_square: |grad f|^2 at the last step.
        yuan: the Yuan step in use.
        short: the last short Barzilai-Borwein steps.
    """

    count: int = 0
    step: float = math.nan
    exact: float = math.nan
    gradient_square: float = math.nan
    yuan: float = math.nan
    short: list[float] = field(default_factory=list)


def candidates(rule: StepRule, at: Situation, state: RuleState) -> list[Callable[[], float]]:
    """Steps to try, best first; the last one has D2's guarantee before it is taken.

    A step of NaN is no proposal: what it is computed from left the range of float64.

    Args:
        rule: the rule.
        at: the loss along the step and the local norms.
        state: memory; `exact`, `yuan` and `short` are brought up to date.
    """
    safe = [lambda: majorant_step(at), lambda: local_step(at)]
    if rule == "local_smoothness":
        return safe[1:]
    if rule == "majorant":
        return safe
    exact = exact_step(at, state.exact)
    previous, state.exact = state.exact, exact
    if rule == "exact":
        return [lambda: exact, *safe]
    if rule == "shortened":
        return [lambda: SHORTEN * exact, *safe]
    proposed = _yuan(at, state, previous) if rule == "dai_yuan" else _barzilai_borwein(at, state)
    return [lambda: exact if proposed is None else proposed, lambda: exact, *safe]


def exact_step(at: Situation, guess: float) -> float:
    """The first minimum along the line, to a relative 1e-6.

    Args:
        at: the loss along the step.
        guess: where to look first; NaN for none.
    """
    line = at.line
    if line.loss.kind == "squared":
        return _minimum(at, 1.0)
    high = guess if math.isfinite(guess) and guess > 0.0 else local_step(at)
    low, slope_low = 0.0, -line.gradient_square
    slope_high = line.slope(high)
    for _ in range(60):
        if slope_high >= 0.0:
            break
        if not math.isfinite(slope_high):
            return math.nan
        low, slope_low, high = high, slope_high, 2.0 * high
        slope_high = line.slope(high)
    return _root(line.slope, low, slope_low, high, slope_high)


def majorant_step(at: Situation) -> float:
    """The minimum of D2's quartic with the global curvature."""
    return _minimum(at, at.curvature)


def local_step(at: Situation) -> float:
    """The step with eta L(eta) = 1, L(eta) = |G| + K (|J| + eta |grad f| / 2)^2 (D2)."""
    gradient = math.sqrt(max(at.line.gradient_square, 0.0))

    def excess(eta: float) -> float:
        reach = at.jacobian_norm + 0.5 * eta * gradient
        return eta * (at.output_gradient_norm + at.smoothness * reach * reach) - 1.0

    modulus = at.output_gradient_norm + at.smoothness * at.jacobian_norm * at.jacobian_norm
    if not 0.0 < modulus < math.inf or not math.isfinite(gradient):
        return math.nan
    low, high = 0.0, 1.0 / modulus
    for _ in range(60):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if excess(middle) <= 0.0 else (low, middle)
    return low if low > 0.0 else high


def _yuan(at: Situation, state: RuleState, previous: float) -> float | None:
    phase = state.count % 4
    if phase == 2 and state.step == previous:
        inverse, last = _quotient(1.0, state.exact), _quotient(1.0, previous)
        moved = state.step * state.step * state.gradient_square
        root = math.hypot(last - inverse, 2.0 * _root_of(at.line.gradient_square, moved))
        state.yuan = _quotient(2.0, root + last + inverse)
    if phase < 2 or not math.isfinite(state.yuan) or not math.isfinite(state.exact):
        return None
    return min(state.yuan, CAP * state.exact)


def _barzilai_borwein(at: Situation, state: RuleState) -> float | None:
    sy = at.displacement_dot_change
    if sy is None or not sy > 0.0:
        state.short.clear()
        return None
    long = _quotient(state.step * state.step * state.gradient_square, sy)
    short = _quotient(sy, at.change_square)
    if not 0.0 < short < math.inf or not 0.0 < long < math.inf:
        state.short.clear()
        return None
    state.short[:] = [*state.short[1 - MEMORY :], short]
    return min(state.short) if short < SWITCH * long else long


def _minimum(at: Situation, curvature: float) -> float:
    """The first minimum of the quartic; the local step where there is none in range."""
    parts = at.line.quartic(curvature)
    if not all(math.isfinite(x) for x in parts):
        return local_step(at)
    found = StepQuartic(*(Interval.point(x) for x in parts)).minimiser_approx()
    return found if math.isfinite(found) else local_step(at)


def _quotient(a: float, b: float) -> float:
    """a / b, NaN for b = 0."""
    return a / b if b != 0.0 else math.nan


def _root_of(a: float, b: float) -> float:
    """sqrt(a / b), NaN where that is no number."""
    value = _quotient(a, b)
    return math.sqrt(value) if value >= 0.0 else math.nan


def _root(
    f: Callable[[float], float], low: float, at_low: float, high: float, at_high: float
) -> float:
    """A zero of f between low (f < 0) and high (f >= 0) to a relative 1e-6: Illinois."""
    for _ in range(60):
        if high - low <= 1e-6 * high or not at_high > 0.0:
            break
        x = (low * at_high - high * at_low) / (at_high - at_low)
        if not low < x < high:
            x = 0.5 * (low + high)
        at_x = f(x)
        if at_x < 0.0:
            low, at_low, at_high = x, at_x, 0.5 * at_high
        else:
            high, at_high, at_low = x, at_x, 0.5 * at_low
    return high
