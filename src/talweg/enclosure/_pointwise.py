r"""Activations at exact points: values of f, f', f'' as balls, and where f^(k) can turn.

With s = sigmoid, e = exp(-|x|), d = 1/(1+e):  s(|x|) = d, s(-|x|) = e d, s' = e d^2,

    s''        = s' (1 - 2 s),
    softplus    f = max(x, 0) + log(1 + e),  f' = s,  f'' = s',
    tanh        f = (1 - E) D for x >= 0, f' = 4 E D^2 with E = exp(-2|x|), D = 1/(1+E),
                f'' = -2 f f',
    silu        f^(k) = x s^(k) + k s^(k-1),
    gelu        f = x P, f' = P + x p, f'' = p (2 - x^2),
                P = erfc(-x/sqrt 2)/2, p = exp(-x^2/2)/sqrt(2 pi),
    gelu_tanh   f^(k) = x H^(k) + k H^(k-1),  H = s(q),  q = 2 sqrt(2/pi) (x + c x^3), c = 0.044715
                (0.5 (1 + tanh(q/2)) = s(q)).

`turns[k]` lists every point where f^(k) has a local extremum, as a pair of floats around the point
and a pair of floats around the extreme value. Hence on [lo, hi] the range of f^(k) is the hull of
its values at the two ends and of the extreme values whose points may lie in [lo, hi]. The lists
and the bounds `sup` were found with Arb and are proved by the tests: f^(k+1) has one sign between
neighbouring points, by subdivision as far as `tail`.

Beyond |x| = tail each f^(k) is within 1e-300 of its limit: 0 or 1 or -1, or x itself for
softplus, silu and both gelu at +inf. The distance is at most (2 + |x|) e^-|x| for sigmoid,
softplus and silu (s(-x), s' and |s''| are all <= e^-x for x > 0), 8 e^-2|x| for tanh, 2 x^2 p(x)
for gelu and (2 q' + |x| (q'^2 + |q''|)) e^-|q| for gelu_tanh: decreasing from the tail's beginning
on, and below 1e-340 there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from talweg.enclosure._ball import Ball, lift_
from talweg.enclosure._directed import UNIT_ROUNDOFF, mul_up, sub_up
from talweg.enclosure._elementary import enclose
from talweg.enclosure._scalar import Interval

Turn = tuple[float, float, float, float]  # point from, to; value from, to

TAIL_RADIUS = 1e-300
UNDERFLOWS = 2.0**-1060  # more than a few products of numbers in [0, 4] lose by underflow
CANCELLING = 0.125  # below it 1 - exp(-2x) has lost two bits, and tanh is looked up
# 1/sqrt(2), 1/sqrt(2 pi), 2 sqrt(2/pi), 0.044715, each between neighbouring floats (tested).
INV_SQRT2 = Interval(0.7071067811865475, 0.7071067811865476)
INV_SQRT_2PI = Interval(0.3989422804014326, 0.3989422804014327)
TWO_SQRT_2_OVER_PI = Interval(1.5957691216057306, 1.595769121605731)
GELU_CUBIC = Interval(0.04471499999999999, 0.044715000000000005)


def _logistic(x: Tensor | Ball) -> tuple[Ball, Ball, Ball]:
    """s(x), 1 - s(x) and s'(x), each with a small relative radius.

    Over a ball x = m +- r, s' changes by a factor at most e^r (|(log s')'| = |1 - 2 s| <= 1), so
    s and 1 - s change by at most r e^r s'(m) and s' by (e^r - 1) s'(m): <= 2 r s'(m) for r <= 1/2.
    """
    mid = x.mid if isinstance(x, Ball) else x
    e = _Exponential(-mid.abs())
    positive = mid >= 0.0
    d, ed = e.d, e.times(e.d)
    values = (
        e.ball(torch.where(positive, d, ed), 4, 1.0),
        e.ball(torch.where(positive, ed, d), 4, 1.0),
        e.ball(ed * d, 8, 1.0),
    )
    if isinstance(x, Ball):
        relative = torch.where(x.rad <= 0.5, 2.0 * x.rad, torch.inf)
        change = mul_up(values[2].magnitude_upper(), relative)
        s, complement, slope = (v.inflate(change) for v in values)
        return s, complement, slope
    return values


class _Exponential:
    """e = exp(y) for y <= 0 as a float with an error w, and rational functions of it.

    Let Q with |Q'| <= c on [0, 1] be a product of factors e, 1 - e and 1 / (1 + e), computed from
    e with r roundings, each of a whole factor or of a product. Then fl Q is Q(e) times at most r
    numbers 1 + d or 1 / (1 + d), |d| <= u, and exp(y) lies in [e, e + w] and below 1, so that

        |fl Q - Q(exp(y))| <= (r + 1) u |fl Q| + c w + underflows          (r <= 7).

    Args:
        y: float64 tensor, finite, <= 0.
    """

    def __init__(self, y: Tensor) -> None:
        self.e, above = enclose("exp", y)
        self._w = sub_up(above, self.e)
        self.d = 1.0 / (self.e + 1.0)
        """1 / (1 + e): two roundings, derivative within 1."""

    def times(self, factor: Tensor) -> Tensor:
        """e factor, one rounding more."""
        return self.e * factor

    def ball(self, value: Tensor, roundings: int, steepness: float) -> Ball:
        """The ball around `value`; `roundings` at least one more than it has met."""
        rad = (self._w * steepness).add_(value.abs(), alpha=roundings * UNIT_ROUNDOFF)
        return Ball._settled(value, lift_(rad).add_(UNDERFLOWS))


def _image(name: str, lo: Tensor, hi: Tensor) -> Ball:
    return Ball._between(*enclose(name, lo, hi))


def _sigmoid_family(x: Tensor | Ball, top: int) -> list[Ball]:
    s, complement, slope = _logistic(x)
    derivatives = [s, slope]
    if top >= 2:
        derivatives.append(slope * (complement - s))
    return derivatives


def _sigmoid(x: Tensor, first: int, top: int) -> list[Ball | None]:
    return [*_sigmoid_family(x, top)]


def _softplus(x: Tensor, first: int, top: int) -> list[Ball | None]:
    value = None
    if first == 0:
        e = enclose("exp", -x.abs())
        value = _image("log1p", *e) + x.clamp(min=0.0)
    return [value, *_sigmoid_family(x, top - 1)]


def _tanh(x: Tensor, first: int, top: int) -> list[Ball | None]:
    e = _Exponential(-2.0 * x.abs())
    # (4 E D^2)' = 4 (1 - E) D^3 lies in [0, 4]; the factor 4 is exact.
    slope = e.ball(4.0 * (e.times(e.d) * e.d), 8, 4.0)
    if first > 0 and top < 2:
        return [None, slope]
    value = _tanh_value(x, e)
    derivatives: list[Ball | None] = [value, slope]
    if top >= 2:
        derivatives.append(-2.0 * (value * slope))
    return derivatives


def _tanh_value(x: Tensor, e: _Exponential) -> Ball:
    """tanh(|x|) = (1 - E) D, with |((1 - E) D)'| = 2 D^2 <= 2; 1 - E cancels for small x."""
    value = e.ball(torch.copysign((1.0 - e.e) * e.d, x), 6, 2.0)
    small = (x.abs() < CANCELLING).nonzero()[:, 0]
    if len(small):
        below = x[small]
        exact = _image("tanh", below, below)
        value.mid[small], value.rad[small] = exact.mid, exact.rad
    return value


def _times_x(x: Tensor, h: list[Ball], top: int) -> list[Ball | None]:
    """Derivatives of x h(x) from those of h: f^(k) = x h^(k) + k h^(k-1)."""
    products: list[Ball | None] = [x * h[0]]
    for k in range(1, top + 1):
        lower = h[k - 1] if k == 1 else float(k) * h[k - 1]
        products.append(x * h[k] + lower)
    return products


def _silu(x: Tensor, first: int, top: int) -> list[Ball | None]:
    return _times_x(x, _sigmoid_family(x, top), top)


def _gelu(x: Tensor, first: int, top: int) -> list[Ball | None]:
    argument = Ball.exact(x) * (-INV_SQRT2)
    cumulative = 0.5 * _image("erfc", argument.lower(), argument.upper())
    square = Ball.exact(x) * x
    half = -0.5 * square
    density = _image("exp", half.lower(), half.upper()) * INV_SQRT_2PI
    derivatives: list[Ball | None] = [x * cumulative, x * density + cumulative]
    if top >= 2:
        derivatives.append(density * (2.0 - square))
    return derivatives


def _gelu_tanh(x: Tensor, first: int, top: int) -> list[Ball | None]:
    square = Ball.exact(x) * x
    cubic = square * GELU_CUBIC  # c x^2
    q = x * (cubic + 1.0) * TWO_SQRT_2_OVER_PI
    s = _sigmoid_family(q, top)
    q1 = (3.0 * cubic + 1.0) * TWO_SQRT_2_OVER_PI
    h = [s[0], s[1] * q1]
    if top >= 2:
        q2 = Ball.exact(x) * (6.0 * TWO_SQRT_2_OVER_PI * GELU_CUBIC)
        h.append(s[2] * (q1 * q1) + s[1] * q2)
    return _times_x(x, h, top)


@dataclass(frozen=True)
class Standard:
    """One activation in its standard form.

    Args:
        evaluate: exact points x (float64, |x| <= tail), first and last wanted order -> balls of
            f, ..., f^(last); entries below the first wanted order may be None.
        tail: beyond it f^(k) is within 1e-300 of its limit.
        left: limits of f, f', f'' at -inf.
        right: limits at +inf; None stands for x itself.
        turns: for k = 0, 1, 2 every local extremum of f^(k).
        sup: bounds of |f'|, |f''|, |f'''| on the real line.
    """

    evaluate: Callable[[Tensor, int, int], list[Ball | None]]
    tail: float
    left: tuple[float, float, float]
    right: tuple[float | None, float, float]
    turns: tuple[tuple[Turn, ...], tuple[Turn, ...], tuple[Turn, ...]]
    sup: tuple[float, float, float]


_FLAT = (0.0, 0.0, 0.0)
_LINEAR: tuple[float | None, float, float] = (None, 1.0, 0.0)

STANDARD: dict[str, Standard] = {
    "sigmoid": Standard(
        _sigmoid,
        800.0,
        _FLAT,
        (1.0, 0.0, 0.0),
        (
            (),
            ((0.0, 0.0, 0.25, 0.25),),
            (
                (-1.316957896924817, -1.3169578969248164, 0.0962250448649376, 0.09622504486493766),
                (1.3169578969248164, 1.316957896924817, -0.09622504486493766, -0.0962250448649376),
            ),
        ),
        (0.2501, 0.0963, 0.1251),
    ),
    "softplus": Standard(
        _softplus,
        800.0,
        _FLAT,
        _LINEAR,
        ((), (), ((0.0, 0.0, 0.25, 0.25),)),
        (1.0001, 0.2501, 0.0963),
    ),
    "tanh": Standard(
        _tanh,
        400.0,
        (-1.0, 0.0, 0.0),
        (1.0, 0.0, 0.0),
        (
            (),
            ((0.0, 0.0, 1.0, 1.0),),
            (
                (-0.6584789484624086, -0.6584789484624082, 0.7698003589195008, 0.7698003589195013),
                (0.6584789484624082, 0.6584789484624086, -0.7698003589195013, -0.7698003589195008),
            ),
        ),
        (1.0001, 0.77, 2.0001),
    ),
    "silu": Standard(
        _silu,
        800.0,
        _FLAT,
        _LINEAR,
        (
            ((-1.278464542761074, -1.2784645427610733, -0.2784645427610739, -0.2784645427610737),),
            (
                (-2.399357280515468, -2.399357280515467, -0.0998393201288670, -0.0998393201288668),
                (2.399357280515467, 2.399357280515468, 1.0998393201288666, 1.0998393201288674),
            ),
            (
                (-3.435840993535112, -3.435840993535110, -0.0369143731998933, -0.0369143731998931),
                (0.0, 0.0, 0.5, 0.5),
                (3.435840993535110, 3.435840993535112, -0.0369143731998933, -0.0369143731998931),
            ),
        ),
        (1.0999, 0.5001, 0.31),
    ),
    "gelu": Standard(
        _gelu,
        40.0,
        _FLAT,
        _LINEAR,
        (
            ((-0.7517915246935647, -0.7517915246935643, -0.1699712074799038, -0.1699712074799035),),
            (
                (-1.414213562373096, -1.414213562373094, -0.1289041451851549, -0.1289041451851546),
                (1.414213562373094, 1.414213562373096, 1.1289041451851543, 1.1289041451851553),
            ),
            (
                (-2.0, -2.0, -0.1079819330263763, -0.1079819330263760),
                (0.0, 0.0, 0.7978845608028650, 0.7978845608028657),
                (2.0, 2.0, -0.1079819330263763, -0.1079819330263760),
            ),
        ),
        (1.129, 0.798, 0.779),
    ),
    "gelu_tanh": Standard(
        _gelu_tanh,
        40.0,
        _FLAT,
        _LINEAR,
        (
            ((-0.7524614220710165, -0.7524614220710161, -0.1700407505712542, -0.1700407505712539),),
            (
                (-1.418504008790829, -1.418504008790827, -0.1289930686587719, -0.1289930686587716),
                (1.418504008790827, 1.418504008790829, 1.1289930686587711, 1.1289930686587721),
            ),
            (
                (-2.013480724624259, -2.013480724624257, -0.1079135158903680, -0.1079135158903678),
                (0.0, 0.0, 0.7978845608028650, 0.7978845608028657),
                (2.013480724624257, 2.013480724624259, -0.1079135158903680, -0.1079135158903678),
            ),
        ),
        (1.13, 0.798, 0.777),
    ),
}
