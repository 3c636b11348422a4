"""The functional forms of layers, in which a forward passes the stored tensors itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F

from talweg.network._attention import attended
from talweg.network._builder import Builder
from talweg.network._grammar import (
    place,
    unsupported,
)
from talweg.network._stored_layers import (
    adaptive_pool,
    average_pool,
    batch_norm,
    bilinear,
    convolution,
    group_norm,
    layer_norm,
)
from talweg.network._value import Value, Weight, activations

Handler = Callable[..., Any]


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


LAYERS: dict[Any, Handler] = {
    F.linear: _linear,
    **dict.fromkeys((F.conv1d, torch.conv1d), _convolution(1)),
    **dict.fromkeys((F.conv2d, torch.conv2d), _convolution(2)),
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
