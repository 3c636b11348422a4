"""Entrywise functions twice: with two derivatives in float64, and as exact power series in Arb.

The float64 formulas steer a search, and autograd differentiates them once more; the Arb ones decide
whether what the search found is a violation. Written for this purpose: neither the enclosures nor
the checker are used.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from flint import arb, arb_series
from torch import Tensor

Jet = tuple[Tensor, Tensor, Tensor]
"""psi, psi' and psi'' at the same points."""

ExactJet = tuple[Any, Any, Any]
"""The same at one Arb ball."""


def jet_approx(name: str, parameters: Mapping[str, float], x: Tensor) -> Jet:
    """psi, psi', psi'' of a function of the file format, in float64.

    Args:
        name: As in the file; "scale" has the parameters numerator and denominator.
        parameters: Its constants.
        x: Arguments of any shape.
    """
    return _FLOAT[name](x, *parameters.values())


def exact_jet(name: str, parameters: Mapping[str, float], x: Any) -> ExactJet:
    """psi, psi', psi'' on an Arb ball, at the precision of the context.

    Args:
        name: As in the file.
        parameters: Its constants, read exactly.
        x: A ball.
    """
    if name == "tanh":  # by far the most frequent, and series are slow
        t = x.tanh()
        q = 1 - t * t
        return t, q, -2 * t * q
    series = _EXACT[name](arb_series([x, 1], 3), *(arb(v) for v in parameters.values()))
    value, first, second = (*series.coeffs(), arb(0), arb(0), arb(0))[:3]
    return value, first, 2 * second


def _line(x: Tensor, slope: float) -> Jet:
    return slope * x, torch.full_like(x, slope), torch.zeros_like(x)


def _tanh(x: Tensor) -> Jet:
    t = torch.tanh(x)
    q = 1.0 - t * t
    return t, q, -2.0 * t * q


def _sigmoid(x: Tensor) -> Jet:
    s = torch.sigmoid(x)
    p = s * (1.0 - s)
    return s, p, p * (1.0 - 2.0 * s)


def _log_one_plus_exp(x: Tensor) -> Tensor:
    return torch.logaddexp(x, torch.zeros_like(x))


def _softplus(x: Tensor, beta: float, threshold: float) -> Jet:
    s, p, _ = _sigmoid(beta * x)
    return _log_one_plus_exp(beta * x) / beta, s, beta * p


def _smooth_leaky_relu(x: Tensor, slope: float) -> Jet:
    s, p, _ = _sigmoid(x)
    rest = 1.0 - slope
    value = slope * x + rest * (_log_one_plus_exp(x) - math.log(2.0))
    return value, slope + rest * s, rest * p


def _silu(x: Tensor) -> Jet:
    s, p, q = _sigmoid(x)
    return x * s, s + x * p, 2.0 * p + x * q


def _gelu(x: Tensor) -> Jet:
    below = torch.special.ndtr(x)
    density = torch.exp(-0.5 * x * x) / math.sqrt(2.0 * math.pi)
    return x * below, below + x * density, density * (2.0 - x * x)


def _gelu_tanh(x: Tensor) -> Jet:
    root, cubic = math.sqrt(2.0 / math.pi), 0.044715
    u1, u2 = root * (1.0 + 3.0 * cubic * x * x), 6.0 * root * cubic * x
    t, q, bend = _tanh(root * (x + cubic * x**3))
    first, second = q * u1, bend * u1 * u1 + q * u2
    return 0.5 * x * (1.0 + t), 0.5 * (1.0 + t + x * first), first + 0.5 * x * second


_FLOAT: dict[str, Callable[..., Jet]] = {
    "tanh": _tanh,
    "sigmoid": _sigmoid,
    "silu": _silu,
    "gelu": _gelu,
    "gelu_tanh": _gelu_tanh,
    "sin": lambda x: (torch.sin(x), torch.cos(x), -torch.sin(x)),
    "identity": lambda x: _line(x, 1.0),
    "softplus": _softplus,
    "smooth_leaky_relu": _smooth_leaky_relu,
    "scale": lambda x, numerator, denominator: _line(x, numerator / denominator),
}


def _logistic(x: Any) -> Any:
    """1 / (1 + e^-x), with the exponential that cannot grow beyond bounds."""
    if x[0] < 0:
        e = x.exp()
        return e / (1 + e)
    return 1 / (1 + (-x).exp())


def _log1p_exp(x: Any) -> Any:
    if x[0] > 0:
        return x + (1 + (-x).exp()).log()
    return (1 + x.exp()).log()


def _exact_gelu_tanh(x: Any) -> Any:
    """x sigmoid(2 u), because (1 + tanh u) / 2 = sigmoid(2 u)."""
    u = (2 / arb.pi()).sqrt() * (x + arb(44715) / 1000000 * x * x * x)
    return x * _logistic(2 * u)


_EXACT: dict[str, Callable[..., Any]] = {
    "tanh": lambda x: 2 * _logistic(2 * x) - 1,
    "sigmoid": _logistic,
    "silu": lambda x: x * _logistic(x),
    "gelu": lambda x: x * (1 + (x / arb(2).sqrt()).erf()) / 2,
    "gelu_tanh": _exact_gelu_tanh,
    "sin": lambda x: x.sin(),
    "identity": lambda x: x,
    "softplus": lambda x, beta, threshold: _log1p_exp(beta * x) / beta,
    "smooth_leaky_relu": lambda x, slope: slope * x + (1 - slope) * (_log1p_exp(x) - arb(2).log()),
    "scale": lambda x, numerator, denominator: numerator / denominator * x,
}

NAMES = frozenset(_FLOAT)
"""Functions that a file may name, and "scale"."""
