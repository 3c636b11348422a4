"""Containment: scaled outputs (T8), completeness (T6), squared linear networks (D1)."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from typing import Any

from flint import arb
from tests.soundness.containment import theory_draws as draws
from tests.soundness.containment.theory_ball import reached, step_or
from tests.soundness.containment.theory_judge import (
    INF,
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
    shard,
)
from tests.soundness.containment.theory_reference import (
    Linear,
    curvature,
    growth,
    linear,
    nested,
)
from tests.soundness.containment.theory_squared import (
    convergence_claims,
    norm_at,
    squared_premises,
    squared_problem,
    theory_step,
)

from talweg.theory import (
    Hypothesis,
    LinearNetworkBounds,
    Verdict,
    composite_loss_trapping_radius,
    linear_network_squared_converges,
    output_scale_threshold_upper,
    scaled_output_converges,
    squared_loss_trapping_radius,
)

Draw = random.Random
Arguments = dict[str, Any]


def _t8(rng: Draw) -> Arguments:
    x = squared_problem(rng)
    x["form"] = rng.choice(("offset", "antisymmetric"))
    threshold = output_scale_threshold_upper(min(x["r0"], 1e300), x["profile"], form=x["form"])
    c = threshold * (1.0 + 10.0 ** rng.uniform(-15.0, 1.0)) if rng.random() < 0.7 else threshold
    x["scale"] = draws.near(rng, c) if rng.random() < 0.5 or not 0.0 < c < math.inf else c
    if x["step"] is not None:
        x["step"] = min(max(x["step"] / min(max(x["scale"], 1e-150), 1e150) ** 2, 5e-324), 1e308)
    return x


def _t8_ask(x: Arguments) -> Verdict[Any]:
    return scaled_output_converges(
        x["r0"], x["profile"], x["j0"], scale=x["scale"], form=x["form"], loss=x["loss"],
        step_size=x["step"],
    )  # fmt: skip


def _t8_claims(x: Arguments, verdict: Verdict[Any]) -> Iterator[Claim]:
    bend = 1 / arb(2).sqrt() if x["form"] == "antisymmetric" else arb(1)
    scale = arb(x["scale"])
    base, true = linear(x["profile"], 1, bend), linear(x["profile"], scale, bend)
    c = verdict.conclusion
    lr = x["step"] if x["step"] is not None else c.convergence.step_size if c else None
    eta = None if lr is None else curvature(x["loss"]) * lr

    def at_end() -> tuple[arb, arb]:
        return reached(true, x["r0"])

    def norm(radius: arb) -> arb:
        return scale * (exact(x["j0"]) + bend * growth(x["profile"].lipschitz, radius))

    def step(h: Hypothesis) -> Entry:
        right = 1 / norm(at_end()[0]) ** 2 if norm(at_end()[0]) > 0 else arb(0)
        return less(h.value if eta is None else eta, right, strict=False)

    sigma = x["profile"].sigma_min_lower
    table = {
        **squared_premises(x),
        "sigma_min_lower": lambda h: more(sigma if h.holds else INF, 0),
        "jacobian_norm_upper": lambda h: known(x["j0"] if h.holds else 0),
        "scale": lambda _: less(exact(x["r0"]) / base.total(), scale),
        "criterion": lambda _: less(x["r0"], true.total()),
        "rate_positive": lambda h: more(h.value if eta is None else eta * at_end()[1] ** 2, 0),
        "step_size": step,
    }
    yield from hypothesis_claims(verdict, table)
    if c is not None and eta is not None:
        radius, s = at_end()
        yield "threshold", at_most(exact(x["r0"]) / base.total(), c.threshold_upper)
        yield from convergence_claims(c.convergence, radius, s, norm(radius), eta)


def _threshold_claims(x: Arguments, found: float) -> Iterator[Claim]:
    bend = 1 / arb(2).sqrt() if x["form"] == "antisymmetric" else arb(1)
    total = linear(x["profile"], 1, bend).total()
    if found < math.inf:
        yield "threshold", at_most(exact(x["r0"]) / total if x["r0"] > 0.0 else 0, found)
    else:
        yield "unknown", True


def _trap(rng: Draw) -> Arguments:
    x = squared_problem(rng)
    x["j0"] = x["j0"] if x["j0"] > 0.0 else 1.0
    x["mu"] = draws.size(rng)
    x["k"] = max(draws.near(rng, x["mu"] * 10.0 ** rng.uniform(0.0, 3.0)), x["mu"])
    x["epsilon"] = draws.share(rng)
    square = min(max(x["j0"] * x["j0"], 1e-300), 1e300)
    x["step"] = draws.near(rng, 1.0 / square / x["loss"].curvature.lo)
    x["eta"] = draws.near(rng, 2.0 * x["epsilon"] / square / min(max(x["k"], 1e-150), 1e150))
    return x


def _trap_squared(x: Arguments) -> Verdict[Any]:
    return squared_loss_trapping_radius(x["profile"], x["j0"], step_size=x["step"], loss=x["loss"])


def _trap_composite(x: Arguments) -> Verdict[Any]:
    return composite_loss_trapping_radius(
        x["profile"], x["j0"], pl_lower=x["mu"], smoothness_upper=x["k"], epsilon=x["epsilon"],
        step_size=x["eta"],
    )  # fmt: skip


def _within(true: Linear, radius: float) -> arb:
    """int_0^R s, R at most the end of the profile."""
    r = exact(radius)
    return true.total() if r >= true.radius else true.integral(r)


def _trap_claims(x: Arguments, verdict: Verdict[Any]) -> Iterator[Claim]:
    true, sup = linear(x["profile"]), exact(x["j0"])
    squared = "T11" in verdict.source
    eps, k, mu = arb(x["epsilon"]), arb(x["k"]), arb(x["mu"])
    eta = curvature(x["loss"]) * x["step"] if squared else arb(x["eta"])
    limit = 1 / sup**2 if squared else 2 * eps / (k * sup**2)
    table = squared_premises(x)
    del table["residual_norm_upper"]  # at a solution there is none
    table["step_size"] = lambda _: less(eta, limit)
    table["radius"] = lambda h: more(h.value, 0)
    if not squared:
        table["pl_lower"] = lambda _: more(mu, 0)
        table["smoothness_upper"] = lambda _: known(k)
    yield from hypothesis_claims(verdict, table)
    c = verdict.conclusion
    if c is None:
        return
    radius, sigma = exact(c.ball_radius_upper), exact(x["profile"].sigma_min_lower)
    reach, available = norm_at(x, radius), _within(true, c.ball_radius_upper)
    if squared:
        yield "step on the ball", at_most(product(eta, reach**2), 1)
        yield "distance", at_most(c.radius_lower, available / (sigma + sup))
        return
    root = (k / mu).sqrt()
    bend = product(nested(x["profile"].lipschitz, radius), available)
    m = k * (reach**2 + (1 - eps) * bend / root)
    yield "step on the ball", at_most(eta * m, 2 * eps)
    yield "distance", at_most(c.radius_lower, (1 - eps) * available / (root * (sigma + sup)))


def network_problem(rng: Draw) -> Arguments:
    ends = [(draws.size(rng) if rng.random() < 0.8 else 0.0) for _ in range(2)]
    tops = [max(e, draws.near(rng, 2.0 * e + 1e-9)) for e in ends]
    bounds = LinearNetworkBounds(ends[0], ends[1], tops[0], tops[1])
    half = (ends[0] * ends[0] + ends[1] * ends[1]) / 2.0
    x = squared_problem(rng)
    reach = tops[0] * tops[0] + tops[1] * tops[1]
    edge = 1.0 / reach if 1e-300 < reach < 1e300 else 1.0
    return {"bounds": bounds, "r0": draws.near(rng, half), "loss": x["loss"],
            "step": step_or(rng, edge)}  # fmt: skip


def _d1_claims(x: Arguments, verdict: Verdict[Any]) -> Iterator[Claim]:
    b, c = x["bounds"], verdict.conclusion
    first, second = arb(b.first_sigma_lower), arb(b.second_sigma_lower)
    kernel = (first**2 + second**2).sqrt()
    norm = (arb(b.first_norm_upper) ** 2 + arb(b.second_norm_upper) ** 2).sqrt()
    eta, r0 = theory_step(x, verdict), arb(x["r0"])
    yield "sigma", at_most(b.sigma_min_lower, kernel)
    yield "norm", at_most(norm, b.jacobian_norm_upper)
    yield "kernel", at_most(b.kernel_lower.lo, kernel**2)
    if c is not None and eta is not None:
        yield "criterion", below(r0, kernel**2 / 2)
        s = (kernel**2 - 2 * r0).sqrt()  # s(R*) = sqrt(sigma^2 - 2 |r|)
        radius = kernel - s
        yield from convergence_claims(c, radius, s, norm + radius, eta)


SCALING, TRAPPING = "talweg.theory._output_scaling", "talweg.theory._trapping"
SHARDS = (
    shard("theory.scaled_output_converges",
          Routine(_t8, _t8_ask, _t8_claims, count_numbers=True), (SCALING,)),
    shard("theory.output_scale_threshold_upper",
          Routine(_t8, lambda x: output_scale_threshold_upper(x["r0"], x["profile"],
                                                              form=x["form"]),
                  _threshold_claims), (SCALING,)),
    shard("theory.squared_loss_trapping_radius",
          Routine(_trap, _trap_squared, _trap_claims, 50, count_numbers=True), (TRAPPING,),
          goal=100_000),
    shard("theory.composite_loss_trapping_radius",
          Routine(_trap, _trap_composite, _trap_claims, 30, count_numbers=True), (TRAPPING,),
          goal=100_000),
    shard("theory.linear_network_squared_converges",
          Routine(network_problem, lambda x: linear_network_squared_converges(
              x["r0"], x["bounds"], step_size=x["step"], loss=x["loss"]),
                  _d1_claims, count_numbers=True), ("talweg.theory._linear_network",),
          goal=100_000),
)  # fmt: skip
