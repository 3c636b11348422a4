"""Derivatives and their ranges, against Taylor series in Arb and dense sampling."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from flint import arb, arb_series
from tests.soundness.mutation.cases_algebra import balls
from tests.soundness.mutation.cases_rules import touching
from tests.soundness.mutation.registry import Checker, add, case, demand, precision, refused

PARAMETERS: dict[str, dict[str, float]] = {
    "softplus": {"beta": 1.5, "threshold": 1e9},
    "smooth_leaky_relu": {"slope": 0.125},
}
NAMES = ("tanh", "sigmoid", "silu", "gelu", "gelu_tanh", "sin", "identity", *PARAMETERS, "scale")
POINTS = (-7.25, -3.5, -1.0, -0.3125, 0.0, 2.0**-60, 0.625, 1.5, 2.875, 6.0)
# centre, radius
INTERVALS = (
    *((c / 8, 2.0**-5) for c in range(-40, 41)),
    *((c / 4, 0.25) for c in range(-20, 21)),
    *((c / 2, 2.0) for c in range(-12, 13)),
    *((0.0, r) for r in (2.0**-30, 1.0, 8.0, 24.0)),
    (0.625, 2.0**-100), (20.0, 1.0), (-20.0, 1.0), (20.0, 8.0), (-20.0, 8.0), (300.0, 2.0),
    (-300.0, 2.0),
)  # fmt: skip
_expected: dict[str, list[tuple[tuple[float, float], list[tuple[bool, arb]]]]] = {}
_jets: dict[str, list[list[arb]]] = {}


def operation(name: str) -> dict[str, Any]:
    """As in a parsed file."""
    if name == "scale":
        return {"kind": "scale", "numerator": 3.0, "denominator": 7.0}
    return {"kind": "elementwise", "function": name, "parameters": PARAMETERS.get(name, {})}


def taylor(name: str, x: arb) -> list[arb]:
    """f, f', f'' and f''' at x."""
    t = arb_series([x, 1], prec=4)
    one = arb_series([1], prec=4)

    def logistic(y: Any) -> Any:
        return one / (one + (-y).exp())

    functions: dict[str, Callable[[], Any]] = {
        "tanh": lambda: 2 * logistic(2 * t) - 1,
        "sigmoid": lambda: logistic(t),
        "silu": lambda: t * logistic(t),
        "gelu": lambda: t * (1 + (t / arb(2).sqrt()).erf()) / 2,
        "gelu_tanh": lambda: t * logistic(
            2 * (2 / arb.pi()).sqrt() * (t + arb(44715) / 10**6 * t * t * t)),
        "sin": lambda: t.sin(),
        "identity": lambda: t,
        "softplus": lambda: (one + (t * arb(1.5)).exp()).log() / arb(1.5),
        "smooth_leaky_relu": lambda: t * arb(0.125)
        + arb(0.875) * ((one + t.exp()).log() - arb(2).log()),
        "scale": lambda: t * arb(3) / 7,
    }  # fmt: skip
    series = functions[name]()
    return [series[k] * (1, 1, 2, 6)[k] for k in range(4)]


def prepare() -> None:
    """The largest |f'| and |f''| on every interval, exactly where an end attains them."""
    for name in NAMES:
        with precision(300):
            _jets[name] = [taylor(name, arb(x)) for x in POINTS]
        rows = []
        for centre, radius in INTERVALS:
            if name == "softplus" and abs(centre) > 100:
                continue
            with precision():
                ball = _spanned(centre, radius)
            with precision(300):
                ends = [[abs(y) for y in taylor(name, end)[1:3]]
                        for end in (ball.lower(), ball.upper())]  # fmt: skip
            with precision(80):
                inner = [taylor(name, arb(centre + radius * u))[1:3]
                         for u in np.linspace(-0.999, 0.999, 41)]  # fmt: skip
            answers = []
            for k in (0, 1):
                top = max((e[k] for e in ends), key=float)
                largest = max(float(e[k].abs_lower()) for e in inner)
                at_end = largest <= float(top) * (1 - 1e-12)
                answers.append((at_end, top if at_end else arb(largest)))
            rows.append(((centre, radius), answers))
        _expected[name] = rows
    with precision(300):
        for name, brackets in TURNING.items():
            roots = [_root(name, *bracket) for bracket in brackets]
            _roots[name] = [(x, [abs(y).lower() for y in taylor(name, x)[1:3]]) for x in roots]


def _spanned(centre: float, radius: float) -> arb:
    """A ball whose radius is a hair larger than said."""
    return arb(centre, radius)


def function(checker: Checker, name: str) -> Any:
    """The function as the network builds it."""
    return checker.network.function(operation(name))


def _jet(name: str, checker: Checker) -> None:
    with precision():
        f = function(checker, name)
        found = tuple(f.jet(balls(POINTS)))
        value, first, second = checker.activations.derivatives([f], balls(POINTS))
        for at, expected in enumerate(_jets[name]):
            for k in range(4):
                ball = found[k][at]
                demand(ball.overlaps(expected[k]), f"{name}^({k})({POINTS[at]}) = {ball}")
                demand(float(ball.rad()) < 1e-30 * max(1, abs(float(ball))), f"wide {ball}")
            for mine, k in ((value, 0), (first, 1), (second, 2)):
                demand(mine[at].overlaps(expected[k]), f"derivatives of {name}, {k}")
        wide = tuple(f.jet(balls([0.3125], 0.125)))
        with precision(300):
            inside = [taylor(name, arb(0.3125) + arb(s)) for s in (-0.125, -0.0625, 0, 0.125)]
        for one in inside:
            for k in range(4):
                demand(wide[k][0].overlaps(one[k]), f"{name}^({k}) on a wide ball")


def _ranges(name: str, checker: Checker) -> None:
    with precision():
        f = function(checker, name)
        places = [place for place, _ in _expected[name]]
        x = np.array([_spanned(*place) for place in places], dtype=object)
        found = checker.activations.derivative_bounds([f], x)
        for at, (place, answers) in enumerate(_expected[name]):
            for k, (at_end, top) in enumerate(answers):
                bound = found[k][at]
                demand(bound >= top or (not at_end and float(bound) >= float(top) * (1 - 1e-12)),
                       f"{name}: {bound} on {place} is below {top}, order {k + 1}")  # fmt: skip
                if place[1] > 2 and not at_end:
                    continue  # sampled too coarsely
                slack = 1e-7 if at_end else 0.06  # a radius has 30 bits
                demand(float(bound) <= float(top) * (1 + slack) + slack,
                       f"{name}: {bound} on {place} is far above {top}, order {k + 1}")  # fmt: skip


for _name in NAMES:
    add(f"jet: {_name}", partial(_jet, _name))
    add(f"ranges: {_name}", partial(_ranges, _name))


# where the second or the third derivative vanishes, between these two
TURNING: dict[str, tuple[tuple[int, float, float], ...]] = {
    "tanh": ((2, -0.25, 0.5), (3, 0.5, 0.75)),
    "sigmoid": ((3, 1.25, 1.5), (3, -1.5, -1.25)),
    "silu": ((2, 2.25, 2.5), (2, -2.5, -2.25)),
    "gelu": ((2, 1.25, 1.5), (3, -2.25, -1.875)),
    "gelu_tanh": ((2, 1.25, 1.625),),
}
SHIFTS = (40, 51, 52, 53, 54, 56, 60, 100)
_roots: dict[str, list[tuple[arb, list[arb]]]] = {}


def _root(name: str, order: int, low: float, high: float) -> arb:
    """The zero, by bisection, to some sixty digits."""
    left, right = arb(low), arb(high)
    up = bool(taylor(name, right)[order] > 0)
    for _ in range(200):
        centre = ((left + right) / 2).mid()
        if bool(taylor(name, centre)[order] > 0) == up:
            right = centre
        else:
            left = centre
    return left


@case
def turning_points(checker: Checker) -> None:
    """Intervals that reach just beyond a turning point: its value counts."""
    with precision():
        for name, roots in _roots.items():
            f = function(checker, name)
            for root, top in roots:
                x = np.empty((len(SHIFTS), 2), dtype=object)
                for at, shift in enumerate(SHIFTS):
                    for column, side in enumerate((-1, 1)):
                        end = (root + side * arb(2) ** -shift).mid()
                        x[at, column] = end.union((root - side * arb(0.5)).mid())
                bounds = checker.activations.derivative_bounds([f], x)
                for k in (0, 1):
                    demand(all(bound >= top[k] for bound in bounds[k].ravel()),
                           f"{name} just beyond {root}, order {k + 1}")  # fmt: skip


@case
def crests_and_troughs(checker: Checker) -> None:
    """A derivative of the sine that meets one extremum only reaches that one."""
    with precision():
        f = function(checker, "sin")
        for quarter in range(-7, 8):
            for left, right in ((0.25, 1.0), (1.0, 0.25), (1.25, 2.0), (2.0, 1.25), (2.5, 3.0)):
                ends = [quarter * np.pi / 2 + side for side in (-left, right)]
                x = np.array([arb(ends[0]).union(arb(ends[1])), arb(ends[0])], dtype=object)
                points = np.linspace(*ends, 40001)
                for found, values in zip(
                    f.ranges(x), (np.cos(points), -np.sin(points)), strict=True
                ):
                    low, high = float(found[0].lower()), float(found[0].upper())
                    where = f"{quarter} quarters of a turn, {left}, {right}: {low}, {high}"
                    demand(low - 1e-15 <= values.min() <= low + 1e-6, where)
                    demand(high + 1e-15 >= values.max() >= high - 1e-6, where)
                    demand(abs(float(found[1]) - values[0]) < 1e-12, where)


@case
def extremes_far_out(checker: Checker) -> None:
    """No integer beyond 2^64 is written out."""
    with precision():
        for sign in (1, -1):
            for place, both in ((2**64 - 2, False), (2**64, True), (2**65, True)):
                found = checker.catalogue._extreme(arb(sign * place))
                demand(found.contains(-1) == both and found.contains(1), f"{place}: {found}")


@case
def signs(checker: Checker) -> None:
    """A piece at whose end a derivative may vanish holds a turning point."""
    entries = [touching(0), touching(0, -1), arb(0), arb(1), arb(-1), arb(0, 1), arb.nan()]
    found = checker.activations._no_sign(np.array(entries, dtype=object)).tolist()
    demand(found == [True, True, False, False, False, True, True], found)


@case
def functions_without_structure(checker: Checker) -> None:
    """Where nothing can be isolated the search ends."""

    def jet(x: Any) -> Any:
        return (x + arb.nan(),) * 4

    refused(lambda: checker.activations.Function(jet), checker.verdict.Incomplete,
            "the turning points of an activation could not be isolated")  # fmt: skip


@case
def domains(checker: Checker) -> None:
    """Softplus is the function of the model strictly below its threshold only."""
    soft = {"kind": "elementwise", "function": "softplus",
            "parameters": {"beta": 2.0, "threshold": 6.0}}  # fmt: skip
    with precision():
        f = checker.network.function(soft)
        words = "a softplus is not shown to stay below its threshold on the ball"
        incomplete = checker.verdict.Incomplete
        fine = balls([2.0, -50.0], 0.5)
        checker.activations.derivatives([f], fine)
        checker.activations.derivative_bounds([f], fine)
        for bad in (balls([0.0, 3.0]), balls([2.75, 0.0], 0.25), balls([[1.0, 4.0]])):
            for do in (checker.activations.derivatives, checker.activations.derivative_bounds):
                refused(lambda d=do, b=bad: d([f], b), incomplete, words)  # type: ignore[misc]
        second = [checker.network.function(operation("scale")), f]
        checker.activations.derivative_bounds(second, balls([6.75]))
        for do in (checker.activations.derivatives, checker.activations.derivative_bounds):
            refused(lambda d=do: d(second, balls([7.0])), incomplete, words)  # type: ignore[misc]


@case
def chains(checker: Checker) -> None:
    """Derivatives of compositions, at points and on balls."""
    names = ("scale", "tanh", "silu", "sigmoid")
    with precision():
        chain = [function(checker, name) for name in names]
        value, first, second = checker.activations.derivatives(chain, balls(POINTS))
        wide = checker.activations.derivative_bounds(chain, balls(POINTS, 2.0**-10))
        for at, x in enumerate(POINTS):
            with precision(300):
                v, d1, d2 = arb(x), arb(1), arb(0)
                for name in names:
                    f = taylor(name, v)
                    v, d1, d2 = f[0], f[1] * d1, f[2] * d1 * d1 + f[1] * d2
            for mine, true in ((value, v), (first, d1), (second, d2)):
                demand(mine[at].overlaps(true) and mine[at].rad() < 1e-30, (at, true))
            for mine, true in ((wide[0], d1), (wide[1], d2)):
                demand(mine[at] >= abs(true), "a bound below its centre")
                demand(float(mine[at]) <= abs(float(true)) * 1.01 + 2e-3, (x, mine[at], true))
        steep = {"kind": "scale", "numerator": 9.0, "denominator": 3.0}
        chain = [checker.network.function(steep), *chain[1:]]
        wide = checker.activations.derivative_bounds(chain, balls(POINTS, 0.125))
        for at, x in enumerate(POINTS):
            for shift in (-0.125, -0.0625, 0.0, 0.0625, 0.125):
                with precision(300):
                    v, d1, d2 = 3 * (arb(x) + shift), arb(3), arb(0)
                    for name in names[1:]:
                        f = taylor(name, v)
                        v, d1, d2 = f[0], f[1] * d1, f[2] * d1 * d1 + f[1] * d2
                    for mine, true in ((wide[0], d1), (wide[1], d2)):
                        demand(mine[at] >= abs(true), f"a composition at {x} + {shift}")
        empty = checker.activations.derivatives([], balls([2.0]))
        demand([float(x[0]) for x in empty] == [2.0, 1.0, 0.0], "of no function")
        empty = checker.activations.derivative_bounds([], balls([2.0], 1.0))
        demand([float(x[0]) for x in empty] == [1.0, 0.0], "bounds of no function")
