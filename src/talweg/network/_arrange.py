"""Operations that move entries about: views, permutations, parts, joins. No arithmetic."""

from __future__ import annotations

import math
from collections.abc import Sequence

from talweg._errors import UnsupportedModelError
from talweg.network._builder import Builder
from talweg.network._grammar import place, unsupported
from talweg.network._graph import Concatenate, Permute, Shape, Slice
from talweg.network._value import BatchSize, Value, feature_axis, is_whole


def viewed(value: Value, dims: Shape) -> Value:
    """The same entries in another shape; the caller has checked the number of entries."""
    return Value(value.index, dims)


def reshaped(value: Value, asked: Sequence[object], path: str) -> Value:
    """``reshape`` to a live shape whose first entry is the batch size, or -1 that comes to it.

    Raises:
        UnsupportedModelError: It would move entries between samples, or does not fit.
    """
    size = math.prod(value.dims)
    dims: Shape | None = None
    if asked:
        head, rest = asked[0], tuple(asked[1:])
        numbers = tuple(entry for entry in rest if is_whole(entry))
        rows = isinstance(head, BatchSize) or (is_whole(head) and head == -1)
        if rows and len(numbers) == len(rest):
            dims = _completed(numbers, size, open_allowed=isinstance(head, BatchSize))
    if dims is None:
        shown = tuple("n" if isinstance(entry, BatchSize) else entry for entry in asked)
        raise unsupported(
            f"{place(path)} reshapes values {value} to {shown!r}",
            "Keep the batch as the first axis: x.reshape(x.shape[0], ...), or x.flatten(1).",
        )
    return viewed(value, dims)


def _completed(numbers: Shape, size: int, *, open_allowed: bool) -> Shape | None:
    """The shape of one sample, with a single -1 filled in; None where it does not fit."""
    fixed = math.prod(number for number in numbers if number != -1)
    if any(number < 1 and number != -1 for number in numbers) or numbers.count(-1) > 1:
        return None
    if -1 in numbers:
        if not open_allowed or size % fixed:
            return None
        return tuple(size // fixed if number == -1 else number for number in numbers)
    return numbers if fixed == size else None


def flattened(builder: Builder, value: Value, path: str, start: object, end: object) -> Value:
    """``flatten`` of axes of one sample; from axis 0 on only where each sample is one number."""
    rank = value.rank
    begin = start % rank if is_whole(start) and -rank <= start < rank else None
    last = end % rank if is_whole(end) and -rank <= end < rank else None
    if begin is not None and begin == last:
        return builder.dropped(value, path, "flatten") if rank <= 2 else value
    if begin is not None and last is not None and begin < last:
        dims = value.dims
        if begin > 0:
            joined = math.prod(dims[begin - 1 : last])
            return viewed(value, (*dims[: begin - 1], joined, *dims[last:]))
        if math.prod(dims[:last]) == 1:
            return viewed(value, dims[last:])
    raise unsupported(
        f"{place(path)} flattens from dimension {start!r} to {end!r} on {value}, "
        "which mixes the samples of a batch",
        "Use Flatten(start_dim=1), torch.flatten(x, 1) or x.flatten(1).",
    )


def unflattened(value: Value, dim: object, sizes: object, path: str) -> Value:
    """One axis split into several."""
    axis = feature_axis(value, dim, path)
    given = tuple(sizes) if isinstance(sizes, tuple | list) else (sizes,)
    numbers = tuple(size for size in given if is_whole(size))
    split = _completed(numbers, value.dims[axis], open_allowed=True)
    if len(numbers) != len(given) or not split:
        raise unsupported(
            f"{place(path)} unflattens dimension {dim!r} of {value} to {sizes!r}",
            "Give whole sizes whose product is the size of that dimension.",
        )
    return viewed(value, (*value.dims[:axis], *split, *value.dims[axis + 1 :]))


def squeezed(value: Value, path: str, dim: object) -> Value:
    """``squeeze`` of one axis that is not the batch; nothing where its size is not 1."""
    rank = value.rank
    if not is_whole(dim) or not -rank <= dim < rank or dim % rank == 0:
        raise unsupported(
            f"{place(path)} calls squeeze with dimension {dim!r}, which may remove the batch",
            "Use squeeze(-1) on an output of shape (n, 1).",
        )
    axis = dim % rank - 1
    if value.dims[axis] != 1:
        return value
    return viewed(value, (*value.dims[:axis], *value.dims[axis + 1 :]))


def unsqueezed(value: Value, path: str, dim: object) -> Value:
    """A new axis of size 1 behind the batch."""
    axis = feature_axis(value, dim, path, extra=1)
    return viewed(value, (*value.dims[:axis], 1, *value.dims[axis:]))


def permuted(builder: Builder, value: Value, axes: Shape, path: str) -> Value:
    """The axes of one sample in another order; nothing where the order is kept."""
    if axes == tuple(range(len(axes))):
        return value
    return builder.emit(Permute(axes, path), value)


def permuted_live(builder: Builder, value: Value, dims: object, path: str) -> Value:
    """``permute`` with the batch at its place."""
    given = tuple(dims) if isinstance(dims, tuple | list) else (dims,)
    axes = tuple(dim % value.rank for dim in given if is_whole(dim))
    if len(axes) != len(given) or sorted(axes) != list(range(value.rank)) or axes[0] != 0:
        raise unsupported(
            f"{place(path)} permutes values {value} by {dims!r}",
            "Name every axis once, and keep the batch first.",
        )
    return permuted(builder, value, tuple(axis - 1 for axis in axes[1:]), path)


def exchanged(builder: Builder, value: Value, first: object, second: object, path: str) -> Value:
    """``transpose`` of two axes of one sample."""
    a, b = feature_axis(value, first, path), feature_axis(value, second, path)
    axes = list(range(len(value.dims)))
    axes[a], axes[b] = axes[b], axes[a]
    return permuted(builder, value, tuple(axes), path)


def moved(builder: Builder, value: Value, source: object, target: object, path: str) -> Value:
    """``movedim`` of one or several axes of one sample."""
    sources = tuple(source) if isinstance(source, tuple | list) else (source,)
    targets = tuple(target) if isinstance(target, tuple | list) else (target,)
    froms = [feature_axis(value, dim, path) for dim in sources]
    tos = [feature_axis(value, dim, path) for dim in targets]
    if len(froms) != len(tos) or len(set(froms)) != len(froms) or len(set(tos)) != len(tos):
        raise unsupported(
            f"{place(path)} moves the dimensions {source!r} to {target!r}",
            "Name each axis once, and one target for each.",
        )
    stay = iter(axis for axis in range(len(value.dims)) if axis not in froms)
    order = [
        froms[tos.index(axis)] if axis in tos else next(stay) for axis in range(len(value.dims))
    ]
    return permuted(builder, value, tuple(order), path)


def part(
    builder: Builder, value: Value, axis: int, start: int, stop: int, step: int, path: str
) -> Value:
    """Entries ``start, start + step, ... < stop`` along an axis of one sample."""
    if (start, step) == (0, 1) and stop == value.dims[axis]:
        return value
    return builder.emit(Slice(axis, start, stop, step, path), value)


def selected(builder: Builder, value: Value, axis: int, index: object, path: str) -> Value:
    """One entry along an axis of one sample, which disappears."""
    size = value.dims[axis]
    if not is_whole(index) or not -size <= index < size:
        raise unsupported(
            f"{place(path)} takes the part {index!r} of its values {value}",
            "Index axes of one sample by whole numbers inside their size.",
        )
    one = part(builder, value, axis, index % size, index % size + 1, 1, path)
    return viewed(one, (*value.dims[:axis], *value.dims[axis + 1 :]))


def indexed(builder: Builder, value: Value, index: object, path: str) -> Value:
    """``x[:, ...]`` by slices, whole numbers, None and one Ellipsis, the batch kept whole."""
    entries = index if isinstance(index, tuple) else (index,)
    takes = sum(not (entry is None or entry is Ellipsis) for entry in entries)
    if sum(entry is Ellipsis for entry in entries) > 1 or takes > value.rank:
        raise _no_part(value, index, path)
    if not any(entry is Ellipsis for entry in entries):
        entries = (*entries, Ellipsis)
    full: list[object] = []
    for entry in entries:
        fill = [slice(None)] * (value.rank - takes) if entry is Ellipsis else [entry]
        full += fill
    head = full[0]
    if not (isinstance(head, slice) and head == slice(None)):
        raise _no_part(value, index, path)
    result, axis = value, 0
    for entry in full[1:]:
        if entry is None:
            result = viewed(result, (*result.dims[:axis], 1, *result.dims[axis:]))
            axis += 1
        elif isinstance(entry, slice):
            ends = (entry.start, entry.stop, entry.step)
            if not all(end is None or is_whole(end) for end in ends) or (entry.step or 1) < 1:
                raise _no_part(value, index, path)
            start, stop, step = entry.indices(result.dims[axis])
            if start >= stop:
                raise _no_part(value, index, path)
            result = part(builder, result, axis, start, stop, step, path)
            axis += 1
        else:
            result = selected(builder, result, axis, entry, path)
    return result


def _no_part(value: Value, index: object, path: str) -> UnsupportedModelError:
    return unsupported(
        f"{place(path)} takes the part {index!r} of its values {value}",
        "Keep the batch whole, x[:, ...], and use whole numbers, slices with positive steps, None "
        "and one Ellipsis.",
    )


def pieces(
    builder: Builder, value: Value, axis: int, sizes: Sequence[int], path: str
) -> tuple[Value, ...]:
    """Consecutive parts of these sizes along an axis of one sample."""
    if sum(sizes) != value.dims[axis] or any(size < 1 for size in sizes):
        raise unsupported(
            f"{place(path)} splits values {value} into parts of sizes {list(sizes)!r}",
            "Give positive sizes that add up to the size of the axis.",
        )
    ends = [sum(sizes[: t + 1]) for t in range(len(sizes))]
    return tuple(
        part(builder, value, axis, end - size, end, 1, path)
        for size, end in zip(sizes, ends, strict=True)
    )


def joined(builder: Builder, values: Sequence[Value], axis: int, path: str) -> Value:
    """Values one behind the other along an axis of one sample."""
    return values[0] if len(values) == 1 else builder.emit(Concatenate(axis, path), *values)
