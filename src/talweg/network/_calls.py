"""Functions and methods that a forward may call on the activations, each with its reading.

Every handler takes the builder, the path of the call, and then the arguments of the torch function
under torch's names; Python's own binding refuses arguments that a handler does not list.
"""

from __future__ import annotations

import inspect
import math
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import fx

from talweg.network._builder import Builder, Value, Weight
from talweg.network._grammar import (
    advice,
    gelu_name,
    place,
    refuse_inplace,
    softplus_parameters,
    unsupported,
)

Handler = Callable[..., Any]


@dataclass(frozen=True)
class _Shape:
    """The shape of a value; its entry 0 is the batch size."""

    value: Value

    def entries(self) -> tuple[_BatchSize | int, ...]:
        return (_BatchSize(),) if self.value.flat else (_BatchSize(), self.value.dim)


@dataclass(frozen=True)
class _BatchSize:
    """The number of rows: allowed in reshapes that keep the rows, nowhere else."""


def call_of(builder: Builder, node: fx.Node, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """The reading of one traced call of a function or method.

    Args:
        builder: The network under construction.
        node: The traced call; ``node.meta["scope"]`` is the path of the module that made it.
        args: Its arguments, as values, weights, numbers or shapes.
        kwargs: Its keyword arguments, likewise.

    Returns:
        A value, or a number or shape that later calls may use.

    Raises:
        UnsupportedModelError: The function, or an argument, is outside the grammar.
    """
    scope = str(node.meta.get("scope", ""))
    path = f"{scope}.{node.name}" if scope else node.name
    target: Any = node.target
    name = str(getattr(target, "__name__", target))
    if node.op == "call_method":
        handler = METHODS.get(name)
    else:
        if target in _NUMBER_FUNCTIONS and all(type(a) in (int, float) for a in args):
            return target(*args, **kwargs)
        handler = FUNCTIONS.get(target)
    if handler is None:
        raise unsupported(f"{place(scope)} calls {name} in its forward", advice(name))
    try:
        bound = inspect.signature(handler).bind(builder, path, *args, **kwargs)
    except TypeError as error:
        raise unsupported(
            f"{place(scope)} calls {name} with arguments that have no reading ({error})",
            "Use the plain form of the function.",
        ) from error
    of_shapes = handler in (_getattr, _getitem, _size)
    if not of_shapes and not any(isinstance(a, Value | _Shape) for a in bound.args):
        raise unsupported(
            f"{place(scope)} calls {name} on weights or numbers alone",
            "Use weights as they are stored: no mask, transpose or product of weights in forward.",
        )
    return handler(*bound.args, **bound.kwargs)


def _activations(input: object, path: str) -> Value:
    if not isinstance(input, Value):
        raise unsupported(
            f"{place(path)} is called on something other than the activations",
            "Apply one function after another to the input; keep weights and shapes out of it.",
        )
    return input


def _elementwise(function: str) -> Handler:
    def handler(builder: Builder, path: str, input: object) -> Value:
        return builder.elementwise(function, _activations(input, path), path)

    return handler


def _silu(builder: Builder, path: str, input: object, inplace: object = False) -> Value:
    refuse_inplace(inplace, "silu", path)
    return builder.elementwise("silu", _activations(input, path), path)


def _gelu(builder: Builder, path: str, input: object, approximate: object = "none") -> Value:
    return builder.elementwise(gelu_name(approximate, path), _activations(input, path), path)


def _softplus(
    builder: Builder, path: str, input: object, beta: object = 1, threshold: object = 20
) -> Value:
    parameters = softplus_parameters(beta, threshold, path)
    return builder.elementwise("softplus", _activations(input, path), path, parameters)


def _linear(
    builder: Builder, path: str, input: object, weight: object, bias: object = None
) -> Value:
    value = _activations(input, path)
    if not isinstance(weight, Weight) or not isinstance(bias, Weight | None):
        raise unsupported(
            f"{place(path)} is a linear layer whose weight or bias is no parameter of the model",
            "Use weights as they are stored: F.linear(x, self.weight, self.bias).",
        )
    return builder.linear(value, weight, bias, path)


def dropout(
    builder: Builder,
    path: str,
    input: object,
    p: object = 0.5,
    training: object = True,
    inplace: object = False,
) -> Value:
    """Dropout that does nothing: outside training, or with probability 0."""
    value = _activations(input, path)
    refuse_inplace(inplace, "Dropout", path)
    if training is not False and p != 0:
        raise unsupported(
            f"{place(path)} is an active Dropout with p={p!r}, so every call draws another network",
            "Call model.eval(), or set p=0; F.dropout needs training=self.training.",
        )
    return builder.dropped(value, path, "inactive Dropout")


def _mul(builder: Builder, path: str, input: object, other: object) -> Value:
    value, factor = (input, other) if isinstance(input, Value) else (other, input)
    return builder.scale(_activations(value, path), path, factor, 1.0)


def _div(
    builder: Builder, path: str, input: object, other: object, *, rounding_mode: object = None
) -> Value:
    if rounding_mode is not None:
        raise unsupported(f"{place(path)} rounds a quotient ({rounding_mode!r})", "Divide exactly.")
    return builder.scale(_activations(input, path), path, 1.0, other)


def _neg(builder: Builder, path: str, input: object) -> Value:
    return builder.scale(_activations(input, path), path, -1.0, 1.0)


def _flatten(
    builder: Builder, path: str, input: object, start_dim: object = 0, end_dim: object = -1
) -> Value:
    return builder.flatten(_activations(input, path), path, start_dim, end_dim)


def _squeeze(builder: Builder, path: str, input: object, dim: object = None) -> Value:
    return builder.squeeze(_activations(input, path), path, dim)


def _contiguous(builder: Builder, path: str, input: object) -> Value:
    return _activations(input, path)


def _reshape(builder: Builder, path: str, input: object, *shape: object, **named: object) -> Value:
    """``(n, -1)``, ``(-1, d)`` and ``(n, d)`` keep a value; ``(-1,)`` flattens one of width 1."""
    value = _activations(input, path)
    asked: object = named.get("shape", shape)
    if isinstance(asked, tuple) and len(asked) == 1 and isinstance(asked[0], tuple | list | _Shape):
        asked = asked[0]
    entries = asked.entries() if isinstance(asked, _Shape) else asked
    dims = tuple(entries) if isinstance(entries, tuple | list) else ()
    rows = isinstance(dims[0], _BatchSize) or dims[0] == -1 if dims else False
    if rows and len(dims) == 2 and not value.flat:
        keeps = dims[1] == value.dim or (dims[1] == -1 and dims[0] != -1)
        if keeps:
            return value
    if rows and len(dims) == 1 and value.dim == 1:
        return Value(value.index, 1, flat=True)
    raise unsupported(
        f"{place(path)} reshapes values (n, {value.dim}) to {dims!r}",
        "Keep the shape (n, d) through the network; end in squeeze(-1) where (n,) is wanted.",
    )


def _getattr(builder: Builder, path: str, input: object, name: object) -> object:
    if name == "shape" and isinstance(input, Value):
        return _Shape(input)
    if name == "shape" and isinstance(input, Weight):
        return tuple(input.tensor.shape)
    if isinstance(input, Weight):
        raise unsupported(
            f"{place(path)} reads {name!r} of the weight {input.name!r} in forward",
            "Use weights as they are stored: no mask, transpose or product of weights in forward.",
        )
    raise unsupported(f"{place(path)} reads the attribute {name!r} in forward", advice(str(name)))


def _size(builder: Builder, path: str, input: object, dim: object = None) -> object:
    if isinstance(input, Weight):
        shape: object = tuple(input.tensor.shape)
    else:
        shape = _Shape(_activations(input, path))
    return shape if dim is None else _getitem(builder, path, shape, dim)


def _getitem(builder: Builder, path: str, input: object, index: object) -> object:
    """An entry of a shape, or the only column ``x[:, 0]`` of a value of width 1."""
    if isinstance(input, _Shape | tuple) and isinstance(index, int):
        entries = input.entries() if isinstance(input, _Shape) else input
        if -len(entries) <= index < len(entries):
            return entries[index]
    column = index in ((slice(None), 0), (slice(None), -1), (Ellipsis, 0), (Ellipsis, -1))
    if isinstance(input, Value) and input.dim == 1 and not input.flat and column:
        return Value(input.index, 1, flat=True)
    raise unsupported(
        f"{place(path)} takes the part {index!r} of its values",
        "Slices of activations are not supported; build the model on the wanted features.",
    )


FUNCTIONS: dict[Any, Handler] = {
    torch.tanh: _elementwise("tanh"),
    torch.sigmoid: _elementwise("sigmoid"),
    torch.special.expit: _elementwise("sigmoid"),
    torch.sin: _elementwise("sin"),
    F.silu: _silu,
    F.gelu: _gelu,
    F.softplus: _softplus,
    F.linear: _linear,
    F.dropout: dropout,
    **dict.fromkeys((operator.mul, torch.mul, torch.multiply), _mul),
    **dict.fromkeys((operator.truediv, torch.div, torch.divide, torch.true_divide), _div),
    **dict.fromkeys((operator.neg, torch.neg, torch.negative), _neg),
    torch.flatten: _flatten,
    torch.squeeze: _squeeze,
    torch.reshape: _reshape,
    operator.getitem: _getitem,
    getattr: _getattr,
}

METHODS: dict[str, Handler] = {
    "tanh": _elementwise("tanh"),
    "sigmoid": _elementwise("sigmoid"),
    "sin": _elementwise("sin"),
    **dict.fromkeys(("mul", "multiply"), _mul),
    **dict.fromkeys(("div", "divide", "true_divide"), _div),
    **dict.fromkeys(("neg", "negative"), _neg),
    "flatten": _flatten,
    "squeeze": _squeeze,
    "contiguous": _contiguous,
    **dict.fromkeys(("view", "reshape"), _reshape),
    "size": _size,
}

# Plain arithmetic on numbers that come from a width, as in ``x / math.sqrt(x.shape[1])``.
_NUMBER_FUNCTIONS: frozenset[Any] = frozenset(
    (
        math.sqrt,
        operator.mul,
        operator.truediv,
        operator.floordiv,
        operator.add,
        operator.sub,
        operator.pow,
        operator.neg,
    )
)
