"""Containment: saddles (E3), recorded runs (T12), equal inputs (F3), the sine well (E4)."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

from flint import arb, ctx
from tests.soundness.containment import theory_draws as draws
from tests.soundness.containment.theory_ball import Table, criterion, reached
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
    rate_claims,
    shard,
)
from tests.soundness.containment.theory_reference import Linear, Steps
from tests.soundness.containment.theory_smooth import smooth_problem

from talweg.theory import (
    NestedBallBound,
    RunStep,
    SquaredLoss,
    Verdict,
    descent_stuck_at_saddle,
    duplicates_bound_loss_below,
    perturbation_escapes_saddle,
    perturbed_descent_finds_second_order_point,
    quadratic_saddle_left,
    run_stays_in_ball,
    sine_well_constants,
    strict_saddle_nearby,
)
from talweg.theory._sine_well import BRACKET

Draw = random.Random
Arguments = dict[str, Any]


def _quadratic(rng: Draw) -> Arguments:
    big = draws.size(rng)
    gamma = big * draws.share(rng) if rng.random() < 0.7 else big
    edge = 2.0 / big if big > 1e-300 else 1.0
    return {"d": draws.whole(rng), "L": big, "gamma": gamma if rng.random() < 0.97 else -1.0,
            "r": draws.size(rng), "far": draws.size(rng), "eta": draws.near(rng, edge),
            "p": draws.share(rng)}  # fmt: skip


def _quadratic_ask(x: Arguments) -> Verdict[Any]:
    return quadratic_saddle_left(
        x["d"], x["L"], x["gamma"], perturbation_radius=x["r"], escape_radius=x["far"],
        step_size=x["eta"], failure_probability=x["p"],
    )  # fmt: skip


def _quadratic_claims(x: Arguments, verdict: Verdict[Any]) -> Iterator[Claim]:
    big, gamma, r, far, eta, p = (arb(x[n]) for n in ("L", "gamma", "r", "far", "eta", "p"))
    growth = eta * gamma
    table: Table = {
        "smoothness_upper": lambda _: known(big),
        "negative_curvature_lower": lambda _: more(gamma, 0),
        "step_size": lambda _: less(big * eta, 2, strict=False),
        "growth": lambda _: more(growth / (1 + growth), 0),
    }
    yield from hypothesis_claims(verdict, table)
    c = verdict.conclusion
    if c is not None:
        delta = p * r * (arb.pi() / (2 * (arb(x["d"]) + 1))).sqrt()
        yield "whole", c.steps_upper == math.inf or c.steps_upper == math.floor(c.steps_upper)
        if c.steps_upper < math.inf:
            left = exact(c.steps_upper) * growth.log1p()
            yield "steps", at_most((far / delta).log(), left)
        yield "decrease", at_most(c.decrease_lower, (gamma * far**2 - big * r**2) / 2)


def _episode(rng: Draw) -> Arguments:
    big, rho = draws.size(rng), draws.size(rng)
    gamma = big * draws.share(rng) if rng.random() < 0.5 else big
    eta = draws.near(rng, 1.0 / big if big > 1e-300 else 1.0)
    rate = math.log1p(min(eta * gamma, 1e300))
    t = int(min(max(rng.uniform(1.0, 400.0) / rate if rate > 1e-12 else 1.0, 1.0), 1e15))
    s = 1.0 / (3.0 * eta * rho * t) if 1e-300 < 3.0 * eta * rho * t < 1e300 else 1.0
    r = draws.near(rng, s) if rng.random() < 0.5 else draws.near(rng, s * 1e-3)
    lost = (s - r) * ((s - r) / (2 * eta * t)) / r if s > r and eta * t > 1e-300 else 1.0
    g = draws.near(rng, lost) * rng.random()
    return {"d": draws.whole(rng), "L": big, "rho": rho, "gamma": gamma, "eta": eta, "T": t,
            "r": r, "g": max(g, 5e-324), "gap": draws.nonnegative(rng)}  # fmt: skip


def _escape(x: Arguments) -> Verdict[Any]:
    return perturbation_escapes_saddle(
        x["d"], x["L"], x["rho"], x["g"], x["gamma"], perturbation_radius=x["r"],
        step_size=x["eta"], steps=x["T"],
    )  # fmt: skip


def _search(x: Arguments) -> Verdict[Any]:
    return perturbed_descent_finds_second_order_point(
        x["gap"], x["d"], x["L"], x["rho"], gradient_threshold=x["g"],
        curvature_threshold=x["gamma"], perturbation_radius=x["r"], step_size=x["eta"],
        steps=x["T"],
    )  # fmt: skip


def _escape_claims(x: Arguments, verdict: Verdict[Any]) -> Iterator[Claim]:
    names = ("L", "rho", "gamma", "eta", "T", "r", "g")
    big, rho, gamma, eta, t, r, g = (arb(x[n]) for n in names)
    limit, c = 1 / (3 * eta * rho * t), verdict.conclusion
    search = hasattr(c, "episode") or verdict.source.startswith("E3, second")
    # the theorem holds for every S up to the limit; the one used is a float just below it
    s = exact(next((h.bound for h in verdict.hypotheses if h.name == "perturbation_radius"), 0.0))
    decrease = (s - r) ** 2 / (2 * eta * t) - g * r - big * r**2 / 2
    section = ((arb(x["d"]) + 1) / (2 * arb.pi())).sqrt()
    failure = 4 * s / r * section * (-t * (eta * gamma).log1p()).exp()
    table: Table = {
        "smoothness_upper": lambda _: known(big),
        "hessian_lipschitz_upper": lambda _: known(rho),
        "step_size": lambda _: less(big * eta, 1, strict=False),
        "perturbation_radius": lambda _: less(r, limit),
        "decrease": lambda _: more(decrease, 0),
    }
    if not search:
        table["gradient_norm_upper"] = lambda _: known(g)
        table["negative_curvature_lower"] = lambda _: more(gamma, 0)
        table["probability"] = lambda _: less(failure, 1)
    else:
        table["initial_gap_upper"] = lambda _: known(x["gap"])
        table["probability"] = lambda h: ("below", failure, h.bound, True)
    yield from hypothesis_claims(verdict, table)
    if c is None:
        return
    episode = c.episode if search else c
    yield "decrease", at_most(episode.decrease_lower, decrease)
    yield "failure", at_most(failure, episode.failure_probability_upper)
    if not search:
        return
    gap, least = exact(x["gap"]), arb(episode.decrease_lower)
    count = 1 + Fraction(x["gap"]) // Fraction(episode.decrease_lower)
    total = arb(int(count)) * episode.failure_probability_upper
    yield "failure of all", at_most(total, c.failure_probability_upper)
    yield "failure below 1", c.failure_probability_upper < 1.0
    calls = gap * (2 / (eta * g**2)).max((t + 1) / least) + t + 2
    yield "calls", at_most(calls, c.steps_upper)


def _nearby(rng: Draw) -> Arguments:
    sigma, rho = draws.size(rng), draws.size(rng) if rng.random() < 0.9 else 0.0
    edge = sigma * sigma / (2.0 * rho) if rho > 1e-200 and sigma < 1e100 else 1.0
    gamma = draws.near(rng, sigma)
    sigma = sigma if rng.random() < 0.97 else rng.choice((0.0, -1.0))
    return {"g": draws.near(rng, edge), "sigma": sigma, "gamma": gamma, "rho": rho}


def _nearby_claims(x: Arguments, verdict: Verdict[Any]) -> Iterator[Claim]:
    g, sigma, gamma, rho = (arb(x[n]) for n in ("g", "sigma", "gamma", "rho"))
    true = Linear.of(x["sigma"], NestedBallBound.everywhere(x["rho"]))

    def distance() -> arb:
        return reached(true, g)[0]

    table: Table = {
        "gradient_norm_upper": lambda _: known(g),
        "singular_value_lower": lambda _: more(sigma, 0),
        "negative_curvature_lower": lambda _: more(gamma, 0),
        "hessian_lipschitz_upper": lambda _: known(rho),
        "criterion": lambda _: less(g, true.total()),
        "still_negative": lambda _: more(gamma - rho * distance(), 0),
    }
    yield from hypothesis_claims(verdict, table)
    c = verdict.conclusion
    if c is not None:
        yield "distance", at_most(distance(), c.distance_upper)
        yield "curvature", at_most(c.negative_curvature_lower, gamma - rho * distance())


def _stuck(rng: Draw) -> Arguments:
    x = smooth_problem(rng)
    return {**x, "normal": rng.choice((0.0, 0.0, 0.0, -0.0, 5e-324, draws.size(rng))),
            "gamma": rng.choice((draws.size(rng), draws.size(rng), 0.0, -1.0))}  # fmt: skip


def _stuck_claims(x: Arguments, verdict: Verdict[Any]) -> Iterator[Claim]:
    c = verdict.conclusion
    if c is None:
        yield "never refuted", verdict.status.value == "UNDECIDED"
        return
    inner = c.within
    eta, big, mu = arb(inner.step_size), arb(x["L"]), arb(x["mu"])
    yield "invariant", x["normal"] == 0.0
    yield "negative", 0.0 < c.negative_curvature_lower <= x["gamma"]
    yield "step", below(0, eta) and below(big * eta, 2)
    gain = 2 * mu * eta * (1 - big * eta / 2)
    yield from rate_claims(
        inner.one_minus_rate_lower, inner.loss_rate_upper, inner.halving_steps_upper, gain
    )


def _run(rng: Draw) -> Arguments:
    profile, c = draws.step_profile(rng), rng.choice((1.0, 0.5, draws.share(rng)))
    total = profile.integral_lower(profile.radius)
    edge = (c * total / 2.0) ** 2 if 0.0 < total < 1e150 else 1.0
    steps = []
    for _ in range(rng.randint(1, 4)):
        g, length = draws.nonnegative(rng), draws.size(rng) if rng.random() < 0.9 else 0.0
        wanted = c * g * length
        d = wanted * rng.choice((1.0, 1.0 + 1e-15, 2.0)) if wanted < 1e300 else 1.0
        d = draws.neighbour(rng, d) if rng.random() < 0.3 else max(d, 5e-324)
        low = length * rng.choice((1.0, 1.0, draws.share(rng), -1.0))
        steps.append(RunStep(min(d, 1e308), g, low, length))
    return {"gap": draws.near(rng, edge), "profile": profile, "steps": tuple(steps), "c": c}


def _run_claims(x: Arguments, verdict: Verdict[Any]) -> Iterator[Claim]:
    profile, gap, c, found = Steps.of(x["profile"]), arb(x["gap"]), arb(x["c"]), verdict.conclusion

    def budget() -> arb:
        return 2 * gap.sqrt() / c

    table: Table = {
        **criterion(profile, x["gap"], budget),
        "decrease": lambda h: ("above", INF, h.bound, False),  # step by step below
    }
    yield from hypothesis_claims(verdict, table)
    if found is None:
        return
    radius, a = reached(profile, budget())
    yield "radius", at_most(radius, found.radius_upper)
    yield "profile", at_most(found.profile_lower, a)
    path, shrink = arb(0), arb(1)
    for step, one_minus in zip(x["steps"], found.one_minus_rates_lower, strict=True):
        g, length = exact(step.gradient_norm_upper), arb(step.length_upper)
        if step.length_upper > 0.0:
            yield "down", step.decrease_lower > 0.0
            yield "down enough", at_most(c * g * length, step.decrease_lower)
        rate = arb(0)
        if g > 0 and g.is_finite():
            rate = c * arb(max(step.length_lower, 0.0)) / g * a**2
        yield "rate", at_most(0, one_minus) and at_most(one_minus, rate.min(arb(1)))
        path, shrink = path + length, shrink * (1 - rate).max(arb(0))
    yield "path", at_most(path, found.path_length_upper)
    yield "shrink", at_most(shrink, found.shrink_upper)


def _groups(rng: Draw) -> Arguments:
    groups = []
    for _ in range(rng.randint(0, 3)):
        k = rng.randint(1, 2)
        row = [draws.signed(rng) for _ in range(k)]
        same = rng.random()
        rows = [[v if same < 0.4 else draws.neighbour(rng, v) if same < 0.7 else draws.signed(rng)
                 for v in row] for _ in range(rng.randint(1, 4))]  # fmt: skip
        groups.append([[min(max(v, -1e308), 1e308) for v in r] for r in rows])
    loss = SquaredLoss(rng.choice(("mean", "sum", "half_sum")), draws.whole(rng))
    return {"groups": groups, "loss": loss}


def _groups_claims(x: Arguments, verdict: Verdict[Any]) -> Iterator[Claim]:
    squares = []
    for rows in x["groups"]:
        columns = [[Fraction(v) for v in column] for column in zip(*rows, strict=True)]
        means = [sum(column) / len(column) for column in columns]
        squares.append(sum(
            ((v - m) ** 2 for column, m in zip(columns, means, strict=True) for v in column),
            Fraction(0),
        ))  # fmt: skip
    total = sum(squares, Fraction(0))
    yield "proved only where they differ", verdict.conclusion is None or total > 0
    c = verdict.conclusion
    if c is not None:
        loss = x["loss"]
        unit = {"mean": Fraction(1, loss.entries), "sum": Fraction(1), "half_sum": Fraction(1, 2)}
        yield "squares", 0 < Fraction(c.squares_lower) <= total
        yield "loss", Fraction(c.loss_lower) <= total * unit[loss.scaling]
        yield "groups", c.groups == tuple(i for i, s in enumerate(squares) if s > 0)


def _well(x: arb) -> arb:
    """h = 2 f f'' - f'^2 for f = x^2 + 3 sin(x)^2."""
    f, slope = x * x + 3 * x.sin() ** 2, 2 * x + 3 * (2 * x).sin()
    return 2 * f * (2 + 6 * (2 * x).cos()) - slope**2


def _worst_point() -> tuple[arb, arb]:
    """The zero of h in (pi/2, pi), and f'' there, to 200 digits or so."""
    with ctx.workprec(1024):
        low, high = arb(BRACKET[0]) - arb(2) ** -20, arb(BRACKET[1]) + arb(2) ** -20
        for _ in range(600):
            middle = ((low + high) / 2).mid()
            if _well(middle) < 0:
                low = middle
            elif _well(middle) > 0:
                high = middle
        root = low.union(high)
        return root, 2 + 6 * (2 * root).cos()


WORST, MU = _worst_point()


def _bracket(rng: Draw) -> tuple[float, float]:
    a, b = BRACKET
    if rng.random() < 0.6:
        width = 10.0 ** rng.uniform(-16.0, 0.0)
        a, b = a - width * rng.random(), b + width * rng.uniform(-0.5, 1.0)
    elif rng.random() < 0.5:
        a, b = draws.neighbour(rng, a), draws.neighbour(rng, b)
    else:
        a, b = sorted((rng.uniform(1.5, 3.2), rng.uniform(1.5, 3.2)))
    return min(a, b), max(a, b)


def _bracket_claims(x: tuple[float, float], verdict: Verdict[Any]) -> Iterator[Claim]:
    a, b = arb(x[0]), arb(x[1])
    table: Table = {
        "left_of_range": lambda _: more(a, arb.pi() / 2),
        "right_of_range": lambda _: less(b, arb.pi()),
        "decreasing_at_left": lambda _: less(_well(a), 0),
        "increasing_at_right": lambda _: more(_well(b), 0),
        "tail": lambda h: ("below", 2 + 6 * (2 * b).cos(), h.bound, True),
    }
    yield from hypothesis_claims(verdict, table)
    c = verdict.conclusion
    if c is not None:
        tail = (2 * arb.pi() - 3) ** 2 / (2 * (arb.pi() ** 2 + 3))
        yield "tail", below(0.41, tail)
        yield "pl", at_most(c.pl_lower, MU) and at_most(MU, c.pl_upper)
        point = at_most(c.worst_point_lower, WORST) and at_most(WORST, c.worst_point_upper)
        yield "point", point
        yield "exact constants", (c.smoothness, c.least_curvature) == (8.0, -4.0)


ESCAPE, SADDLE = "talweg.theory._saddle_escape", "talweg.theory._strict_saddle"
SHARDS = (
    shard("theory.quadratic_saddle_left",
          Routine(_quadratic, _quadratic_ask, _quadratic_claims, count_numbers=True), (ESCAPE,)),
    shard("theory.perturbation_escapes_saddle",
          Routine(_episode, _escape, _escape_claims, count_numbers=True), (ESCAPE,)),
    shard("theory.perturbed_descent_finds_second_order_point",
          Routine(_episode, _search, _escape_claims, count_numbers=True), (ESCAPE,)),
    shard("theory.strict_saddle_nearby",
          Routine(_nearby, lambda x: strict_saddle_nearby(x["g"], x["sigma"], x["gamma"], x["rho"]),
                  _nearby_claims, count_numbers=True), (SADDLE,)),
    shard("theory.descent_stuck_at_saddle",
          Routine(_stuck, lambda x: descent_stuck_at_saddle(
              x["gap"], x["L"], x["mu"], x["normal"], x["gamma"], step_size=x["step"]),
                  _stuck_claims, count_numbers=True), (SADDLE,), goal=100_000),
    shard("theory.run_stays_in_ball",
          Routine(_run, lambda x: run_stays_in_ball(x["gap"], x["profile"], x["steps"],
                                                    share=x["c"]),
                  _run_claims, count_numbers=True), ("talweg.theory._run",)),
    shard("theory.duplicates_bound_loss_below",
          Routine(_groups, lambda x: duplicates_bound_loss_below(x["groups"], loss=x["loss"]),
                  _groups_claims), ("talweg.theory._duplicates",)),
    shard("theory.sine_well_constants",
          Routine(_bracket, sine_well_constants, _bracket_claims, 50, count_numbers=True),
          ("talweg.theory._sine_well",), goal=100_000),
)  # fmt: skip
