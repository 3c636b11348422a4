"""Shapes of the values of a graph, for one sample, from the shape of its input."""

from __future__ import annotations

import math
from collections.abc import Sequence

from talweg._errors import UnsupportedModelError
from talweg.network._graph import (
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
    Normalize,
    Operation,
    Permute,
    Product,
    Reshape,
    Scale,
    Shape,
    Shift,
    Slice,
    Softmax,
    Standardize,
    Sum,
)


def value_shapes(network: Network) -> tuple[Shape, ...]:
    """Shape of the value at every index, the input first.

    Args:
        network: Any network.

    Raises:
        UnsupportedModelError: An operation does not fit what it reads; the message names it.
    """
    shapes: list[Shape] = [network.input_shape or (network.input_dim,)]
    for node in network.nodes:
        shapes.append(output_shape(node.operation, [shapes[e] for e in node.inputs]))
    return tuple(shapes)


def output_shape(operation: Operation, inputs: Sequence[Shape]) -> Shape:
    """Shape of an operation's value for one sample.

    Args:
        operation: The operation.
        inputs: Shapes of what it reads.

    Raises:
        UnsupportedModelError: They do not fit.
    """
    shape = _shape(operation, list(inputs)) if inputs else None
    if shape is None:
        came = ", ".join(str(tuple(s)) for s in inputs) or "nothing"
        raise UnsupportedModelError(
            f"`operation` of output_shape(): {operation.kind} at {operation.path!r} must fit the "
            f"values that it reads; got the shapes {came}, without the batch. Check the shapes of "
            "the layers before it."
        )
    return shape


def _shape(operation: Operation, inputs: list[Shape]) -> Shape | None:
    """The shape, or None where the inputs do not fit."""
    first, one = inputs[0], len(inputs) == 1
    match operation:
        case Elementwise() | Scale():
            return first if one else None
        case Softmax():
            return first if one and first else None
        case Linear():
            d_out, d_in = operation.weight.shape
            fits = one and bool(first) and first[-1] == d_in
            return (*first[:-1], int(d_out)) if fits else None
        case Convolution():
            return _convolved(operation, first) if one else None
        case Affine() | Shift() | Standardize():
            axis = 0 if isinstance(operation, Standardize) else operation.axis
            own = tuple(operation.weight.shape)
            fits = one and axis >= 0 and first[axis : axis + len(own)] == own and bool(own)
            return first if fits else None
        case Embedding():
            return (*first, int(operation.weight.shape[1])) if one else None
        case Sum():
            equal = len(inputs) == len(operation.signs) > 1 and all(s == first for s in inputs)
            return first if equal else None
        case Product():
            return first if len(inputs) == 2 and inputs[1] == first else None
        case MatrixProduct():
            return _matrix_product(inputs)
        case Normalize():
            return first if one and 1 <= operation.axes <= len(first) else None
        case AveragePool():
            lead = len(first) - len(operation.kernel)
            if not one or lead < 0:
                return None
            ones = (1,) * len(operation.kernel)
            window = windows(
                first[lead:], operation.kernel, operation.stride, operation.padding, ones
            )
            return None if window is None else (*first[:lead], *window)
        case Mean():
            axes = set(operation.axes)
            if not one or not axes or not axes <= set(range(len(first))):
                return None
            return tuple(s for t, s in enumerate(first) if t not in axes)
        case Concatenate():
            return _concatenated(operation.axis, inputs)
        case Reshape():
            same = one and math.prod(operation.shape) == math.prod(first)
            return operation.shape if same else None
        case Permute():
            known = one and sorted(operation.axes) == list(range(len(first)))
            return tuple(first[axis] for axis in operation.axes) if known else None
        case Slice():
            if not one or not 0 <= operation.axis < len(first) or operation.step < 1:
                return None
            if not 0 <= operation.start < operation.stop <= first[operation.axis]:
                return None
            size = len(range(operation.start, operation.stop, operation.step))
            return (*first[: operation.axis], size, *first[operation.axis + 1 :])


def windows(
    spatial: Shape, kernel: Shape, stride: Shape, padding: Shape, dilation: Shape
) -> Shape | None:
    """Numbers of window positions along the spatial axes; None where there is none."""
    sizes = tuple(
        (size + 2 * pad - reach * (k - 1) - 1) // step + 1 if step > 0 else 0
        for size, k, step, pad, reach in zip(
            spatial, kernel, stride, padding, dilation, strict=True
        )
    )
    return sizes if min(sizes, default=0) >= 1 else None


def _convolved(operation: Convolution, first: Shape) -> Shape | None:
    c_out, per_group, *kernel = (int(s) for s in operation.weight.shape)
    spatial = first[1:]
    if len(spatial) != len(kernel) or first[0] != per_group * operation.groups:
        return None
    size = windows(spatial, tuple(kernel), operation.stride, operation.padding, operation.dilation)
    return None if size is None or c_out % operation.groups else (c_out, *size)


def _matrix_product(inputs: list[Shape]) -> Shape | None:
    if len(inputs) != 2 or min(len(s) for s in inputs) < 2:
        return None
    left, right = inputs
    if left[:-2] != right[:-2] or left[-1] != right[-2]:
        return None
    return (*left[:-1], right[-1])


def _concatenated(axis: int, inputs: list[Shape]) -> Shape | None:
    first = inputs[0]
    if not 0 <= axis < len(first):
        return None
    if any((*s[:axis], *s[axis + 1 :]) != (*first[:axis], *first[axis + 1 :]) for s in inputs):
        return None
    return (*first[:axis], sum(s[axis] for s in inputs), *first[axis + 1 :])
