"""The entrywise functions of `_catalogue` as power series with Arb coefficients."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from flint import arb, ctx

from talweg_check._arrays import PRECISION

Series = Any  # flint.arb_series


@contextmanager
def series_length(length: int) -> Iterator[None]:
    """Power series of so many terms at the working precision, then as before."""
    before, ctx.cap = ctx.cap, length
    try:
        with ctx.workprec(PRECISION):
            yield
    finally:
        ctx.cap = before


def series_of(operation: Mapping[str, Any]) -> Callable[[Series, bool], Series]:
    """The power series of a function: of its argument, and whether that is positive."""
    if operation["kind"] == "scale":
        factor = arb(operation["numerator"]) / arb(operation["denominator"])
        return lambda x, _: factor * x
    numbers = {key: arb(value) for key, value in operation["parameters"].items()}
    return lambda x, positive: _SERIES[operation["function"]](x, positive, **numbers)


def _sigmoid(x: Series, positive: bool) -> Series:
    """1 / (1 + e^-x), through whichever exponential is small."""
    return 1 / (1 + (-x).exp()) if positive else 1 - 1 / (1 + x.exp())


def _softplus(x: Series, positive: bool, beta: arb, threshold: arb) -> Series:
    """log(1 + e^(beta x)) / beta, below the threshold."""
    y = beta * x
    return (y + (1 + (-y).exp()).log() if positive else (1 + y.exp()).log()) / beta


def _smooth_leaky_relu(x: Series, positive: bool, slope: arb) -> Series:
    """a x + (1 - a) (log(1 + e^x) - log 2)."""
    rest = _softplus(x, positive, arb(1), arb(0)) - arb(2).log()
    return slope * x + (1 - slope) * rest


def _gelu_tanh(x: Series, positive: bool) -> Series:
    """x sigmoid(2 sqrt(2/pi) (x + 0.044715 x^3))."""
    inner = x + (arb(44715) / 1000000) * x * x * x
    return x * _sigmoid(2 * (2 / arb.pi()).sqrt() * inner, positive)


_SERIES: dict[str, Callable[..., Series]] = {
    "tanh": lambda x, positive: 2 * _sigmoid(2 * x, positive) - 1,
    "sigmoid": _sigmoid,
    "silu": lambda x, positive: x * _sigmoid(x, positive),
    "gelu": lambda x, _: x * (-x / arb(2).sqrt()).erfc() / 2,
    "gelu_tanh": _gelu_tanh,
    "sin": lambda x, _: x.sin(),
    "identity": lambda x, _: x,
    "softplus": _softplus,
    "smooth_leaky_relu": _smooth_leaky_relu,
}
