"""Containment: stochastic descent under interpolation (T10) and strict minima (T14)."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from typing import Any

from flint import arb
from tests.soundness.containment import theory_draws as draws
from tests.soundness.containment.theory_ball import Table, step_asked, step_or
from tests.soundness.containment.theory_judge import (
    INF,
    Claim,
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
    smaller,
)
from tests.soundness.containment.theory_reference import growth, linear, nested

from talweg.theory import (
    MinibatchConstants,
    NestedBallBound,
    Verdict,
    ball_holds_one_critical_point,
    gradient_descent_reaches_strict_minimum,
    squared_loss_curvature_lower,
    squared_loss_minibatch_constants,
    squared_loss_smoothness,
    stochastic_descent_interpolates,
)

Draw = random.Random
Arguments = dict[str, Any]


def _t10(rng: Draw) -> Arguments:
    smooth, batch = draws.size(rng), draws.size(rng)
    least = min(smooth, batch)
    mu = rng.choice((least, least * draws.share(rng), least * draws.share(rng)))
    mu = mu if rng.random() < 0.97 else rng.choice((0.0, -1.0))
    f0, p = draws.nonnegative(rng), draws.share(rng)
    both = smooth * batch
    edge = mu / both if 1e-300 < both < math.inf and mu > 0.0 else 1.0
    reach = 2.0 * math.sqrt(2.0 * batch) * math.sqrt(min(f0, 1e300)) / mu / p if mu > 0.0 else 1.0
    return {"f0": f0, "mu": mu, "L": smooth, "LB": batch, "p": p,
            "radius": draws.near(rng, min(1.0 / max(1.0 / max(reach, 5e-324), 1e-300), 1e300)),
            "step": step_or(rng, edge)}  # fmt: skip


def _t10_ask(x: Arguments) -> Verdict[Any]:
    return stochastic_descent_interpolates(
        x["f0"], x["mu"], x["L"], x["LB"], x["radius"], failure_probability=x["p"],
        step_size=x["step"],
    )  # fmt: skip


def _t10_claims(x: Arguments, verdict: Verdict[Any]) -> Iterator[Claim]:
    f0, mu, both, c = exact(x["f0"]), exact(x["mu"]), arb(x["L"]) * x["LB"], verdict.conclusion
    eta, radius = arb(step_asked(x["step"], verdict)), arb(x["radius"])
    decay = 2 * mu - eta * both

    def path() -> arb:
        return 2 * (2 * arb(x["LB"]) * f0).sqrt() / decay

    table: Table = {
        "initial_loss_upper": lambda _: known(f0),
        "pl_lower": lambda _: more(mu, 0),
        "smoothness_upper": lambda _: known(x["L"]),
        "batch_smoothness_upper": lambda _: known(x["LB"]),
        "step_size": lambda _: less(eta, mu / both, strict=False),
        "rate_positive": lambda h: more(eta * decay if h.holds else arb(0).max(eta * decay), 0),
        "criterion": lambda _: less(path() / radius, x["p"], strict=False),
    }
    yield from hypothesis_claims(verdict, table)
    if c is not None:
        yield from rate_claims(
            c.one_minus_rate_lower, c.loss_rate_upper, c.halving_steps_upper, eta * decay
        )
        yield "path", at_most(path(), c.expected_path_upper)
        yield "exit", at_most(path() / radius, c.exit_probability_upper)


def _ball(rng: Draw) -> Arguments:
    profile = draws.singular_profile(rng)
    samples = draws.whole(rng)
    ends = [r for r in (profile.radius, *profile.lipschitz.radii) if 0.0 < r < math.inf] or [1.0]
    radius = draws.near(rng, rng.choice(ends))
    return {"r0": draws.nonnegative(rng), "profile": profile, "j0": draws.nonnegative(rng),
            "row": draws.nonnegative(rng), "n": samples, "b": rng.randint(1, min(samples, 10**6)),
            "radius": radius}  # fmt: skip


def _minibatch(x: Arguments) -> MinibatchConstants:
    return squared_loss_minibatch_constants(
        x["r0"], x["profile"], x["j0"], x["row"], samples=x["n"], batch=x["b"], radius=x["radius"]
    )


def _sizes(x: Arguments) -> tuple[arb, arb, arb, arb]:
    """s(R), beta(R), sup |J|, |r_0|."""
    radius, bound = arb(x["radius"]), x["profile"].lipschitz
    norm = exact(x["j0"]) + growth(bound, radius)
    return linear(x["profile"]).value(radius), nested(bound, radius), norm, exact(x["r0"])


def _minibatch_claims(x: Arguments, found: MinibatchConstants) -> Iterator[Claim]:
    s, beta, sigma, r0 = _sizes(x)
    row = exact(x["row"]) + growth(x["profile"].lipschitz, arb(x["radius"]))
    yield "f0", at_most(r0**2 / 2, found.initial_loss_upper)
    yield "mu", at_most(found.pl_lower, s**2)
    smooth = product(sigma, sigma) + product(beta, r0 + product(sigma, x["radius"]))
    yield "L", at_most(smooth, found.smoothness_upper)
    batch = arb(x["n"]) / x["b"] * smaller(x["b"] * product(row, row), product(sigma, sigma))
    yield "L_B", at_most(batch, found.batch_smoothness_upper)


def _curvature_ask(x: Arguments) -> tuple[float, NestedBallBound]:
    return (
        squared_loss_curvature_lower(x["r0"], x["profile"], x["j0"], x["radius"]),
        squared_loss_smoothness(x["r0"], x["profile"], x["j0"], x["radius"]),
    )


def _curvature_claims(x: Arguments, found: tuple[float, NestedBallBound]) -> Iterator[Claim]:
    s, beta, sigma, r0 = _sizes(x)
    bend = product(beta, r0 + product(sigma, x["radius"]))
    yield "m", found[0] == -math.inf or at_most(found[0], s**2 - bend)
    yield "M", at_most(product(sigma, sigma) + product(beta, r0), found[1].upper(x["radius"]))


def _t14(rng: Draw) -> Arguments:
    m, radius, epsilon = draws.size(rng), draws.size(rng), draws.share(rng)
    edge = m * radius * (1.0 - epsilon if rng.random() < 0.5 else 1.0)
    big = m * (1.0 + 10.0 ** rng.uniform(-16.0, 3.0))
    smooth = NestedBallBound.everywhere(min(big, 1e308))
    if rng.random() < 0.2:
        smooth = draws.lipschitz(rng)
    top = 2.0 * epsilon / big if 1e-300 < big < math.inf else 1.0
    m = m if rng.random() < 0.97 else rng.choice((0.0, -1.0, -math.inf))
    g = draws.near(rng, edge) if rng.random() < 0.95 else draws.nonnegative(rng)
    return {"g": g, "m": m, "radius": radius, "epsilon": epsilon, "smooth": smooth,
            "step": step_or(rng, top)}  # fmt: skip


def _located_claims(x: Arguments, c: Any) -> Iterator[Claim]:
    g, m = exact(x["g"]), exact(x["m"])
    yield "distance", at_most(g / m, c.distance_upper)
    yield "curvature", at_most(c.curvature_lower, m)
    yield "gap", at_most(g**2 / (2 * m), c.gap_upper)


def _critical_claims(x: Arguments, verdict: Verdict[Any]) -> Iterator[Claim]:
    table: Table = {
        "gradient_norm_upper": lambda _: known(x["g"]),
        "curvature_lower": lambda _: more(x["m"], 0),
        "criterion": lambda _: less(x["g"], exact(x["m"]) * x["radius"]),
    }
    yield from hypothesis_claims(verdict, table)
    if verdict.conclusion is not None:
        yield from _located_claims(x, verdict.conclusion)


def _t14_ask(x: Arguments) -> Verdict[Any]:
    return gradient_descent_reaches_strict_minimum(
        x["g"], x["m"], x["radius"], x["smooth"], epsilon=x["epsilon"], step_size=x["step"]
    )


def _t14_claims(x: Arguments, verdict: Verdict[Any]) -> Iterator[Claim]:
    g, m, eps, c = exact(x["g"]), exact(x["m"]), arb(x["epsilon"]), verdict.conclusion
    if c is None:
        yield "never refuted", verdict.status.value == "UNDECIDED"
        return
    radius = g / ((1 - eps) * m)
    big = nested(x["smooth"], radius)
    delta = 2 * (1 - eps) * arb(c.step_size) * m
    yield "hypotheses", m > 0 and g.is_finite() and big < INF
    yield "criterion", below(g, (1 - eps) * m * x["radius"])
    yield "step", below(0, c.step_size) and at_most(c.step_size * big, 2 * eps)
    yield from _located_claims(x, c.minimum)
    yield "path", at_most(radius, c.path_upper)
    yield from rate_claims(c.one_minus_rate_lower, c.loss_rate_upper, c.halving_steps_upper, delta)
    yield "decay", at_most(radius, c.decay_upper)


INTERPOLATION, MINIMUM = "talweg.theory._stochastic_interpolation", "talweg.theory._strict_minimum"
SHARDS = (
    shard("theory.stochastic_descent_interpolates",
          Routine(_t10, _t10_ask, _t10_claims, count_numbers=True), (INTERPOLATION,)),
    shard("theory.squared_loss_minibatch_constants",
          Routine(_ball, _minibatch, _minibatch_claims, count_numbers=True), (INTERPOLATION,)),
    shard("theory.squared_loss_curvature",
          Routine(_ball, _curvature_ask, _curvature_claims, count_numbers=True), (MINIMUM,),
          goal=100_000),
    shard("theory.ball_holds_one_critical_point",
          Routine(_t14, lambda x: ball_holds_one_critical_point(x["g"], x["m"], x["radius"]),
                  _critical_claims, count_numbers=True), (MINIMUM,)),
    shard("theory.gradient_descent_reaches_strict_minimum",
          Routine(_t14, _t14_ask, _t14_claims, count_numbers=True), (MINIMUM,)),
)  # fmt: skip
