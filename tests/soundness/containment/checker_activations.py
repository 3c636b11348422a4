"""The checker's derivatives and their ranges against Taylor series in Arb.

The referee knows no formula of a derivative: it evaluates each function on the power series x + t
at 320 bits, or 2600 where that does not decide, and reads off the coefficients.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from functools import cache, partial
from typing import Any

import numpy as np
from flint import arb, arb_series, ctx, fmpq
from numpy.typing import NDArray
from tests.soundness.containment import draws
from tests.soundness.containment.record import Record, shard

from talweg_check._activations import Function, derivative_bounds, derivatives
from talweg_check._arrays import PRECISION
from talweg_check._catalogue import function
from talweg_check._verdict import Incomplete

UNDER_TEST = ("talweg_check._activations", "talweg_check._catalogue")
PLAIN = ("tanh", "sigmoid", "silu", "gelu", "gelu_tanh", "sin", "identity")
NAMES = (*PLAIN, "softplus", "smooth_leaky_relu", "scale")
BITS = (320, 2600)
POINTS = 40  # of one call
Floats = NDArray[np.float64]
Operation = Mapping[str, Any]


def _logistic(z: arb_series) -> arb_series:
    if z[0] > 0:
        return 1 / (1 + (-z).exp())
    e = z.exp()
    return e / (1 + e)


def _tanh(z: arb_series) -> arb_series:
    if z[0] > 0:
        e = (-2 * z).exp()
        return (1 - e) / (1 + e)
    e = (2 * z).exp()
    return (e - 1) / (e + 1)


def _log_one_plus_exp(z: arb_series) -> arb_series:
    if z[0] > 0:
        return z + (1 + (-z).exp()).log()
    return (1 + z.exp()).log()


def _gelu(z: arb_series) -> arb_series:
    return z * (-z / arb(2).sqrt()).erfc() / 2


def _gelu_tanh(z: arb_series) -> arb_series:
    cubic = arb(fmpq(44715, 1000000))
    return z * (1 + _tanh((2 / arb.pi()).sqrt() * (z + cubic * z * z * z))) / 2


def series(operation: Operation, z: arb_series) -> arb_series:
    """An entrywise or scale operation on a power series."""
    if operation["kind"] == "scale":
        return z * (arb(operation["numerator"]) / arb(operation["denominator"]))
    numbers = {name: arb(value) for name, value in operation["parameters"].items()}
    name = operation["function"]
    if name == "softplus":
        return _log_one_plus_exp(numbers["beta"] * z) / numbers["beta"]
    if name == "smooth_leaky_relu":
        rest = 1 - numbers["slope"]
        return numbers["slope"] * z + rest * (_log_one_plus_exp(z) - arb(2).log())
    named: dict[str, Callable[[arb_series], arb_series]] = {
        "tanh": _tanh, "sigmoid": _logistic, "silu": lambda z: z * _logistic(z), "gelu": _gelu,
        "gelu_tanh": _gelu_tanh, "sin": arb_series.sin, "identity": lambda z: z,
    }  # fmt: skip
    return named[name](z)


def taylor(chain: Sequence[Operation], x: arb) -> tuple[arb, arb, arb]:
    """Value, first and second derivative of the chain at x."""
    z = arb_series([x, 1], prec=3)
    for operation in chain:
        z = series(operation, z)
    return z[0], z[1], 2 * z[2]


def drawn_operation(rng: np.random.Generator, name: str) -> dict[str, Any]:
    """An operation with random constants."""
    if name == "scale":
        top, bottom = (float(v) for v in np.where(draws.gentle(rng, 2) > 0, 1.0, -3.0))
        return {"kind": "scale", "numerator": top * rng.uniform(0.1, 3), "denominator": bottom}
    numbers: dict[str, float] = {}
    if name == "softplus":
        beta = float(rng.choice([1.0, 0.1, 5.0, 2.0**-30, 1e6, 0.7]))
        numbers = {"beta": beta, "threshold": float(rng.choice([20.0, 1e300, 1.0]))}
    if name == "smooth_leaky_relu":
        numbers = {"slope": float(rng.choice([0.5, 0.01, 1.0 - 2.0**-53, 2.0**-1000]))}
    return {"kind": "elementwise", "function": name, "parameters": numbers}


def built(operation: Operation) -> Function:
    """The checker's function; turning points are searched once for each choice of constants."""
    if operation["kind"] == "scale":
        return function(operation)
    return _kept(operation["function"], tuple(operation["parameters"].items()))


@cache
def _kept(name: str, constants: tuple[tuple[str, float], ...]) -> Function:
    return function({"kind": "elementwise", "function": name, "parameters": dict(constants)})


def drawn_points(rng: np.random.Generator, step: Function, operation: Operation) -> Floats:
    """Moderate, tiny and huge arguments, turning points, and the ends of where they are sought."""
    parts = [rng.uniform(-8.0, 8.0, POINTS), rng.uniform(-40.0, 40.0, POINTS)]
    parts.append(draws.numbers(rng, POINTS))
    edge = step.reach * rng.choice([-1.0, 1.0], POINTS)
    parts.append(edge * (1 + rng.integers(-3, 4, POINTS) * 2.0 ** rng.integers(-52, -1, POINTS)))
    if len(step.turns[0]):
        turning = np.array([float(x) for x in step.turns[0]])
        parts.append(rng.choice(turning, POINTS) * (1 + rng.integers(-3, 4, POINTS) * 2.0**-52))
    softplus = operation.get("function") == "softplus"
    if softplus:
        numbers = operation["parameters"]
        ceiling = numbers["threshold"] / numbers["beta"]
        parts.append(np.full(POINTS, ceiling) * rng.uniform(0.9, 1.1, POINTS))
    points = np.choose(rng.integers(0, len(parts), POINTS), parts)
    if softplus:
        points = np.where(rng.random(POINTS) < 0.7, -np.abs(points), points)
    return np.asarray(np.nan_to_num(points), dtype=np.float64)


def inside(ball: arb, x: arb, kind: int, share: float) -> arb:
    """A point of a ball around x: an end, the centre, or between; exact."""
    with ctx.workprec(4096):
        radius = ball.rad()
        if not radius.is_finite():
            return x + arb(share * 2.0 ** int(300 * share))
        return x + [radius, -radius, arb(0), radius * arb(share)][kind]


def _judged(
    record: Record, chain: Sequence[Operation], point: arb,
    verdict: Callable[[tuple[arb, arb, arb]], list[bool | None]], said: Callable[[], object],
) -> None:  # fmt: skip
    """One question for each entry of the verdict: holds, is violated, or is not decided yet."""
    outcome: list[bool | None] = []
    for bits in BITS:
        with ctx.workprec(bits):
            outcome = verdict(taylor(chain, point))
        if None not in outcome:
            break
    for number, holds in enumerate(outcome):
        if holds is None:
            record.undecided()
        else:
            record.check(holds, chain, "order", number, "at", point.str(60), "gave", said())


def encloses(ball: arb, true: arb) -> bool | None:
    """Whether a ball holds the number that `true` encloses; None where that is not decided."""
    if not true.is_finite():
        return None
    if ball.contains(true):
        return True
    return None if ball.overlaps(true) else False


def exceeds(bound: arb, true: arb) -> bool | None:
    """Whether |true| <= bound; a bound of NaN confirms nothing and never counts as wrong."""
    if not true.is_finite():
        return None
    if bound >= abs(true):
        return True
    return False if bound < abs(true) else None if bound.is_finite() else True


def _chain(rng: np.random.Generator, longest: int) -> list[dict[str, Any]]:
    length = int(rng.integers(min(2, longest), longest + 1))
    return [drawn_operation(rng, str(rng.choice(NAMES))) for _ in range(length)]


def thin(longest: int, rng: np.random.Generator, record: Record) -> None:
    """`derivatives` at balls of radius 0 to 2^-40."""
    chain = _chain(rng, longest)
    steps = [built(operation) for operation in chain]
    points = drawn_points(rng, steps[0], chain[0])
    sizes = np.abs(points) * rng.choice([0.0, 0.0, 2.0**-100, 2.0**-40], POINTS)
    balls = np.array([arb(x, r) for x, r in zip(points.tolist(), sizes.tolist(), strict=True)])
    with ctx.workprec(PRECISION), np.errstate(over="ignore"):
        found = _entries(record, partial(derivatives, steps), balls)
    for ball, x, (value, first, second) in found:
        point = inside(ball, arb(x), int(rng.integers(4)), float(rng.uniform(-1, 1)))

        def verdict(
            true: tuple[arb, arb, arb], said: tuple[arb, arb, arb] = (value, first, second)
        ) -> list[bool | None]:
            finite = [s.is_finite() for s in said]
            return [encloses(s, t) for s, t, f in zip(said, true, finite, strict=True) if f]

        _judged(record, chain, point, verdict, lambda said=(value, first, second): said)


def wide(longest: int, rng: np.random.Generator, record: Record) -> None:
    """`derivative_bounds` over balls of every radius."""
    chain = _chain(rng, longest)
    steps = [built(operation) for operation in chain]
    points = drawn_points(rng, steps[0], chain[0])
    sizes = np.abs(rng.choice([0.0, 1e-30, 1e-3, 0.1, 0.7, 3.0, 40.0, 1e5, 1e300], POINTS))
    sizes *= rng.uniform(0.5, 1.0, POINTS)
    balls = np.array([arb(x, r) for x, r in zip(points.tolist(), sizes.tolist(), strict=True)])
    with ctx.workprec(PRECISION), np.errstate(over="ignore"):
        found = _entries(record, partial(derivative_bounds, steps), balls)
    for ball, x, bounds in found:
        for kind in (0, 1, 3):
            point = inside(ball, arb(x), kind, float(rng.uniform(-1, 1)))

            def verdict(
                true: tuple[arb, arb, arb], said: tuple[arb, ...] = bounds
            ) -> list[bool | None]:
                return [exceeds(s, t) for s, t in zip(said, true[1:], strict=True)]

            _judged(record, chain, point, verdict, lambda said=bounds, b=ball: (b, said))


def ranges(rng: np.random.Generator, record: Record) -> None:
    """`Function.ranges`: f' and f'' of every point of an interval."""
    operation = drawn_operation(rng, str(rng.choice(NAMES)))
    step = built(operation)
    points = drawn_points(rng, step, operation)
    sizes = rng.choice([0.0, 1e-12, 1e-3, 0.1, 0.7, 3.0, 40.0, 1e5], POINTS)
    sizes *= rng.uniform(0.5, 1.0, POINTS)
    balls = np.array([arb(x, r) for x, r in zip(points.tolist(), sizes.tolist(), strict=True)])
    with ctx.workprec(PRECISION), np.errstate(over="ignore"):
        found = _entries(record, step.ranges, balls)
    for ball, x, said in found:
        for kind in (0, 1, 3):
            point = inside(ball, arb(x), kind, float(rng.uniform(-1, 1)))

            def verdict(
                true: tuple[arb, arb, arb], said: tuple[arb, ...] = said
            ) -> list[bool | None]:
                pairs = zip(said, true[1:], strict=True)
                return [encloses(s, t) for s, t in pairs if s.is_finite()]

            _judged(record, [operation], point, verdict, lambda said=said, b=ball: (b, said))


def _entries(
    record: Record, routine: Callable[[Any], tuple[Any, ...]], balls: Any
) -> list[tuple[arb, float, tuple[arb, ...]]]:
    """Ball, centre and results, entry by entry; without those that the routine refuses."""

    def tried(x: Any) -> list[Any]:
        try:
            return list(zip(x, *routine(x), strict=True))
        except Incomplete:
            if len(x) == 1:
                record.counts["refused"] += 1
                return []
            return [line for i in range(len(x)) for line in tried(x[i : i + 1])]

    lines = record.call(tried, balls) or []
    return [(ball, float(ball.mid()), tuple(results)) for ball, *results in lines]


def below_ceiling(rng: np.random.Generator, record: Record) -> None:
    """A softplus is confirmed only where beta x < threshold for every x of the ball."""
    operation = drawn_operation(rng, "softplus")
    step = function(operation)
    numbers = operation["parameters"]
    beta, threshold = Fraction(numbers["beta"]), Fraction(numbers["threshold"])
    ceiling = float(min(threshold / beta, Fraction(2) ** 1000))
    for _ in range(200):
        x = float(ceiling * rng.choice([1.0, 1.0 - 2.0**-53, 1.0 + 2.0**-52, 0.5, 1.01]))
        radius = float(rng.choice([0.0, abs(x) * 2.0**-52, abs(x) * 0.3]))
        ball = arb(x, radius)
        mantissa, exponent = (int(v) for v in ball.rad().man_exp())
        top = Fraction(x) + mantissa * Fraction(2) ** exponent
        for use in (step.jet, step.ranges):
            with ctx.workprec(PRECISION), np.errstate(over="ignore"):
                try:
                    use(np.array([ball]))
                except Incomplete:
                    record.counts["refused"] += 1
                    record.check(True)
                else:
                    record.check(beta * top < threshold, "softplus", operation, "at", x, radius)


SHARDS = (
    shard("checker.derivatives", UNDER_TEST, partial(thin, 1), 60, goal=300_000),
    shard("checker.derivatives_of_chains", UNDER_TEST, partial(thin, 3), 60),
    shard("checker.derivative_bounds", UNDER_TEST, partial(wide, 1), 40, goal=300_000),
    shard("checker.derivative_bounds_of_chains", UNDER_TEST, partial(wide, 3), 30),
    shard("checker.ranges", UNDER_TEST, ranges, 40, goal=300_000),
    shard("checker.softplus_domain", UNDER_TEST, below_ceiling, 40),
)
