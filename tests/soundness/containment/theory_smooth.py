"""Containment: smooth PL losses with and without noise (E1, E2)."""

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
    shrink_claims,
    smaller,
)

from talweg.theory import (
    SquaredLoss,
    Verdict,
    decreasing_steps_converge,
    decreasing_steps_gradient_bounded,
    mean_squared_gradient_bounded,
    noise_floor_reached,
    polyak_steps_converge,
    smooth_pl_descent_converges,
)

Draw = random.Random
Arguments = dict[str, Any]
HALF_SUM = SquaredLoss("half_sum")


def smooth_problem(rng: Draw) -> Arguments:
    """L, mu <= L, a gap, a variance, and steps at and around 1/L and 2/L."""
    big = draws.size(rng) if rng.random() < 0.97 else draws.nonnegative(rng)
    mu = big * draws.share(rng) if rng.random() < 0.6 else big
    if rng.random() < 0.1:
        mu = rng.choice((0.0, -1.0, -math.inf, big / 2.0 if big < math.inf else 1.0))
    edge = rng.choice((1.0, 2.0, 2.0, 0.5)) / big if 1e-300 < big < math.inf else 1.0
    steps = draws.whole(rng)
    least = 2.0 * big / mu if mu > 0.0 and big < math.inf else 1.0
    return {
        "gap": draws.nonnegative(rng), "L": big, "mu": mu if mu < math.inf else 1.0,
        "variance": draws.nonnegative(rng), "step": step_or(rng, edge), "T": steps,
        "cap": draws.near(rng, edge), "c": rng.choice((1.0, 0.5, 2.0, draws.size(rng))),
        "offset": None if rng.random() < 0.4 else max(draws.near(rng, 2.0 * least), 5e-324),
        "t": rng.choice((0, 1, 2, rng.randint(0, 10**6), draws.whole(rng))),
    }  # fmt: skip


def _premises(x: Arguments, *, pl: bool = True, noise: bool = False) -> Table:
    table: Table = {
        "initial_gap_upper": lambda _: known(x["gap"]),
        "smoothness_upper": lambda _: known(x["L"]),
    }
    if pl:
        table["pl_lower"] = lambda _: more(x["mu"], 0)
    if noise:
        table["variance_upper"] = lambda _: known(x["variance"])
    return table


def _gain(x: Arguments, eta: arb) -> arb:
    """2 mu eta (1 - L eta / 2)."""
    return 2 * exact(x["mu"]) * eta * (1 - exact(x["L"]) * eta / 2)


def e1_claims(x: Arguments, verdict: Verdict[Any]) -> Iterator[Claim]:
    """E1 with one step."""
    eta, c = arb(step_asked(x["step"], verdict)), verdict.conclusion
    if c is not None:
        eta = arb(c.step_size)
    elif x["step"] is None:  # the step found is not shown: L eta is all that the verdict says
        yield "nothing proved", True
        return
    big, gap, mu = exact(x["L"]), exact(x["gap"]), exact(x["mu"])
    table: Table = {
        **_premises(x),
        "step_size": lambda _: less(big * eta, 2),
        "rate_positive": lambda _: more(_gain(x, eta), 0),
    }
    yield from hypothesis_claims(verdict, table)
    if c is None:
        return
    yield "step", below(0, c.step_size)
    yield from rate_claims(
        c.one_minus_rate_lower, c.loss_rate_upper, c.halving_steps_upper, _gain(x, eta)
    )
    if c.simple_rate_upper is not None:
        yield "simple only for eta <= 1/L", at_most(big * eta, 1)
        yield "simple", at_most(1 - mu * eta, c.simple_rate_upper)
    yield "path", at_most((2 * gap / mu).sqrt() / (1 - big * eta / 2), c.path_upper)


def _polyak_claims(x: Arguments, verdict: Verdict[Any]) -> Iterator[Claim]:
    cap, big, c = arb(x["cap"]), exact(x["L"]), verdict.conclusion

    def least_gain() -> arb:
        return smaller(_gain(x, smaller(1 / (2 * arb(x["c"]) * big), cap)), _gain(x, cap))

    table: Table = {
        **_premises(x),
        "step_size": lambda _: less(big * cap, 2),
        "rate_positive": lambda _: more(least_gain(), 0),
    }
    yield from hypothesis_claims(verdict, table)
    if c is not None:
        yield from rate_claims(
            c.one_minus_rate_lower, c.loss_rate_upper, c.halving_steps_upper, least_gain()
        )
        root = (2 * exact(x["gap"]) / exact(x["mu"])).sqrt()
        yield "path", at_most(root / (1 - big * cap / 2), c.path_upper)


def _mean_claims(x: Arguments, verdict: Verdict[Any]) -> Iterator[Claim]:
    c, big, variance = verdict.conclusion, exact(x["L"]), exact(x["variance"])
    if c is None and x["step"] is None:
        yield "nothing proved", True
        return
    eta = arb(x["step"] if c is None else c.step_size)
    table: Table = {
        **_premises(x, pl=False, noise=True),
        "step_size": lambda _: less(big * eta, 2),
    }
    yield from hypothesis_claims(verdict, table)
    if c is not None:
        kept, noise = 1 - big * eta / 2, big * eta * variance / 2
        mean = (exact(x["gap"]) / (eta * x["T"]) + noise) / kept
        yield "mean", at_most(mean, c.mean_squared_gradient_upper)
        yield "floor", at_most(noise / kept, c.floor_upper)


def _floor_ask(x: Arguments) -> tuple[Verdict[Any], float | None]:
    verdict = noise_floor_reached(x["gap"], x["L"], x["mu"], x["variance"], step_size=x["cap"])
    c = verdict.conclusion
    return verdict, None if c is None else c.expected_gap_upper(x["gap"], x["t"])


def _floor_claims(x: Arguments, found: tuple[Verdict[Any], float | None]) -> Iterator[Claim]:
    verdict, expected = found
    eta, big, gap, c = arb(x["cap"]), exact(x["L"]), exact(x["gap"]), verdict.conclusion
    table: Table = {
        **_premises(x, noise=True),
        "step_size": lambda _: less(big * eta, 2),
        "rate_positive": lambda _: more(_gain(x, eta), 0),
    }
    yield from hypothesis_claims(verdict, table)
    if c is None or expected is None:
        return
    delta, injected = _gain(x, eta), big * eta**2 * exact(x["variance"]) / 2
    yield from rate_claims(c.one_minus_rate_lower, c.loss_rate_upper, None, delta)
    yield "injected", at_most(injected, c.injected_upper)
    yield "floor", at_most(injected / delta, c.floor_upper)
    if c.floor_upper > 0.0:
        yield from shrink_claims("steps", c.steps_to_floor_upper, delta, gap / c.floor_upper)
    if x["t"] < 2**20:
        shrunk = (1 - delta) ** x["t"]
        yield "expected", at_most(shrunk * gap + (1 - shrunk) * injected / delta, expected)


def _decreasing_gradient_claims(x: Arguments, verdict: Verdict[Any]) -> Iterator[Claim]:
    step, big, count, c = arb(x["cap"]), exact(x["L"]), arb(x["T"]), verdict.conclusion
    table: Table = {
        **_premises(x, pl=False, noise=True),
        "step_size": lambda _: less(big * step, 2),
    }
    yield from hypothesis_claims(verdict, table)
    if c is not None:
        noise = big * exact(x["variance"]) * step**2 * (1 + count.log()) / 2
        a = (exact(x["gap"]) + noise) / (step * (1 - big * step / 2))
        weights = count.sqrt().max(2 * (count + 1).sqrt() - 2)
        yield "mean", at_most(a / count.sqrt(), c.mean_squared_gradient_upper)
        yield "weighted", at_most(a / weights, c.weighted_squared_gradient_upper)


def _decreasing_ask(x: Arguments) -> tuple[Verdict[Any], float | None]:
    verdict = decreasing_steps_converge(
        x["gap"], x["L"], x["mu"], x["variance"], offset=x["offset"]
    )
    c = verdict.conclusion
    return verdict, None if c is None else c.expected_gap_upper(x["t"])


def _decreasing_claims(x: Arguments, found: tuple[Verdict[Any], float | None]) -> Iterator[Claim]:
    verdict, expected = found
    big, mu, c = exact(x["L"]), exact(x["mu"]), verdict.conclusion
    asked = [h for h in verdict.hypotheses if h.name == "offset"]
    g = exact(c.offset if c else x["offset"] if x["offset"] else asked[0].bound if asked else 1)
    table: Table = _premises(x, noise=True)
    if not asked or asked[0].holds:
        table["offset"] = lambda _: less(2 * big / mu, g, strict=False)
    else:
        table["offset"] = lambda h: ("below", h.value, h.bound, False)
    yield from hypothesis_claims(verdict, table)
    if c is None or expected is None:
        return
    share = 3 - 4 * big / (mu * g)
    nu = (g * exact(x["gap"])).max(2 * big * exact(x["variance"]) / (mu**2 * share))
    yield "constant", at_most(nu, c.constant_upper)
    yield "expected", at_most(nu / (x["t"] + g), expected)


SMOOTH, CONSTANT = "talweg.theory._smooth_pl", "talweg.theory._stochastic_constant"
DECREASING = "talweg.theory._stochastic_decreasing"
SHARDS = (
    shard("theory.smooth_pl_descent_converges",
          Routine(smooth_problem, lambda x: smooth_pl_descent_converges(
              x["gap"], x["L"], x["mu"], step_size=x["step"]), e1_claims, count_numbers=True),
          (SMOOTH,)),
    shard("theory.polyak_steps_converge",
          Routine(smooth_problem, lambda x: polyak_steps_converge(
              x["gap"], x["L"], x["mu"], max_step=x["cap"], scale=x["c"]), _polyak_claims,
              count_numbers=True), (SMOOTH,)),
    shard("theory.mean_squared_gradient_bounded",
          Routine(smooth_problem, lambda x: mean_squared_gradient_bounded(
              x["gap"], x["L"], x["variance"], steps=x["T"], step_size=x["step"]), _mean_claims,
              count_numbers=True), (CONSTANT,)),
    shard("theory.noise_floor_reached",
          Routine(smooth_problem, _floor_ask, _floor_claims, count_numbers=True), (CONSTANT,)),
    shard("theory.decreasing_steps_gradient_bounded",
          Routine(smooth_problem, lambda x: decreasing_steps_gradient_bounded(
              x["gap"], x["L"], x["variance"], initial_step=x["cap"], steps=x["T"]),
              _decreasing_gradient_claims, count_numbers=True), (DECREASING,)),
    shard("theory.decreasing_steps_converge",
          Routine(smooth_problem, _decreasing_ask, _decreasing_claims, count_numbers=True),
          (DECREASING,)),
)  # fmt: skip
