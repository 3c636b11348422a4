"""Attention, written out in linear maps, products of matrices and softmax."""

from __future__ import annotations

import math

import torch.nn.functional as F
from torch import nn

from talweg._errors import UnsupportedModelError
from talweg.network._arrange import permuted, pieces, viewed
from talweg.network._builder import Builder
from talweg.network._grammar import ACTIVATIONS, activation_of, place, unsupported
from talweg.network._graph import MatrixProduct, Softmax, Sum
from talweg.network._stored_layers import layer_norm
from talweg.network._value import Value

_FUNCTIONS = {F.gelu: "gelu", F.silu: "silu"}


def attended(
    builder: Builder, query: Value, key: Value, values: Value, scale: object, path: str
) -> Value:
    """``softmax(scale q k^T) v`` over the last two axes, scale ``1 / sqrt(d)`` where None."""
    for each in (query, key, values):
        if len(each.dims) < 2:
            raise unsupported(
                f"{place(path)} attends over values {each}, whose positions would be the samples",
                "Give it values (n, ..., positions, features).",
            )
    top, bottom = (1.0, math.sqrt(query.dims[-1])) if scale is None else (scale, 1.0)
    scaled = builder.scale(query, path, top, bottom)
    lead = range(len(key.dims) - 2)
    turned = permuted(builder, key, (*lead, len(lead) + 1, len(lead)), path)
    scores = builder.emit(MatrixProduct(path), scaled, turned)
    weights = builder.emit(Softmax(path), scores)
    return builder.emit(MatrixProduct(path), weights, values)


def self_attention(builder: Builder, module: nn.MultiheadAttention, x: Value, path: str) -> Value:
    """Multi-head self-attention on ``(n, positions, features)``.

    Raises:
        UnsupportedModelError: A setting of the layer is outside the grammar.
    """
    for wrong, what, todo in (
        (not module.batch_first, "has batch_first=False", "Construct it with batch_first=True."),
        (module.dropout != 0 and module.training, "draws dropout", "Call model.eval()."),
        (module.bias_k is not None, "adds a bias to its keys", "Use add_bias_kv=False."),
        (module.add_zero_attn, "adds a row of zeros", "Use add_zero_attn=False."),
        (not module._qkv_same_embed_dim, "has kdim or vdim", "Leave kdim and vdim out."),
    ):
        if wrong:
            raise unsupported(f"{place(path)} is a MultiheadAttention that {what}", todo)
    if len(x.dims) != 2 or x.dims[1] != module.embed_dim:
        raise unsupported(
            f"{place(path)} is a MultiheadAttention of {module.embed_dim} features on values {x}",
            "Give it values (n, positions, embed_dim).",
        )
    positions, features = x.dims
    projected = builder.linear(
        x,
        builder.weight_of(module.in_proj_weight, path),
        builder.optional_weight_of(module.in_proj_bias, path),
        path,
    )
    heads = (positions, module.num_heads, features // module.num_heads)
    query, key, values = (
        permuted(builder, viewed(each, heads), (1, 0, 2), path)
        for each in pieces(builder, projected, 1, [features] * 3, path)
    )
    mixed = permuted(builder, attended(builder, query, key, values, None, path), (1, 0, 2), path)
    out, inner = module.out_proj, _inside(path, "out_proj")
    if type(out) not in (nn.Linear, nn.modules.linear.NonDynamicallyQuantizableLinear):
        raise _replaced(type(out).__name__, inner)
    return builder.linear(
        viewed(mixed, (positions, features)),
        builder.weight_of(out.weight, inner),
        builder.optional_weight_of(out.bias, inner),
        inner,
    )


def encoder_layer(
    builder: Builder, module: nn.TransformerEncoderLayer, x: Value, path: str
) -> Value:
    """A Transformer encoder layer: attention and a two-layer perceptron, each with a residual."""
    kinds = {
        "self_attn": nn.MultiheadAttention, "linear1": nn.Linear, "linear2": nn.Linear,
        "norm1": nn.LayerNorm, "norm2": nn.LayerNorm, "dropout": nn.Dropout,
        "dropout1": nn.Dropout, "dropout2": nn.Dropout,
    }  # fmt: skip
    for name, kind in kinds.items():
        child = getattr(module, name)
        if type(child) is not kind:
            raise _replaced(type(child).__name__, _inside(path, name))
        if isinstance(child, nn.Dropout) and child.training and child.p != 0:
            raise unsupported(
                f"{place(_inside(path, name))} is an active Dropout with p={child.p!r}, so every "
                "call draws another network",
                "Call model.eval(), or set p=0.",
            )

    def norm(value: Value, name: str) -> Value:
        inner, layer = _inside(path, name), getattr(module, name)
        return layer_norm(
            builder, value, layer.normalized_shape,
            builder.optional_weight_of(layer.weight, inner),
            builder.optional_weight_of(layer.bias, inner), layer.eps, inner,
        )  # fmt: skip

    def linear(value: Value, name: str) -> Value:
        inner, layer = _inside(path, name), getattr(module, name)
        bias = builder.optional_weight_of(layer.bias, inner)
        return builder.linear(value, builder.weight_of(layer.weight, inner), bias, inner)

    def attention(value: Value) -> Value:
        return self_attention(builder, module.self_attn, value, _inside(path, "self_attn"))

    def perceptron(value: Value) -> Value:
        return linear(_activated(builder, module, linear(value, "linear1"), path), "linear2")

    def plus(value: Value, other: Value) -> Value:
        return builder.emit(Sum((1, 1), path), value, other)

    if module.norm_first:
        x = plus(x, attention(norm(x, "norm1")))
        return plus(x, perceptron(norm(x, "norm2")))
    x = norm(plus(x, attention(x)), "norm1")
    return norm(plus(x, perceptron(x)), "norm2")


def _activated(
    builder: Builder, module: nn.TransformerEncoderLayer, value: Value, path: str
) -> Value:
    function = module.activation
    if isinstance(function, nn.Module) and type(function) in ACTIVATIONS:
        name, parameters = activation_of(function, _inside(path, "activation"))
        return builder.elementwise(name, value, path, parameters)
    known = next((name for each, name in _FUNCTIONS.items() if each is function), None)
    if known is None:
        came = getattr(function, "__name__", type(function).__name__)
        raise unsupported(
            f"{place(path)} is a TransformerEncoderLayer with the activation {came}",
            'Construct it with activation="gelu", or with one of talweg\'s activation modules.',
        )
    return builder.elementwise(known, value, path)


def _inside(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _replaced(came: str, path: str) -> UnsupportedModelError:
    return unsupported(
        f"{place(path)} was replaced by a {came}",
        "Use the layer as torch constructs it, or write its forward in a module of your own.",
    )
