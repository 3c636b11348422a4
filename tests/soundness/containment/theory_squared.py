"""Containment: squared losses, T11 with its targets (T7) and inexact gradients (T9), and T5."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator
from typing import Any

from flint import arb
from tests.soundness.containment import theory_draws as draws
from tests.soundness.containment.theory_ball import Table, reached, step_asked, step_or
from tests.soundness.containment.theory_judge import (
    Claim,
    Entry,
    Routine,
    at_most,
    below,
    exact,
    hypothesis_claims,
    known,
    less,
    more,
    product,
    rate_claims,
    shard,
    shrink_claims,
)
from tests.soundness.containment.theory_reference import (
    curvature,
    growth,
    linear,
    nested,
)

from talweg.theory import (
    Hypothesis,
    NestedBallBound,
    SquaredLoss,
    Verdict,
    largest_inexact_step_lower,
    local_pl_converges,
    squared_loss_converges,
    squared_loss_floor_reached,
    squared_loss_target_reached,
)

Draw = random.Random
Arguments = dict[str, Any]


def squared_problem(rng: Draw) -> Arguments:
    """A profile, a residual at the edge of the criterion, a loss and a step near the largest."""
    profile = draws.singular_profile(rng)
    sigma = profile.sigma_min_lower
    total = profile.integral_lower(profile.radius)
    r0 = draws.near(rng, total) if rng.random() < 0.95 else draws.nonnegative(rng)
    j0 = rng.choice((sigma, sigma * 2.0, draws.near(rng, sigma) + max(sigma, 0.0)))
    j0 = j0 if j0 >= 0.0 and rng.random() < 0.97 else draws.nonnegative(rng)
    loss = SquaredLoss(rng.choice(("mean", "sum", "half_sum")), draws.whole(rng, 10**6))
    reach = j0 + profile.lipschitz.integral_upper(min(profile.radius, 1e300))
    square = reach * reach
    edge = 1.0 / square / loss.curvature.lo if 1e-300 < square < 1e300 else 1.0
    return {"r0": r0, "profile": profile, "j0": j0, "loss": loss, "step": step_or(rng, edge)}


def squared_premises(x: Arguments) -> Table:
    """What T11 starts from."""
    return {
        "residual_norm_upper": lambda _: known(x["r0"]),
        "sigma_min_lower": lambda _: more(x["profile"].sigma_min_lower, 0),
        "jacobian_norm_upper": lambda _: known(x["j0"]),
        "jacobian_lipschitz": lambda _: known(0),
    }


def norm_at(x: Arguments, radius: arb) -> arb:
    """|J| on B(w0, radius)."""
    return exact(x["j0"]) + growth(x["profile"].lipschitz, radius)


def theory_step(x: Arguments, verdict: Verdict[Any], field: str = "step_size") -> arb | None:
    """2 c lr, for the step named or found; None where no step is known."""
    lr = x["step"]
    if lr is None:
        if verdict.conclusion is None:
            return None
        lr = getattr(verdict.conclusion, field)
    return curvature(x["loss"]) * lr


def step_entries(eta: arb | None, x: Arguments, at_end: Callable[[], tuple[arb, arb]]) -> Table:
    """eta s^2 > 0 and eta <= 1 / sup |J|^2 at the equality radius."""

    def step(h: Hypothesis) -> Entry:
        norm = norm_at(x, at_end()[0])
        right = 1 / norm**2 if norm > 0 and norm.is_finite() else arb(0)
        return less(h.value if eta is None else eta, right, strict=False)

    def positive(h: Hypothesis) -> Entry:
        return more(h.value if eta is None else eta * at_end()[1] ** 2, 0)

    return {"rate_positive": positive, "step_size": step}


def _t11(x: Arguments) -> Verdict[Any]:
    return squared_loss_converges(
        x["r0"], x["profile"], x["j0"], step_size=x["step"], loss=x["loss"]
    )


def convergence_claims(c: Any, radius: arb, s: arb, norm: arb, eta: arb) -> Iterator[Claim]:
    """The numbers of T11."""
    x = eta * s * s
    yield "radius", at_most(radius, c.radius_upper)
    yield "s", below(0, c.singular_value_lower) and at_most(c.singular_value_lower, s)
    yield "norm", at_most(norm, c.jacobian_norm_upper)
    yield "step", below(0, c.step_size) and at_most(eta * norm**2, 1)
    yield "contraction", at_most(1 - x, c.contraction_upper)
    delta = x * (2 - x)
    yield from rate_claims(c.one_minus_rate_lower, c.loss_rate_upper, c.halving_steps_upper, delta)
    yield "distance", at_most(1 / s, c.distance_per_residual_upper)


def t11_claims(x: Arguments, verdict: Verdict[Any]) -> Iterator[Claim]:
    """T11's hypotheses and numbers."""
    true, c = linear(x["profile"]), verdict.conclusion
    eta = theory_step(x, verdict)

    def at_end() -> tuple[arb, arb]:
        return reached(true, x["r0"])

    table = {
        **squared_premises(x),
        "criterion": lambda _: less(x["r0"], true.total()),
        **step_entries(eta, x, at_end),
    }
    yield from hypothesis_claims(verdict, table)
    if c is not None and eta is not None:
        radius, s = at_end()
        yield from convergence_claims(c, radius, s, norm_at(x, radius), eta)


def _t7(rng: Draw) -> Arguments:
    x = squared_problem(rng)
    two_c = x["loss"].curvature.mid
    rho = x["r0"] * rng.random() if x["r0"] < math.inf else 1.0
    total = x["profile"].integral_lower(x["profile"].radius)
    if 0.0 < total < 1e150 and rng.random() < 0.6:
        rho = total * 10.0 ** rng.uniform(-6.0, 0.5)
        x["r0"] = draws.near(rng, total + rho)
    x["target"] = draws.near(rng, two_c * rho * rho / 2.0)
    return x


def _t7_ask(x: Arguments) -> Verdict[Any]:
    return squared_loss_target_reached(
        x["r0"], x["target"], x["profile"], x["j0"], step_size=x["step"], loss=x["loss"]
    )


def _t7_claims(x: Arguments, verdict: Verdict[Any]) -> Iterator[Claim]:
    true, c, r0 = linear(x["profile"]), verdict.conclusion, exact(x["r0"])
    rho = arb(x["loss"].residual_norm_lower(x["target"]))  # the target that the theorem speaks of
    yield "target", at_most(curvature(x["loss"]) / 2 * rho**2, x["target"])
    if "criterion" not in [h.name for h in verdict.hypotheses] and c is not None:
        yield "met at the start", at_most(r0, rho)
        yield "no steps", c.steps_upper == 0.0
        return
    eta = theory_step(x, verdict)

    def at_end() -> tuple[arb, arb]:
        return reached(true, r0 - rho)

    def overshoot(h: Hypothesis) -> Entry:
        radius = at_end()[0]
        needed = h.value if eta is None else product(eta * norm_at(x, radius), rho)
        return less(needed, true.radius - radius, strict=False)

    table = {
        **squared_premises(x),
        "criterion": lambda _: less(r0 - rho, true.total()),
        "overshoot": overshoot,
        **step_entries(eta, x, at_end),
    }
    yield from hypothesis_claims(verdict, table)
    if c is None or eta is None:
        return
    radius, s = at_end()
    yield "radius", at_most(radius, c.radius_upper)
    yield "final", at_most(radius + product(eta * norm_at(x, radius), rho), c.final_radius_upper)
    yield from rate_claims(c.one_minus_rate_lower, None, None, eta * s * s)
    yield from shrink_claims("steps_upper", c.steps_upper, eta * s * s, r0 / rho)


def _t9(rng: Draw) -> Arguments:
    x = squared_problem(rng)
    theta = draws.share(rng)
    x["theta"], x["error"] = theta, NestedBallBound.everywhere(draws.nonnegative(rng))
    total = x["profile"].integral_lower(x["profile"].radius)
    if total < math.inf:
        x["r0"] = draws.near(rng, total * ((1 - theta) / (1 + theta)) ** 2)
    if rng.random() < 0.7:
        s = max(x["profile"].sigma_min_lower, 0.0)
        e = theta * s * min(x["r0"], 1e300) * x["loss"].curvature.lo
        x["error"] = NestedBallBound.everywhere(draws.near(rng, e))
    if x["step"] is None:
        j0 = x["j0"]
        if max(x["profile"].sigma_min_lower, 0.0) <= j0 < math.inf and x["r0"] < math.inf:
            found = largest_inexact_step_lower(
                x["r0"], x["profile"], j0, theta=theta, loss=x["loss"]
            )
            x["step"] = found if found > 0.0 else 1.0
        else:
            x["step"] = 1.0
    return x


def _t9_ask(x: Arguments) -> Verdict[Any]:
    return squared_loss_floor_reached(
        x["r0"], x["profile"], x["j0"], x["error"], theta=x["theta"], step_size=x["step"],
        loss=x["loss"],
    )  # fmt: skip


def _t9_claims(x: Arguments, verdict: Verdict[Any]) -> Iterator[Claim]:
    t, two_c, r0 = arb(x["theta"]), curvature(x["loss"]), exact(x["r0"])
    full, reduced = linear(x["profile"]), linear(x["profile"], sigma=(1 - t) / (1 + t))
    eta = two_c * x["step"]

    def at_end() -> tuple[arb, arb, arb]:
        radius, less_steep = reached(reduced, r0)
        return radius, full.value(radius), less_steep

    def floor() -> arb:
        radius, s, _ = at_end()
        e = nested(x["error"], radius)
        return arb(0) if e == 0 else (e / (t * s)) ** 2 / (2 * two_c)

    def shrink() -> arb:
        _, s, less_steep = at_end()
        return (1 + t) * eta * s * less_steep

    table = {
        **squared_premises(x),
        "criterion": lambda _: less(r0, reduced.total()),
        "gradient_error": lambda _: known(nested(x["error"], at_end()[0])),
        **step_entries(eta, x, lambda: at_end()[:2]),
        "rate_positive": lambda _: more(shrink(), 0),
        # the loss at the start is bounded from above, so the routine's right side may exceed it
        "floor": lambda h: ("below", floor(), max(h.bound, 0.0), True),
    }
    yield from hypothesis_claims(verdict, table)
    c = verdict.conclusion
    if c is None:
        return
    radius, s, _ = at_end()
    delta = shrink() * (2 - shrink())
    yield "radius", at_most(radius, c.radius_upper)
    yield "profile", at_most(c.profile_lower, s)
    yield "error", at_most(nested(x["error"], radius), c.gradient_error_upper)
    yield "floor", at_most(floor(), c.floor_upper)
    yield from rate_claims(c.one_minus_rate_lower, c.loss_rate_upper, c.halving_steps_upper, delta)
    if c.floor_upper > 0.0:
        start = two_c / 2 * r0**2
        yield from shrink_claims("steps_upper", c.steps_upper, delta, start / c.floor_upper)


def _t5(rng: Draw) -> Arguments:
    norm, share = draws.size(rng), draws.share(rng)
    mu = min(draws.near(rng, norm * norm * share), 1e308)
    r0, beta = draws.nonnegative(rng), draws.nonnegative(rng)
    need = 2.0 * norm * r0 / mu if mu > 0.0 else 1.0
    mu = mu if rng.random() < 0.97 else rng.choice((0.0, -1.0, -math.inf))
    bottom = norm * norm + beta * r0
    edge = 1.0 / bottom if 1e-300 < bottom < math.inf else 1.0
    radius = max(min(need * rng.choice((1.0, 1.0, 1.0 + 1e-15, 2.0)), 1e308), 5e-324)
    radius = draws.neighbour(rng, radius) if rng.random() < 0.5 else draws.near(rng, radius)
    return {"r0": r0, "mu": mu, "norm": norm, "beta": beta, "radius": max(radius, 5e-324),
            "step": step_or(rng, edge)}  # fmt: skip


def _t5_ask(x: Arguments) -> Verdict[Any]:
    return local_pl_converges(
        x["r0"], x["mu"], x["norm"], x["beta"], x["radius"], step_size=x["step"]
    )


def _t5_claims(x: Arguments, verdict: Verdict[Any]) -> Iterator[Claim]:
    r0, mu, norm, beta, ball = (exact(x[n]) for n in ("r0", "mu", "norm", "beta", "radius"))
    c = verdict.conclusion
    step = step_asked(x["step"], verdict)

    def needed() -> arb:
        return 2 * norm * r0 / mu

    table: Table = {
        "residual_norm_upper": lambda _: known(r0),
        "pl_lower": lambda _: more(mu, 0),
        "jacobian_norm_upper": lambda _: known(norm),
        "jacobian_lipschitz_upper": lambda _: known(beta),
        "criterion": lambda _: less(needed(), ball, strict=False),
        "rate_positive": lambda _: more(step * mu, 0),
        "step_size": lambda _: less(step, 1 / (norm**2 + beta * r0), strict=False),
    }
    yield from hypothesis_claims(verdict, table)
    if c is None:
        return
    yield "radius", at_most(needed(), c.radius_upper)
    yield "path", at_most(2 * r0 / mu.sqrt(), c.path_upper)
    yield "condition", at_most(1 / (c.step_size * mu), c.condition_number_upper)
    yield from rate_claims(
        c.one_minus_rate_lower, c.loss_rate_upper, c.halving_steps_upper, c.step_size * mu
    )


SQUARED = "talweg.theory._squared"
SHARDS = (
    shard("theory.squared_loss_converges",
          Routine(squared_problem, _t11, t11_claims, count_numbers=True), (SQUARED,),
          goal=1_000_000),
    shard("theory.squared_loss_target_reached",
          Routine(_t7, _t7_ask, _t7_claims, count_numbers=True),
          ("talweg.theory._squared_target",), goal=1_000_000),
    shard("theory.squared_loss_floor_reached",
          Routine(_t9, _t9_ask, _t9_claims, count_numbers=True),
          ("talweg.theory._inexact_squared",), goal=1_000_000),
    shard("theory.local_pl_converges",
          Routine(_t5, _t5_ask, _t5_claims, count_numbers=True), ("talweg.theory._local_pl",)),
)  # fmt: skip
