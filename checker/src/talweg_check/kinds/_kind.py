"""What the engine asks of every kind of operation, and how its keys are read.

A value is, for each sample, an array of a fixed shape; (n, *shape) for all. Tangents and cotangents
have one more axis behind that of the samples: (n, columns, *shape). `state` is what an operation
remembers of w0, a tuple of arrays that begin with the axis of the samples.

Slots are the inputs in the order in which the file names them. In the terms of theory page B6,
D = the derivative by one slot; away from w0, eta bounds what a value moved, Delta what D moved.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from flint import arb

from talweg_check._arrays import Balls
from talweg_check._file import AXES, is_count
from talweg_check._verdict import Invalid

Shape = tuple[int, ...]
State = tuple[Balls, ...]
Drift = tuple[Balls, list[Balls], Balls]  # eta, Delta by slot, and what `growth` needs of the ball

MOST = 2**31  # every whole number of a file, and the entries of every value of one sample


class Kind:
    """One operation; made of its entry in the file and the shapes of what it reads.

    The constructors raise Invalid where these do not fit; `arrays` gives the shapes of the stored
    arrays by key ("weight", "bias").
    """

    keys: tuple[str, ...] = ()  # beside kind and inputs
    stored: tuple[str, ...] = ()  # which of them name arrays
    slots: int | None = 1
    curved = False
    shape: Shape
    work = 0  # numbers per sample that it handles beside its value

    def __init__(
        self, item: Mapping[str, Any], shapes: Sequence[Shape], arrays: Mapping[str, Shape]
    ) -> None:
        self.shapes = list(shapes)

    def words(self) -> str:
        """How the sentence names it."""
        raise NotImplementedError

    def run(self, values: Sequence[Balls]) -> tuple[Balls, State]:
        """The value and the state."""
        raise NotImplementedError

    def push(self, state: State, slot: int, x: Balls) -> Balls:
        """D x for tangents (n, columns, *shape of the slot)."""
        raise NotImplementedError

    def pull(self, state: State, slot: int, g: Balls) -> Balls:
        """G D for cotangents (n, columns, *shape)."""
        raise NotImplementedError

    def stretches(self, state: State) -> list[Balls]:
        """Upper bounds of |D| at w0 by slot, for each sample or for all."""
        raise NotImplementedError

    def drift(self, state: State, etas: Sequence[Balls], radius: arb) -> Drift:
        """How far value and derivatives move on the ball; by default: D does not."""
        moved = [self.stretches(state)[slot] * eta for slot, eta in enumerate(etas)]
        total = sum(moved[1:], moved[0])
        return total, [0 * eta for eta in etas], total


class Curved(Kind):
    """An operation with a second derivative; G is its cotangent, g = G^T u for unit u.

    `form` is what the second derivative at w0 is bounded by, Q in the page's terms:
    |Q(u)[x, x']| <= |root x| |root x'|, and at most q |x| |x'|.
    """

    curved = True

    def form(self, state: State, g: Balls) -> State:
        """The numbers that `root`, `size` and `growth` need, each (n, ...)."""
        raise NotImplementedError

    def root(self, state: State, form: State, tau: Balls, tangents: Sequence[Balls]) -> Balls:
        """The root applied to tangents by slot (None where they are zero), (n, columns, rows)."""
        raise NotImplementedError

    def size(self, state: State, form: State) -> Balls:
        """q, (n,)."""
        raise NotImplementedError

    def bend(self, state: State, g: Balls, tangents: Sequence[Balls]) -> list[Balls]:
        """Q[x, .] of each row of G by slot, (n, k, columns, *shape of the slot); None: zero."""
        raise NotImplementedError

    def growth(self, state: State, form: State, gamma: Balls, ball: Balls) -> Balls:
        """By how much Q grows on the ball, where G moves by gamma, (n,)."""
        raise NotImplementedError


def whole(item: Mapping[str, Any], key: str, least: int = 0) -> int:
    """The whole number under a key."""
    value = item[key]
    if not is_count(value) or not least <= value <= MOST:
        raise Invalid(f"'{key}' must be a whole number from {least} to {MOST}")
    return int(value)


def wholes(
    item: Mapping[str, Any], key: str, length: int | None = None, least: int = 0
) -> tuple[int, ...]:
    """The list of whole numbers under a key; of that length, where one is asked for."""
    value = item[key]
    if not isinstance(value, list) or len(value) > AXES:
        raise Invalid(f"'{key}' must be a list of at most {AXES} whole numbers")
    if length is not None and len(value) != length:
        raise Invalid(f"'{key}' must have {length} entries")
    return tuple(whole({key: entry}, key, least) for entry in value)


def axis_of(item: Mapping[str, Any], shape: Shape) -> int:
    """The axis of a value under 'axis'."""
    axis = whole(item, "axis")
    if axis >= len(shape):
        raise Invalid(f"'axis' must be an axis of a value of shape {times(shape)}")
    return axis


def windows(extent: int, kernel: int, stride: int, padding: int, dilation: int) -> int:
    """The positions of a window along an axis."""
    room = extent + 2 * padding - dilation * (kernel - 1) - 1
    if room < 0:
        raise Invalid(f"a window of {kernel} is wider than the {extent} entries and their padding")
    return room // stride + 1


def entries(shape: Shape) -> int:
    """How many numbers a value of one sample has."""
    return math.prod(shape)


def times(numbers: Sequence[int]) -> str:
    """3x16x3x3."""
    return "x".join(map(str, numbers))
