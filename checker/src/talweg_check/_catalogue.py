"""The entrywise functions that a file may name, made of jets; tanh itself is in `_activations`.

Where f'' and f''' vanish, beyond which no sign changes: tanh for |x| < 1; sigmoid, softplus and
smooth_leaky_relu are made of tanh(x/2). gelu: f'' = phi (2 - x^2), f''' = phi (x^3 - 4 x). silu,
T = tanh(x/2), p = (1 - T^2)/4: f'' = p (2 - x T) and f''' = p (T (x T - 3) - 2 x p), positive for
x >= 16 and odd. gelu_tanh, u = c (x + a x^3): f'' = q A, A = u' + x u''/2 - x t u'^2,
f''' = q (A' - 2 t u' A); for x >= 4, u' >= 2.5, t > 0.999, q < 1e-4 and x u'' <= 2 u', hence
A <= 2 u' - x t u'^2 < 0 and f'''/q >= x u'^3 (2 t^2 - q) - 9 t u'^2 > 0; f'' is even. sin has zeros
everywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from flint import arb

from talweg_check._activations import REACH, Function, Jet, tanh
from talweg_check._arrays import Balls, full, hull
from talweg_check._verdict import Incomplete

Four = tuple[Balls, Balls, Balls, Balls]  # a jet all at once

_exp: Any = np.frompyfunc(arb.exp, 1, 1)
_log1p = np.frompyfunc(arb.log1p, 1, 1)
_erf = np.frompyfunc(arb.erf, 1, 1)
_sin = np.frompyfunc(arb.sin, 1, 1)
_cos = np.frompyfunc(arb.cos, 1, 1)
_holds_integer: Any = np.frompyfunc(arb.contains_integer, 1, 1)


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
        result = Function(lambda x: _softplus(x, beta), REACH / numbers["beta"])
        # Its turning points are known; from here on it is evaluated at numbers of the network,
        # and where one reaches the ceiling, the function of the model is another one.
        result.jet = lambda x: _softplus(_below(ceiling, x), beta)
        return result
    if operation["function"] == "sin":
        return _Sine(_sine)
    constants = [arb(value) for value in numbers.values()]
    reach = REACH / 4 if operation["function"] == "gelu_tanh" else REACH
    return Function(lambda x: build(x, *constants), reach)


def _below(ceiling: arb, x: Balls) -> Balls:
    """x itself; raises Incomplete unless all of it lies below the ceiling."""
    if not all(entry < ceiling for entry in x.ravel()):
        raise Incomplete("a softplus is not shown to stay below its threshold on the ball")
    return x


class _Sine(Function):
    """The derivatives of the sine turn at multiples of pi/2, wherever these are."""

    def __post_init__(self) -> None:
        self.turns = [np.empty(0, dtype=object)] * 3

    def ranges(self, x: Balls) -> tuple[Balls, Balls]:
        """Between two of its extrema, which are 1 and -1 by turns, a derivative is monotone."""
        first, second = super().ranges(x)
        halves = x / arb.pi()
        for values, places, sign in ((first, halves, 1), (second, halves - arb(1) / 2, -1)):
            turns = _holds_integer(places).astype(bool)
            values[turns] = hull(values[turns], sign * _extremes(places[turns]))
        return first, second


def _extreme(place: arb) -> arb:
    """cos(pi k) at the integers k in a ball that holds one or more.

    Numbers of a file may have any exponent: no more bits are asked of them than memory holds.
    """
    first, last = place.lower().ceil(), place.upper().floor()
    return first.cos_pi() if first == last and abs(first) < 2**64 else arb(0, 1)


_extremes: Any = np.frompyfunc(_extreme, 1, 1)


def _line(x: Balls, slope: arb) -> Four:
    """slope x."""
    zero = full(x.shape, 0)
    return slope * x, full(x.shape, slope), zero, zero


def _times(x: Balls, g: Four) -> Four:
    """x g(x)."""
    return x * g[0], g[0] + x * g[1], 2 * g[1] + x * g[2], 3 * g[2] + x * g[3]


def _composed(outer: Callable[[Balls], Jet], g: Four) -> Four:
    f = tuple(outer(g[0]))
    square = g[1] * g[1]
    return (
        f[0],
        f[1] * g[1],
        f[2] * square + f[1] * g[2],
        f[3] * square * g[1] + 3 * f[2] * g[1] * g[2] + f[1] * g[3],
    )


def _identity(x: Balls) -> Four:
    return _line(x, arb(1))


def _sigmoid(x: Balls) -> Four:
    t, d1, d2, d3 = tanh(x / 2)
    return (1 + t) / 2, d1 / 4, d2 / 8, d3 / 16


def _sine(x: Balls) -> Four:
    s, c = _sin(x), _cos(x)
    return s, c, -s, -c


def _softplus(x: Balls, beta: arb) -> Four:
    """log(1 + e^(beta x)) / beta."""
    y = beta * x
    s, p, q, _ = _sigmoid(y)
    return _log1p(_exp(y)) / beta, s, beta * p, beta * beta * q


def _smooth_leaky_relu(x: Balls, slope: arb) -> Four:
    """a x + (1 - a) (log(1 + e^x) - log 2)."""
    s, p, q, _ = _sigmoid(x)
    rest = 1 - slope
    value = slope * x + rest * (_log1p(_exp(x)) - arb(2).log())
    return value, slope + rest * s, rest * p, rest * q


def _silu(x: Balls) -> Four:
    return _times(x, _sigmoid(x))


def _normal(x: Balls) -> Four:
    """The standard normal distribution function."""
    density = _exp(-x * x / 2) / (2 * arb.pi()).sqrt()
    return (1 + _erf(x / arb(2).sqrt())) / 2, density, -x * density, (x * x - 1) * density


def _gelu(x: Balls) -> Four:
    return _times(x, _normal(x))


def _gelu_tanh(x: Balls) -> Four:
    """x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))) / 2."""
    root, cubic = (2 / arb.pi()).sqrt(), arb(44715) / 1000000
    inner = (
        root * (x + cubic * x * x * x),
        root * (1 + 3 * cubic * x * x),
        root * 6 * cubic * x,
        full(x.shape, root * 6 * cubic),
    )
    t = _composed(tanh, inner)
    return _times(x, ((1 + t[0]) / 2, t[1] / 2, t[2] / 2, t[3] / 2))


_FUNCTIONS: dict[str, Callable[..., Jet]] = {
    "tanh": tanh,
    "sigmoid": _sigmoid,
    "silu": _silu,
    "gelu": _gelu,
    "gelu_tanh": _gelu_tanh,
    "sin": _sine,
    "identity": _identity,
    "softplus": _softplus,
    "smooth_leaky_relu": _smooth_leaky_relu,
}
