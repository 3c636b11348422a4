"""Containment: targets, composite losses and inexact gradients, T4, T7 and T9."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator
from typing import Any

from flint import arb
from tests.soundness.containment import theory_draws as draws
from tests.soundness.containment.theory_ball import (
    Table,
    ball_problem,
    criterion,
    descent_claims,
    reached,
    step_asked,
    step_or,
)
from tests.soundness.containment.theory_judge import (
    INF,
    Claim,
    Entry,
    Routine,
    at_most,
    exact,
    hypothesis_claims,
    known,
    less,
    more,
    product,
    rate_claims,
    shard,
    shrink_claims,
    smaller,
)
from tests.soundness.containment.theory_reference import (
    ExactProfile,
    Steps,
    growth,
    linear,
    nested,
)

from talweg.theory import (
    CompositeGradientBound,
    CompositeSmoothness,
    NestedBallBound,
    Verdict,
    composite_loss_converges,
    composite_loss_target_reached,
    inexact_step_lower,
    initial_gap_from_gradient_upper,
    loss_floor_reached,
    target_loss_reached,
)

Draw = random.Random


def target_claims(
    x: dict[str, Any], verdict: Verdict[Any], profile: ExactProfile,
    smoothness: Callable[[arb], arb], gradient: Callable[[arb], arb], more_table: Table,
) -> Iterator[Claim]:  # fmt: skip
    """T7's hypotheses and numbers."""
    gap, target, epsilon, step = exact(x["gap"]), exact(x["target"]), x["epsilon"], x["step"]
    rest, c = 1 - arb(epsilon), verdict.conclusion
    positive: Table = {"target_gap_lower": lambda _: more(target, 0)}
    if x["target"] > 0.0 and x["gap"] <= x["target"]:
        start: Table = {"initial_gap_upper": lambda _: less(gap, target, strict=False)}
        yield from hypothesis_claims(verdict, {**positive, **start, **more_table})
        if c is not None:
            yield "met", c.steps_upper == 0.0 and c.radius_upper == 0.0
        return

    def budget() -> arb:
        return 2 * (gap.sqrt() - exact(max(x["target"], 0.0)).sqrt()) / rest

    found = step_asked(step, verdict)
    table = {
        **positive,
        **criterion(profile, x["gap"], budget),
        **more_table,
        "gradient_norm": lambda _: known(gradient(reached(profile, budget())[0])),
        "smoothness": lambda _: known(smoothness(reached(profile, budget())[0])),
        "rate_positive": lambda _: more(rest * found * reached(profile, budget())[1] ** 2, 0),
        "step_size": lambda _: _overshoot(found),
    }

    def _overshoot(eta: float) -> Entry:
        radius = reached(profile, budget())[0]
        m = smoothness(radius + eta * gradient(radius))
        return less(eta, 2 * arb(epsilon) / m if m > 0 and m.is_finite() else arb(0), strict=False)

    yield from hypothesis_claims(verdict, table)
    if c is None:
        return
    radius, a = reached(profile, budget())
    delta = rest * c.step_size * a * a
    yield "radius", at_most(radius, c.radius_upper)
    yield "final", at_most(radius + c.step_size * gradient(radius), c.final_radius_upper)
    yield from rate_claims(c.one_minus_rate_lower, None, None, delta)
    yield from shrink_claims("steps_upper", c.steps_upper, delta, gap / target)


def _t7(rng: Draw) -> dict[str, Any]:
    x = ball_problem(rng)
    total = x["profile"].integral_lower(x["profile"].radius)
    x["target"] = draws.near(rng, x["gap"] * rng.random())
    if 0.0 < total < 1e100 and rng.random() < 0.6:
        root = total * (1.0 - x["epsilon"]) / 2.0 + math.sqrt(x["target"])
        x["gap"] = draws.near(rng, root * root)
    if rng.random() < 0.05:
        x["target"] = rng.choice((0.0, -1.0, x["gap"] if x["gap"] < math.inf else 1.0))
    x["norm"] = NestedBallBound.everywhere(draws.size(rng))
    return x


def _t7_ask(x: dict[str, Any]) -> Verdict[Any]:
    return target_loss_reached(
        x["gap"], x["target"], x["profile"], x["smooth"], x["norm"], epsilon=x["epsilon"],
        step_size=x["step"],
    )  # fmt: skip


def _t7_claims(x: dict[str, Any], verdict: Verdict[Any]) -> Iterator[Claim]:
    yield from target_claims(
        x, verdict, Steps.of(x["profile"]), lambda r: nested(x["smooth"], r),
        lambda r: nested(x["norm"], r), {},
    )  # fmt: skip


def _t4(rng: Draw) -> dict[str, Any]:
    profile, epsilon = draws.singular_profile(rng), draws.share(rng)
    mu = draws.size(rng) if rng.random() < 0.97 else rng.choice((0.0, -1.0, -math.inf))
    k = draws.near(rng, 1.0 / max(rng.random(), 1e-9) * mu) if mu > 0 else draws.nonnegative(rng)
    total = profile.integral_lower(profile.radius)
    edge = mu * ((1.0 - epsilon) * total) ** 2 / 2.0 if 0.0 < total < 1e100 else 1.0
    j0 = max(profile.sigma_min_lower, 0.0) * (1.0 + rng.random())
    norm = profile.jacobian_norm(j0 if j0 < math.inf else 1.0)
    gap = draws.near(rng, edge)
    m = k * j0 * j0
    target = draws.near(rng, gap * rng.random()) if rng.random() < 0.95 else 0.0
    return {"gap": gap, "target": target, "profile": profile, "norm": norm, "mu": mu, "k": k,
            "epsilon": epsilon,
            "step": step_or(rng, 2 * epsilon / m if m > 0 else 1.0)}  # fmt: skip


def _t4_ask(x: dict[str, Any]) -> Verdict[Any]:
    return composite_loss_converges(
        x["gap"], x["profile"], x["norm"], x["profile"].lipschitz, pl_lower=x["mu"],
        smoothness_upper=x["k"], epsilon=x["epsilon"], step_size=x["step"],
    )  # fmt: skip


def _t4_target(x: dict[str, Any]) -> Verdict[Any]:
    return composite_loss_target_reached(
        x["gap"], x["target"], x["profile"], x["norm"], x["profile"].lipschitz,
        pl_lower=x["mu"], smoothness_upper=x["k"], epsilon=x["epsilon"], step_size=x["step"],
    )  # fmt: skip


def composite(x: dict[str, Any]) -> tuple[ExactProfile, Any, Any, Table]:
    """T4's profile a = sqrt(2 mu) s, M, G and premises."""
    mu, k, bound = exact(x["mu"]), exact(x["k"]), x["profile"].lipschitz
    root = (2 * mu).sqrt() if x["mu"] > 0 else arb(0)
    profile = linear(x["profile"], root) if x["mu"] > 0 else linear(x["profile"], 0, 1)

    def norm(r: arb) -> arb:
        return exact(x["norm"].at_start_upper) + growth(bound, r)

    def smooth(r: arb) -> arb:
        slope = (2 * k * exact(x["gap"])).sqrt()
        return product(k, norm(r) ** 2) + product(slope, nested(bound, r))

    table: Table = {
        "pl_lower": lambda _: more(mu, 0),
        "smoothness_upper": lambda _: known(k),
        "jacobian_norm": lambda h: ("known", 0, INF, True),
        "jacobian_lipschitz": lambda h: ("known", 0, INF, True),
    }
    return profile, smooth, lambda r: product((2 * k * exact(x["gap"])).sqrt(), norm(r)), table


def _t4_claims(x: dict[str, Any], verdict: Verdict[Any]) -> Iterator[Claim]:
    if not x["mu"] > 0.0:
        yield "mu <= 0 proves nothing", verdict.conclusion is None
        return
    profile, smooth, _, table = composite(x)
    yield from descent_claims(verdict, profile, x["gap"], x["epsilon"], x["step"], smooth, table)


def _t4_target_claims(x: dict[str, Any], verdict: Verdict[Any]) -> Iterator[Claim]:
    if not x["mu"] > 0.0:
        yield "mu <= 0 proves nothing", verdict.conclusion is None
        return
    profile, smooth, gradient, table = composite(x)
    if x["target"] > 0.0 and x["gap"] <= x["target"]:
        table = {h.name: table[h.name] for h in verdict.hypotheses if h.name in table}
    yield from target_claims(x, verdict, profile, smooth, gradient, table)


def _bounds(rng: Draw) -> dict[str, Any]:
    x = _t4(rng)
    return {**x, "radius": draws.nonnegative(rng), "g": draws.nonnegative(rng),
            "gap": draws.nonnegative(rng)}  # fmt: skip


def _bounds_ask(x: dict[str, Any]) -> tuple[float, float, float]:
    return (
        CompositeSmoothness(x["norm"], x["profile"].lipschitz, x["k"], x["gap"]).upper(x["radius"]),
        CompositeGradientBound(x["norm"], x["k"], x["gap"]).upper(x["radius"]),
        initial_gap_from_gradient_upper(x["g"], x["mu"]),
    )


def _bounds_claims(x: dict[str, Any], found: tuple[float, float, float]) -> Iterator[Claim]:
    _, smooth, gradient, _ = composite(x)
    r = exact(x["radius"])
    finite = r.is_finite() and x["k"] < math.inf and x["gap"] < math.inf
    yield "M", at_most(smooth(r), found[0]) if finite else True
    yield "G", at_most(gradient(r), found[1]) if finite else True
    if x["mu"] > 0.0 and x["g"] < math.inf:
        yield "gap", at_most(exact(x["g"]) ** 2 / (2 * exact(x["mu"])), found[2])
    else:
        yield "gap", found[2] == math.inf


def _t9(rng: Draw) -> dict[str, Any]:
    x = ball_problem(rng)
    theta = draws.share(rng)
    x["theta"], x["error"] = theta, NestedBallBound.everywhere(draws.nonnegative(rng))
    total = x["profile"].integral_lower(x["profile"].radius)
    if 0.0 < total < 1e150:
        kept = (1.0 - x["epsilon"]) * math.sqrt(1.0 - theta * theta)
        x["gap"] = draws.near(rng, (total * kept / 2.0) ** 2)
    if rng.random() < 0.7:
        a = x["profile"].values[0]
        x["error"] = NestedBallBound.everywhere(
            draws.near(rng, theta * a * math.sqrt(min(x["gap"], 1e300)))
        )
    m = x["smooth"].values[0]
    x["step"] = draws.near(rng, inexact_step_lower(x["epsilon"], theta, m))
    return x


def _t9_ask(x: dict[str, Any]) -> Verdict[Any]:
    return loss_floor_reached(
        x["gap"], x["profile"], x["smooth"], x["error"], theta=x["theta"], epsilon=x["epsilon"],
        step_size=x["step"],
    )  # fmt: skip


def _t9_claims(x: dict[str, Any], verdict: Verdict[Any]) -> Iterator[Claim]:
    profile, gap = Steps.of(x["profile"]), exact(x["gap"])
    t, eps, eta = arb(x["theta"]), arb(x["epsilon"]), arb(x["step"])

    def budget() -> arb:
        return 2 * gap.sqrt() / ((1 - eps) * (1 - t * t).sqrt())

    def at_end() -> tuple[arb, arb]:
        return reached(profile, budget())

    kappa = smaller((1 - t) * (1 - eps * (1 - t) / (1 + t)), (1 + t) * (1 - eps))

    def floor() -> arb:
        radius, a = at_end()
        e = nested(x["error"], radius)
        return arb(0) if e == 0 else (e / (t * a)) ** 2

    def largest() -> arb:
        m = nested(x["smooth"], at_end()[0])
        return 2 * eps / (m * (1 + t)) if m > 0 else arb(0)

    table = {
        **criterion(profile, x["gap"], budget),
        "smoothness": lambda _: known(nested(x["smooth"], at_end()[0])),
        "gradient_error": lambda _: known(nested(x["error"], at_end()[0])),
        "step_size": lambda _: less(eta, largest(), strict=False),
        "rate_positive": lambda _: more(kappa * eta * at_end()[1] ** 2, 0),
        "floor": lambda _: less(floor(), gap),
    }
    yield from hypothesis_claims(verdict, table)
    c = verdict.conclusion
    if c is None:
        return
    radius, a = at_end()
    delta = kappa * eta * a * a
    yield "radius", at_most(radius, c.radius_upper)
    yield "profile", at_most(c.profile_lower, a)
    yield "error", at_most(nested(x["error"], radius), c.gradient_error_upper)
    yield "floor", at_most(floor(), c.floor_upper)
    yield from rate_claims(c.one_minus_rate_lower, c.loss_rate_upper, c.halving_steps_upper, delta)
    if c.floor_upper > 0.0:
        yield from shrink_claims("steps_upper", c.steps_upper, delta, gap / c.floor_upper)


COMPOSITE, TARGET = "talweg.theory._composite", "talweg.theory._target"
SHARDS = (
    shard("theory.target_loss_reached",
          Routine(_t7, _t7_ask, _t7_claims, count_numbers=True), (TARGET,)),
    shard("theory.composite_loss_converges",
          Routine(_t4, _t4_ask, _t4_claims, count_numbers=True), (COMPOSITE,), goal=1_000_000),
    shard("theory.composite_loss_target_reached",
          Routine(_t4, _t4_target, _t4_target_claims, count_numbers=True), (COMPOSITE,)),
    shard("theory.composite_bounds",
          Routine(_bounds, _bounds_ask, _bounds_claims, 300, count_numbers=True), (COMPOSITE,),
          goal=100_000),
    shard("theory.loss_floor_reached",
          Routine(_t9, _t9_ask, _t9_claims, count_numbers=True), ("talweg.theory._inexact",)),
)  # fmt: skip
