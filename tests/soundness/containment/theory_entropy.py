"""Containment: cross-entropy to a target (T13, T4), positive initialisation (P1, P3)."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

from flint import arb
from tests.soundness.containment import theory_draws as draws
from tests.soundness.containment.theory_ball import Table, reached, step_or
from tests.soundness.containment.theory_elementary import inside
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
    smaller,
)
from tests.soundness.containment.theory_reference import growth, linear, nested

from talweg.theory import (
    CrossEntropy,
    ExplicitOutputEntry,
    Hypothesis,
    IdentityActivation,
    NestedBallBound,
    PositiveNetwork,
    SmoothLeakyReLUActivation,
    TanhActivation,
    Verdict,
    cross_entropy_budget,
    cross_entropy_pl_lower,
    cross_entropy_target_reached,
    explicit_output_entry,
    lecun_initialisation_converges_with_probability,
    positive_initialisation_descends,
    positive_initialisation_flow_converges,
)

Draw = random.Random
Arguments = dict[str, Any]


def _pl(rng: Draw) -> tuple[float, float]:
    q = rng.choice((draws.share(rng), draws.share(rng), 0.1, 0.0, 1.0))
    gap = draws.near(rng, q) if rng.random() < 0.6 else draws.nonnegative(rng)
    return q, gap


def _pl_claims(x: tuple[float, float], found: float) -> Iterator[Claim]:
    q, gap = exact(x[0]), exact(x[1])
    yield "a probability", 0.0 <= found <= x[0]
    if found > 0.0:
        p = arb(found)
        rest = (1 - q) * ((1 - q) / (1 - p)).log() if x[0] < 1.0 else arb(0)
        yield (
            "KL(q, mu) >= gap",
            (found == x[0] and x[1] == 0.0) or at_most(gap, q * (q / p).log() + rest),
        )


def _budget(rng: Draw) -> tuple[float, float, CrossEntropy]:
    f0 = draws.size(rng)
    t = draws.near(rng, f0)
    loss = CrossEntropy("sum", draws.whole(rng), 1 + draws.whole(rng, 10**6))
    return max(f0, t), min(f0, t), loss


def _log_expm1(u: arb) -> arb:
    """log(e^u - 1)."""
    return u + (-(-u).exp()).log1p()


def _needed(f0: arb, t: arb, loss: CrossEntropy) -> arb:
    """int_t^f0 du / psi(u)."""
    n, k = arb(loss.samples), arb(loss.classes)
    log = _log_expm1(f0 / n.sqrt()) - _log_expm1(t / n.sqrt())
    return ((k - 1) * n / k).sqrt() * log


def _budget_claims(x: tuple[float, float, CrossEntropy], found: Any) -> Iterator[Claim]:
    f0, t, loss = x
    yield from inside("budget", _needed(arb(f0), arb(t), loss) if t < f0 else arb(0), found)


def _t13(rng: Draw) -> Arguments:
    n, k = rng.choice((1, 2, 10, 1000, 10**6)), rng.choice((2, 3, 10, 1000))
    loss = CrossEntropy(rng.choice(("mean", "sum")), n, k)
    profile, epsilon = draws.singular_profile(rng), draws.share(rng)
    total = profile.integral_lower(profile.radius)
    f0 = n * 10.0 ** rng.uniform(-3.0, 1.0) if rng.random() < 0.8 else draws.nonnegative(rng)
    t = draws.near(rng, f0 * rng.random()) if f0 < math.inf else 1.0
    if 0.0 < total < 1e100 and rng.random() < 0.7:
        spread = total * (1 - epsilon) / math.sqrt((k - 1) * n / k)  # the log that is affordable
        t = draws.near(rng, f0 * math.exp(-min(spread, 700.0))) if f0 < math.inf else t
    j0 = max(profile.sigma_min_lower, 0.0) * rng.choice((1.0, 2.0)) + 1e-9
    square = min(max(j0 * j0 / 2.0, 1e-300), 1e300)
    step = step_or(rng, 2.0 * epsilon / square * (n if loss.scaling == "mean" else 1))
    return {"f0": f0, "t": t if rng.random() < 0.97 else rng.choice((0.0, -1.0, -math.inf)),
            "profile": profile, "norm": profile.jacobian_norm(min(j0, 1e308)), "loss": loss,
            "epsilon": epsilon, "step": step}  # fmt: skip


def _t13_ask(x: Arguments) -> Verdict[Any]:
    return cross_entropy_target_reached(
        x["f0"], x["t"], x["profile"], x["norm"], x["profile"].lipschitz, loss=x["loss"],
        epsilon=x["epsilon"], step_size=x["step"],
    )  # fmt: skip


def _t13_claims(x: Arguments, verdict: Verdict[Any]) -> Iterator[Claim]:
    f0, t, loss, rest = exact(x["f0"]), exact(x["t"]), x["loss"], 1 - arb(x["epsilon"])
    n, k, c = arb(loss.samples), arb(loss.classes), verdict.conclusion
    true, bound = linear(x["profile"]), x["profile"].lipschitz
    if x["t"] > 0.0 and x["f0"] <= x["t"]:
        yield "met", c is not None and c.steps_upper == 0.0
        return

    def need() -> arb:
        return _needed(f0, t, loss) / rest

    def norm(radius: arb) -> arb:
        return exact(x["norm"].at_start_upper) + growth(bound, radius)

    def last(eta: arb) -> arb:
        radius = reached(true, need())[0]
        return radius + eta * product(norm(radius), f0.sqrt())

    def m(radius: arb) -> arb:
        return norm(radius) ** 2 / 2 + product(f0.sqrt(), nested(bound, radius))

    lr = x["step"] if x["step"] is not None else c.step_size if c is not None else None
    eta = None if lr is None else arb(lr) / (n if loss.scaling == "mean" else 1)

    def step(h: Hypothesis) -> Entry:
        if eta is None:
            return "below", h.value, h.bound, False
        limit = m(last(eta))
        right = 2 * arb(x["epsilon"]) / limit if limit > 0 and limit.is_finite() else arb(0)
        return less(eta, right, strict=False)

    def gain(h: Hypothesis) -> Entry:
        return more(h.value if eta is None else rest * eta * reached(true, need())[1] ** 2, 0)

    table: Table = {
        "target_loss_lower": lambda _: more(t, 0),
        "initial_loss_upper": lambda _: known(f0),
        "profile": lambda _: more(true.value(arb(0)), 0),
        "criterion": lambda _: less(need(), true.total()),
        "jacobian_norm": lambda _: known(norm(reached(true, need())[0])),
        "jacobian_lipschitz": lambda _: known(nested(bound, reached(true, need())[0])),
        "rate_positive": gain,
        "step_size": step,
    }
    yield from hypothesis_claims(verdict, table)
    if c is None or eta is None:
        return
    radius, s = reached(true, need())
    each = rest * eta * s**2
    yield "radius", at_most(radius, c.radius_upper)
    yield "final", at_most(last(eta), c.final_radius_upper)

    def share(u: arb) -> arb:
        return k / (k - 1) * (1 - (-u / n.sqrt()).exp()) ** 2 / u

    yield "share", at_most(c.one_minus_rate_lower, each * smaller(share(f0), share(t)))
    a, b = f0 / n.sqrt(), t / n.sqrt()
    bracket = _log_expm1(a) - _log_expm1(b) + 1 / b.expm1() - 1 / a.expm1()
    yield "whole", c.steps_upper == math.inf or c.steps_upper == math.floor(c.steps_upper)
    yield "steps", at_most((k - 1) / k * n.sqrt() * bracket / each, c.steps_upper)


def _network(rng: Draw) -> Arguments:
    depth = rng.choice((1, 1, 2, 3))
    kinds = [SmoothLeakyReLUActivation(rng.choice((0.5, 0.1, 0.25))), TanhActivation(),
             IdentityActivation()]  # fmt: skip
    widths = tuple(rng.choice((1, 2, 10, 1000)) for _ in range(depth))
    low = draws.moderate(rng) if rng.random() < 0.95 else rng.choice((0.0, -1.0, 5e-324))
    high = low + draws.moderate(rng) * rng.choice((0.0, 1.0))
    gram = draws.moderate(rng) if rng.random() < 0.95 else rng.choice((0.0, -1.0, 1e-300, 1e300))
    network = PositiveNetwork(
        inputs=rng.choice((1, 3, 784)), widths=widths,
        activations=tuple(rng.choice(kinds) for _ in widths), gram_eigenvalue_lower=gram,
        initial_loss_upper=draws.nonnegative(rng) if rng.random() < 0.3 else draws.moderate(rng),
        input_entry_upper=draws.nonnegative(rng) if rng.random() < 0.2 else draws.moderate(rng),
        hidden_low=None if depth == 1 else low, hidden_high=None if depth == 1 else max(high, 0.0),
    )  # fmt: skip
    scale = low if depth > 1 and low > 0.0 else 1.0
    radius = draws.near(rng, scale) if rng.random() < 0.3 else scale * draws.share(rng)
    return {"network": network, "epsilon": rng.choice((0.0, draws.share(rng))),
            "radius": max(radius, 5e-324),
            "factor": rng.choice((1.0, 2.0, 0.5, draws.moderate(rng))),
            "box": (low, low + draws.moderate(rng))}  # fmt: skip


def _sigma(activation: Any, u: arb) -> tuple[arb, arb]:
    """max |sigma| and min sigma' on [-u, u]."""
    decay = (-u).exp()
    if isinstance(activation, SmoothLeakyReLUActivation):
        a = arb(activation.slope)
        top = a * u + (1 - a) * (u + decay.log1p() - arb(2).log())
        return top, a + (1 - a) * decay / (1 + decay)
    if isinstance(activation, TanhActivation):
        return u.tanh(), (2 * decay / (1 + decay**2)) ** 2
    return u, arb(1)


def _ingredients(x: PositiveNetwork, radius: arb) -> tuple[list[arb], list[arb], arb]:
    """k_l, c_l and P at a radius."""
    k = radius * (arb(x.inputs) * exact(x.input_entry_upper) + 1)
    reach, slopes = [k], [_sigma(x.activations[0], k)[1]]
    p = slopes[0]
    for l in range(1, len(x.widths)):  # noqa: E741 - the layer, as in the proof
        top = _sigma(x.activations[l - 1], k)[0]
        k = (exact(x.hidden_high or 0.0) + radius) * x.widths[l - 1] * top + radius
        slope = _sigma(x.activations[l], k)[1]
        reach.append(k)
        slopes.append(slope)
        p = p * x.widths[l] * (exact(x.hidden_low or 0.0) - radius).max(arb(0)) * slope
    return reach, slopes, p


def _least_entry(x: PositiveNetwork, epsilon: float, radius: arb) -> arb:
    """A = max{2R, 2 sqrt(S / (lambda d_1)) / ((1 - eps) R P)}."""
    p = _ingredients(x, radius)[2]
    units = exact(x.gram_eigenvalue_lower) * x.widths[0]
    need = 2 * (exact(x.initial_loss_upper) / units).sqrt()
    return (2 * radius).max(need / ((1 - arb(epsilon)) * radius * p))


def _explicit(x: Arguments) -> ExplicitOutputEntry:
    return explicit_output_entry(x["network"], epsilon=x["epsilon"], radius=x["radius"])


def _explicit_claims(x: Arguments, found: ExplicitOutputEntry) -> Iterator[Claim]:
    network, radius = x["network"], arb(found.radius)
    if network.input_entry_upper == math.inf:
        yield "nothing known", found.preactivation_upper[0] == math.inf
        return
    reach, slopes, p = _ingredients(network, radius)
    for i, (k, slope) in enumerate(zip(reach, slopes, strict=True)):
        yield "reach", at_most(k, found.preactivation_upper[i])
        tiny = found.slope_lower[i] in (0.0, getattr(network.activations[i], "slope", 0.0))
        yield "slope", tiny or at_most(found.slope_lower[i], slope)
    yield "P", found.downstream_lower == 0.0 or at_most(found.downstream_lower, p)
    if found.output_entry_upper < math.inf:
        yield "A", at_most(_least_entry(network, x["epsilon"], radius), found.output_entry_upper)


def _extreme(rng: Draw) -> Arguments:
    """Ingredients of every size, for the search of the best radius."""
    depth = rng.choice((1, 1, 2))
    kinds = (SmoothLeakyReLUActivation(0.5), TanhActivation(), IdentityActivation())
    low = draws.positive(rng)
    network = PositiveNetwork(
        inputs=rng.choice((1, 784)), widths=tuple(rng.choice((1, 2, 1000)) for _ in range(depth)),
        activations=tuple(rng.choice(kinds) for _ in range(depth)),
        gram_eigenvalue_lower=draws.positive(rng), initial_loss_upper=draws.nonnegative(rng),
        input_entry_upper=draws.nonnegative(rng), hidden_low=None if depth == 1 else low,
        hidden_high=None if depth == 1 else max(low, draws.positive(rng)),
    )  # fmt: skip
    return {"network": network, "epsilon": rng.choice((0.0, draws.share(rng))), "radius": None}


def _entry_of(x: Arguments) -> float:
    """An output entry around the explicit one."""
    a = _explicit(x).output_entry_upper * x["factor"]
    return min(a, 1e308)


def _flow(x: Arguments) -> tuple[Verdict[Any], float]:
    entry = _entry_of(x)
    return positive_initialisation_flow_converges(x["network"], entry, radius=x["radius"]), entry


def _descends(x: Arguments) -> tuple[Verdict[Any], float]:
    entry, smooth = _entry_of(x), NestedBallBound.everywhere(100.0)
    return positive_initialisation_descends(
        x["network"], entry, smooth, epsilon=x["epsilon"], radius=x["radius"]
    ), entry  # fmt: skip


def _flow_claims(x: Arguments, found: tuple[Verdict[Any], float]) -> Iterator[Claim]:
    verdict, entry = found
    c, network, radius = verdict.conclusion, x["network"], arb(x["radius"])
    if c is None:
        yield "never refuted", verdict.status.value == "UNDECIDED"
        return
    p, gap = _ingredients(network, radius)[2], arb(network.initial_loss_upper)
    a = 2 * (arb(network.gram_eigenvalue_lower) * network.widths[0]).sqrt() * (entry - radius) * p
    rest = 1 - arb(x["epsilon"]) if hasattr(c, "step_size") else arb(1)
    budget = 2 * gap.sqrt() / rest
    yield "positive", below(0, network.gram_eigenvalue_lower) and below(radius, entry)
    yield "criterion", below(budget, a * radius)
    yield "radius", at_most(budget / a, c.radius_upper)
    yield "steepness", at_most(c.profile_lower, a)
    yield "distance", at_most(budget / a, c.distance_upper)
    if hasattr(c, "step_size"):
        yield "step", at_most(c.step_size * 100, 2 * arb(x["epsilon"]))
        delta = rest * c.step_size * a**2
        yield from rate_claims(
            c.one_minus_rate_lower, c.loss_rate_upper, c.halving_steps_upper, delta
        )
    else:
        yield "exponent", at_most(c.exponent_lower, a**2)


def _lecun(x: Arguments) -> Verdict[Any]:
    deep = len(x["network"].widths) > 1
    low, high = x["box"] if deep else (None, None)
    return lecun_initialisation_converges_with_probability(
        x["network"], low=low, high=high, epsilon=x["epsilon"],
        radius=None if deep and x["factor"] == 1.0 else x["radius"],
    )  # fmt: skip


def _log_tail(x: arb) -> arb:
    """A lower bound of log(1 - Phi(x)), the number itself where Arb's erfc has digits."""
    tail = (x / arb(2).sqrt()).erfc() / 2
    if tail > 0:
        return tail.log()
    return -x * x / 2 - (2 * arb.pi()).log() / 2 + (x / (1 + x * x)).log()


def _lecun_claims(x: Arguments, verdict: Verdict[Any]) -> Iterator[Claim]:
    c, network = verdict.conclusion, x["network"]
    if c is None:
        yield "never refuted", verdict.status.value == "UNDECIDED"
        return
    total, root = arb(0), arb(2).sqrt()
    boxed = network
    if c.low is not None:
        low, high = arb(c.low), arb(c.high)
        for fan_in, units in pairwise(network.widths):
            s = arb(fan_in).sqrt()
            one = ((low * s / root).erfc() - (high * s / root).erfc()) / 2
            total += fan_in * units * one.log()
        boxed = PositiveNetwork(
            network.inputs, network.widths, network.activations, network.gram_eigenvalue_lower,
            network.initial_loss_upper, network.input_entry_upper, c.low, c.high,
        )  # fmt: skip
    last = network.widths[-1]
    total += last * _log_tail(arb(c.output_entry) * arb(last).sqrt())
    yield "log P", at_most(c.log_probability_lower, total)
    yield "A", at_most(_least_entry(boxed, x["epsilon"], arb(c.radius)), c.output_entry)


ENTROPY, POSITIVE = "talweg.theory._cross_entropy", "talweg.theory._positive_initialisation"
SHARDS = (
    shard("theory.cross_entropy_pl_lower",
          Routine(_pl, lambda x: cross_entropy_pl_lower(*x), _pl_claims), (ENTROPY,)),
    shard("theory.cross_entropy_budget",
          Routine(_budget, lambda x: cross_entropy_budget(*x), _budget_claims, 300), (ENTROPY,)),
    shard("theory.cross_entropy_target_reached",
          Routine(_t13, _t13_ask, _t13_claims, 80, count_numbers=True), (ENTROPY,), goal=1_000_000),
    shard("theory.explicit_output_entry",
          Routine(_network, _explicit, _explicit_claims, count_numbers=True), (POSITIVE,)),
    shard("theory.explicit_output_entry_at_the_best_radius",
          Routine(_extreme, _explicit, _explicit_claims, 4, count_numbers=True), (POSITIVE,),
          goal=100_000),
    shard("theory.positive_initialisation_flow_converges",
          Routine(_network, _flow, _flow_claims, 80, count_numbers=True), (POSITIVE,),
          goal=100_000),
    shard("theory.positive_initialisation_descends",
          Routine(_network, _descends, _flow_claims, 80, count_numbers=True), (POSITIVE,),
          goal=100_000),
    shard("theory.lecun_initialisation_converges_with_probability",
          Routine(_network, _lecun, _lecun_claims, 30, count_numbers=True),
          ("talweg.theory._lecun_event",), goal=100_000),
)  # fmt: skip
