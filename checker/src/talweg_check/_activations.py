"""Entrywise functions with three derivatives, and the ranges of two of them over intervals.

A jet is (f, f', f'', f''') at the same points. Everything works on object arrays of Arb balls.

Where f'' and f''' vanish, beyond which no sign changes: with t = tanh, q = 1 - t^2, tanh has
f'' = -2 t q and f''' = q (4 - 6 q), so |x| < 1; sigmoid, softplus and smooth_leaky_relu are made of
tanh(x/2). gelu: f'' = phi (2 - x^2), f''' = phi (x^3 - 4 x). silu, T = tanh(x/2), p = (1 - T^2)/4:
f'' = p (2 - x T) and f''' = p (T (x T - 3) - 2 x p), positive for x >= 16 and odd. gelu_tanh,
u = c (x + a x^3): f'' = q A, A = u' + x u''/2 - x t u'^2, f''' = q (A' - 2 t u' A); for x >= 4,
u' >= 2.5, t > 0.999, q < 1e-4 and x u'' <= 2 u', hence A <= 2 u' - x t u'^2 < 0 and
f'''/q >= x u'^3 (2 t^2 - q) - 9 t u'^2 > 0; f'' is even. sin has zeros everywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from flint import arb

from talweg_check._arrays import Balls, approx, exact, full, hull, lower, magnitude, upper
from talweg_check._verdict import Incomplete

Jet = tuple[Balls, Balls, Balls, Balls]
REACH = 16.0  # where turning points are looked for: decides sharpness only


def _increasing(function: Callable[[arb], arb]) -> Any:
    """An increasing function on arrays; on a wide ball, the hull of its values at the ends."""

    def on_ball(x: arb) -> arb:
        if x.rad() < 2.0**-20:
            return function(x)
        return function(x.lower()).union(function(x.upper()))

    return np.frompyfunc(on_ball, 1, 1)


_exp = _increasing(arb.exp)
_log1p = _increasing(arb.log1p)
_tanh = _increasing(arb.tanh)
_erf = _increasing(arb.erf)
_sin = np.frompyfunc(arb.sin, 1, 1)
_cos = np.frompyfunc(arb.cos, 1, 1)
_mid = np.frompyfunc(arb.mid, 1, 1)
# A piece at whose end the value may vanish is kept; one on which it vanishes throughout is not.
_no_sign = np.frompyfunc(lambda x: not (x > 0 or x < 0 or x == 0), 1, 1)


class Function:
    """One entrywise function f, and the points where f' or f'' may turn.

    All of these lie in [-reach, reach]; else `outside` holds f' and f'' beyond it. From `ceiling`
    on the function of the model is not f, and nothing is confirmed.
    """

    def __init__(
        self,
        jet: Callable[[Balls], Jet],
        reach: float = REACH,
        ceiling: arb | None = None,
        outside: arb | None = None,
    ) -> None:
        self.jet, self.reach, self.ceiling, self.outside = jet, reach, ceiling, outside
        self.turning = _turning_points(jet, reach)

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
        low = np.nextafter(approx(lower(x)), -np.inf)
        high = np.nextafter(approx(upper(x)), np.inf)
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


def function(operation: Mapping[str, Any]) -> Function:
    """The function of an `elementwise` or `scale` operation."""
    if operation["kind"] == "scale":
        factor = arb(operation["numerator"]) / arb(operation["denominator"])
        return Function(lambda x: _line(x, factor))
    build = _FUNCTIONS[operation["function"]]
    numbers = operation["parameters"]
    if operation["function"] == "softplus":
        beta = arb(numbers["beta"])
        ceiling = arb(numbers["threshold"]) / beta
        return Function(lambda x: _softplus(x, beta), REACH / numbers["beta"], ceiling)
    if operation["function"] == "sin":
        return Function(_sine, 16 * REACH, outside=arb(0, 1))
    constants = [arb(value) for value in numbers.values()]
    reach = REACH / 4 if operation["function"] == "gelu_tanh" else REACH
    return Function(lambda x: build(x, *constants), reach)


def derivatives(chain: Sequence[Function], x: Balls) -> tuple[Balls, Balls, Balls]:
    """psi, psi' and psi'' at thin balls; psi is the functions one after the other."""
    value, first, second = x, full(x.shape, 1), full(x.shape, 0)
    for step in chain:
        step.require_domain(value)
        jet = step.jet(value)
        value, second, first = jet[0], jet[2] * first * first + jet[1] * second, jet[1] * first
    return value, first, second


def derivative_bounds(chain: Sequence[Function], x: Balls) -> tuple[Balls, Balls]:
    """Upper bounds of |psi'| and |psi''| over wide balls, entry by entry."""
    value, first, second = x, full(x.shape, 1), full(x.shape, 0)
    for step in chain:
        step.require_domain(value)
        slope, bend = step.ranges(value)
        centre = _mid(value)
        value = step.jet(centre)[0] + slope * (value - centre)  # mean value theorem
        second, first = bend * first * first + slope * second, slope * first
    return magnitude(first), magnitude(second)


def _line(x: Balls, slope: arb) -> Jet:
    zero = full(x.shape, 0)
    return slope * x, full(x.shape, slope), zero, zero


def _product(f: Jet, g: Jet) -> Jet:
    return (
        f[0] * g[0],
        f[1] * g[0] + f[0] * g[1],
        f[2] * g[0] + 2 * f[1] * g[1] + f[0] * g[2],
        f[3] * g[0] + 3 * (f[2] * g[1] + f[1] * g[2]) + f[0] * g[3],
    )


def _composed(outer: Callable[[Balls], Jet], g: Jet) -> Jet:
    f = outer(g[0])
    square = g[1] * g[1]
    return (
        f[0],
        f[1] * g[1],
        f[2] * square + f[1] * g[2],
        f[3] * square * g[1] + 3 * f[2] * g[1] * g[2] + f[1] * g[3],
    )


def _identity(x: Balls) -> Jet:
    return _line(x, arb(1))


def _tanh_jet(x: Balls) -> Jet:
    t = _tanh(x)
    q = 1 - t * t
    return t, q, -2 * t * q, q * (4 - 6 * q)


def _sigmoid(x: Balls) -> Jet:
    t, d1, d2, d3 = _tanh_jet(x / 2)
    return (1 + t) / 2, d1 / 4, d2 / 8, d3 / 16


def _sine(x: Balls) -> Jet:
    s, c = _sin(x), _cos(x)
    return s, c, -s, -c


def _softplus(x: Balls, beta: arb) -> Jet:
    """log(1 + e^(beta x)) / beta."""
    y = beta * x
    s, p, q, _ = _sigmoid(y)
    return _log1p(_exp(y)) / beta, s, beta * p, beta * beta * q


def _smooth_leaky_relu(x: Balls, slope: arb) -> Jet:
    """a x + (1 - a) (log(1 + e^x) - log 2)."""
    s, p, q, _ = _sigmoid(x)
    rest = 1 - slope
    value = slope * x + rest * (_log1p(_exp(x)) - arb(2).log())
    return value, slope + rest * s, rest * p, rest * q


def _silu(x: Balls) -> Jet:
    return _product(_identity(x), _sigmoid(x))


def _normal(x: Balls) -> Jet:
    """The standard normal distribution function."""
    density = _exp(-x * x / 2) / (2 * arb.pi()).sqrt()
    return (1 + _erf(x / arb(2).sqrt())) / 2, density, -x * density, (x * x - 1) * density


def _gelu(x: Balls) -> Jet:
    return _product(_identity(x), _normal(x))


def _gelu_tanh(x: Balls) -> Jet:
    """x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))) / 2."""
    root, cubic = (2 / arb.pi()).sqrt(), arb(44715) / 1000000
    inner = (
        root * (x + cubic * x * x * x),
        root * (1 + 3 * cubic * x * x),
        root * 6 * cubic * x,
        full(x.shape, root * 6 * cubic),
    )
    t = _composed(_tanh_jet, inner)
    return _product(_identity(x), ((1 + t[0]) / 2, t[1] / 2, t[2] / 2, t[3] / 2))


_FUNCTIONS: dict[str, Callable[..., Jet]] = {
    "tanh": _tanh_jet,
    "sigmoid": _sigmoid,
    "silu": _silu,
    "gelu": _gelu,
    "gelu_tanh": _gelu_tanh,
    "sin": _sine,
    "identity": _identity,
    "softplus": _softplus,
    "smooth_leaky_relu": _smooth_leaky_relu,
}
