"""Entrywise functions with three derivatives, and the ranges of two of them over intervals.

A jet is f, f', f'', f''' at the same points, one after the other; points are arrays of Arb balls.
tanh is here, what else a file may name in `_catalogue`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
from flint import arb

from talweg_check._arrays import Balls, exact, floats_above, full, hull, lower, magnitude, upper
from talweg_check._verdict import Incomplete

Jet = Iterable[Balls]
ROWS = 100  # handled at once where much is kept for each: limits memory
REACH = 16.0  # where turning points are looked for; nothing turns beyond, see `_catalogue`

_tanh = np.frompyfunc(arb.tanh, 1, 1)
_mid = np.frompyfunc(arb.mid, 1, 1)
# A piece at whose end the value may vanish is kept; one on which it vanishes throughout is not.
_no_sign = np.frompyfunc(lambda x: not (x > 0 or x < 0 or x == 0), 1, 1)


def tanh(x: Balls) -> Iterator[Balls]:
    """With q = 1 - tanh^2: f'' and f''' = q (4 - 6 q) vanish for |x| < 1 only."""
    yield (t := _tanh(x))
    yield (q := 1 - t * t)
    yield -2 * t * q
    yield q * (4 - 6 * q)


@dataclass
class Function:
    """One entrywise function f, and the points where f' or f'' may turn: all in [-reach, reach]."""

    jet: Callable[[Balls], Jet]
    reach: float = REACH

    def __post_init__(self) -> None:
        points = _turning_points(self.jet, self.reach)
        self.turns = [points, *islice(self.jet(points), 1, 3)]

    def ranges(self, x: Balls) -> tuple[Balls, Balls]:
        """Enclosures of f'(x) and f''(x), x read as intervals.

        Between two turning points, and beyond the last, f' and f'' are monotone: the ends of x
        and the turning points inside decide.
        """
        ends = islice(self.jet(lower(x)), 1, 3), islice(self.jet(upper(x)), 1, 3)
        first, second = (hull(left, right) for left, right in zip(*ends, strict=True))
        # Both moved outwards by a step, so that the ends of a turning point need not be.
        low, high = -floats_above(-x), floats_above(x)
        for point, slope, bend in zip(*self.turns, strict=True):
            inside = (low <= float(point.upper())) & (high >= float(point.lower()))
            first[inside] = hull(first[inside], slope)
            second[inside] = hull(second[inside], bend)
        return first, second


def _turning_points(jet: Callable[[Balls], Jet], reach: float) -> Balls:
    """Short balls that together hold every zero of f'' and of f''' in [-reach, reach]."""
    ends = exact(np.linspace(-reach, reach, 129))
    pieces = hull(ends[:-1], ends[1:])
    for _ in range(50):
        centre = _mid(pieces)
        pieces = np.concatenate([hull(lower(pieces), centre), hull(centre, upper(pieces))])
        _, _, bend, change = jet(pieces)
        pieces = pieces[(_no_sign(bend) | _no_sign(change)).astype(bool)]
        if len(pieces) > 20000:
            raise Incomplete("the turning points of an activation could not be isolated")
    return pieces


def derivatives(chain: Sequence[Function], x: Balls) -> tuple[Balls, Balls, Balls]:
    """psi, psi' and psi'' at thin balls; psi is the functions one after the other."""
    value, first, second = x, full(x.shape, 1), full(x.shape, 0)
    for step in chain:
        f, slope, bend = islice(step.jet(value), 3)
        value, second, first = f, bend * first * first + slope * second, slope * first
    return value, first, second


def derivative_bounds(chain: Sequence[Function], x: Balls) -> tuple[Balls, Balls]:
    """Upper bounds of |psi'| and |psi''| over wide balls, entry by entry."""
    if len(x) > ROWS:
        parts = derivative_bounds(chain, x[:ROWS]), derivative_bounds(chain, x[ROWS:])
        return np.concatenate([p[0] for p in parts]), np.concatenate([p[1] for p in parts])
    value, first, second = x, full(x.shape, 1), full(x.shape, 0)
    for index, step in enumerate(chain):
        slope, bend = step.ranges(value)
        second, first = bend * first * first + slope * second, slope * first
        if index + 1 < len(chain):
            centre = _mid(value)
            middle, *_ = step.jet(centre)
            value = middle + slope * (value - centre)  # mean value theorem
    return magnitude(first), magnitude(second)
