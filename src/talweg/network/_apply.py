"""One operation of a graph by plain torch calls on a batch: no error bound, differentiable."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

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


def applied_approx(
    operation: Operation, inputs: Sequence[Tensor], weight: Tensor | None, bias: Tensor | None
) -> Tensor:
    """The value of one operation for a batch.

    Args:
        operation: The operation; its own tensors are not looked at.
        inputs: What it reads, each ``(n, *shape)``.
        weight: Its weight in the dtype to compute in, where it has one.
        bias: Its bias, likewise.

    Returns:
        ``(n, *shape)``.
    """
    from talweg.network._evaluate import elementwise_approx

    x = inputs[0]
    match operation:
        case Elementwise():
            return elementwise_approx(operation, x)
        case Scale():
            return x * operation.numerator / operation.denominator
        case Sum():
            total = x if operation.signs[0] == 1 else -x
            for sign, other in zip(operation.signs[1:], inputs[1:], strict=True):
                total = total + other if sign == 1 else total - other
            return total
        case Product():
            return x * inputs[1]
        case MatrixProduct():
            return x @ inputs[1]
        case Softmax():
            return torch.softmax(x, -1)
        case Normalize():
            return F.layer_norm(x, x.shape[x.ndim - operation.axes :], eps=operation.epsilon)
        case AveragePool():
            return _pooled(operation, x)
        case Mean():
            return x.mean([axis + 1 for axis in operation.axes])
        case Concatenate():
            return torch.cat(list(inputs), operation.axis + 1)
        case Reshape():
            return x.reshape(len(x), *operation.shape)
        case Permute():
            return x.permute(0, *(axis + 1 for axis in operation.axes))
        case Slice():
            index = torch.arange(operation.start, operation.stop, operation.step, device=x.device)
            return x.index_select(operation.axis + 1, index)
        case _:
            if weight is None:
                raise RuntimeError(f"{operation.kind} without a weight; please report")
            return _parametric(operation, x, weight, bias)


def _parametric(operation: Operation, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    match operation:
        case Linear():
            return F.linear(x, weight, bias)
        case Convolution():
            convolve = F.conv1d if weight.ndim == 3 else F.conv2d
            return convolve(
                x, weight, bias, operation.stride, operation.padding,
                operation.dilation, operation.groups,
            )  # fmt: skip
        case Affine():
            y = x * aligned(weight, operation.axis, x)
            return y if bias is None else y + aligned(bias, operation.axis, x)
        case Shift():
            return x + aligned(weight, operation.axis, x)
        case Embedding():
            return F.embedding(x.long(), weight)
        case Standardize():
            if bias is None:
                raise RuntimeError("a standardize without a variance; please report")
            root = (bias + operation.epsilon).sqrt()
            return (x - aligned(weight, 0, x)) / aligned(root, 0, x)
    raise RuntimeError(f"no rule for {operation.kind}; please report")


def aligned(tensor: Tensor, axis: int, x: Tensor) -> Tensor:
    """A tensor whose axes stand at the sample axes ``axis, ...`` of a batch, to be broadcast.

    Args:
        tensor: Any shape.
        axis: First axis of one sample.
        x: ``(n, *shape)``.
    """
    behind = x.ndim - 1 - axis - tensor.ndim
    return tensor.reshape(*tensor.shape, *(1,) * behind)


def _pooled(operation: AveragePool, x: Tensor) -> Tensor:
    pool = F.avg_pool1d if len(operation.kernel) == 1 else F.avg_pool2d
    lead: Shape = tuple(x.shape[1 : x.ndim - len(operation.kernel)])
    flat = x.reshape(-1, 1, *x.shape[x.ndim - len(operation.kernel) :])
    y = pool(flat, operation.kernel, operation.stride, operation.padding)
    return y.reshape(len(x), *lead, *y.shape[2:])
