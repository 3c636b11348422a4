"""Entrywise functions with three derivatives, and the ranges of two of them over intervals.

A jet is (f, f', f'', f''') at the same points. Everything works on object arrays of Arb balls.
tanh and the linear functions are here, what else a file may name is in `_catalogue`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from flint import arb

from talweg_check._arrays import Balls, exact, floats_above, full, hull, lower, magnitude, upper
from talweg_check._verdict import Incomplete

Jet = tuple[Balls, Balls, Balls, Balls]
ROWS = 100  # handled at once where much is kept for each: limits memory
REACH = 16.0  # where turning points are looked for; nothing turns beyond, see `_catalogue`

_tanh = np.frompyfunc(arb.tanh, 1, 1)
_mid = np.frompyfunc(arb.mid, 1, 1)
# A piece at whose end the value may vanish is kept; one on which it vanishes throughout is not.
_no_sign = np.frompyfunc(lambda x: not (x > 0 or x < 0 or x == 0), 1, 1)


def line(x: Balls, slope: arb) -> Jet:
    """slope x."""
    zero = full(x.shape, 0)
    return slope * x, full(x.shape, slope), zero, zero


def tanh(x: Balls) -> Jet:
    """With q = 1 - tanh^2: f'' and f''' = q (4 - 6 q) vanish for |x| < 1 only."""
    t = _tanh(x)
    q = 1 - t * t
    return t, q, -2 * t * q, q * (4 - 6 * q)


@dataclass
class Function:
    """One entrywise function f, and the points where f' or f'' may turn.

    All of these lie in [-reach, reach]; else `outside` holds f' and f'' beyond it. From `ceiling`
    on the function of the model is not f, and nothing is confirmed.
    """

    jet: Callable[[Balls], Jet]
    reach: float = REACH
    ceiling: arb | None = None
    outside: arb | None = None

    def __post_init__(self) -> None:
        self.turning = _turning_points(self.jet, self.reach)

    def require_domain(self, x: Balls) -> None:
        """Raises Incomplete unless every x is below the ceiling."""
        if self.ceiling is not None and not all(entry < self.ceiling for entry in x.ravel()):
            raise Incomplete("a softplus is not shown to stay below its threshold on the ball")

    def ranges(self, x: Balls) -> tuple[Balls, Balls]:
        """Enclosures of f'(x) and f''(x), x read as intervals.

        Between two turning points, and beyond the last, f' and f'' are monotone: the ends of x
        and the turning points inside decide.
        """
        left, right = self.jet(lower(x)), self.jet(upper(x))
        first: Balls = hull(left[1], right[1])
        second: Balls = hull(left[2], right[2])
        low, high = -floats_above(-x), floats_above(x)
        slopes, bends = self.jet(self.turning)[1:3]
        for point, slope, bend in zip(self.turning, slopes, bends, strict=True):
            inside = (low <= float(point.upper())) & (high >= float(point.lower()))
            first[inside] = hull(first[inside], slope)
            second[inside] = hull(second[inside], bend)
        if self.outside is not None:
            far = ~((low >= -self.reach) & (high <= self.reach))
            first[far] = second[far] = self.outside
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
        step.require_domain(value)
        f, slope, bend, _ = step.jet(value)
        value, second, first = f, bend * first * first + slope * second, slope * first
    return value, first, second


def derivative_bounds(chain: Sequence[Function], x: Balls) -> tuple[Balls, Balls]:
    """Upper bounds of |psi'| and |psi''| over wide balls, entry by entry."""
    if len(x) > ROWS:
        parts = derivative_bounds(chain, x[:ROWS]), derivative_bounds(chain, x[ROWS:])
        return np.concatenate([p[0] for p in parts]), np.concatenate([p[1] for p in parts])
    value, first, second = x, full(x.shape, 1), full(x.shape, 0)
    for index, step in enumerate(chain):
        step.require_domain(value)
        slope, bend = step.ranges(value)
        second, first = bend * first * first + slope * second, slope * first
        if index + 1 < len(chain):
            centre = _mid(value)
            value = step.jet(centre)[0] + slope * (value - centre)  # mean value theorem
    return magnitude(first), magnitude(second)
