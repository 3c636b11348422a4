"""Layers with stored tensors, and the averages that go with them, in the grammar of the graph."""

from __future__ import annotations

import math

from torch import Tensor

from talweg._errors import InputError
from talweg.network._arrange import permuted, viewed
from talweg.network._builder import Builder
from talweg.network._grammar import exact_float, place, unsupported
from talweg.network._graph import (
    Affine,
    AveragePool,
    Convolution,
    MatrixProduct,
    Mean,
    Normalize,
    Parametric,
    Shape,
    Shift,
    Standardize,
)
from talweg.network._value import Value, Weight, feature_axis, whole_numbers


def convolution(
    builder: Builder, value: Value, weight: Weight, bias: Weight | None, path: str,
    stride: object, padding: object, dilation: object, groups: object, *, spatial: int,
) -> Value:  # fmt: skip
    """Cross-correlation over the last one or two axes, with zeros around."""
    if len(value.dims) != spatial + 1 or weight.tensor.ndim != spatial + 2:
        raise unsupported(
            f"{place(path)} is a convolution over {spatial} axes on values {value}, and its weight "
            f"{weight.name!r} has shape {tuple(weight.tensor.shape)}",
            "Give it a batch (n, channels, ...).",
        )
    kernel = tuple(int(size) for size in weight.tensor.shape[2:])
    steps = whole_numbers(stride, spatial, 1, "stride", path)
    reach = whole_numbers(dilation, spatial, 1, "dilation", path)
    (parts,) = whole_numbers(groups, 1, 1, "groups", path)
    around = _padding(padding, kernel, reach, path)
    return builder.parametric(
        Convolution, value, weight, bias, path,
        stride=steps, padding=around, dilation=reach, groups=parts,
    )  # fmt: skip


def _padding(padding: object, kernel: Shape, dilation: Shape, path: str) -> Shape:
    if padding == "valid":
        return (0,) * len(kernel)
    if padding == "same":
        total = [reach * (size - 1) for size, reach in zip(kernel, dilation, strict=True)]
        if any(pad % 2 for pad in total):
            raise unsupported(
                f"{place(path)} pads by 'same' with kernel {kernel} and dilation {dilation}, more "
                "on one side than on the other",
                "Use an odd kernel, or a padding given by numbers.",
            )
        return tuple(pad // 2 for pad in total)
    return whole_numbers(padding, len(kernel), 0, "padding", path)


def average_pool(
    builder: Builder, value: Value, path: str, kernel: object, stride: object, padding: object,
    ceil_mode: object, count_include_pad: object, divisor: object, *, spatial: int,
) -> Value:  # fmt: skip
    """Means over windows of the last axes."""
    _require_channels(value, spatial, path)
    size = whole_numbers(kernel, spatial, 1, "kernel_size", path)
    absent = stride is None or stride in ([], ())
    steps = size if absent else whole_numbers(stride, spatial, 1, "stride", path)
    around = whole_numbers(padding, spatial, 0, "padding", path)
    if divisor is not None:
        raise unsupported(
            f"{place(path)} divides by divisor_override={divisor!r}", "Scale by a number instead."
        )
    if not count_include_pad and any(around):
        raise unsupported(
            f"{place(path)} leaves its padding {around} out of the means",
            "Use count_include_pad=True or padding=0.",
        )
    slack = [
        (extent + 2 * pad - k) % step
        for extent, k, step, pad in zip(value.dims[1:], size, steps, around, strict=True)
    ]
    if ceil_mode and any(slack):
        raise unsupported(
            f"{place(path)} has ceil_mode=True, and its windows do not fit {value}",
            "Use ceil_mode=False, or sizes that the stride divides.",
        )
    return builder.emit(AveragePool(size, steps, around, path), value)


def adaptive_pool(
    builder: Builder, value: Value, path: str, output_size: object, *, spatial: int
) -> Value:
    """Means over equal windows, where the output size divides the input."""
    _require_channels(value, spatial, path)
    extents = value.dims[1:]
    given = tuple(output_size) if isinstance(output_size, tuple | list) else None
    asked = given if given is not None else (output_size,) * spatial
    filled = tuple(
        size if want is None else want for want, size in zip(asked, extents, strict=False)
    )
    wanted = whole_numbers(filled, spatial, 1, "output_size", path)
    if any(size % want for size, want in zip(extents, wanted, strict=True)):
        raise unsupported(
            f"{place(path)} pools {value} to the output size {wanted}, by windows of unequal size",
            "Choose a size that divides the input.",
        )
    kernel = tuple(size // want for size, want in zip(extents, wanted, strict=True))
    return builder.emit(AveragePool(kernel, kernel, (0,) * spatial, path), value)


def _require_channels(value: Value, spatial: int, path: str) -> None:
    if len(value.dims) != spatial + 1:
        raise unsupported(
            f"{place(path)} pools over {spatial} axes of values {value}",
            "Give it a batch (n, channels, ...).",
        )


def mean(builder: Builder, value: Value, path: str, dim: object, keepdim: object) -> Value:
    """Mean over axes of one sample."""
    if dim is None:
        raise unsupported(
            f"{place(path)} averages over all entries, also those of other samples",
            "Name the axes: x.mean(dim=(1, 2)).",
        )
    dims = tuple(dim) if isinstance(dim, tuple | list) else (dim,)
    axes = tuple(sorted({feature_axis(value, each, path) for each in dims}))
    result = builder.emit(Mean(axes, path), value)
    if not keepdim:
        return result
    return viewed(result, tuple(1 if t in axes else s for t, s in enumerate(value.dims)))


def layer_norm(
    builder: Builder, value: Value, shape: object, weight: Weight | None, bias: Weight | None,
    eps: object, path: str,
) -> Value:  # fmt: skip
    """Normalisation over the last axes, then scale and shift."""
    given = tuple(shape) if isinstance(shape, tuple | list) else (shape,)
    axes = len(given)
    if axes == 0 or value.dims[-axes:] != given:
        raise unsupported(
            f"{place(path)} normalises the last axes {given} of values {value}",
            "normalized_shape must be the last axes of the values, without the batch.",
        )
    normal = builder.emit(Normalize(axes, _epsilon(eps, path), path), value)
    if weight is None:
        return _biased(builder, normal, bias, path)
    axis = len(value.dims) - axes
    return builder.parametric(Affine, normal, weight, bias, path, axis=axis)


def group_norm(
    builder: Builder, value: Value, groups: object, weight: Weight | None, bias: Weight | None,
    eps: object, path: str,
) -> Value:  # fmt: skip
    """Normalisation over groups of channels and all pixels, then scale and shift by channel."""
    (count,) = whole_numbers(groups, 1, 1, "num_groups", path)
    if not value.dims or value.dims[0] % count:
        raise unsupported(
            f"{place(path)} normalises {count} groups of channels of values {value}",
            "The number of groups must divide the channels, the first axis after the batch.",
        )
    rows = viewed(value, (count, math.prod(value.dims) // count))
    normal = viewed(builder.emit(Normalize(1, _epsilon(eps, path), path), rows), value.dims)
    if weight is None:
        return _biased(builder, normal, bias, path)
    return builder.parametric(Affine, normal, weight, bias, path, axis=0)


def _biased(builder: Builder, value: Value, bias: Weight | None, path: str) -> Value:
    return value if bias is None else with_parameter(builder, value, bias, Shift, path)


def batch_norm(
    builder: Builder, value: Value, mean: Weight, variance: Weight, weight: Weight | None,
    bias: Weight | None, eps: object, path: str,
) -> Value:  # fmt: skip
    """Batch normalisation by stored statistics, then scale and shift, by channel."""
    epsilon = _epsilon(eps, path, least=0.0)
    smallest = float(variance.tensor.detach().min()) if variance.tensor.numel() else 0.0
    if not smallest + epsilon > 0.0 or smallest < 0.0:
        raise InputError(
            f"{variance.name!r} of the model must be variances, not negative and positive with "
            f"eps; the smallest is {smallest!r}, eps is {epsilon!r}. Train the layer on some data "
            "first, or restore its running statistics."
        )
    for each in (mean, variance):
        if each.tensor.requires_grad:
            raise unsupported(
                f"{place(path)} normalises by {each.name!r}, which requires a gradient",
                "Running statistics are constants: keep them as buffers.",
            )
    normal = builder.parametric(Standardize, value, mean, variance, path, epsilon=epsilon)
    if weight is None:
        return _biased(builder, normal, bias, path)
    return builder.parametric(Affine, normal, weight, bias, path, axis=0)


def _epsilon(eps: object, path: str, least: float = math.nextafter(0.0, 1.0)) -> float:
    epsilon = exact_float(eps)
    if epsilon is None or not least <= epsilon < math.inf:
        raise unsupported(
            f"{place(path)} normalises with eps={eps!r}", "Give a positive finite Python number."
        )
    return epsilon


def bilinear(
    builder: Builder, left: Value, right: Value, weight: Weight, bias: Weight | None, path: str
) -> Value:
    """``x_1^T A_k x_2 + b_k``: the outer product, and a convolution with the weight as stored."""
    shape = tuple(weight.tensor.shape)
    if len(shape) != 3 or (*left.dims, *right.dims) != shape[1:]:
        raise unsupported(
            f"{place(path)} is bilinear in values {left} and {right}, and its weight "
            f"{weight.name!r} has shape {shape}",
            "It needs values (n, d_1) and (n, d_2).",
        )
    column, row = viewed(left, (shape[1], 1)), viewed(right, (1, shape[2]))
    outer = builder.emit(MatrixProduct(path), column, row)  # (d_1, d_2): channels, one window
    result = convolution(builder, outer, weight, bias, path, 1, 0, 1, 1, spatial=1)
    return viewed(result, (shape[0],))


def with_parameter(
    builder: Builder, value: Value, weight: Weight, kind: type[Parametric], path: str
) -> Value:
    """``x + w`` (Shift) or ``x * w`` (Affine) with w broadcast to x by torch's rules.

    The operations want the axes of w beside each other among those of x, with equal sizes. Axes
    along which w is repeated move behind the others, and axes of size 1 are put in, so that the
    tensor stays as it is stored.
    """
    dims, shape = value.dims, tuple(int(size) for size in weight.tensor.shape)
    lead = max(len(dims) - len(shape), 0)
    own = shape[max(len(shape) - len(dims), 0) :]
    batch = shape[: len(shape) - len(own)]
    fits = all(w in (1, s) for w, s in zip(own, dims[lead:], strict=True))
    if not shape or not fits or batch not in ((), (1,)):
        raise unsupported(
            f"{place(path)} combines values {value} with {weight.name!r} of shape {shape}",
            "Give the parameter the shape of the last axes of the values, with 1 where it is "
            "repeated.",
        )
    repeated = [lead + t for t, w in enumerate(own) if w != dims[lead + t]]
    order = (*(t for t in range(len(dims)) if t not in repeated), *repeated)
    behind = tuple(dims[t] for t in repeated)
    ready = viewed(permuted(builder, value, order, path), (*dims[:lead], *shape, *behind))
    result = builder.parametric(kind, ready, weight, None, path, axis=lead)
    back = viewed(result, tuple(dims[t] for t in order))
    return permuted(builder, back, tuple(order.index(t) for t in range(len(dims))), path)


def require_tensor(tensor: Tensor | None, what: str, path: str) -> Tensor:
    """A tensor that the layer must hold."""
    if tensor is None:
        raise unsupported(
            f"{place(path)} holds no {what}, so it normalises by the batch also in eval mode",
            "Construct it with track_running_stats=True, and call model.eval().",
        )
    return tensor
