"""Functions and methods that a forward may call on the activations, each with its reading.

Every handler takes the builder, the path of the call, and then the arguments of the torch function
under torch's names; Python's own binding refuses arguments that a handler does not list. Here are
those that compute; those that move entries about are in `_calls_layout`.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F

from talweg.network._arrange import permuted
from talweg.network._attention import attended
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
    adaptive_pool,
    average_pool,
    batch_norm,
    bilinear,
    convolution,
    group_norm,
    layer_norm,
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


def _stored(weight: object, path: str) -> Weight:
    if not isinstance(weight, Weight):
        raise unsupported(
            f"{place(path)} is a layer whose weight or bias is no parameter of the model",
            "Use weights as they are stored: F.linear(x, self.weight, self.bias).",
        )
    return weight


def _stored_or_none(weight: object, path: str) -> Weight | None:
    return None if weight is None else _stored(weight, path)


def _linear(
    builder: Builder, path: str, input: object, weight: object, bias: object = None
) -> Value:
    value = activations(input, path)
    return builder.linear(value, _stored(weight, path), _stored_or_none(bias, path), path)


def _convolution(spatial: int) -> Handler:
    def handler(
        builder: Builder, path: str, input: object, weight: object, bias: object = None,
        stride: object = 1, padding: object = 0, dilation: object = 1, groups: object = 1,
    ) -> Value:  # fmt: skip
        return convolution(
            builder, activations(input, path), _stored(weight, path), _stored_or_none(bias, path),
            path, stride, padding, dilation, groups, spatial=spatial,
        )  # fmt: skip

    return handler


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


def _average_pool(spatial: int) -> Handler:
    def handler(
        builder: Builder, path: str, input: object, kernel_size: object, stride: object = None,
        padding: object = 0, ceil_mode: object = False, count_include_pad: object = True,
        divisor_override: object = None,
    ) -> Value:  # fmt: skip
        return average_pool(
            builder, activations(input, path), path, kernel_size, stride, padding, ceil_mode,
            count_include_pad, divisor_override, spatial=spatial,
        )  # fmt: skip

    return handler


def _adaptive_pool(spatial: int) -> Handler:
    def handler(builder: Builder, path: str, input: object, output_size: object) -> Value:
        return adaptive_pool(builder, activations(input, path), path, output_size, spatial=spatial)

    return handler


def _layer_norm(
    builder: Builder, path: str, input: object, normalized_shape: object, weight: object = None,
    bias: object = None, eps: object = 1e-5,
) -> Value:  # fmt: skip
    return layer_norm(
        builder, activations(input, path), normalized_shape, _stored_or_none(weight, path),
        _stored_or_none(bias, path), eps, path,
    )  # fmt: skip


def _group_norm(
    builder: Builder, path: str, input: object, num_groups: object, weight: object = None,
    bias: object = None, eps: object = 1e-5,
) -> Value:  # fmt: skip
    return group_norm(
        builder, activations(input, path), num_groups, _stored_or_none(weight, path),
        _stored_or_none(bias, path), eps, path,
    )  # fmt: skip


def _batch_norm(
    builder: Builder, path: str, input: object, running_mean: object, running_var: object,
    weight: object = None, bias: object = None, training: object = False, momentum: object = 0.1,
    eps: object = 1e-5,
) -> Value:  # fmt: skip
    if training is not False:
        raise unsupported(
            f"{place(path)} is a batch_norm with training={training!r}, where each output depends "
            "on the whole batch",
            "Pass training=False with stored statistics.",
        )
    return batch_norm(
        builder, activations(input, path), _stored(running_mean, path), _stored(running_var, path),
        _stored_or_none(weight, path), _stored_or_none(bias, path), eps, path,
    )  # fmt: skip


def _embedding(
    builder: Builder, path: str, input: object, weight: object, padding_idx: object = None,
    max_norm: object = None, norm_type: object = 2.0, scale_grad_by_freq: object = False,
    sparse: object = False,
) -> Value:  # fmt: skip
    if padding_idx is not None or max_norm is not None or scale_grad_by_freq or sparse:
        raise unsupported(
            f"{place(path)} is an embedding with padding_idx, max_norm, scale_grad_by_freq or "
            "sparse",
            "Leave these out.",
        )
    return builder.embedding(activations(input, path), _stored(weight, path), path)


def _bilinear(
    builder: Builder, path: str, input1: object, input2: object, weight: object,
    bias: object = None,
) -> Value:  # fmt: skip
    return bilinear(
        builder, activations(input1, path), activations(input2, path), _stored(weight, path),
        _stored_or_none(bias, path), path,
    )  # fmt: skip


def _attention(
    builder: Builder, path: str, query: object, key: object, value: object,
    attn_mask: object = None, dropout_p: object = 0.0, is_causal: object = False, *,
    scale: object = None, enable_gqa: object = False,
) -> Value:  # fmt: skip
    if attn_mask is not None or dropout_p != 0 or is_causal is not False or enable_gqa is not False:
        raise unsupported(
            f"{place(path)} is an attention with a mask, dropout, is_causal or enable_gqa",
            "Call it on queries, keys and values alone.",
        )
    q, k, v = (activations(each, path) for each in (query, key, value))
    return attended(builder, q, k, v, scale, path)


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
    F.linear: _linear,
    **dict.fromkeys((F.conv1d, torch.conv1d), _convolution(1)),
    **dict.fromkeys((F.conv2d, torch.conv2d), _convolution(2)),
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
    **dict.fromkeys((F.avg_pool1d, torch.avg_pool1d), _average_pool(1)),
    F.avg_pool2d: _average_pool(2),
    **dict.fromkeys((F.adaptive_avg_pool1d, torch.adaptive_avg_pool1d), _adaptive_pool(1)),
    F.adaptive_avg_pool2d: _adaptive_pool(2),
    F.layer_norm: _layer_norm,
    F.group_norm: _group_norm,
    F.batch_norm: _batch_norm,
    F.embedding: _embedding,
    F.bilinear: _bilinear,
    F.scaled_dot_product_attention: _attention,
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
