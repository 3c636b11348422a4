"""Activations and elementary functions, at points and over balls, against Arb at 256 bits.

A point of a ball is a float inside it: an end, a turning point of the function, a neighbour of one,
or a random one. Both libraries of elementary functions are asked.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import numpy as np
import torch
from flint import arb, ctx
from tests.enclosure.activation_reference import derivatives
from tests.soundness.containment import draws
from tests.soundness.containment.draws import Floats, units
from tests.soundness.containment.record import Question, Record, shard
from torch import Tensor

from talweg.enclosure import Ball, activation_names, elementwise, elementwise_orders
from talweg.enclosure import _elementary as elementary

UNDER_TEST = ("talweg.enclosure._elementwise", "talweg.enclosure._elementary")
BACKENDS = ("crival", "python-flint")
PRECISIONS = (256, 512, 2600)  # bits; the last is exact for sums of any two floats
# Where f, f' or f'' of some activation turns, where its tail begins, and where exp underflows.
TURNS = np.array(
    [
        *(0.0, 1.3169578969248166, 0.6584789484624084, 1.2784645427610738, 2.3993572805154676),
        *(3.435840993535111, 0.7517915246935645, math.sqrt(2.0), 2.0, 0.7524614220710163),
        *(1.418504008790828, 2.013480724624258, math.pi / 2, math.pi, 5 * math.pi / 2, 8.0, 38.0),
        *(40.0, 372.5, 400.0, 708.4, 744.4, 745.2, 800.0, 1e22, 2.0**1023),
    ]
)
THIN = 2.0**-20


@contextmanager
def backend(name: str) -> Iterator[None]:
    """Elementary functions from one of `BACKENDS`."""
    original = elementary._crival
    if name == "crival":
        if original() is None:
            raise RuntimeError("crival is not installed: half of the questions cannot be put.")
        yield
        return
    elementary._crival = lambda: None  # type: ignore[assignment]
    try:
        yield
    finally:
        elementary._crival = original


def arguments(rng: np.random.Generator, count: int) -> Floats:
    """Ordinary arguments, turning points and their neighbours, tails, subnormal and huge ones."""
    turns = rng.choice(TURNS, count) * rng.choice([-1.0, 1.0], count)
    beside = np.nextafter(turns, rng.choice([-np.inf, np.inf], count))
    scaled = np.ldexp(rng.standard_normal(count), rng.integers(-60, 12, count))
    parts = [
        4.0 * rng.standard_normal(count),
        scaled,
        turns,
        beside,
        60.0 * rng.uniform(-1, 1, count),
    ]
    parts += [draws.numbers(rng, count), 900.0 * rng.uniform(-1.0, 1.0, count)]
    return np.choose(rng.integers(0, len(parts), count), parts)


def argument_radii(rng: np.random.Generator, mid: Floats) -> Floats:
    """Radii on both sides of the thin form's limit, and such that a turn is an end of the ball."""
    count = mid.size
    with np.errstate(over="ignore", invalid="ignore"):
        reach = np.abs(rng.choice(TURNS, count) * rng.choice([-1.0, 1.0], count) - mid)
        reach = np.where(np.isfinite(reach), reach, 1.0)
        reach = np.nextafter(reach, rng.choice([0.0, np.inf], count))
    thin = THIN * np.ldexp(rng.uniform(0.0, 1.0, count), rng.integers(-40, 1, count))
    limits = rng.choice([THIN, np.nextafter(THIN, 1.0), draws.ETA, 1e300, np.inf, 0.0], count)
    parts = [reach, thin, limits, np.ldexp(rng.uniform(0, 1, count), rng.integers(-19, 8, count))]
    return np.choose(rng.integers(0, 4, count), parts)


def point_inside(rng: np.random.Generator, mid: float, rad: float) -> float:
    """A float x with |x - mid| <= rad."""
    if rad == 0.0:
        return mid
    turn = float(rng.choice(TURNS)) * (1.0 - 2.0 * int(rng.integers(2)))
    kind = int(rng.integers(6))
    if math.isinf(rad):
        return turn if kind < 3 else float(arguments(rng, 1)[0])
    x = turn
    if kind < 3:
        x = mid + rad * (1.0 if kind == 1 else -1.0)
    elif kind == 3:
        x = mid + rad * float(rng.uniform(-1.0, 1.0))
    elif kind == 4:
        x = math.nextafter(turn, math.copysign(math.inf, mid - turn))
    x = min(max(x, -draws.LARGEST), draws.LARGEST)
    for _ in range(3):  # rounding may leave the ball by a float
        if abs(units(x) - units(mid)) <= units(rad):
            return x
        x = math.nextafter(x, mid)
    return mid


def decided(value: arb, lower: arb, upper: arb) -> bool | None:
    """Whether lower <= value <= upper; None while Arb cannot tell."""
    if value >= lower and value <= upper:
        return True
    return False if value < lower or value > upper else None


def judge(
    record: Record,
    values: Callable[[], list[arb]],
    images: list[tuple[float, float]],
    *parts: object,
) -> None:
    """One case for each image (mid, rad) of `values()`, evaluated at growing precision."""
    waiting = dict(enumerate(images))
    for index, (mid, rad) in enumerate(images):
        if not (math.isfinite(mid) and rad >= 0.0):
            record.check(False, "order", index, *parts, "gave", mid, rad)
            del waiting[index]
        elif math.isinf(rad):
            record.counts["whole line"] += 1
            record.check(True)
            del waiting[index]
    for precision in PRECISIONS:
        if not waiting:
            return
        with ctx.workprec(precision):
            exact = values()
            for index, (mid, rad) in list(waiting.items()):
                answer = decided(exact[index], arb(mid) - arb(rad), arb(mid) + arb(rad))
                if answer is not None:
                    record.check(answer, "order", index, *parts, "gave", mid, rad)
                    del waiting[index]
    for _ in waiting:
        record.undecided()


def drawn_parameters(rng: np.random.Generator, kind: str) -> dict[str, float]:
    if kind == "softplus" and rng.integers(3):
        usual = [0.1, 1.0, 2.0, 5.0, 20.0, 1.0 / 3.0, 1e-5, 1e5, 1e-300, 1e300, draws.ETA]
        return {"beta": float(rng.choice([*usual, float(np.exp(rng.normal()))]))}
    if kind == "smooth_leaky_relu":
        return {"slope": float(rng.choice([0.0, 1.0, 0.1, 0.5, draws.ETA, 0.3, rng.random()]))}
    return {}


def activation(
    kind: str, library: str, wide: bool, rng: np.random.Generator, record: Record
) -> None:
    """All orders at once and one order alone, over a matrix of balls in a random layout."""
    m, n = [(1, 1), (1, 48), (8, 6), (48, 1), (5, 9)][int(rng.integers(5))]
    mid = arguments(rng, m * n).reshape(m, n)
    parameters = drawn_parameters(rng, kind)
    if "beta" in parameters and rng.integers(2):  # beta x is the ordinary argument
        with np.errstate(over="ignore", under="ignore"):
            mid = mid / parameters["beta"]
            mid = np.where(np.isfinite(mid), mid, 1.0)
    rad = argument_radii(rng, mid.reshape(-1)).reshape(m, n)
    x = (
        Ball(draws.relaid(rng, mid), draws.relaid(rng, rad))
        if wide
        else Ball.exact(draws.relaid(rng, mid))
    )
    alone = int(rng.integers(3))
    with backend(library):
        images = record.call(elementwise_orders, kind, (0, 1, 2), x, **parameters)
        single = record.call(elementwise, kind, alone, x, **parameters)
    if images is None or single is None:
        return
    if any(image.shape != x.shape for image in (*images, single)):
        record.check(False, kind, "changed the shape of", x)
        return
    _judge_entries(kind, parameters, [*images, single], alone, x, range(m * n), rng, record)


def _judge_entries(
    kind: str,
    parameters: dict[str, float],
    images: list[Ball],
    alone: int,
    x: Ball,
    entries: range | list[int],
    rng: np.random.Generator,
    record: Record,
) -> None:
    mids, rads = x.mid.reshape(-1).tolist(), x.rad.reshape(-1).tolist()
    flat = [
        list(zip(i.mid.reshape(-1).tolist(), i.rad.reshape(-1).tolist(), strict=True))
        for i in images
    ]
    for entry in entries:
        point = point_inside(rng, mids[entry], rads[entry])

        def values(at: float = point) -> list[arb]:
            found = derivatives(kind, 2, arb(at), **parameters)
            return [*found, found[alone]]

        outcomes = [image[entry] for image in flat]
        judge(record, values, outcomes, kind, parameters, mids[entry], rads[entry], "at", point)


def many_pieces(rng: np.random.Generator, record: Record) -> None:
    """More entries than one piece holds, in threads; a sample of them is judged."""
    kind = str(rng.choice(activation_names()))
    count = int(rng.choice([32767, 32768, 32769, 70001]))
    mid = arguments(rng, count)
    x = Ball(draws.relaid(rng, mid), draws.relaid(rng, argument_radii(rng, mid)))
    parameters = drawn_parameters(rng, kind)
    images = record.call(elementwise_orders, kind, (0, 1, 2, 1), x, **parameters)
    if images is not None:
        edges = [e for e in (0, 32767, 32768, 65535, 65536, count - 1) if e < count]
        sample = [*edges, *rng.integers(0, count, 400).tolist()]
        _judge_entries(kind, parameters, list(images), 1, x, sample, rng, record)


# The function, and floats below and above all of its values.
ELEMENTARY: dict[str, tuple[Callable[[arb], arb], float, float]] = {
    "exp": (arb.exp, 0.0, math.inf),
    "log": (arb.log, -math.inf, math.inf),
    "log1p": (arb.log1p, -math.inf, math.inf),
    "tanh": (arb.tanh, -1.0, 1.0),
    "erfc": (arb.erfc, 0.0, 2.0),
    "sin": (arb.sin, -1.0, 1.0),
    "cos": (arb.cos, -1.0, 1.0),
}


def _holds(yes: bool, no: bool) -> bool | None:
    return True if yes else False if no else None


def _domain(name: str, x: Floats) -> Floats:
    if name == "exp":
        return np.clip(x, -1e5, 709.0)
    if name == "log":
        return np.maximum(np.abs(x), draws.ETA)
    return np.maximum(x, -1.0 + 2.0**-53) if name == "log1p" else x


def elementary_function(name: str, library: str, rng: np.random.Generator, record: Record) -> None:
    """The primitive that both libraries offer, on intervals with exact ends."""
    function, least, most = ELEMENTARY[name]
    one = _domain(name, arguments(rng, 60))
    with np.errstate(over="ignore"):
        far = one + rng.choice([0.0, 1e-300, 1e-9, 0.3, math.pi, 100.0], 60)
        two = [far, np.nextafter(one, np.inf), one, arguments(rng, 60)][int(rng.integers(4))]
    two = _domain(name, np.where(np.isfinite(two), two, one))
    lo, hi = np.minimum(one, two), np.maximum(one, two)
    with backend(library):
        bottom_top: tuple[Tensor, Tensor] | None = record.call(
            elementary.enclose, name, torch.from_numpy(lo), torch.from_numpy(hi)
        )
    if bottom_top is None:
        return
    rows = zip(lo.tolist(), hi.tolist(), *(t.tolist() for t in bottom_top), strict=True)
    for a, b, bottom, top in rows:
        inner = [a, b, *(t for t in (-TURNS).tolist() + TURNS.tolist() if a <= t <= b)]
        point = float(rng.choice([*inner[:2], *rng.choice(inner, 2)]))
        for precision in PRECISIONS:
            with ctx.workprec(precision):
                exact = function(arb(point))
                below = _holds(bottom <= least or exact >= bottom, exact < bottom)
                above = _holds(top >= most or exact <= top, exact > top)
            answer = None if None in (below, above) else bool(below and above)
            answer = False if False in (below, above) else answer
            if answer is not None:
                record.check(answer, name, a, b, "at", point, "gave", bottom, top)
                break
        else:
            record.undecided()


def _activations() -> Iterator[tuple[str, Question, int]]:
    for kind in activation_names():
        for library in BACKENDS:
            for wide in (False, True):
                name = f"elementwise.{kind}.{library}.{'balls' if wide else 'points'}"
                yield name, partial(activation, kind, library, wide), 60


SHARDS = (
    *(shard(f"enclosure.{name}", UNDER_TEST, ask, count) for name, ask, count in _activations()),
    shard("enclosure.elementwise.pieces", UNDER_TEST, many_pieces, 5),
    *(
        shard(f"enclosure.enclose.{n}.{b}", UNDER_TEST, partial(elementary_function, n, b), 150)
        for n in ELEMENTARY
        for b in BACKENDS
    ),
)
