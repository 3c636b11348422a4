"""What stands for the tensors of a forward while it is read: activations, weights, shapes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeGuard

from torch import Tensor

from talweg.network._grammar import place, unsupported
from talweg.network._graph import Shape


@dataclass(frozen=True)
class Value:
    """A batch ``(n, *dims)``: the entries of one node in row-major order, in the shape ``dims``.

    Where the node itself has another shape, the next operation that needs ``dims`` gets a reshape
    before it; so views that cancel, and those at the end of a chain, leave no trace.
    """

    index: int
    dims: Shape

    @property
    def rank(self) -> int:
        """Axes of the live tensor, the batch included."""
        return len(self.dims) + 1

    def __str__(self) -> str:
        return shape_words(self.dims)


@dataclass(frozen=True)
class Weight:
    """A parameter or buffer of the live model under its name."""

    name: str
    tensor: Tensor


@dataclass(frozen=True)
class BatchSize:
    """The number of rows: allowed in reshapes that keep the rows, nowhere else."""


@dataclass(frozen=True)
class LiveShape:
    """The shape of a value; its entry 0 is the batch size."""

    value: Value

    def entries(self) -> tuple[BatchSize | int, ...]:
        """The batch size and the sizes of the other axes."""
        return (BatchSize(), *self.value.dims)


@dataclass(frozen=True)
class AttentionWeights:
    """The second result of an attention layer, which nothing may use."""

    path: str


def shape_words(dims: Shape) -> str:
    """``(n, d_1, ...)`` as it is written in messages."""
    return f"({', '.join(('n', *map(str, dims)))}{',' if not dims else ''})"


def activations(input: object, path: str) -> Value:
    """The argument, if it stands for activations.

    Raises:
        UnsupportedModelError: It is a weight, a number or a shape.
    """
    if not isinstance(input, Value):
        raise unsupported(
            f"{place(path)} is called on something other than the activations",
            "Apply supported functions to tensors that come from the input; keep weights and "
            "shapes out of it.",
        )
    return input


def feature_axis(value: Value, dim: object, path: str, extra: int = 0) -> int:
    """Axis of one sample, counted from 0, for an axis ``dim`` of the live tensor.

    Args:
        value: The activations.
        dim: As torch takes it, negative from the end.
        path: Where, for the message.
        extra: 1 where an axis is to be inserted.

    Raises:
        UnsupportedModelError: It is no axis, or that of the batch.
    """
    rank = value.rank + extra
    if not is_whole(dim) or not -rank <= dim < rank:
        raise unsupported(
            f"{place(path)} names the dimension {dim!r} of values {value}",
            "Name one axis of the values by a whole number.",
        )
    if dim % rank == 0:
        raise unsupported(
            f"{place(path)} acts along dimension {dim!r} of values {value}, which is the batch",
            "Only axes of one sample may be joined, cut, moved or averaged.",
        )
    return dim % rank - 1


def is_whole(number: object) -> TypeGuard[int]:
    """Whether this is a Python integer, booleans not among them."""
    return isinstance(number, int) and not isinstance(number, bool)


def whole_numbers(given: object, count: int, least: int, what: str, path: str) -> Shape:
    """One whole number for each of ``count`` axes, from one number or a tuple.

    Raises:
        UnsupportedModelError: It is neither, or a number lies below ``least``.
    """
    found = tuple(given) if isinstance(given, tuple | list) else (given,) * count
    if len(found) == 1 and count > 1:
        found = found * count
    numbers = tuple(number for number in found if is_whole(number) and number >= least)
    if len(found) != count or len(numbers) != count:
        raise unsupported(
            f"{place(path)} has {what} {given!r}",
            f"Give {count} whole number(s) of at least {least}.",
        )
    return numbers
