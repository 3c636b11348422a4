"""The reading of one traced call of a function or method, by the tables of handlers."""

from __future__ import annotations

import inspect
import math
import operator
from collections.abc import Mapping, Sequence
from typing import Any

from torch import fx

from talweg.network._builder import Builder
from talweg.network._calls import COMPUTING, COMPUTING_METHODS, values_in
from talweg.network._calls_layers import LAYERS
from talweg.network._calls_layout import LAYOUT, LAYOUT_METHODS, OF_SHAPES, shapes_in
from talweg.network._grammar import advice, place, unsupported

FUNCTIONS = {**COMPUTING, **LAYERS, **LAYOUT}
METHODS = {**COMPUTING_METHODS, **LAYOUT_METHODS}

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


def call_of(builder: Builder, node: fx.Node, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """The reading of one traced call of a function or method.

    Args:
        builder: The network under construction.
        node: The traced call; ``node.meta["scope"]`` is the path of the module that made it.
        args: Its arguments, as values, weights, numbers or shapes.
        kwargs: Its keyword arguments, likewise.

    Returns:
        A value, several of them, or a number or shape that later calls may use.

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
    given = (*bound.args, *bound.kwargs.values())
    if handler not in OF_SHAPES and not values_in(given) and not shapes_in(given):
        raise unsupported(
            f"{place(scope)} calls {name} on weights or numbers alone",
            "Use weights as they are stored: no mask, transpose or product of weights in forward.",
        )
    return handler(*bound.args, **bound.kwargs)
