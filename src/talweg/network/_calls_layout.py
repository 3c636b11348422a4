"""Functions and methods of a forward that ask for shapes or move entries about."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any

import torch

from talweg.network import _arrange as arrange
from talweg.network._builder import Builder
from talweg.network._grammar import advice, place, unsupported
from talweg.network._value import (
    AttentionWeights,
    LiveShape,
    Value,
    Weight,
    activations,
    feature_axis,
    is_whole,
)

Handler = Callable[..., Any]


def _flatten(
    builder: Builder, path: str, input: object, start_dim: object = 0, end_dim: object = -1
) -> Value:
    return arrange.flattened(builder, activations(input, path), path, start_dim, end_dim)


def _unflatten(builder: Builder, path: str, input: object, dim: object, sizes: object) -> Value:
    return arrange.unflattened(activations(input, path), dim, sizes, path)


def _squeeze(builder: Builder, path: str, input: object, dim: object = None) -> Value:
    return arrange.squeezed(activations(input, path), path, dim)


def _unsqueeze(builder: Builder, path: str, input: object, dim: object) -> Value:
    return arrange.unsqueezed(activations(input, path), path, dim)


def _contiguous(builder: Builder, path: str, input: object) -> Value:
    return activations(input, path)


def _reshape(builder: Builder, path: str, input: object, *shape: object, **named: object) -> Value:
    """``(n, ...)`` with at most one -1, or ``(-1, ...)`` where -1 comes to n."""
    value = activations(input, path)
    asked: object = named.pop("shape", shape)
    if isinstance(asked, tuple) and len(asked) == 1 and _listed(asked[0]):
        asked = asked[0]
    entries = asked.entries() if isinstance(asked, LiveShape) else asked
    found = tuple(entries) if isinstance(entries, tuple | list) and not named else ()
    return arrange.reshaped(value, found, path)


def _listed(entry: object) -> bool:
    return isinstance(entry, tuple | list | LiveShape)


def _permute(builder: Builder, path: str, input: object, *dims: object, **named: object) -> Value:
    asked: object = named.pop("dims", dims)
    if isinstance(asked, tuple) and len(asked) == 1 and isinstance(asked[0], tuple | list):
        asked = asked[0]
    value = activations(input, path)
    return arrange.permuted_live(builder, value, () if named else asked, path)


def _transpose(builder: Builder, path: str, input: object, dim0: object, dim1: object) -> Value:
    return arrange.exchanged(builder, activations(input, path), dim0, dim1, path)


def _swapaxes(builder: Builder, path: str, input: object, axis0: object, axis1: object) -> Value:
    return _transpose(builder, path, input, axis0, axis1)


def _movedim(
    builder: Builder, path: str, input: object, source: object, destination: object
) -> Value:
    return arrange.moved(builder, activations(input, path), source, destination, path)


def _getattr(builder: Builder, path: str, input: object, name: object) -> object:
    if name == "shape" and isinstance(input, Value):
        return LiveShape(input)
    if name == "ndim" and isinstance(input, Value):
        return input.rank
    if name == "mT" and isinstance(input, Value):
        return arrange.exchanged(builder, input, -2, -1, path)
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
        shape = LiveShape(activations(input, path))
    return shape if dim is None else _getitem(builder, path, shape, dim)


def _dim(builder: Builder, path: str, input: object) -> int:
    return activations(input, path).rank


def _getitem(builder: Builder, path: str, input: object, index: object) -> object:
    """An entry of a shape or of several values, or a part of one value."""
    if isinstance(input, Value):
        return arrange.indexed(builder, input, index, path)
    if isinstance(input, LiveShape | tuple | list):
        entries = input.entries() if isinstance(input, LiveShape) else tuple(input)
        if isinstance(index, slice):
            return entries[index]
        if is_whole(index) and -len(entries) <= index < len(entries):
            return entries[index]
    raise unsupported(
        f"{place(path)} takes the part {index!r} of something other than the activations",
        "Index activations and their shapes alone; use weights as they are stored.",
    )


def _values(tensors: object, path: str) -> list[Value]:
    found = list(tensors) if isinstance(tensors, tuple | list) else [tensors]
    return [activations(each, path) for each in found]


def _cat(builder: Builder, path: str, tensors: object, dim: object = 0) -> Value:
    values = _values(tensors, path)
    axes = {feature_axis(value, dim, path) for value in values}
    if len(axes) != 1 or len({value.rank for value in values}) != 1:
        raise unsupported(
            f"{place(path)} joins values {', '.join(map(str, values))}",
            "Join values with equally many axes.",
        )
    return arrange.joined(builder, values, axes.pop(), path)


def _stack(builder: Builder, path: str, tensors: object, dim: object = 0) -> Value:
    values = [arrange.unsqueezed(value, path, dim) for value in _values(tensors, path)]
    return arrange.joined(builder, values, feature_axis(values[0], dim, path), path)


def _chunk(
    builder: Builder, path: str, input: object, chunks: object, dim: object = 0
) -> tuple[Value, ...]:
    value = activations(input, path)
    axis = feature_axis(value, dim, path)
    if not is_whole(chunks) or chunks < 1:
        raise unsupported(f"{place(path)} cuts into {chunks!r} chunks", "Give a whole number.")
    return _equal(builder, path, value, axis, -(-value.dims[axis] // chunks))


def _split(
    builder: Builder, path: str, tensor: object, split_size_or_sections: object, dim: object = 0
) -> tuple[Value, ...]:
    value = activations(tensor, path)
    axis = feature_axis(value, dim, path)
    asked = split_size_or_sections
    if isinstance(asked, tuple | list) and all(is_whole(size) for size in asked):
        return arrange.pieces(builder, value, axis, list(asked), path)
    if not is_whole(asked) or asked < 1:
        raise unsupported(
            f"{place(path)} splits by {asked!r}", "Give a whole size, or a list of sizes."
        )
    return _equal(builder, path, value, axis, asked)


def _split_method(
    builder: Builder, path: str, tensor: object, split_size: object, dim: object = 0
) -> tuple[Value, ...]:
    return _split(builder, path, tensor, split_size, dim)


def _equal(builder: Builder, path: str, value: Value, axis: int, size: int) -> tuple[Value, ...]:
    extent = value.dims[axis]
    sizes = [min(size, extent - start) for start in range(0, extent, size)]
    return arrange.pieces(builder, value, axis, sizes, path)


def _select(builder: Builder, path: str, input: object, dim: object, index: object) -> Value:
    value = activations(input, path)
    return arrange.selected(builder, value, feature_axis(value, dim, path), index, path)


def _unbind(builder: Builder, path: str, input: object, dim: object = 0) -> tuple[Value, ...]:
    value = activations(input, path)
    axis = feature_axis(value, dim, path)
    return tuple(arrange.selected(builder, value, axis, t, path) for t in range(value.dims[axis]))


def _narrow(
    builder: Builder, path: str, input: object, dim: object, start: object, length: object
) -> Value:
    value = activations(input, path)
    axis = feature_axis(value, dim, path)
    size = value.dims[axis]
    if is_whole(start) and is_whole(length) and length >= 1 and -size <= start < size:
        begin = start % size
        if begin + length <= size:
            return arrange.part(builder, value, axis, begin, begin + length, 1, path)
    raise unsupported(
        f"{place(path)} takes {length!r} entries from {start!r} on, of values {value}",
        "Stay inside the axis.",
    )


def shapes_in(arguments: Sequence[Any]) -> bool:
    """Whether shapes, or the results of an attention layer, are among the arguments."""
    return any(isinstance(a, LiveShape | AttentionWeights) for a in arguments)


LAYOUT: dict[Any, Handler] = {
    torch.flatten: _flatten,
    torch.unflatten: _unflatten,
    torch.squeeze: _squeeze,
    torch.unsqueeze: _unsqueeze,
    torch.reshape: _reshape,
    torch.permute: _permute,
    torch.transpose: _transpose,
    **dict.fromkeys((torch.swapaxes, torch.swapdims), _swapaxes),
    **dict.fromkeys((torch.movedim, torch.moveaxis), _movedim),
    **dict.fromkeys((torch.cat, torch.concat, torch.concatenate), _cat),
    torch.stack: _stack,
    torch.chunk: _chunk,
    torch.split: _split,
    torch.select: _select,
    torch.unbind: _unbind,
    torch.narrow: _narrow,
    operator.getitem: _getitem,
    getattr: _getattr,
}

LAYOUT_METHODS: dict[str, Handler] = {
    "flatten": _flatten,
    "unflatten": _unflatten,
    "squeeze": _squeeze,
    "unsqueeze": _unsqueeze,
    "contiguous": _contiguous,
    **dict.fromkeys(("view", "reshape"), _reshape),
    "permute": _permute,
    "transpose": _transpose,
    **dict.fromkeys(("swapaxes", "swapdims"), _swapaxes),
    **dict.fromkeys(("movedim", "moveaxis"), _movedim),
    "chunk": _chunk,
    "split": _split_method,
    "select": _select,
    "unbind": _unbind,
    "narrow": _narrow,
    "size": _size,
    "dim": _dim,
}
OF_SHAPES = frozenset((_getattr, _getitem, _size))
"""Handlers that may be called on weights or on the shape of one."""
