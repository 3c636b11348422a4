"""Activations and their derivatives in Arb, as Taylor series: the referee of the enclosures."""

import math

from flint import arb, arb_series, ctx

DECIMAL = arb(44715) / 1000000


def logistic(x):
    """1 / (1 + e^-x) of a series, by the form that does not cancel."""
    if x[0].mid() > 0:
        return 1 / (1 + (-x).exp())
    e = x.exp()
    return e / (1 + e)


def softplus(x):
    if x[0].mid() > 0:
        return x + (1 + (-x).exp()).log()
    return (1 + x.exp()).log()


def tanh(x):
    if x[0].mid() > 0:
        return 1 - 2 * logistic(-2 * x)
    return 2 * logistic(2 * x) - 1


def gelu(x):
    return x * (-x * (1 / arb(2).sqrt())).erfc() * arb(0.5)


def gelu_tanh(x):
    decimal = arb(44715) / 1000000
    return x * logistic(2 * (2 / arb.pi()).sqrt() * (x + decimal * x * x * x))


FUNCTIONS = {
    "tanh": tanh,
    "sigmoid": logistic,
    "softplus": softplus,
    "silu": lambda x: x * logistic(x),
    "gelu": gelu,
    "gelu_tanh": gelu_tanh,
    "sin": lambda x: x.sin(),
    "identity": lambda x: x,
}


def derivative(kind, order, x, *, beta=None, slope=None):
    """f^(order) at (or over) the Arb ball x, to the working precision."""
    return derivatives(kind, order, x, beta=beta, slope=slope)[order]


def derivatives(kind, top, x, *, beta=None, slope=None):
    """f, ..., f^(top) over the Arb ball x."""
    previous, ctx.cap = ctx.cap, top + 1
    try:
        series = arb_series([x, 1], top + 1)
        if kind == "smooth_leaky_relu":
            a = arb(slope)
            image = a * series + (1 - a) * (softplus(series) - arb(2).log())
        elif kind == "softplus" and beta is not None:
            image = softplus(arb(beta) * series) / arb(beta)
        else:
            image = FUNCTIONS[kind](series)
        return [image[k] * math.factorial(k) for k in range(top + 1)]
    finally:
        ctx.cap = previous
