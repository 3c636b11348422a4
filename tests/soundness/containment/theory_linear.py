"""Containment: two-layer linear networks and losses of a linear model, D1 to D4."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from typing import Any

from flint import arb
from tests.soundness.containment import theory_draws as draws
from tests.soundness.containment.theory_ball import Table, step_asked, step_or
from tests.soundness.containment.theory_judge import (
    Claim,
    Routine,
    at_most,
    below,
    exact,
    hypothesis_claims,
    known,
    less,
    more,
    rate_claims,
    shard,
)
from tests.soundness.containment.theory_scaling import network_problem

from talweg.enclosure import Interval
from talweg.theory import (
    Imbalance,
    StepQuartic,
    Verdict,
    linear_model_loss_is_pl,
    linear_network_converges,
    linear_network_converges_not_lazy,
    linear_network_is_locally_pl,
    linear_network_smoothness_upper,
    linear_network_step_decreases,
    observed_step_contracts,
)

Draw = random.Random
Arguments = dict[str, Any]


def _kernel(x: Arguments) -> tuple[arb, arb]:
    """sigma_d(W1)^2 + sigma_m(W2)^2 and |W1|^2 + |W2|^2."""
    b = x["bounds"]
    kernel = arb(b.first_sigma_lower) ** 2 + arb(b.second_sigma_lower) ** 2
    return kernel, arb(b.first_norm_upper) ** 2 + arb(b.second_norm_upper) ** 2


def _pl(rng: Draw) -> Arguments:
    x = network_problem(rng)
    b = x["bounds"]
    mu = draws.size(rng) if rng.random() < 0.95 else rng.choice((0.0, -1.0, -math.inf))
    k = min(max(abs(mu), 1e-300) * 10.0 ** rng.uniform(0.0, 3.0), 1e308)
    epsilon = draws.share(rng)
    half = (1.0 - epsilon) * (b.first_sigma_lower**2 if b.first_sigma_lower < 1e100 else 1.0) / 2.0
    reach = b.first_norm_upper * b.first_norm_upper
    edge = 2.0 * epsilon / (k * reach) if 1e-300 < k * reach < 1e300 else 1.0
    gap = draws.near(rng, mu * half * half / 2.0 if mu > 0.0 else 1.0)
    return {**x, "mu": mu, "k": k, "epsilon": epsilon, "gap": gap, "step": step_or(rng, edge)}


def _pl_claims(x: Arguments, verdict: Verdict[Any]) -> Iterator[Claim]:
    mu, kernel, c = exact(x["mu"]), _kernel(x)[0], verdict.conclusion
    table: Table = {
        "pl_lower": lambda _: more(mu, 0),
        "singular_values": lambda _: more(kernel, 0),
        "local_pl": lambda _: more(mu * kernel, 0),
    }
    yield from hypothesis_claims(verdict, table)
    if c is not None:
        yield "mu_t", at_most(c.pl_lower, mu * kernel)
        yield "sigma", at_most(c.sigma_min_lower, kernel.sqrt())


def _t4(x: Arguments) -> Verdict[Any]:
    return linear_network_converges(
        x["gap"], x["bounds"], pl_lower=x["mu"], smoothness_upper=x["k"], epsilon=x["epsilon"],
        step_size=x["step"],
    )  # fmt: skip


def _t4_claims(x: Arguments, verdict: Verdict[Any]) -> Iterator[Claim]:
    c = verdict.conclusion
    if c is None:
        yield "never refuted", verdict.status.value == "UNDECIDED"
        return
    mu, k, gap, rest = arb(x["mu"]), arb(x["k"]), arb(x["gap"]), 1 - arb(x["epsilon"])
    kernel, square = _kernel(x)
    need = (2 * gap / mu).sqrt() / rest  # sigma R - R^2 / 2 = need
    yield "criterion", below(need, kernel / 2)
    s = (kernel - 2 * need).sqrt()
    radius, a = kernel.sqrt() - s, (2 * mu).sqrt() * s
    m = k * (square.sqrt() + radius) ** 2 + (2 * k * gap).sqrt()
    delta = rest * c.step_size * a**2
    yield "radius", at_most(radius, c.radius_upper)
    yield "profile", at_most(c.profile_lower, a)
    yield "M", at_most(m, c.smoothness_upper)
    yield "step", below(0, c.step_size) and at_most(c.step_size * m, 2 * arb(x["epsilon"]))
    yield from rate_claims(c.one_minus_rate_lower, c.loss_rate_upper, c.halving_steps_upper, delta)
    yield "distance", at_most(2 * gap.sqrt() / (rest * a), c.distance_upper)


def _interval(rng: Draw, x: float) -> Interval:
    width = rng.choice((0.0, 0.0, abs(x) * 10.0 ** rng.uniform(-16.0, -1.0), 5e-324))
    return Interval(x, max(x, min(x + width, 1e308)))


def _quartic(rng: Draw) -> Arguments:
    slope = draws.size(rng) if rng.random() < 0.95 else 0.0
    second, third, fourth = draws.signed(rng), draws.signed(rng), abs(draws.signed(rng))
    edge = min(abs(slope / second), 1e100) if abs(second) > 1e-200 else 1.0
    parts = tuple(_interval(rng, v) for v in (slope, second, third, fourth))
    mu = draws.nonnegative(rng) if rng.random() < 0.97 else -1.0
    return {"parts": parts, "step": draws.near(rng, edge if edge > 0 else 1.0),
            "mu": min(mu, draws.LARGEST)}  # fmt: skip


def _change(x: Arguments, ends: tuple[str, str]) -> arb:
    """The quartic at the step with the slope at one end and the other coefficients at another."""
    eta = arb(x["step"])
    slope = exact(getattr(x["parts"][0], ends[0]))
    rest = [exact(getattr(part, ends[1])) for part in x["parts"][1:]]
    return -eta * slope + eta**2 * rest[0] + eta**3 * rest[1] + eta**4 * rest[2]


def _quartic_ask(x: Arguments) -> tuple[Verdict[Any], Interval]:
    quartic = StepQuartic(*x["parts"])
    verdict = linear_network_step_decreases(quartic, x["step"], local_pl_lower=x["mu"])
    return verdict, quartic.change(x["step"])


def _quartic_claims(x: Arguments, found: tuple[Verdict[Any], Interval]) -> Iterator[Claim]:
    verdict, change = found
    highest, lowest = _change(x, ("lo", "hi")), _change(x, ("hi", "lo"))
    yield "change above", at_most(highest, change.hi)
    yield "change below", at_most(change.lo, lowest)
    c, eta, mu = verdict.conclusion, arb(x["step"]), exact(x["mu"])
    holding = {h.name: h.holds for h in verdict.hypotheses}
    yield "decrease", not holding.get("decrease", False) or below(highest, 0)
    if c is None:
        return
    yield "mu", at_most(0, mu)
    yield "decrease bound", below(0, c.decrease_lower) and at_most(c.decrease_lower, -highest)
    for end in ("lo", "hi"):
        slope, drop = exact(getattr(x["parts"][0], end)), -_change(x, (end, "hi"))
        if slope > 0:
            yield "T12 constant", at_most(c.descent_constant_lower, drop / (eta * slope))
            share = smaller_of_one(2 * mu * drop / slope)
            yield "contraction", at_most(c.one_minus_contraction_lower, share)
            yield "contraction above", at_most(1 - share, c.contraction_upper)


def smaller_of_one(x: arb) -> arb:
    """The minimum of x and 1."""
    return x.min(arb(1))


def _observed(rng: Draw) -> tuple[float, float]:
    u = draws.nonnegative(rng)
    d = draws.near(rng, u) if rng.random() < 0.95 else rng.choice((0.0, -1.0, -math.inf))
    return min(d, u, draws.LARGEST), u


def _observed_claims(x: tuple[float, float], verdict: Verdict[Any]) -> Iterator[Claim]:
    d, u = exact(x[0]), exact(x[1])
    table: Table = {"gap_upper": lambda _: known(u), "decrease": lambda _: more(d, 0)}
    yield from hypothesis_claims(verdict, table)
    c = verdict.conclusion
    if c is not None:
        yield "share", at_most(c.one_minus_contraction_lower, d / u)
        yield "contraction", at_most(1 - d / u, c.contraction_upper)
        yield "next", at_most(u - d, c.next_gap_upper)


def _norms(rng: Draw) -> tuple[float, ...]:
    return tuple(draws.nonnegative(rng) for _ in range(5))


def _norms_claims(x: tuple[float, ...], found: float) -> Iterator[Claim]:
    if math.inf in x:
        yield "no number", not math.isnan(found)
        return
    j, g, out, k, eta = map(exact, x)
    yield "L(eta)", at_most(out + k * (j + eta * g / 2) ** 2, found)


def _lazy(rng: Draw) -> Arguments:
    size = draws.size(rng)
    top = [rng.choice((1.0, -1.0, 0.3)) * draws.near(rng, size) for _ in range(2)]
    low = [t - rng.choice((0.0, draws.size(rng), abs(t) * draws.share(rng))) for t in top]
    low = [rng.choice((v, v, v, -math.inf)) for v in low]
    mu, epsilon = draws.size(rng), draws.share(rng)
    k = min(mu * 10.0 ** rng.uniform(0.0, 2.0), 1e308)
    p = draws.size(rng)
    modulus = k * (abs(top[0]) + abs(top[1]) + p)
    edge = 2.0 * epsilon / modulus if 1e-300 < modulus < 1e300 else 1.0
    s = [rng.choice((0.0, p, p * draws.share(rng))) for _ in range(2)]
    return {
        "gap": draws.near(rng, min(mu * size * size, 1e300) * 10.0 ** rng.uniform(-6.0, 0.0)),
        "d": (top[0], top[1], low[0], low[1]), "p": p, "mu": mu, "k": k, "epsilon": epsilon,
        "step": step_or(rng, edge), "s": (s[0], s[1]),
    }  # fmt: skip


def _lazy_ask(x: Arguments) -> Verdict[Any]:
    return linear_network_converges_not_lazy(
        x["gap"], Imbalance(*x["d"]), x["p"], pl_lower=x["mu"], smoothness_upper=x["k"],
        epsilon=x["epsilon"], step_size=x["step"], product_sigma_first_lower=x["s"][0],
        product_sigma_second_lower=x["s"][1],
    )  # fmt: skip


def _phi(x: arb, y: arb) -> arb:
    """The positive root of t^2 - x t - y^2."""
    return (x + (x * x + 4 * y * y).sqrt()) / 2


def _positive(x: arb) -> arb:
    return x.max(arb(0))


def _lazy_claims(x: Arguments, verdict: Verdict[Any]) -> Iterator[Claim]:
    top, other, first, second = map(exact, x["d"])
    gap, p, mu, k = (exact(x[n]) for n in ("gap", "p", "mu", "k"))
    eps, s1, s2, c = arb(x["epsilon"]), exact(x["s"][0]), exact(x["s"][1]), verdict.conclusion
    eta = arb(step_asked(x["step"], verdict))
    drift = eta * gap / (1 - eps)
    square = (_phi(top + drift, p) + _phi(other, p)).max(_phi(top, p) + _phi(other + drift, p))
    m = k * square + (2 * k * gap).sqrt()

    def factor(eigenvalue: arb, smallest: arb, sigma: arb) -> arb:
        plain = _positive(eigenvalue - drift)
        return plain.max(_phi(smallest - drift, sigma)) if sigma > 0 else plain

    kernel = (_positive(first) + _positive(second) - drift).max(
        factor(first, -other, s1) + factor(second, -top, s2)
    )
    rate = 2 * (1 - eps) * eta * mu * _positive(kernel)
    table: Table = {
        "initial_gap_upper": lambda _: known(gap),
        "imbalance": lambda _: known(top.max(other)),
        "product_norm_upper": lambda _: known(p),
        "pl_lower": lambda _: more(mu, 0),
        "smoothness_upper": lambda _: known(k),
        "step_size": lambda _: less(eta, 2 * eps / m if m > 0 else 0, strict=False),
        "criterion": lambda _: more(kernel, 0),
        "rate_positive": lambda _: more(rate, 0),
    }
    yield from hypothesis_claims(verdict, table)
    if c is None:
        return
    yield "drift", at_most(drift, c.drift_upper)
    yield "kernel", at_most(c.kernel_lower, kernel)
    yield "norm", at_most(square.sqrt(), c.jacobian_norm_upper)
    yield "M", at_most(m, c.smoothness_upper)
    yield from rate_claims(c.one_minus_rate_lower, c.loss_rate_upper, c.halving_steps_upper, rate)
    path = 2 * gap.sqrt() / ((1 - eps) * (2 * mu * kernel).sqrt())
    yield "path", at_most(path, c.path_length_upper)


KAPPA = {"squared": 1.0, "huber": 1.0, "logistic": 0.25, "cross_entropy": 0.5}


def _model_loss(rng: Draw) -> Arguments:
    norm = draws.size(rng)
    sigma = rng.choice((0.0, norm, norm * draws.share(rng), -1.0))
    ridge = rng.choice((0.0, draws.size(rng), draws.size(rng)))
    return {"kind": rng.choice(tuple(KAPPA)), "norm": rng.choice((norm, norm, norm, math.inf)),
            "sigma": sigma, "tall": rng.random() < 0.5, "ridge": ridge,
            "weight": draws.size(rng)}  # fmt: skip


def _model_loss_ask(x: Arguments) -> Verdict[Any]:
    return linear_model_loss_is_pl(
        x["kind"], x["norm"], data_sigma_lower=x["sigma"], full_column_rank=x["tall"],
        ridge=x["ridge"], weight=x["weight"],
    )  # fmt: skip


def _model_loss_claims(x: Arguments, verdict: Verdict[Any]) -> Iterator[Claim]:
    weight, ridge, kappa = arb(x["weight"]), arb(x["ridge"]), arb(KAPPA[x["kind"]])
    fitted = weight * _positive(arb(x["sigma"])) ** 2
    squared, wide = x["kind"] == "squared", not x["tall"]
    convex = fitted + ridge if squared and x["tall"] else ridge
    mu = fitted if squared and wide and x["ridge"] == 0.0 else convex  # rows alone, no ridge
    table: Table = {
        "data_norm_upper": lambda _: known(x["norm"]),
        "pl_lower": lambda _: more(mu, 0),
    }
    yield from hypothesis_claims(verdict, table)
    c = verdict.conclusion
    if c is not None:
        yield "mu", at_most(c.pl_lower, mu)
        yield "K", at_most(weight * kappa * exact(x["norm"]) ** 2 + ridge, c.smoothness_upper)
        yield "convexity", at_most(c.convexity_lower, convex)
        yield "kappa", at_most(kappa, c.curvature_upper)


NETWORK, STEP = "talweg.theory._linear_network", "talweg.theory._linear_network_step"
SHARDS = (
    shard("theory.linear_network_is_locally_pl",
          Routine(_pl, lambda x: linear_network_is_locally_pl(x["bounds"], pl_lower=x["mu"]),
                  _pl_claims, count_numbers=True), (NETWORK,)),
    shard("theory.linear_network_converges",
          Routine(_pl, _t4, _t4_claims, count_numbers=True), (NETWORK,), goal=100_000),
    shard("theory.linear_network_step_decreases",
          Routine(_quartic, _quartic_ask, _quartic_claims, count_numbers=True), (STEP,)),
    shard("theory.observed_step_contracts",
          Routine(_observed, lambda x: observed_step_contracts(*x), _observed_claims,
                  count_numbers=True), (STEP,)),
    shard("theory.linear_network_smoothness_upper",
          Routine(_norms, lambda x: linear_network_smoothness_upper(*x), _norms_claims, 600),
          (STEP,)),
    shard("theory.linear_network_converges_not_lazy",
          Routine(_lazy, _lazy_ask, _lazy_claims, 50, count_numbers=True),
          ("talweg.theory._linear_network_imbalance",), goal=100_000),
    shard("theory.linear_model_loss_is_pl",
          Routine(_model_loss, _model_loss_ask, _model_loss_claims, count_numbers=True),
          ("talweg.theory._linear_network_losses",)),
)  # fmt: skip
