"""The directed operations against whole-number arithmetic."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from tests.soundness.containment import draws
from tests.soundness.containment.draws import SCALE, units
from tests.soundness.containment.record import Record, shard
from torch import Tensor

import talweg.enclosure as enc

UNDER_TEST = ("talweg.enclosure._directed", "talweg.enclosure._scalar")
SHAPES = [(1, 1), (1, 7), (7, 1), (3, 4), (5, 9), (2, 33), (0, 3), (3, 0)]


def bounds(operation: str, bound: float, a: float, b: float, up: bool) -> bool:
    """Whether the bound is on its side of the exact a o b."""
    if math.isinf(bound):
        return (bound > 0.0) == up
    side = 1 if up else -1
    x, y, z = units(a), units(b), units(bound)
    if operation == "add":
        gap = z - (x + y)
    elif operation == "sub":
        gap = z - (x - y)
    elif operation == "mul":
        gap = (z << SCALE) - x * y
    else:  # z >= a / b, multiplied by |b|
        gap = z * abs(y) - ((x << SCALE) if y > 0 else -(x << SCALE))
    return bool(side * gap >= 0)


def _pair(rng: np.random.Generator) -> tuple[Tensor | float, Tensor | float]:
    """Operands: two tensors (some of shapes that broadcast), a tensor and a float, two floats."""
    m, n = SHAPES[int(rng.integers(len(SHAPES)))]
    a, b = draws.laid_out(rng, m, n), draws.laid_out(rng, m, n)
    kind = int(rng.integers(8))
    if kind == 0 and a.numel():
        return float(a.reshape(-1)[0]), float(b.reshape(-1)[0])
    if kind == 1:
        return a, float(draws.numbers(rng, 1)[0])
    if kind == 2:
        return float(draws.numbers(rng, 1)[0]), b
    if kind == 3:
        return a, draws.relaid(rng, draws.numbers_like(rng, n))
    if kind == 4:  # nearly equal operands
        return a, torch.nextafter(a, b)
    if kind == 5:
        return a, draws.relaid(rng, draws.numbers_like(rng, m * n).reshape(m, n))
    return a, b


def binary(operation: str, up: bool, rng: np.random.Generator, record: Record) -> None:
    name = f"{operation}_{'up' if up else 'down'}"
    a, b = _pair(rng)
    if operation == "div":  # a divisor of zero has its own convention, which no real number tests
        b = torch.where(b == 0.0, 1.5, b) if isinstance(b, Tensor) else b or 1.5
    result = record.call(getattr(enc, name), a, b)
    if result is None:
        return
    if isinstance(result, float):
        triples = [(float(a), float(b), result)]
    else:
        x, y = (torch.as_tensor(t, dtype=torch.float64).expand(result.shape) for t in (a, b))
        triples = list(zip(*(t.reshape(-1).tolist() for t in (x, y, result)), strict=True))
    for p, q, bound in triples:
        record.check(bounds(operation, bound, p, q, up), name, p, q, "gave", bound)


def root(up: bool, rng: np.random.Generator, record: Record) -> None:
    name = "sqrt_up" if up else "sqrt_down"
    values = np.abs(draws.numbers(rng, 64))
    squares = np.floor(rng.uniform(1.0, 2.0**26, 16)) ** 2.0 * 2.0 ** (
        2.0 * rng.integers(-200, 200)
    )
    x = draws.relaid(rng, np.concatenate([values, squares, np.nextafter(squares, 0.0)]))
    result = record.call(getattr(enc, name), x)
    if result is None:
        return
    pairs = [*zip(x.tolist(), result.tolist(), strict=True)]
    pairs += [(v, record.call(getattr(enc, name), v)) for v in x[:16].tolist()]
    for value, bound in pairs:
        square, target = units(bound) ** 2, units(value) << SCALE
        good = square >= target if up else square <= target
        record.check(bound >= 0.0 and good, name, value, "gave", bound)


REDUCTIONS: dict[str, tuple[Callable[..., Tensor], bool, int]] = {
    "sum_upper": (enc.sum_upper, True, 1),
    "sum_lower": (enc.sum_lower, False, 1),
    "sum_nonnegative_upper": (enc.sum_nonnegative_upper, True, 1),
    "norm_upper": (enc.norm_upper, True, 2),
    "row_norms_upper": (enc.row_norms_upper, True, 2),
}


def reduction(name: str, rng: np.random.Generator, record: Record) -> None:
    """A bound of the sum (power 1) or of the root of the sum of squares (power 2)."""
    routine, up, power = REDUCTIONS[name]
    x = _summands(rng)
    if name == "sum_nonnegative_upper":
        x = x.abs()
    dims: list[int | tuple[int, ...] | None] = [-1, 0, (0, 1), None, -2]
    dim = dims[int(rng.integers(len(dims)))] if name != "row_norms_upper" else -1
    if x.shape[0] == 0 or x.shape[1] == 0:
        dim = -1
    if name == "row_norms_upper" and x.shape[0] < x.shape[1] and rng.integers(4):
        x = x.mT  # more rows, more questions
    result = record.call(routine, x) if name == "row_norms_upper" else record.call(routine, x, dim)
    if result is None:
        return
    rows = x.tolist()
    if dim in (0, -2):
        rows = x.mT.tolist()
    elif dim is None or isinstance(dim, tuple):
        rows = [x.reshape(-1).tolist()]
    outcomes = result.reshape(-1).tolist()
    if len(outcomes) != len(rows):
        record.check(False, name, "returned shape", tuple(result.shape), "for", tuple(x.shape))
        return
    for row, bound in zip(rows, outcomes, strict=True):
        values = [units(v) for v in row]
        if power == 1:
            side = draws.at_least if up else draws.at_most
            good = side(bound, sum(values), SCALE)
        else:
            square = sum(v * v for v in values)
            good = bound == math.inf or (bound >= 0.0 and units(bound) ** 2 >= square)
        record.check(good, name, "of", row, "gave", bound)


def _summands(rng: np.random.Generator) -> Tensor:
    """A matrix whose rows cancel, tie, overflow on the way, or mix scales."""
    m, n = [*SHAPES, (3, 100), (2, 517)][int(rng.integers(len(SHAPES) + 2))]
    kind = int(rng.integers(5))
    if kind == 0:  # a large number, many halves of its last place, and the large number back
        values = np.full((m, n), 2.0**-53)
        if n > 2:
            values[:, 0], values[:, -1] = 1.0, -1.0
        return draws.relaid(rng, values * rng.choice([1.0, 2.0**900, 2.0**-900, 1.5]))
    if kind == 1:
        values = np.ldexp(rng.uniform(-1.0, 1.0, (m, n)), int(rng.integers(1000, 1025)))
        return draws.relaid(rng, values)
    if kind == 2:
        values = np.ldexp(rng.uniform(-1.0, 1.0, (m, n)), int(rng.integers(-1070, -500)))
        return draws.relaid(rng, values)
    return draws.laid_out(rng, m, n)


def nonnegative_product(rng: np.random.Generator, record: Record) -> None:
    m, n = (int(rng.integers(1, 10)) for _ in range(2))
    k = int(rng.choice([0, 1, 2, 3, 8, 17, 40]))
    a, b = draws.laid_out(rng, m, k).abs(), draws.laid_out(rng, k, n).abs()
    vector = bool(rng.integers(4) == 0)
    result = record.call(enc.matmul_upper, a, b[:, 0] if vector else b)
    if result is None:
        return
    left = [[units(v) for v in row] for row in a.tolist()]
    right = [[units(v) for v in column] for column in b.mT.tolist()][: 1 if vector else n]
    exact = [sum(x * y for x, y in zip(r, c, strict=True)) for r in left for c in right]
    for value, bound in zip(exact, result.reshape(-1).tolist(), strict=True):
        good = draws.at_least(bound, value, 2 * SCALE)
        record.check(good, "matmul_upper of", a, b, "gave", bound)


def rounding_count(rng: np.random.Generator, record: Record) -> None:
    ks = [
        *rng.integers(0, 2**20, 32),
        *rng.integers(0, 2**52 + 1, 32),
        *(2 ** rng.integers(0, 53, 8)),
    ]
    for k in map(int, ks):
        bound = record.call(enc.gamma, k)
        # bound >= k u / (1 - k u), multiplied by (1 - k u) 2^53
        good = bound is not None and units(bound) * (2**53 - k) >= k << SCALE
        record.check(good, "gamma", k, "gave", bound)
    k = 2**52 + 1 + int(rng.integers(0, 2**60))
    record.check(record.call(enc.gamma, k) == math.inf, "gamma", k)


DTYPES = [torch.float32, torch.float16, torch.bfloat16, torch.int32, torch.int16, torch.int8]


def conversion(rng: np.random.Generator, record: Record) -> None:
    dtype = DTYPES[int(rng.integers(len(DTYPES)))]
    width = torch.empty((), dtype=dtype).element_size() * 8
    signed = {32: torch.int32, 16: torch.int16, 8: torch.int8}[width]
    drawn = torch.from_numpy(rng.integers(-(2 ** (width - 1)), 2 ** (width - 1), 200)).to(signed)
    values = drawn.view(dtype)
    values = values[:: int(rng.integers(1, 3))]
    result = record.call(enc.exact_float64, values)
    if result is None:
        return
    raw = drawn[:: values.stride(0)].tolist()
    for pattern, came in zip(raw, result.tolist(), strict=True):
        good = _same(pattern, dtype, came)
        record.check(good and result.dtype == torch.float64, dtype, pattern, "gave", came)
    record.refuses(enc.exact_float64, torch.ones(2, dtype=torch.int64))
    record.refuses(enc.exact_float64, torch.ones(2, dtype=torch.complex64))


_LAYOUTS = {torch.float32: (8, 23), torch.float16: (5, 10), torch.bfloat16: (8, 7)}


def _same(pattern: int, dtype: torch.dtype, came: float) -> bool:
    """Whether a float is the number with this bit pattern, decoded by hand."""
    if dtype not in _LAYOUTS:
        return came == pattern
    exponent_bits, mantissa_bits = _LAYOUTS[dtype]
    pattern &= (1 << (1 + exponent_bits + mantissa_bits)) - 1
    mantissa = pattern & ((1 << mantissa_bits) - 1)
    exponent = (pattern >> mantissa_bits) & ((1 << exponent_bits) - 1)
    sign = -1 if pattern >> (exponent_bits + mantissa_bits) else 1
    if exponent == (1 << exponent_bits) - 1:
        return math.isnan(came) if mantissa else came == sign * math.inf
    if exponent:
        mantissa |= 1 << mantissa_bits
    shift = SCALE + max(exponent, 1) - ((1 << (exponent_bits - 1)) - 1) - mantissa_bits
    return math.isfinite(came) and units(came) == (sign * mantissa) << shift


SHARDS = (
    *(
        shard(f"enclosure.{o}_{s}", UNDER_TEST, partial(binary, o, s == "up"), 1600)
        for o in ("add", "sub", "mul", "div")
        for s in ("up", "down")
    ),
    shard("enclosure.sqrt_up", UNDER_TEST, partial(root, True), 400),
    shard("enclosure.sqrt_down", UNDER_TEST, partial(root, False), 400),
    *(
        shard(f"enclosure.{name}", UNDER_TEST, partial(reduction, name), 1200)
        for name in REDUCTIONS
    ),
    shard("enclosure.matmul_upper", UNDER_TEST, nonnegative_product, 400),
    shard("enclosure.gamma", UNDER_TEST, rounding_count, 400),
    shard("enclosure.exact_float64", UNDER_TEST, conversion, 300),
)
