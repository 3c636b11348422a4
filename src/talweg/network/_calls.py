"""Functions and methods that a forward may call on the activations, each with its reading.

Every handler takes the builder, the path of the call, and then the arguments of the torch function
under torch's names; Python's own binding refuses arguments that a handler does not list. Here are
activations and arithmetic; layers with stored tensors are in `_calls_layers`, calls that move
entries about in `_calls_layout`.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F

from talweg.network._arrange import permuted
from talweg.network._builder import Builder
from talweg.network._grammar import (
    gelu_name,
    place,
    refuse_inplace,
    softplus_parameters,
    unsupported,
)
from talweg.network._graph import Affine, MatrixProduct, Product, Shift, Softmax, Sum
from talweg.network._stored_layers import (
    mean,
    with_parameter,
)
from talweg.network._value import Value, Weight, activations, feature_axis

Handler = Callable[..., Any]


def _elementwise(function: str) -> Handler:
    def handler(builder: Builder, path: str, input: object) -> Value:
        return builder.elementwise(function, activations(input, path), path)

    return handler


def _silu(builder: Builder, path: str, input: object, inplace: object = False) -> Value:
    refuse_inplace(inplace, "silu", path)
    return builder.elementwise("silu", activations(input, path), path)


def _gelu(builder: Builder, path: str, input: object, approximate: object = "none") -> Value:
    return builder.elementwise(gelu_name(approximate, path), activations(input, path), path)


def _softplus(
    builder: Builder, path: str, input: object, beta: object = 1, threshold: object = 20
) -> Value:
    parameters = softplus_parameters(beta, threshold, path)
    return builder.elementwise("softplus", activations(input, path), path, parameters)


def dropout(
    builder: Builder,
    path: str,
    input: object,
    p: object = 0.5,
    training: object = True,
    inplace: object = False,
) -> Value:
    """Dropout that does nothing: outside training, or with probability 0."""
    value = activations(input, path)
    refuse_inplace(inplace, "Dropout", path)
    if training is not False and p != 0:
        raise unsupported(
            f"{place(path)} is an active Dropout with p={p!r}, so every call draws another network",
            "Call model.eval(), or set p=0; F.dropout needs training=self.training.",
        )
    return builder.dropped(value, path, "inactive Dropout")


def _mul(builder: Builder, path: str, input: object, other: object) -> Value:
    value, factor = (input, other) if isinstance(input, Value) else (other, input)
    x = activations(value, path)
    if isinstance(factor, Value):
        return builder.emit(Product(path), x, factor)
    if isinstance(factor, Weight):
        return with_parameter(builder, x, factor, Affine, path)
    return builder.scale(x, path, factor, 1.0)


def _div(
    builder: Builder, path: str, input: object, other: object, *, rounding_mode: object = None
) -> Value:
    if rounding_mode is not None:
        raise unsupported(f"{place(path)} rounds a quotient ({rounding_mode!r})", "Divide exactly.")
    return builder.scale(activations(input, path), path, 1.0, other)


def _neg(builder: Builder, path: str, input: object) -> Value:
    return builder.scale(activations(input, path), path, -1.0, 1.0)


def _add(builder: Builder, path: str, input: object, other: object) -> Value:
    x, y = (input, other) if isinstance(input, Value) else (other, input)
    return _combined(builder, path, activations(x, path), y, 1)


def _sub(builder: Builder, path: str, input: object, other: object) -> Value:
    if isinstance(input, Value):
        return _combined(builder, path, input, other, -1)
    turned = _neg(builder, path, other)
    return _combined(builder, path, turned, input, 1)


def _rsub(builder: Builder, path: str, input: object, other: object) -> Value:
    return _sub(builder, path, other, input)


def _combined(builder: Builder, path: str, x: Value, y: object, sign: int) -> Value:
    """``x + sign y`` of activations, or of activations and a stored tensor."""
    if isinstance(y, Value):
        return builder.emit(Sum((1, sign), path), x, y)
    if isinstance(y, Weight):
        if sign == 1:
            return with_parameter(builder, x, y, Shift, path)
        # x - w = -((-x) + w): a change of sign is exact, and w stays as it is stored.
        return _neg(builder, path, with_parameter(builder, _neg(builder, path, x), y, Shift, path))
    raise unsupported(
        f"{place(path)} adds or subtracts {y!r} ({type(y).__name__})",
        "Sums are of activations, or of activations and a parameter or buffer; put constant shifts "
        "into a Linear's bias or a buffer.",
    )


def _pow(builder: Builder, path: str, input: object, exponent: object) -> Value:
    if isinstance(exponent, bool) or exponent != 2:
        raise unsupported(
            f"{place(path)} raises to the power {exponent!r}",
            "Only squares are supported; write other powers as products.",
        )
    return _square(builder, path, input)


def _square(builder: Builder, path: str, input: object) -> Value:
    x = activations(input, path)
    return builder.emit(Product(path), x, x)


def _matmul(builder: Builder, path: str, input: object, other: object) -> Value:
    for each in (input, other):
        if isinstance(each, Weight):
            raise unsupported(
                f"{place(path)} calls matmul on the weight {each.name!r}",
                "Write the product as torch.nn.Linear or "
                "torch.nn.functional.linear(x, self.weight).",
            )
    x, y = activations(input, path), activations(other, path)
    if len(x.dims) < 2 or len(y.dims) < 2:
        raise unsupported(
            f"{place(path)} multiplies values {x} and {y} as matrices, which mixes the samples",
            "Give each sample matrices: values (n, ..., a, b) and (n, ..., b, c).",
        )
    return builder.emit(MatrixProduct(path), x, y)


def _bmm(builder: Builder, path: str, input: object, mat2: object) -> Value:
    return _matmul(builder, path, input, mat2)


def softmax(
    builder: Builder,
    path: str,
    input: object,
    dim: object = None,
    _stacklevel: object = 3,
    dtype: object = None,
) -> Value:
    """Softmax along an axis of one sample, which is last in the grammar."""
    x = activations(input, path)
    if dtype is not None:
        raise unsupported(f"{place(path)} is a softmax in {dtype}", "Leave dtype out.")
    axis = feature_axis(x, dim, path)
    order = (*(t for t in range(len(x.dims)) if t != axis), axis)
    turned = builder.emit(Softmax(path), permuted(builder, x, order, path))
    return permuted(builder, turned, tuple(order.index(t) for t in range(len(order))), path)


def _method_softmax(
    builder: Builder, path: str, input: object, dim: object, dtype: object = None
) -> Value:
    return softmax(builder, path, input, dim, dtype=dtype)


def _mean(
    builder: Builder, path: str, input: object, dim: object = None, keepdim: object = False
) -> Value:
    return mean(builder, activations(input, path), path, dim, keepdim)


def _sum(
    builder: Builder, path: str, input: object, dim: object = None, keepdim: object = False
) -> Value:
    """The mean times the number of entries."""
    x = activations(input, path)
    average = mean(builder, x, path, dim, keepdim)
    count = math.prod(x.dims) // math.prod(average.dims)
    return builder.scale(average, path, float(count), 1.0)


def values_in(arguments: Sequence[Any]) -> bool:
    """Whether activations are among the arguments, at any depth."""
    return any(
        values_in(a) if isinstance(a, tuple | list) else isinstance(a, Value) for a in arguments
    )


COMPUTING: dict[Any, Handler] = {
    torch.tanh: _elementwise("tanh"),
    torch.sigmoid: _elementwise("sigmoid"),
    torch.special.expit: _elementwise("sigmoid"),
    torch.sin: _elementwise("sin"),
    F.silu: _silu,
    F.gelu: _gelu,
    F.softplus: _softplus,
    **dict.fromkeys((F.dropout, F.dropout1d, F.dropout2d), dropout),
    **dict.fromkeys((operator.mul, torch.mul, torch.multiply), _mul),
    **dict.fromkeys((operator.truediv, torch.div, torch.divide, torch.true_divide), _div),
    **dict.fromkeys((operator.neg, torch.neg, torch.negative), _neg),
    **dict.fromkeys((operator.add, torch.add), _add),
    **dict.fromkeys((operator.sub, torch.sub, torch.subtract), _sub),
    torch.rsub: _rsub,
    **dict.fromkeys((operator.pow, torch.pow), _pow),
    torch.square: _square,
    **dict.fromkeys((operator.matmul, torch.matmul), _matmul),
    torch.bmm: _bmm,
    **dict.fromkeys((F.softmax, torch.softmax), softmax),
    torch.mean: _mean,
    torch.sum: _sum,
}

COMPUTING_METHODS: dict[str, Handler] = {
    "tanh": _elementwise("tanh"),
    "sigmoid": _elementwise("sigmoid"),
    "sin": _elementwise("sin"),
    **dict.fromkeys(("mul", "multiply"), _mul),
    **dict.fromkeys(("div", "divide", "true_divide"), _div),
    **dict.fromkeys(("neg", "negative"), _neg),
    "add": _add,
    **dict.fromkeys(("sub", "subtract"), _sub),
    "pow": _pow,
    "square": _square,
    "matmul": _matmul,
    "bmm": _bmm,
    "softmax": _method_softmax,
    "mean": _mean,
    "sum": _sum,
}
