"""Arithmetic of balls: exact members of the operands give members of the result."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from tests.soundness.containment import draws
from tests.soundness.containment.draws import MEMBER_SCALE, SCALE, member, units
from tests.soundness.containment.record import Record, shard
from torch import Tensor

from talweg.enclosure import Ball, Interval

UNDER_TEST = ("talweg.enclosure._ball", "talweg.enclosure._directed", "talweg.enclosure._scalar")
SHAPES = [(1, 1), (1, 9), (9, 1), (4, 5), (6, 6), (2, 40), (0, 3), (3, 0)]
OPERATORS: dict[str, Callable[..., Ball]] = {
    "add": operator.add,
    "sub": operator.sub,
    "mul": operator.mul,
    "div": operator.truediv,
}

Operand = Ball | Tensor | Interval | float


def drawn_ball(rng: np.random.Generator, m: int, n: int, *, infinite: bool = True) -> Ball:
    """A nasty ball; one in ten has a midpoint in single precision, converted exactly."""
    kind = int(rng.integers(10))
    if kind == 0:
        with np.errstate(over="ignore"):
            narrow = torch.from_numpy(draws.matrix(rng, m, n).astype(np.float32))
        return Ball.exact(torch.where(narrow.isfinite(), narrow, 1.0))
    if kind in (1, 2):
        mid = draws.laid_out(rng, m, n)
        rad = torch.from_numpy(draws.radii(rng, mid.numpy(), infinite=infinite))
        return Ball(mid, rad)
    return draws.ball(rng, draws.matrix(rng, m, n), infinite=infinite)


def _partner(rng: np.random.Generator, x: Ball) -> Operand:
    """A second operand for x: of its shape, of one that broadcasts, near -x or x, or a number."""
    m, n = x.shape
    kind = int(rng.integers(10))
    if kind == 0:
        return float(draws.numbers(rng, 1)[0])
    if kind == 1:
        ends = sorted(draws.numbers_like(rng, 2).tolist())
        ends[0] = -math.inf if rng.random() < 0.05 else ends[0]
        return Interval(ends[0], math.inf if rng.random() < 0.05 else ends[1])
    if kind == 2:
        return draws.laid_out(rng, m, n)
    if kind == 3:
        return torch.from_numpy(rng.integers(-(2**31), 2**31, (m, n))).to(torch.int32)
    if kind == 4:
        return draws.ball(rng, draws.numbers_like(rng, n))
    if kind == 5:
        return drawn_ball(rng, 1, n) if rng.integers(2) else drawn_ball(rng, m, 1)
    if kind == 6:
        near = torch.nextafter(x.mid, draws.laid_out(rng, m, n)) * (1.0 - 2.0 * rng.integers(2))
        return Ball(near, torch.from_numpy(draws.radii(rng, near.numpy())))
    return drawn_ball(rng, m, n)


def _members(rng: np.random.Generator, operand: Operand, shape: torch.Size) -> list[int]:
    """A member of every entry of an operand that is broadcast to `shape`."""
    if isinstance(operand, Interval):
        ends = [e for e in (operand.lo, operand.hi, operand.mid) if math.isfinite(e)]
        return [units(float(e)) << 3 for e in rng.choice(ends, shape.numel())]
    if isinstance(operand, Ball):
        own = torch.arange(operand.mid.numel()).reshape(operand.shape)
        drawn = draws.members(rng, operand)
        return [drawn[i] for i in own.expand(shape).reshape(-1).tolist()]
    values = torch.as_tensor(operand, dtype=torch.float64).expand(shape)
    return [u << 3 for u in draws.units_of(values)]


def _holds_result(name: str, mid: float, rad: float, x: int, y: int) -> bool:
    if name == "add":
        return draws.holds(mid, rad, x + y, MEMBER_SCALE)
    if name == "sub":
        return draws.holds(mid, rad, x - y, MEMBER_SCALE)
    if name == "mul":
        return draws.holds(mid, rad, x * y, 2 * MEMBER_SCALE)
    if not (math.isfinite(mid) and rad >= 0.0):
        return False
    # |x / y - m| <= r, multiplied by |y|; no quotient exists for y = 0.
    return rad == math.inf or abs((x << SCALE) - units(mid) * y) <= units(rad) * abs(y)


def binary(name: str, rng: np.random.Generator, record: Record) -> None:
    m, n = SHAPES[int(rng.integers(len(SHAPES)))]
    one = drawn_ball(rng, m, n)
    two = _partner(rng, one)
    x: Operand = one
    y: Operand = two
    if rng.integers(2) and not isinstance(two, Interval):  # Interval o Ball is refused
        x, y = two, one
    result = record.call(OPERATORS[name], x, y)
    if result is None:
        return
    xs, ys = _members(rng, x, result.shape), _members(rng, y, result.shape)
    mids, rads = result.mid.reshape(-1).tolist(), result.rad.reshape(-1).tolist()
    for i, (a, b, mid, rad) in enumerate(zip(xs, ys, mids, rads, strict=True)):
        if name == "div" and b == 0:
            record.check(rad == math.inf, name, "by zero: entry", i, x, y)
            continue
        good = _holds_result(name, mid, rad, a, b)
        record.check(good, name, "entry", i, "members", a, b, "of", x, y)
    record.counts["finite"] += sum(map(math.isfinite, rads))


def _unary_holds(name: str, mid: float, rad: float, x: int) -> bool:
    if name == "square":
        return draws.holds(mid, rad, x * x, 2 * MEMBER_SCALE)
    if name == "neg":
        return draws.holds(mid, rad, -x, MEMBER_SCALE)
    if not (math.isfinite(mid) and rad >= 0.0):
        return False
    if math.isinf(rad):
        return True
    low, high = units(mid) - units(rad), units(mid) + units(rad)
    target = x << (2 * SCALE - MEMBER_SCALE)
    return high >= 0 and high * high >= target and (low <= 0 or low * low <= target)


def unary(name: str, rng: np.random.Generator, record: Record) -> None:
    m, n = SHAPES[int(rng.integers(len(SHAPES)))]
    x = drawn_ball(rng, m, n)
    if name == "sqrt":
        x = Ball(x.mid.abs(), x.rad) if rng.integers(4) else x
        if x.mid.numel() and not bool((x.upper() >= 0.0).all()):
            record.refuses(x.sqrt)
            return
    routine = {"square": x.square, "neg": x.__neg__, "sqrt": x.sqrt}[name]
    result = record.call(routine)
    if result is None:
        return
    entries = zip(result.mid.reshape(-1).tolist(), result.rad.reshape(-1).tolist(), strict=True)
    for a, (mid, rad) in zip(draws.members(rng, x), entries, strict=True):
        if name == "sqrt" and a < 0:
            continue
        record.check(_unary_holds(name, mid, rad, a), name, "member", a, "of", x)


def bounds(name: str, rng: np.random.Generator, record: Record) -> None:
    """lower, upper and the bounds of |x| against members."""
    m, n = SHAPES[int(rng.integers(len(SHAPES)))]
    x = drawn_ball(rng, m, n)
    result = record.call(getattr(x, name))
    if result is None:
        return
    side = draws.at_most if name in ("lower", "magnitude_lower") else draws.at_least
    for a, bound in zip(draws.members(rng, x), result.reshape(-1).tolist(), strict=True):
        value = abs(a) if name.startswith("magnitude") else a
        record.check(side(bound, value, MEMBER_SCALE), name, "member", a, "of", x)


def contains(rng: np.random.Generator, record: Record) -> None:
    """The answer is the exact one, yes and no."""
    m, n = SHAPES[int(rng.integers(len(SHAPES)))]
    x = drawn_ball(rng, m, n)
    if x.mid.numel() == 0:
        record.check(x.contains(x.mid) is True, "contains, empty")
        return
    drawn = draws.numbers(rng, m * n).tolist()
    kinds, signs = rng.integers(0, 7, m * n).tolist(), rng.choice([-1.0, 1.0], m * n).tolist()
    mids, rads = x.mid.reshape(-1).tolist(), x.rad.reshape(-1).tolist()
    for mid, rad, kind, sign, other in zip(mids, rads, kinds, signs, drawn, strict=True):
        end = mid + sign * rad
        beside = (math.nextafter(end, mid), math.nextafter(end, 2.0 * end - mid))
        point = (end, *beside, mid, other, math.inf, math.nan)[kind]
        exact = math.isfinite(point) and draws.holds(mid, rad, units(point), SCALE)
        triple = torch.tensor([[mid] * 3, [rad] * 3, [mid, point, mid]], dtype=torch.float64)
        came = record.call(Ball(triple[0], triple[1]).contains, triple[2])
        record.check(came is exact, "contains", mid, rad, point, "gave", came)


def inflate(rng: np.random.Generator, record: Record) -> None:
    m, n = SHAPES[int(rng.integers(len(SHAPES)))]
    x = drawn_ball(rng, m, n)
    kind = int(rng.integers(4))
    r: Tensor | float = torch.from_numpy(draws.radii(rng, x.mid.numpy()))
    if kind == 0:
        r = abs(float(draws.numbers(rng, 1)[0]))
    elif kind == 1:
        r = draws.laid_out(rng, 1, n).abs()
    result = record.call(x.inflate, r)
    if result is None:
        return
    extra = torch.as_tensor(r, dtype=torch.float64).expand(x.shape).reshape(-1).tolist()
    rows = [t.reshape(-1).tolist() for t in (x.mid, x.rad, result.mid, result.rad)]
    for mid, rad, new_mid, new_rad, e in zip(*rows, extra, strict=True):
        grown = math.inf if math.isinf(rad + e) else None
        good = new_rad == math.inf or (
            grown is None and new_mid == mid and units(new_rad) >= units(rad) + units(e)
        )
        record.check(good, "inflate", mid, rad, e, "gave", new_mid, new_rad)


def symmetrized(rng: np.random.Generator, record: Record) -> None:
    """Both ends of the common part of entries (i, j) and (j, i) stay inside."""
    n = int(rng.integers(1, 8))
    x = drawn_ball(rng, n, n)
    if rng.integers(3):
        near = torch.where(_coins(rng, n, n), x.mid, torch.nextafter(x.mid, x.mid.mT + 1.0))
        upper = torch.triu(x.mid) + torch.triu(near, 1).mT
        x = Ball(upper, x.rad)
    result = record.call(x.symmetrized)
    if result is None:
        return
    mids, rads, new, grown = (t.tolist() for t in (x.mid, x.rad, result.mid, result.rad))
    for i in range(n):
        for j in range(n):
            record.check(new[i][j] == new[j][i], "symmetrized: midpoint of", x)
            ends = [
                [member(mids[p][q], rads[p][q], s) for p, q in ((i, j), (j, i))] for s in (-8, 8)
            ]
            low, high = max(ends[0]), min(ends[1])
            if low <= high:
                good = all(
                    draws.holds(new[i][j], grown[i][j], v, MEMBER_SCALE) for v in (low, high)
                )
                record.check(good, "symmetrized", i, j, "of", x)


def total(rng: np.random.Generator, record: Record) -> None:
    """The exact range of a sum: both ends."""
    m, n = [*SHAPES, (3, 90), (2, 300)][int(rng.integers(len(SHAPES) + 2))]
    x = drawn_ball(rng, m, n, infinite=bool(rng.integers(2)))
    dim = [None, 0, 1, -1, (0, 1)][int(rng.integers(5))] if m and n else -1
    result = record.call(x.sum, dim)
    if result is None:
        return
    places = torch.arange(m * n).reshape(m, n)
    groups = [places.reshape(-1).tolist()]
    if isinstance(dim, int):
        groups = (places.mT if dim == 0 else places).tolist()
    mids, rads = x.mid.reshape(-1).tolist(), x.rad.reshape(-1).tolist()
    new = list(zip(result.mid.reshape(-1).tolist(), result.rad.reshape(-1).tolist(), strict=True))
    for group, (mid, rad) in zip(groups, new, strict=True):
        ends = [sum(member(mids[i], rads[i], s) for i in group) for s in (-8, 8)]
        good = all(draws.holds(mid, rad, v, MEMBER_SCALE) for v in ends)
        record.check(good, "sum", dim, [mids[i] for i in group], [rads[i] for i in group])


def _coins(rng: np.random.Generator, m: int, n: int, share: float = 0.5) -> Tensor:
    return torch.from_numpy(rng.random((m, n)) < share)


def from_bounds(rng: np.random.Generator, record: Record) -> None:
    m, n = SHAPES[int(rng.integers(len(SHAPES)))]
    one = draws.laid_out(rng, m, n)
    two = [draws.laid_out(rng, m, n), torch.nextafter(one, -one), one][int(rng.integers(3))]
    lo, hi = torch.minimum(one, two), torch.maximum(one, two)
    lo = torch.where(_coins(rng, m, n, 0.02), -math.inf, lo)
    hi = torch.where(_coins(rng, m, n, 0.02), math.inf, hi)
    result = record.call(Ball.from_bounds, lo, hi)
    if result is None:
        return
    rows = [t.reshape(-1).tolist() for t in (lo, hi, result.mid, result.rad)]
    for low, high, mid, rad in zip(*rows, strict=True):
        good = all(
            draws.holds(mid, rad, units(e), SCALE) if math.isfinite(e) else rad == math.inf
            for e in (low, high)
        )
        exact = low < high or rad == 0.0
        record.check(good and exact, "from_bounds", low, high, "gave", mid, rad)
    if one.numel() and bool((lo < hi).any()):
        record.refuses(Ball.from_bounds, hi, lo)


def construction(rng: np.random.Generator, record: Record) -> None:
    """Ball.exact keeps values; Ball(...) refuses every NaN, infinity and negative radius."""
    m, n = int(rng.integers(1, 6)), int(rng.integers(1, 6))
    t = draws.laid_out(rng, m, n)
    dtypes = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
    t = t.to(dtypes[int(rng.integers(4))])
    t = torch.where(t.isfinite(), t, 1.0)
    result = record.call(Ball.exact, t)
    if result is not None:
        rows = (t.reshape(-1).tolist(), result.mid.reshape(-1).tolist())
        zero = bool((result.rad == 0.0).all()) and result.is_exact()
        for value, mid in zip(*rows, strict=True):
            record.check(zero and mid == value, "Ball.exact", value, "gave", mid)
    mid, rad = draws.matrix(rng, m, n), np.abs(draws.matrix(rng, m, n))
    place = (int(rng.integers(m)), int(rng.integers(n)))
    fault = int(rng.integers(5))
    if fault < 3:
        mid[place] = (math.nan, math.inf, -math.inf)[fault]
    else:
        rad[place] = (math.nan, -draws.ETA)[fault - 3]
    for _ in range(8):  # the same fault in other layouts
        record.refuses(Ball, draws.relaid(rng, mid), draws.relaid(rng, rad))


SHARDS = (
    *(shard(f"enclosure.Ball.{o}", UNDER_TEST, partial(binary, o), 800) for o in OPERATORS),
    *(
        shard(f"enclosure.Ball.{o}", UNDER_TEST, partial(unary, o), 800)
        for o in ("neg", "square", "sqrt")
    ),
    *(
        shard(f"enclosure.Ball.{o}", UNDER_TEST, partial(bounds, o), 800)
        for o in ("lower", "upper", "magnitude_lower", "magnitude_upper")
    ),
    shard("enclosure.Ball.contains", UNDER_TEST, contains, 100),
    shard("enclosure.Ball.inflate", UNDER_TEST, inflate, 800),
    shard("enclosure.Ball.symmetrized", UNDER_TEST, symmetrized, 800),
    shard("enclosure.Ball.sum", UNDER_TEST, total, 800),
    shard("enclosure.Ball.from_bounds", UNDER_TEST, from_bounds, 800),
    shard("enclosure.Ball", UNDER_TEST, construction, 800),
)
