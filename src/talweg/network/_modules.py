"""The reading of each module of the library that the trace does not look into."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import nn

from talweg.network._arrange import flattened, unflattened
from talweg.network._attention import encoder_layer, self_attention
from talweg.network._builder import Builder
from talweg.network._calls import dropout, softmax
from talweg.network._grammar import ACTIVATIONS, LEAVES, activation_of, advice, place, unsupported
from talweg.network._graph import Embedding, Parametric
from talweg.network._rebuilt import GraphModule
from talweg.network._stored_layers import (
    adaptive_pool,
    average_pool,
    batch_norm,
    bilinear,
    convolution,
    group_norm,
    layer_norm,
    require_tensor,
)
from talweg.network._value import AttentionWeights, Value, activations
from talweg.nn import Scale

Handler = Callable[..., Any]


def module_call(builder: Builder, path: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """The reading of one traced call of a module.

    Args:
        builder: The network under construction.
        path: Its name in the model.
        args: Arguments, as values, weights, numbers or shapes.
        kwargs: Keyword arguments, likewise.

    Returns:
        A value; for attention the pair that the layer returns.

    Raises:
        UnsupportedModelError: The module, its settings or an argument is outside the grammar.
    """
    module = builder.model.get_submodule(path)
    kind = type(module)
    if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.training:
        raise unsupported(
            f"{place(path)} is a {kind.__name__} in training mode, where each output depends on "
            "the whole batch and every call moves the running statistics",
            f"Call model.eval(). {advice(kind.__name__)}",
        )
    if kind not in LEAVES:
        raise unsupported(f"{place(path)} is a {kind.__name__}", advice(kind.__name__))
    if kind in _SEVERAL:
        try:
            bound = inspect.signature(_SEVERAL[kind]).bind(builder, path, module, *args, **kwargs)
        except TypeError as error:
            raise unsupported(
                f"{place(path)} ({kind.__name__}) is called with arguments that have no reading "
                f"({error})",
                "Call it on activations, without masks.",
            ) from error
        return _SEVERAL[kind](*bound.args, **bound.kwargs)
    values = [*args, *kwargs.values()]
    if len(values) != 1 or not isinstance(values[0], Value):
        raise unsupported(
            f"{place(path)} ({kind.__name__}) is not called on the activations alone",
            "Call each layer on one tensor that another layer returned.",
        )
    if kind in ACTIVATIONS:
        function, parameters = activation_of(module, path)
        return builder.elementwise(function, values[0], path, parameters)
    return _ONE[kind](builder, path, module, values[0])


def _linear(builder: Builder, path: str, module: nn.Linear, x: Value) -> Value:
    bias = builder.optional_weight_of(module.bias, path)
    return builder.linear(x, builder.weight_of(module.weight, path), bias, path)


def _scale(builder: Builder, path: str, module: Scale, x: Value) -> Value:
    return builder.scale(x, path, module.numerator, module.denominator)


def _identity(builder: Builder, path: str, module: nn.Identity, x: Value) -> Value:
    return builder.dropped(x, path, "Identity")


def _flatten(builder: Builder, path: str, module: nn.Flatten, x: Value) -> Value:
    return flattened(builder, x, path, module.start_dim, module.end_dim)


def _unflatten(builder: Builder, path: str, module: nn.Unflatten, x: Value) -> Value:
    return unflattened(x, module.dim, module.unflattened_size, path)


def _dropout(builder: Builder, path: str, module: nn.Dropout, x: Value) -> Value:
    return dropout(builder, path, x, module.p, module.training, module.inplace)


def _softmax(builder: Builder, path: str, module: nn.Softmax, x: Value) -> Value:
    return softmax(builder, path, x, module.dim)


def _convolution(spatial: int) -> Handler:
    def handler(builder: Builder, path: str, module: Any, x: Value) -> Value:
        if module.padding_mode != "zeros":
            raise unsupported(
                f"{place(path)} is a convolution with padding_mode={module.padding_mode!r}",
                "Use padding_mode='zeros'.",
            )
        return convolution(
            builder, x, builder.weight_of(module.weight, path),
            builder.optional_weight_of(module.bias, path), path,
            module.stride, module.padding, module.dilation, module.groups, spatial=spatial,
        )  # fmt: skip

    return handler


def _average_pool(spatial: int) -> Handler:
    def handler(builder: Builder, path: str, module: Any, x: Value) -> Value:
        return average_pool(
            builder, x, path, module.kernel_size, module.stride, module.padding, module.ceil_mode,
            module.count_include_pad, getattr(module, "divisor_override", None), spatial=spatial,
        )  # fmt: skip

    return handler


def _adaptive_pool(spatial: int) -> Handler:
    def handler(builder: Builder, path: str, module: Any, x: Value) -> Value:
        return adaptive_pool(builder, x, path, module.output_size, spatial=spatial)

    return handler


def _layer_norm(builder: Builder, path: str, module: nn.LayerNorm, x: Value) -> Value:
    return layer_norm(
        builder, x, module.normalized_shape, builder.optional_weight_of(module.weight, path),
        builder.optional_weight_of(module.bias, path), module.eps, path,
    )  # fmt: skip


def _group_norm(builder: Builder, path: str, module: nn.GroupNorm, x: Value) -> Value:
    return group_norm(
        builder, x, module.num_groups, builder.optional_weight_of(module.weight, path),
        builder.optional_weight_of(module.bias, path), module.eps, path,
    )  # fmt: skip


def _batch_norm(ranks: tuple[int, ...]) -> Handler:
    def handler(builder: Builder, path: str, module: Any, x: Value) -> Value:
        if len(x.dims) not in ranks:
            raise unsupported(
                f"{place(path)} is a {type(module).__name__} on values {x}",
                "Give it a batch (n, channels, ...).",
            )
        mean = require_tensor(module.running_mean, "running mean", path)
        variance = require_tensor(module.running_var, "running variance", path)
        return batch_norm(
            builder, x, builder.weight_of(mean, path), builder.weight_of(variance, path),
            builder.optional_weight_of(module.weight, path),
            builder.optional_weight_of(module.bias, path), module.eps, path,
        )  # fmt: skip

    return handler


def _embedding(builder: Builder, path: str, module: nn.Embedding, x: Value) -> Value:
    for name, plain in (
        ("padding_idx", None), ("max_norm", None), ("scale_grad_by_freq", False), ("sparse", False),
    ):  # fmt: skip
        if getattr(module, name) != plain:
            raise unsupported(
                f"{place(path)} is an Embedding with {name}={getattr(module, name)!r}",
                f"Leave {name} out.",
            )
    return builder.embedding(x, builder.weight_of(module.weight, path), path)


def _encoder(builder: Builder, path: str, module: nn.TransformerEncoder, x: Value) -> Value:
    for t, layer in enumerate(module.layers):
        inner = f"{path}.layers.{t}" if path else f"layers.{t}"
        if type(layer) is not nn.TransformerEncoderLayer:
            raise unsupported(
                f"{place(inner)} is a {type(layer).__name__}", advice(type(layer).__name__)
            )
        x = encoder_layer(builder, layer, x, inner)
    if module.norm is None:
        return x
    inner = f"{path}.norm" if path else "norm"
    if type(module.norm) is not nn.LayerNorm:
        raise unsupported(f"{place(inner)} is a {type(module.norm).__name__}", "Use LayerNorm.")
    return _layer_norm(builder, inner, module.norm, x)


def _encoder_layer(
    builder: Builder, path: str, module: nn.TransformerEncoderLayer, x: Value
) -> Value:
    return encoder_layer(builder, module, x, path)


def _attention(
    builder: Builder,
    path: str,
    module: nn.MultiheadAttention,
    query: object,
    key: object,
    value: object,
    key_padding_mask: object = None,
    need_weights: object = True,
    attn_mask: object = None,
    average_attn_weights: object = True,
    is_causal: object = False,
) -> tuple[Value, AttentionWeights | None]:
    x = activations(query, path)
    if key != x or value != x:
        raise unsupported(
            f"{place(path)} is a MultiheadAttention of one tensor to another",
            "Only self-attention, attention(x, x, x), is supported.",
        )
    if key_padding_mask is not None or attn_mask is not None or is_causal is not False:
        raise unsupported(
            f"{place(path)} is a MultiheadAttention with a mask", "Call it without masks."
        )
    weights = AttentionWeights(path) if need_weights else None
    return self_attention(builder, module, x, path), weights


def _bilinear(
    builder: Builder, path: str, module: nn.Bilinear, input1: object, input2: object
) -> Value:
    return bilinear(
        builder, activations(input1, path), activations(input2, path),
        builder.weight_of(module.weight, path), builder.optional_weight_of(module.bias, path), path,
    )  # fmt: skip


def _graph(builder: Builder, path: str, module: GraphModule, x: Value) -> Value:
    tensors = dict(module.named_parameters())
    network = module.graph
    if x.dims != network.input_shape:
        raise unsupported(
            f"{place(path)} reads values of shape {network.input_shape}, and gets {x}",
            "Give it values of the shape that it was built for.",
        )
    values = [x]
    for node in network.nodes:
        operation, inputs = node.operation, [values[e] for e in node.inputs]
        if isinstance(operation, Embedding):
            weight = builder.weight_of(tensors[operation.weight_name], path)
            values.append(builder.embedding(inputs[0], weight, path))
        elif isinstance(operation, Parametric):
            bias = None if operation.bias_name is None else tensors[operation.bias_name]
            own = {field.name for field in dataclasses.fields(Parametric)}
            settings = {
                field.name: getattr(operation, field.name)
                for field in dataclasses.fields(operation)
                if field.name not in own
            }
            values.append(
                builder.parametric(
                    type(operation), inputs[0],
                    builder.weight_of(tensors[operation.weight_name], path),
                    builder.optional_weight_of(bias, path), operation.path, **settings,
                )
            )  # fmt: skip
        else:
            values.append(builder.emit(operation, *inputs))
    last = values[-1]
    return Value(last.index, ()) if network.flat_output else last


_ONE: dict[type[nn.Module], Handler] = {
    nn.Linear: _linear,
    Scale: _scale,
    nn.Identity: _identity,
    nn.Flatten: _flatten,
    nn.Unflatten: _unflatten,
    **dict.fromkeys((nn.Dropout, nn.Dropout1d, nn.Dropout2d), _dropout),
    nn.Softmax: _softmax,
    nn.Conv1d: _convolution(1),
    nn.Conv2d: _convolution(2),
    nn.AvgPool1d: _average_pool(1),
    nn.AvgPool2d: _average_pool(2),
    nn.AdaptiveAvgPool1d: _adaptive_pool(1),
    nn.AdaptiveAvgPool2d: _adaptive_pool(2),
    nn.LayerNorm: _layer_norm,
    nn.GroupNorm: _group_norm,
    nn.BatchNorm1d: _batch_norm((1, 2)),
    nn.BatchNorm2d: _batch_norm((3,)),
    nn.Embedding: _embedding,
    nn.TransformerEncoderLayer: _encoder_layer,
    nn.TransformerEncoder: _encoder,
    GraphModule: _graph,
}
_SEVERAL: dict[type[nn.Module], Handler] = {
    nn.MultiheadAttention: _attention,
    nn.Bilinear: _bilinear,
}
