"""The model in a certificate file: a list of operations, or a graph (docs/certificate-format.md).

Chains on flat features are written in format 1, all other networks in format 2.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from talweg.network import (
    Elementwise,
    Embedding,
    Linear,
    Network,
    Operation,
    Parametric,
    Scale,
    Shift,
    Standardize,
)

CHAIN_FORMAT, GRAPH_FORMAT = 1, 2
DTYPE_NAMES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
}
Record = dict[str, Any]
ModelRecord = list[Record] | Record
"""What stands under ``model``: a list in format 1, an object in format 2."""

_SETTINGS = ("stride", "padding", "dilation", "groups", "axis", "signs", "axes", "kernel", "shape",
             "start", "stop", "step")  # fmt: skip
"""Fields of operations that are integers or tuples of integers, written as they are."""


def format_of(network: Network) -> int:
    """The format in which a network is written."""
    return CHAIN_FORMAT if network.is_chain else GRAPH_FORMAT


def operations_of(model: ModelRecord) -> list[Record]:
    """The operations of either format.

    Args:
        model: What stands under ``model``.
    """
    return model["operations"] if isinstance(model, dict) else model


def model_and_weights(network: Network) -> tuple[ModelRecord, dict[str, Tensor]]:
    """The operations in the grammar of the format, and the weights by array name.

    Args:
        network: Any network.

    Returns:
        What stands under ``model``, and the arrays ``weights/<op>.weight`` and ``.bias``.
    """
    return _chain(network) if network.is_chain else _graph(network)


def _chain(network: Network) -> tuple[list[Record], dict[str, Tensor]]:
    operations: list[Record] = []
    arrays: dict[str, Tensor] = {}
    for index, op in enumerate(network.chain_operations):
        if isinstance(op, Linear):
            weight, bias = f"weights/{index}.weight", f"weights/{index}.bias"
            arrays[weight] = stored(op.weight)
            if op.bias is not None:
                arrays[bias] = stored(op.bias)
            operations.append({
                "kind": "linear", "weight": weight, "bias": None if op.bias is None else bias,
                "weight_trainable": op.weight_trainable,
                "bias_trainable": op.bias is not None and op.bias_trainable,
            })  # fmt: skip
        else:
            operations.append(_plain(op))
    return operations, arrays


def _graph(network: Network) -> tuple[Record, dict[str, Tensor]]:
    operations: list[Record] = []
    arrays: dict[str, Tensor] = {}
    names: dict[str, str] = {}  # of the array, by name of the parameter
    for index, node in enumerate(network.nodes):
        op, record = node.operation, _plain(node.operation)
        record["inputs"] = list(node.inputs)
        if isinstance(op, Parametric):
            for slot in op.slots():
                name = names.setdefault(slot.name, f"weights/{index}.{slot.field}")
                if name not in arrays:
                    arrays[name] = stored(slot.tensor)
                record[slot.field] = name
            record |= _flags(op)
        operations.append(record)
    shape = list(network.input_shape or (network.input_dim,))
    return {"input_shape": shape, "operations": operations}, arrays


def _flags(op: Parametric) -> Record:
    """What trains, for the kinds that may; a bias that is not there, as null."""
    if isinstance(op, Standardize):
        return {}
    weight: Record = {"weight_trainable": op.weight_trainable}
    if isinstance(op, Shift | Embedding):
        return weight
    bias: Record = {"bias": None} if op.bias is None else {}
    return weight | bias | {"bias_trainable": op.bias is not None and op.bias_trainable}


def _plain(op: Operation) -> Record:
    """Kind and settings of an operation, without its tensors."""
    record: Record = {"kind": op.kind}
    if isinstance(op, Elementwise):
        constants = {name: float(v).hex() for name, v in op.parameters.items()}
        return record | {"function": op.function, "parameters": constants}
    if isinstance(op, Scale):
        return record | {
            "numerator": float(op.numerator).hex(), "denominator": float(op.denominator).hex(),
        }  # fmt: skip
    for name in _SETTINGS:
        value = getattr(op, name, None)
        if value is not None:
            record[name] = list(value) if isinstance(value, tuple) else value
    epsilon = getattr(op, "epsilon", None)
    return record if epsilon is None else record | {"epsilon": float(epsilon).hex()}


def parameter_arrays(network: Network, model: ModelRecord) -> dict[str, str]:
    """What the arrays with weights are called in the model that was read, by array name.

    Args:
        network: The network that was written.
        model: As `model_and_weights` wrote it.
    """
    found: dict[str, str] = {}
    for op, record in zip(network.operations, operations_of(model), strict=True):
        for slot in op.slots() if isinstance(op, Parametric) else ():
            found[record[slot.field]] = slot.name
    return found


def as_read(network: Network, X: Tensor) -> Tensor:
    """Inputs in the shape ``(n, *input_shape)`` in which they are written.

    Args:
        network: Any network.
        X: The inputs as the model takes them, or flattened.
    """
    return X.reshape(len(X), *(network.input_shape or (network.input_dim,)))


def stored(tensor: Tensor) -> Tensor:
    """The tensor as it is written: on the CPU, detached, contiguous, storage of its own."""
    return tensor.detach().to("cpu", copy=True).contiguous()


def weights_hash(arrays: Mapping[str, Tensor], model: ModelRecord) -> str:
    """sha256 over the weights in the order of the operations, names included, each array once.

    Args:
        arrays: Arrays by name.
        model: What stands under ``model``.
    """
    digest = hashlib.sha256()
    seen: set[str] = set()
    for op in operations_of(model):
        for name in (op.get("weight"), op.get("bias")):
            if name is not None and name not in seen:
                seen.add(name)
                digest.update(f"{name}\n".encode("ascii"))
                _update(digest, arrays[name])
    return digest.hexdigest()


def array_hash(tensor: Tensor) -> str:
    """sha256 over dtype, shape and bytes of one array.

    Args:
        tensor: Any of the four float dtypes, or int64.
    """
    digest = hashlib.sha256()
    _update(digest, tensor)
    return digest.hexdigest()


def _update(digest: Any, tensor: Tensor) -> None:
    shape = ",".join(str(size) for size in tensor.shape)
    digest.update(f"{DTYPE_NAMES[tensor.dtype]}\n({shape})\n".encode("ascii"))
    plain = stored(tensor).reshape(-1)
    digest.update(np.ascontiguousarray(plain.view(torch.uint8).numpy()).tobytes())
