"""The network of a certificate file, built from its operations and arrays."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from talweg._errors import UnsupportedModelError
from talweg.certificate._model_record import ModelRecord, Record, operations_of
from talweg.enclosure import activation_names
from talweg.network import (
    Affine,
    AveragePool,
    Concatenate,
    Convolution,
    Elementwise,
    Embedding,
    Linear,
    MatrixProduct,
    Mean,
    Network,
    Node,
    Normalize,
    Operation,
    Parametric,
    Permute,
    Product,
    Reshape,
    Scale,
    Shift,
    Slice,
    Softmax,
    Standardize,
    Sum,
    value_shapes,
)

_PARAMETRIC: dict[str, type[Parametric]] = {
    kind.kind: kind for kind in (Linear, Convolution, Affine, Shift, Embedding, Standardize)
}
_PLAIN: dict[str, Any] = {
    kind.kind: kind
    for kind in (
        Sum, Product, MatrixProduct, Softmax, Normalize, AveragePool, Mean, Concatenate, Reshape,
        Permute, Slice,
    )
}  # fmt: skip
_TENSORS = ("weight", "bias", "weight_trainable", "bias_trainable")


def network_of(model: ModelRecord, arrays: Mapping[str, Tensor], input_dim: int) -> Network:
    """The network that stands under ``model``; parameters are named like their arrays.

    Args:
        model: Of either format.
        arrays: Arrays by name.
        input_dim: Entries of one sample.

    Raises:
        ValueError: The operations do not fit together, or are not of the grammar.
        KeyError: A key or an array is missing.
        TypeError: A value is of the wrong kind.
    """
    operations = [
        _operation(record, arrays, str(index)) for index, record in enumerate(operations_of(model))
    ]
    if isinstance(model, dict):
        shape = tuple(_whole(size) for size in model["input_shape"])
        inputs = [tuple(_whole(e) for e in record["inputs"]) for record in model["operations"]]
    else:
        shape, inputs = (input_dim,), [(index,) for index in range(len(operations))]
    if any(not all(0 <= e <= index for e in read) for index, read in enumerate(inputs)):
        raise ValueError("an operation reads a value that comes after it")
    nodes = tuple(Node(op, read) for op, read in zip(operations, inputs, strict=True))
    network = Network(nodes, input_dim, 0, input_shape=shape)
    try:
        shapes = value_shapes(network)
    except UnsupportedModelError as error:
        raise ValueError("the layers do not fit together") from error
    if math.prod(shape) != input_dim or len(shapes[-1]) != 1 or not nodes:
        raise ValueError("the layers do not fit together")
    return Network(nodes, input_dim, shapes[-1][0], input_shape=shape)


def _operation(record: Record, arrays: Mapping[str, Tensor], path: str) -> Operation:
    kind = record["kind"]
    if kind == "elementwise":
        if record["function"] not in activation_names():
            raise ValueError(f"there is no function {record['function']!r}")
        constants = {key: float.fromhex(v) for key, v in record["parameters"].items()}
        return Elementwise(record["function"], path, constants)
    if kind == "scale":
        over, under = (float.fromhex(record[key]) for key in ("numerator", "denominator"))
        if under == 0.0:
            raise ValueError("a scale divides by zero")
        return Scale(over, under, path)
    settings = {
        key: _setting(value)
        for key, value in record.items()
        if key not in ("kind", "inputs", *_TENSORS)
    }
    found: Operation
    if kind in _PARAMETRIC:
        bias = record.get("bias")
        found = _PARAMETRIC[kind](  # type: ignore[assignment]
            weight=arrays[record["weight"]],
            bias=None if bias is None else arrays[bias],
            weight_trainable=bool(record.get("weight_trainable", False)),
            bias_trainable=bool(record.get("bias_trainable", False)),
            path=path,
            weight_name=record["weight"],
            bias_name=bias,
            **settings,
        )
        _require_bias(found)
        return found
    if kind not in _PLAIN:
        raise ValueError(f"there is no operation {kind!r}")
    found = _PLAIN[kind](path=path, **settings)
    return found


def _require_bias(op: Operation) -> None:
    if not isinstance(op, Parametric):
        return
    weight, bias = tuple(op.weight.shape), op.bias
    wanted = weight if isinstance(op, Affine | Standardize) else weight[:1]
    if bias is not None and tuple(bias.shape) != wanted:
        raise ValueError("the layers do not fit together")
    if isinstance(op, Standardize) and bias is None:
        raise ValueError("a standardize has no variance")


def _setting(value: Any) -> Any:
    if isinstance(value, str):
        return float.fromhex(value)
    return tuple(_whole(entry) for entry in value) if isinstance(value, list) else _whole(value)


def _whole(value: Any) -> int:
    if type(value) is not int:
        raise TypeError(f"{value!r} is no whole number")
    return value
