"""T12: a recorded run whose every step was seen to go down enough stays in a ball.

No smoothness constant and no rule for the step: the decrease of each step is evaluated, with proved
bounds, after the fact.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from talweg._errors import InputError
from talweg.enclosure import Interval
from talweg.theory._arguments import assumed_names, positive, upper_bound
from talweg.theory._ball import convergence_criterion
from talweg.theory._profile import LowerProfile
from talweg.theory._verdict import Hypothesis, Verdict, decide

SOURCE = "T12 (run-time certificate)"
PREMISES = ("initial_gap_upper", "profile", "decrease")


@dataclass(frozen=True, slots=True)
class RunStep:
    """What is known of one step from w to w', both of them exact points.

    Attributes:
        decrease_lower: lower bound of f(w) - f(w'); may be negative.
        gradient_norm_upper: upper bound of |grad f(w)|.
        length_lower: lower bound of |w' - w|.
        length_upper: upper bound of |w' - w|.
    """

    decrease_lower: float
    gradient_norm_upper: float
    length_lower: float
    length_upper: float


@dataclass(frozen=True, slots=True)
class RunContained:
    """What T12 proves of a run w_0, ..., w_K: all of it lies in B(w0, radius).

    Attributes:
        radius_upper: R*, bounds the length of the run.
        profile_lower: a(R*).
        steps: K.
        path_length_upper: sum of the lengths of the steps.
        one_minus_rates_lower: for each k, D_{k+1} <= (1 - this) D_k with D = f - f*.
        shrink_upper: bounds D_K / D_0, the product of the rates.
    """

    radius_upper: float
    profile_lower: float
    steps: int
    path_length_upper: float
    one_minus_rates_lower: tuple[float, ...]
    shrink_upper: float


def run_stays_in_ball(
    initial_gap_upper: float,
    profile: LowerProfile,
    steps: Sequence[RunStep],
    *,
    share: float,
    assumed: Iterable[str] = (),
) -> Verdict[RunContained]:
    """A run of any method stays in B(w0, R*) when each of its steps goes down enough (T12).

    With D = f - f* >= 0 on all of R^p and |grad f(w)| >= a(|w - w0|) sqrt(D(w)) on B(w0, R): if

        f(w_k) - f(w_{k+1}) >= c |grad f(w_k)| |w_{k+1} - w_k|     in every step, > 0 if w moves,
        c int_0^R a > 2 sqrt(D_0),     R* the radius of equality,

    then w_k lies in B(w0, R*) for every k, and D_{k+1} <= (1 - c h_k a(R*)^2) D_k with the
    effective step h_k = |w_{k+1} - w_k| / |grad f(w_k)|, whatever the direction of the step: for
    exact gradient descent h_k is its step size.

    Source: T12; proof in docs/theory/T12.md.

    Args:
        initial_gap_upper: upper bound of D_0.
        profile: a.
        steps: the run, step by step, at least one.
        share: c in (0, 1].
        assumed: premises only assumed, out of `initial_gap_upper`, `profile`, `decrease`.

    Returns:
        PROVED with the numbers, or UNDECIDED naming `initial_gap_upper`, `profile`, `criterion` or
        `decrease` (the statement names the first step that fails).

    Raises:
        InputError: NaN, a negative norm, share outside (0, 1], no steps.
    """
    call = "run_stays_in_ball"
    gap = upper_bound(initial_gap_upper, "initial_gap_upper", call)
    c = Interval.point(positive(share, "share", call))
    if share > 1.0:
        raise InputError(
            f"`share` of {call}() must lie in (0, 1]; got {share!r}. No step decreases f by more "
            "than the gradient times its length, to first order."
        )
    trusted = assumed_names(assumed, PREMISES, call)
    run = _checked(steps, call)

    budget = (2.0 * Interval.point(gap).sqrt() / c).hi
    hypotheses = convergence_criterion(gap, budget, profile, "2 sqrt(f(w0) - f*) / c < int_0^R a")
    hypotheses.append(_decrease(run, c))
    if not all(h.holds for h in hypotheses):
        return decide(SOURCE, hypotheses, trusted)

    radius = profile.first_radius_upper(budget)
    a = profile.value_lower(radius)

    def conclusion() -> RunContained:
        rates = tuple(_one_minus_rate_lower(step, c, a) for step in run)
        shrink, path = Interval.point(1.0), Interval.point(0.0)
        for step, rate in zip(run, rates, strict=True):
            shrink = Interval.point((shrink * (1.0 - Interval.point(rate))).hi)
            path = path + step.length_upper
        return RunContained(
            radius_upper=radius,
            profile_lower=a,
            steps=len(run),
            path_length_upper=path.hi,
            one_minus_rates_lower=rates,
            shrink_upper=shrink.hi,
        )

    return decide(SOURCE, hypotheses, trusted, conclusion)


def _decrease(run: Sequence[RunStep], c: Interval) -> Hypothesis:
    """The condition on every step, as the hypothesis on the first that fails, else on the worst."""
    name = "decrease"
    worst: Hypothesis | None = None
    for k, step in enumerate(run):
        needed = (c * step.gradient_norm_upper * step.length_upper).hi
        statement = f"f(w_k) - f(w_k+1) >= c |grad f(w_k)| |w_k+1 - w_k| > 0 at k = {k}"
        moves = step.length_upper > 0.0
        holds = not moves or (step.decrease_lower >= needed and step.decrease_lower > 0.0)
        margin = (Interval.point(step.decrease_lower) - Interval.point(needed)).lo
        found = Hypothesis(name, statement, step.decrease_lower, needed, margin, holds)
        if not holds:
            return found
        if worst is None or margin < worst.margin:
            worst = found
    if worst is None:
        raise RuntimeError("unreachable: a run has at least one step")
    return worst


def _one_minus_rate_lower(step: RunStep, c: Interval, a: float) -> float:
    """``c h a^2`` with h = |step| / |gradient|, rounded down into [0, 1]."""
    if not step.gradient_norm_upper > 0.0 or math.isinf(step.gradient_norm_upper):
        return 0.0
    h = (Interval.point(step.length_lower) / Interval.point(step.gradient_norm_upper)).lo
    return min(max((c * max(h, 0.0) * Interval.point(a).square()).lo, 0.0), 1.0)


def _checked(steps: Sequence[RunStep], call: str) -> tuple[RunStep, ...]:
    if not isinstance(steps, Sequence) or not all(isinstance(step, RunStep) for step in steps):
        raise InputError(
            f"`steps` of {call}() must be a sequence of RunStep; got {type(steps).__name__}. Bound "
            "every step by RunStep(decrease_lower, gradient_norm_upper, length_lower, "
            "length_upper)."
        )
    run = tuple(steps)
    for k, step in enumerate(run):
        numbers = (step.decrease_lower, step.gradient_norm_upper, step.length_lower)
        sound = not any(math.isnan(x) for x in (*numbers, step.length_upper))
        sound = sound and step.gradient_norm_upper >= 0.0 and step.decrease_lower < math.inf
        if not (sound and step.length_lower <= step.length_upper and step.length_upper >= 0.0):
            raise InputError(
                f"`steps` of {call}() must hold bounds without NaN, norms >= 0 and length_lower <= "
                f"length_upper; got {step!r} at step {k}. Evaluate the step with enclosures."
            )
    if not run:
        raise InputError(
            f"`steps` of {call}() must hold at least one step; got none. Record the run first."
        )
    return run
