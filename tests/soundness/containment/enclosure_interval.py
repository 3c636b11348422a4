"""Intervals: exact members of the operands, some beyond the largest float, stay inside.

An infinite end is a bound of unknown size, so members are drawn there that no float reaches.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from functools import partial

import numpy as np
from tests.soundness.containment import draws
from tests.soundness.containment.draws import units
from tests.soundness.containment.record import Record, shard

from talweg.enclosure import Interval, certainly_at_most, certainly_less

UNDER_TEST = ("talweg.enclosure._scalar",)
SCALE = draws.MEMBER_SCALE  # members are whole numbers of 2^-1077
BEYOND = 1 << (SCALE + 1200)


def interval(rng: np.random.Generator) -> Interval:
    """Points, neighbours, intervals around, beside and ending at 0, rays, the whole line."""
    a, b = draws.numbers_like(rng, 2).tolist()
    kind = int(rng.integers(9))
    if kind == 0:
        return Interval.point(a)
    if kind == 1:
        b = math.nextafter(a, math.copysign(math.inf, b))
    elif kind == 2:
        b = 0.0
    elif kind == 3:
        b = -a
    elif kind == 4:
        b = math.copysign(b, a)
    lo, hi = min(a, b), max(a, b)
    if kind == 5:
        lo = -math.inf if rng.integers(2) else lo
        hi = math.inf if rng.integers(2) else hi
    return Interval(lo, hi)


def members(rng: np.random.Generator, x: Interval) -> list[int]:
    """Both ends and one point between."""
    low = (units(x.lo) << 3) if x.lo > -math.inf else -BEYOND * int(rng.integers(1, 9))
    high = (units(x.hi) << 3) if x.hi < math.inf else BEYOND * int(rng.integers(1, 9))
    return [low, high, low + (high - low) * int(rng.integers(1, 8)) // 8]


def inside(x: Interval, numerator: int, denominator: int = 1) -> bool:
    """Whether x holds numerator / denominator 2^-1077, for a positive denominator."""
    low = x.lo == -math.inf or (units(x.lo) << 3) * denominator <= numerator
    return low and (x.hi == math.inf or numerator <= (units(x.hi) << 3) * denominator)


BINARY: dict[str, Callable[..., Interval]] = {
    "add": operator.add,
    "sub": operator.sub,
    "mul": operator.mul,
    "div": operator.truediv,
    "minimum": Interval.minimum,
    "maximum": Interval.maximum,
    "hull": Interval.hull,
}


def _image(name: str, x: int, y: int) -> tuple[int, int] | None:
    """x o y as numerator and positive denominator, in units of 2^-1077."""
    if name == "add":
        return x + y, 1
    if name == "sub":
        return x - y, 1
    if name == "mul":
        return x * y, 1 << SCALE
    if name == "div":
        return None if y == 0 else ((x << SCALE) * (1 if y > 0 else -1), abs(y))
    return (min if name == "minimum" else max)(x, y), 1


def binary(name: str, rng: np.random.Generator, record: Record) -> None:
    x, y = interval(rng), interval(rng)
    kind = int(rng.integers(6))
    p: Interval | float = x
    q: Interval | float = y
    if kind == 0:  # a float on the right
        q = draws.numbers(rng, 1).tolist()[0]
    elif kind == 1 and name in ("add", "sub", "mul", "div"):  # and on the left
        p = draws.numbers(rng, 1).tolist()[0]
    elif kind == 2:
        q = int(rng.integers(-(2**53), 2**53 + 1))
    result = record.call(BINARY[name], p, q)
    if result is None:
        return
    x, y = (v if isinstance(v, Interval) else Interval.point(v) for v in (p, q))
    for a in members(rng, x):
        for b in members(rng, y):
            if name == "hull":
                good = inside(result, a) and inside(result, b)
                record.check(good, name, x, y, "gave", result)
                continue
            image = _image(name, a, b)
            if image is not None:
                record.check(inside(result, *image), name, x, y, "gave", result, "without", a, b)


def _one_holds(name: str, result: Interval, a: int) -> bool:
    if name == "neg":
        return inside(result, -a)
    if name == "abs":
        return inside(result, abs(a))
    if name == "clip_nonnegative":
        return inside(result, max(a, 0))
    if name == "square":
        return inside(result, a * a, 1 << SCALE)
    # sqrt: lo^2 <= a <= hi^2, the ends being >= 0
    below, above = result.lo, result.hi
    low = below <= 0.0 or (units(below) << 3) ** 2 <= a << SCALE
    return low and (above == math.inf or (units(above) << 3) ** 2 >= a << SCALE)


def unary(name: str, rng: np.random.Generator, record: Record) -> None:
    x = interval(rng)
    if name == "sqrt" and rng.integers(8):
        x = abs(x)
    routines: dict[str, Callable[[Interval], Interval]] = {"neg": operator.neg, "abs": abs}
    routine = routines[name] if name in routines else getattr(Interval, name)
    if name == "sqrt" and x.lo < 0.0:
        record.refuses(routine, x)
        return
    result = record.call(routine, x)
    if result is not None:
        for a in members(rng, x):
            record.check(_one_holds(name, result, a), name, x, "gave", result, "without", a)


def numbers_of(rng: np.random.Generator, record: Record) -> None:
    """mid, magnitude, mignitude, width, is_finite and contains."""
    x = interval(rng)
    inner = members(rng, x)
    for a in inner:
        record.check(draws.at_least(x.magnitude, abs(a), SCALE), "magnitude", x, a)
        record.check(draws.at_most(x.mignitude, abs(a), SCALE), "mignitude", x, a)
    record.check(draws.at_least(x.width(), inner[1] - inner[0], SCALE), "width", x)
    mid = x.mid
    record.check(math.isfinite(mid) and inside(x, units(mid) << 3), "mid", x, "gave", mid)
    finite = math.isfinite(x.lo) and math.isfinite(x.hi)
    record.check(x.is_finite() is finite, "is_finite", x)
    point = float(rng.choice([*draws.numbers(rng, 2), mid, math.nextafter(mid, math.inf)]))
    if math.isfinite(point):
        record.check(x.contains(point) is inside(x, units(point) << 3), "contains", x, point)
    record.check(not x.contains(math.nan), "contains nan", x)
    other = interval(rng)
    if x.contains(other):
        good = all(inside(x, a) for a in members(rng, other))
        record.check(good, "contains", x, other)


def construction(rng: np.random.Generator, record: Record) -> None:
    a, b = draws.numbers_like(rng, 2).tolist()
    exact = record.call(Interval.point, a)
    record.check(exact is not None and inside(exact, units(a) << 3), "point", a, "gave", exact)
    far = record.call(Interval.point, math.copysign(math.inf, a))
    beyond = int(math.copysign(1, a)) * BEYOND
    record.check(far is not None and inside(far, beyond), "point of an infinity gave", far)
    for bad in [(math.nan, b), (a, math.nan), (math.inf, math.inf), (-math.inf, -math.inf)]:
        record.refuses(Interval, *bad)
    if a != b:
        record.refuses(Interval, max(a, b), min(a, b))
    large = int(rng.integers(2**53, 2**62)) | 1
    record.refuses(Interval.point, large)
    record.refuses(Interval, -large, 0.0)
    record.refuses(Interval.ratio, large, 3)
    p, q = int(rng.integers(-(2**53), 2**53)), int(rng.integers(1, 2 ** int(rng.integers(1, 53))))
    quotient = record.call(Interval.ratio, p, q)
    good = quotient is not None and inside(quotient, p << SCALE, q)
    record.check(good, "ratio", p, q, "gave", quotient)


COMPARISONS: dict[str, tuple[Callable[..., bool], Callable[[int, int], bool], bool]] = {
    "certainly_less": (certainly_less, operator.lt, False),
    "certainly_at_most": (certainly_at_most, operator.le, False),
    "Interval.certainly_less": (Interval.certainly_less, operator.lt, False),
    "Interval.certainly_at_most": (Interval.certainly_at_most, operator.le, False),
    "Interval.certainly_greater": (Interval.certainly_greater, operator.gt, True),
    "Interval.certainly_at_least": (Interval.certainly_at_least, operator.ge, True),
}


def comparison(name: str, rng: np.random.Generator, record: Record) -> None:
    """Certain exactly when it holds for the two ends that face each other."""
    routine, relation, downward = COMPARISONS[name]
    x, y = interval(rng), interval(rng)
    kind = int(rng.integers(4))
    if kind == 0:  # a shared end
        y = Interval(x.hi, math.inf) if x.hi < math.inf else y
    elif kind == 1:
        y = Interval(-math.inf, x.lo) if x.lo > -math.inf else y
    facing = (x.lo, y.hi) if downward else (x.hi, y.lo)
    certain = all(map(math.isfinite, facing)) and relation(*map(units, facing))
    came = record.call(routine, x, y)
    record.check(came is certain, name, x, y, "gave", came)
    if came:
        for a, b in zip(members(rng, x), members(rng, y), strict=True):
            record.check(relation(a, b), name, x, y, "although", a, b)
    if name == "Interval.certainly_at_least":
        low = x.lo > -math.inf and units(x.lo) >= 0
        record.check(x.certainly_nonnegative() is low, "certainly_nonnegative", x)
        above = x.lo > -math.inf and units(x.lo) > 0
        record.check(x.certainly_positive() is above, "certainly_positive", x)


SHARDS = (
    *(shard(f"enclosure.Interval.{o}", UNDER_TEST, partial(binary, o), 3000) for o in BINARY),
    *(
        shard(f"enclosure.Interval.{o}", UNDER_TEST, partial(unary, o), 5000)
        for o in ("neg", "abs", "clip_nonnegative", "square", "sqrt")
    ),
    shard("enclosure.Interval.numbers", UNDER_TEST, numbers_of, 3000),
    shard("enclosure.Interval", UNDER_TEST, construction, 3000),
    *(shard(f"enclosure.{o}", UNDER_TEST, partial(comparison, o), 3000) for o in COMPARISONS),
)
