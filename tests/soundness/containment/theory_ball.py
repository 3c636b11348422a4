"""Containment: descent and flow in a ball under a general loss, T1 to T3."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator
from typing import Any

from flint import arb
from tests.soundness.containment import theory_draws as draws
from tests.soundness.containment.theory_judge import (
    INF,
    Claim,
    Entry,
    Number,
    Routine,
    Unresolved,
    at_most,
    below,
    exact,
    hypothesis_claims,
    known,
    less,
    more,
    rate_claims,
    shard,
    smaller,
)
from tests.soundness.containment.theory_reference import (
    ExactProfile,
    Steps,
    nested,
)

from talweg.theory import (
    Hypothesis,
    NestedBallBound,
    Verdict,
    chatterjee_criterion,
    chatterjee_criterion_with_steps,
    gradient_descent_converges_in_ball,
    gradient_flow_converges_in_ball,
)

Draw = random.Random
Table = dict[str, Callable[[Hypothesis], Entry]]


def step_or(rng: Draw, largest: float) -> float | None:
    """None, or a step near the largest."""
    return None if rng.random() < 0.4 else draws.near(rng, largest)


def step_asked(step: float | None, verdict: Verdict[Any]) -> float:
    """The step that the hypotheses speak of: the one named, else the one found."""
    if step is not None:
        return step
    return next((h.value for h in verdict.hypotheses if h.name == "step_size"), 0.0)


def reached(profile: ExactProfile, budget: Number) -> tuple[arb, arb]:
    """R* and a(R*)."""
    radius = profile.first_radius(budget)
    if radius is None:
        raise Unresolved
    return radius, profile.value(radius)


def criterion(profile: ExactProfile, gap: float, budget: Callable[[], arb]) -> Table:
    """The premises on gap and profile, and the criterion."""
    return {
        "initial_gap_upper": lambda _: known(gap),
        "profile": lambda _: more(profile.value(arb(0)), 0),
        "criterion": lambda _: less(budget() if gap < math.inf else INF, profile.total()),
    }


def ball_problem(rng: Draw) -> dict[str, Any]:
    """A profile, a gap at the edge of the criterion, a smoothness bound."""
    profile, epsilon = draws.step_profile(rng), draws.share(rng)
    total = profile.integral_lower(profile.radius)
    edge = (total * (1.0 - epsilon) / 2.0) ** 2 if 0.0 < total < 1e150 else 1.0
    gap = draws.near(rng, edge) if rng.random() < 0.95 else draws.nonnegative(rng)
    smooth = draws.lipschitz(rng)
    if rng.random() < 0.7:
        smooth = NestedBallBound.everywhere(draws.size(rng))
    m = smooth.upper(profile.first_radius_upper(2.0 * math.sqrt(gap) / max(1.0 - epsilon, 1e-300)))
    largest = 2.0 * epsilon / m if 0.0 < m < math.inf else 1.0
    return {"gap": gap, "profile": profile, "smooth": smooth, "epsilon": epsilon,
            "step": step_or(rng, largest)}  # fmt: skip


def _t1(x: dict[str, Any]) -> Verdict[Any]:
    return gradient_descent_converges_in_ball(
        x["gap"], x["profile"], x["smooth"], epsilon=x["epsilon"], step_size=x["step"]
    )


def descent_claims(
    verdict: Verdict[Any], profile: ExactProfile, gap: float, epsilon: float,
    step: float | None, smoothness: Callable[[arb], arb], more_table: Table | None = None,
) -> Iterator[Claim]:  # fmt: skip
    """T1's hypotheses and numbers, with M as a function of the radius."""
    rest = 1 - arb(epsilon)

    def budget() -> arb:
        return 2 * arb(gap).sqrt() / rest

    def delta(eta: float) -> arb:
        return rest * eta * reached(profile, budget())[1] ** 2

    def step_entry(_: Hypothesis) -> Entry:
        m = smoothness(reached(profile, budget())[0])
        return less(eta, 2 * arb(epsilon) / m if m > 0 else arb(0), strict=False)

    eta = step_asked(step, verdict)
    table = {
        **criterion(profile, gap, budget),
        **(more_table or {}),
        "smoothness": lambda _: known(smoothness(reached(profile, budget())[0])),
        "rate_positive": lambda _: more(delta(eta), 0),
        "step_size": step_entry,
    }
    yield from hypothesis_claims(verdict, table)
    c = verdict.conclusion
    if c is None:
        return
    radius, a = reached(profile, budget())
    yield "radius", at_most(radius, c.radius_upper)
    yield "profile", at_most(c.profile_lower, a)
    yield "M", at_most(smoothness(radius), c.smoothness_upper)
    yield "step", below(0, c.step_size)
    yield from rate_claims(
        c.one_minus_rate_lower, c.loss_rate_upper, c.halving_steps_upper, delta(c.step_size)
    )
    yield "distance", at_most(budget() / a, c.distance_upper)


def _t1_claims(x: dict[str, Any], verdict: Verdict[Any]) -> Iterator[Claim]:
    yield from descent_claims(
        verdict, Steps.of(x["profile"]), x["gap"], x["epsilon"], x["step"],
        lambda r: nested(x["smooth"], r),
    )  # fmt: skip


def _t2_claims(x: dict[str, Any], verdict: Verdict[Any]) -> Iterator[Claim]:
    profile = Steps.of(x["profile"])

    def budget() -> arb:
        return 2 * arb(x["gap"]).sqrt()

    table = criterion(profile, x["gap"], budget)
    table["rate_positive"] = lambda _: more(reached(profile, budget())[1] ** 2, 0)
    yield from hypothesis_claims(verdict, table)
    c = verdict.conclusion
    if c is None:
        return
    radius, a = reached(profile, budget())
    yield "radius", at_most(radius, c.radius_upper)
    yield "profile", at_most(c.profile_lower, a)
    yield "exponent", at_most(c.exponent_lower, a * a)
    yield "halving", at_most(arb(2).log() / (a * a), c.halving_time_upper)
    yield "distance", at_most(budget() / a, c.distance_upper)


def _t3(rng: Draw) -> dict[str, Any]:
    radius, alpha, epsilon = draws.size(rng), draws.size(rng), draws.share(rng)
    edge = ((1.0 - epsilon) * radius) * ((1.0 - epsilon) * radius) * alpha / 4.0
    l1, l2, p = draws.nonnegative(rng), draws.nonnegative(rng), draws.whole(rng)
    if rng.random() < 0.7:
        l1, l2 = draws.size(rng), draws.size(rng)
    first = radius / l1 / math.sqrt(p) if l1 > 0.0 else 1.0
    second = 2 * epsilon / l2 / p if l2 > 0.0 else 1.0
    alpha = alpha if rng.random() < 0.97 else rng.choice((0.0, -1.0, -math.inf))
    gap = draws.near(rng, edge) if rng.random() < 0.95 else draws.nonnegative(rng)
    return {"f0": gap, "alpha": alpha, "radius": radius, "epsilon": epsilon, "l1": l1, "l2": l2,
            "p": p, "step": step_or(rng, min(first, second))}  # fmt: skip


def _t3_flow(x: dict[str, Any]) -> Verdict[Any]:
    return chatterjee_criterion(x["f0"], x["alpha"], x["radius"])


def _t3_steps(x: dict[str, Any]) -> Verdict[Any]:
    return chatterjee_criterion_with_steps(
        x["f0"], x["alpha"], x["radius"], epsilon=x["epsilon"], first_partials_upper=x["l1"],
        second_partials_upper=x["l2"], parameters=x["p"], step_size=x["step"],
    )  # fmt: skip


def _t3_claims(x: dict[str, Any], verdict: Verdict[Any]) -> Iterator[Claim]:
    steps = "first_partials_upper" in [h.name for h in verdict.hypotheses] or hasattr(
        verdict.conclusion, "step_size"
    )
    rest = 1 - arb(x["epsilon"]) if "1.2" in verdict.source else arb(1)
    f0, alpha, radius, l1, l2, p = (exact(x[n]) for n in ("f0", "alpha", "radius", "l1", "l2", "p"))

    def largest() -> arb:
        if not (l1 > 0 and l2 > 0):
            return arb(0)  # nothing singles out a step: the routine says 0
        return smaller(radius / (l1 * p.sqrt()), 2 * arb(x["epsilon"]) / (l2 * p))

    eta = step_asked(x["step"], verdict)
    table: Table = {
        "initial_loss_upper": lambda _: known(f0),
        "alpha_lower": lambda _: more(alpha, 0),
        "criterion": lambda _: less(4 * f0, rest * rest * radius * radius * alpha),
    }
    if "1.2" in verdict.source:
        table["first_partials_upper"] = lambda _: known(l1)
        table["second_partials_upper"] = lambda _: known(l2)
        table["rate_positive"] = lambda _: more(rest * eta * alpha, 0)
        table["step_size"] = lambda _: less(eta, largest(), strict=False)
    yield from hypothesis_claims(verdict, table)
    c = verdict.conclusion
    if c is None:
        return
    reach = 2 * (f0 / alpha).sqrt() / rest
    yield "radius", at_most(reach, c.radius_upper)
    yield "profile", at_most(c.profile_lower, alpha.sqrt())
    yield "distance", at_most(reach, c.distance_upper)
    if not steps:
        yield "exponent", at_most(c.exponent_lower, alpha)
        yield "halving", at_most(arb(2).log() / alpha, c.halving_time_upper)
        return
    yield "M", at_most(p * l2, c.smoothness_upper)
    yield from rate_claims(
        c.one_minus_rate_lower, c.loss_rate_upper, c.halving_steps_upper, rest * alpha * eta
    )


BALL, CHATTERJEE = "talweg.theory._ball", "talweg.theory._chatterjee"
SHARDS = (
    shard("theory.gradient_descent_converges_in_ball",
          Routine(ball_problem, _t1, _t1_claims, count_numbers=True), (BALL,), goal=1_000_000),
    shard("theory.gradient_flow_converges_in_ball",
          Routine(ball_problem, lambda x: gradient_flow_converges_in_ball(x["gap"], x["profile"]),
                  _t2_claims, count_numbers=True), (BALL,)),
    shard("theory.chatterjee_criterion",
          Routine(_t3, _t3_flow, _t3_claims, count_numbers=True), (CHATTERJEE,)),
    shard("theory.chatterjee_criterion_with_steps",
          Routine(_t3, _t3_steps, _t3_claims, count_numbers=True), (CHATTERJEE,)),
)  # fmt: skip
