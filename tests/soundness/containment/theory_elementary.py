"""Containment: the elementary bounds under the theorems, from logarithms to profiles."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from typing import Any

from flint import arb, ctx
from tests.soundness.containment import theory_draws as draws
from tests.soundness.containment.theory_judge import (
    Claim,
    Routine,
    at_most,
    decided,
    exact,
    shard,
    shrink_claims,
)
from tests.soundness.containment.theory_reference import (
    Linear,
    Steps,
    curvature,
    growth,
    linear,
    nested,
)

from talweg.enclosure import Interval
from talweg.theory import (
    CrossEntropy,
    IdentityActivation,
    JacobianNormBound,
    Profile,
    ScaledProfile,
    SmoothLeakyReLUActivation,
    SquaredLoss,
    TanhActivation,
    steps_to_shrink_upper,
)
from talweg.theory import _arb as arb_bounds
from talweg.theory import _logarithm as logarithm
from talweg.theory import _trigonometric as trigonometric

Draw = random.Random


def inside(name: str, value: arb, found: Interval) -> Iterator[Claim]:
    """Both ends of an interval."""
    yield name + " lower", at_most(found.lo, value)
    yield name + " upper", at_most(value, found.hi)


def _log(x: float, found: Interval) -> Iterator[Claim]:
    yield from inside("log", arb(x).log(), found)


def _share_or_end(rng: Draw) -> float:
    u = rng.random()
    return rng.choice((0.0, 1.0, 0.5)) if u < 0.1 else draws.share(rng)


def _log1m(x: float, found: float) -> Iterator[Claim]:
    if x < 1.0:
        yield "-log(1 - x)", at_most(found, -(-arb(x)).log1p())


def _shrinking(rng: Draw) -> tuple[float, float]:
    return draws.size(rng), _share_or_end(rng)


def _shrunk(arguments: tuple[float, float], steps: float) -> Iterator[Claim]:
    ratio, one_minus = arguments
    yield "at least one", at_most(1, steps)
    yield from shrink_claims("steps", steps, arb(one_minus), arb(ratio))


def _angle(rng: Draw) -> Interval:
    u = rng.random()
    if u < 0.2:
        x = rng.choice((math.pi, math.pi / 2, 2 * math.pi, 8.0, 0.0)) * rng.choice((1.0, -1.0))
        x = draws.neighbour(rng, x)
    else:
        x = rng.uniform(-9.0, 9.0) if u < 0.8 else draws.signed(rng)
    if rng.random() < 0.5:
        return Interval.point(x)
    return Interval(x, x + rng.choice((0.0, draws.share(rng), 5e-324)))


def _circle(x: Interval, answer: tuple[Interval, Interval]) -> Iterator[Claim]:
    for t in (exact(x.lo), exact(x.hi), (exact(x.lo) + exact(x.hi)) / 2):
        yield from inside("sin", t.sin(), answer[0])
        yield from inside("cos", t.cos(), answer[1])


def _quantile(rng: Draw) -> tuple[float, float, int]:
    low = draws.size(rng) if rng.random() < 0.95 else 0.0
    gap = draws.positive(rng) if rng.random() < 0.5 else low * 10.0 ** rng.uniform(-17, 1)
    high = low + gap if rng.random() < 0.9 else math.inf
    return low, max(high, math.nextafter(low, math.inf)), rng.choice((2, 10, 53, 53, 53, 300))


def _normal(x: tuple[float, float, int]) -> tuple[float, float]:
    with ctx.workprec(x[2]):  # rigorous whatever the precision
        return arb_bounds.log_normal_tail_lower(x[0]), arb_bounds.log_normal_box_lower(x[0], x[1])


def _normal_claims(x: tuple[float, float, int], found: tuple[float, float]) -> Iterator[Claim]:
    low, high, root = arb(x[0]), arb(x[1]), arb(2).sqrt()
    tail = (low / root).erfc() / 2
    if not tail > 0:  # phi(x) x / (1 + x^2) <= 1 - Phi(x) <= phi(x) / x
        density = -low * low / 2 - (2 * arb.pi()).log() / 2
        least, most = density + (low / (1 + low * low)).log(), density - low.log()
        yield "far tail", at_most(found[0], least) or (False if arb(found[0]) > most else None)
        return
    yield "log tail", at_most(found[0], tail.log())
    rest = (high / root).erfc() / 2 if x[1] < math.inf else arb(0)
    if found[1] > -math.inf:
        yield "log box", at_most(found[1], (tail - rest).log())
    else:
        yield "log box", True


def _activation(rng: Draw) -> tuple[Any, float]:
    which = rng.random()
    slope = min(max(draws.share(rng), 5e-324), 1.0 - 2.0**-53)
    chosen = SmoothLeakyReLUActivation(slope) if which < 0.6 else TanhActivation()
    reach = draws.nonnegative(rng)
    return (IdentityActivation() if which > 0.95 else chosen), reach


def _activation_claims(x: tuple[Any, float], found: tuple[float, float]) -> Iterator[Claim]:
    activation, reach = x
    u = arb(reach) if reach < math.inf else arb(10) ** 3
    decay = (-u).exp()
    if isinstance(activation, SmoothLeakyReLUActivation):
        a = arb(activation.slope)
        top = a * u + (1 - a) * (u + decay.log1p() - arb(2).log())
        bottom, floor = a + (1 - a) * decay / (1 + decay), activation.slope
    elif isinstance(activation, TanhActivation):
        top, bottom, floor = u.tanh(), (2 * decay / (1 + decay**2)) ** 2, 0.0
    else:
        top, bottom, floor = u, arb(1), 1.0
    bounded = isinstance(activation, TanhActivation) and found[0] == 1.0
    yield "magnitude", bounded or at_most(top, found[0])  # |tanh| < 1
    yield "slope", found[1] == floor or at_most(found[1], bottom)


def _loss(rng: Draw) -> tuple[SquaredLoss, float, float]:
    entries = draws.whole(rng)
    loss = SquaredLoss(rng.choice(("mean", "sum", "half_sum")), entries)
    return loss, draws.positive(rng), draws.nonnegative(rng)


def _loss_numbers(x: tuple[SquaredLoss, float, float]) -> tuple[Any, ...]:
    loss, step, r = x
    low = -r if r == math.inf else r
    return (
        loss.curvature, loss.pl_lower, loss.smoothness_upper, loss.theory_step(step),
        loss.learning_rate_lower(step), loss.loss_upper(r), loss.loss_lower(low),
        loss.residual_norm_upper(r), loss.residual_norm_lower(low),
    )  # fmt: skip


def _loss_claims(x: tuple[SquaredLoss, float, float], found: tuple[Any, ...]) -> Iterator[Claim]:
    loss, step, r = x
    two_c = curvature(loss)
    yield from inside("2 c", two_c, found[0])
    yield "pl", at_most(found[1], two_c)
    yield "smoothness", at_most(two_c, found[2])
    yield from inside("theory step", two_c * step, found[3])
    yield "learning rate", at_most(two_c * found[4], step)
    if r < math.inf:
        yield "loss upper", at_most(two_c / 2 * arb(r) ** 2, found[5])
        yield "loss lower", at_most(found[6], two_c / 2 * arb(r) ** 2)
        yield "residual upper", at_most((2 * arb(r) / two_c).sqrt(), found[7])
        yield "residual lower", at_most(found[8], (2 * arb(r) / two_c).sqrt())
    else:
        yield "infinite", found[5] == math.inf == found[7] and found[6] == 0.0 == found[8]


def _entropy(rng: Draw) -> tuple[CrossEntropy, float]:
    n, k = draws.whole(rng), 1 + draws.whole(rng, 2**52)
    return CrossEntropy(rng.choice(("mean", "sum")), n, k), draws.positive(rng)


def _entropy_claims(
    x: tuple[CrossEntropy, float], found: tuple[Interval, float]
) -> Iterator[Claim]:
    unit = 1 / arb(x[0].samples) if x[0].scaling == "mean" else arb(1)
    yield from inside("unit", unit, found[0])
    yield "learning rate", at_most(unit * found[1], x[1])


def _profile(rng: Draw) -> tuple[Any, float, float]:
    profile: Any = draws.step_profile(rng) if rng.random() < 0.5 else draws.singular_profile(rng)
    if rng.random() < 0.3:
        profile = ScaledProfile(profile, rng.choice((0.0, 1.0, draws.positive(rng))))
    end = profile.radius
    inner = getattr(profile, "base", profile)
    ends = [r for r in getattr(inner, "radii", inner and (end,)) if r < math.inf] or [1.0]
    radius = draws.near(rng, rng.choice(ends)) if rng.random() < 0.9 else draws.nonnegative(rng)
    budget = profile.integral_lower(radius) if rng.random() < 0.5 else profile.integral_lower(end)
    return profile, radius, draws.near(rng, budget)


def _profile_numbers(x: tuple[Any, float, float]) -> tuple[float, float, float]:
    profile, radius, budget = x
    return (profile.value_lower(radius), profile.integral_lower(radius),
            profile.first_radius_upper(budget))  # fmt: skip


def _profile_claims(
    x: tuple[Any, float, float], found: tuple[float, float, float]
) -> Iterator[Claim]:
    profile, radius, budget = x
    factor = profile.factor_lower if isinstance(profile, ScaledProfile) else 1.0
    base = profile.base if isinstance(profile, ScaledProfile) else profile
    true: Steps | Linear
    if isinstance(base, Profile):
        true, end = Steps.of(base, factor), exact(base.radius)
    else:
        if factor == 0.0:
            yield "zero profile", found[0] == 0.0 == found[1]
            return
        true = linear(base, factor)
        end = true.radius
    r = exact(radius)
    yield "value", at_most(0, found[0]) and at_most(found[0], true.value(r))
    reach = r if decided(at_most(r, end)) else end
    yield "integral", at_most(0, found[1]) and at_most(found[1], true.integral(reach))
    if found[2] < math.inf:
        first = true.first_radius(budget)
        yield "first radius exists", first is not None
        if first is not None:
            yield "first radius", at_most(first, found[2])


def _norm(rng: Draw) -> tuple[JacobianNormBound, float]:
    bound = JacobianNormBound(draws.nonnegative(rng), draws.lipschitz(rng))
    ends = [r for r in bound.lipschitz.radii if r < math.inf] or [1.0]
    radius = draws.near(rng, rng.choice(ends)) if rng.random() < 0.9 else draws.nonnegative(rng)
    return bound, radius


def _norm_claims(x: tuple[JacobianNormBound, float], found: tuple[float, ...]) -> Iterator[Claim]:
    bound, radius = x
    r = exact(radius)
    yield "beta", at_most(nested(bound.lipschitz, r), found[0])
    yield "integral", at_most(growth(bound.lipschitz, r), found[1])
    yield "norm", at_most(exact(bound.at_start_upper) + growth(bound.lipschitz, r), found[2])


def _around(rng: Draw) -> float:
    """Near 1 and near powers of two, where the series of the logarithm is cut."""
    near = rng.choice((1.0, 0.7, 1.4, 2.0 ** rng.randint(-1074, 1023)))
    return draws.near(rng, near) if rng.random() < 0.5 else draws.positive(rng)


LOG, TRIG = "talweg.theory._logarithm", "talweg.theory._trigonometric"
SHARDS = (
    shard("theory.log_enclosure",
          Routine(_around, logarithm.log_enclosure, _log), (LOG,)),
    shard("theory.negative_log1m_lower",
          Routine(_share_or_end, logarithm.negative_log1m_lower, _log1m), (LOG,)),
    shard("theory.steps_to_shrink_upper",
          Routine(_shrinking, lambda x: steps_to_shrink_upper(*x), _shrunk), (LOG,)),
    shard("theory.sine_and_cosine",
          Routine(_angle, lambda x: (trigonometric.sine(x), trigonometric.cosine(x)), _circle,
                  count_numbers=True), (TRIG,)),
    shard("theory.log_normal",
          Routine(_quantile, _normal, _normal_claims, 600), ("talweg.theory._arb",)),
    shard("theory.increasing_activations",
          Routine(_activation, lambda x: (x[0].magnitude_upper(x[1]), x[0].slope_lower(x[1])),
                  _activation_claims, 600), ("talweg.theory._increasing_activation",)),
    shard("theory.SquaredLoss",
          Routine(_loss, _loss_numbers, _loss_claims, 300, count_numbers=True),
          ("talweg.theory._losses",)),
    shard("theory.CrossEntropy",
          Routine(_entropy, lambda x: (x[0].unit, x[0].learning_rate_lower(x[1])),
                  _entropy_claims, 300), ("talweg.theory._cross_entropy",)),
    shard("theory.profiles",
          Routine(_profile, _profile_numbers, _profile_claims, 300, count_numbers=True),
          ("talweg.theory._profile", "talweg.theory._singular_values"), goal=1_000_000),
    shard("theory.nested_bounds",
          Routine(_norm, lambda x: (x[0].lipschitz.upper(x[1]),
                                    x[0].lipschitz.integral_upper(x[1]), x[0].upper(x[1])),
                  _norm_claims, 300, count_numbers=True), ("talweg.theory._bounds",)),
)  # fmt: skip
