"""What the bounds of a graph ask of a layer kind (docs/theory/B6.md).

Values are balls ``(n, *shape)``. Tangents and cotangents are balls ``(n, m, *shape)``: m directions
of one sample, for tangents those of the entries of an earlier value, for cotangents the outputs.
None in place of a tangent is zero.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from talweg.enclosure import Ball
from talweg.network._graph import Shape

Tangents = Sequence[Ball | None]


@dataclass(frozen=True, eq=False)
class Visit:
    """A node at the stored weights: what it read, its value, and what its kind kept of it."""

    inputs: tuple[Ball, ...]
    value: Ball
    kept: Any = None

    @property
    def zero(self) -> Tensor:
        """``(n,)`` zeros."""
        mid = self.value.mid
        return torch.zeros(len(mid), dtype=mid.dtype, device=mid.device)


@dataclass(frozen=True, eq=False)
class Motion:
    """By how much things can move on the ball, per sample.

    Attributes:
        value: eta of the node's own value.
        slopes: Delta for each input.
    """

    value: Tensor
    slopes: tuple[Tensor, ...]


class Curvature(Protocol):
    """The second-order term of one node at the stored weights.

    Attributes:
        size: q hat, ``(n,)``.
    """

    size: Tensor

    def root(self, tangents: Tangents) -> Ball:
        """The root applied to tangents, ``(n, m, r)``."""
        ...

    def second(self, tangents: Tangents) -> list[Ball]:
        """``Q`` with one argument filled, for every output: for each input ``(n, k m, *shape)``."""
        ...

    def growth(self, moved: Sequence[Tensor], gamma: Tensor) -> Tensor:
        """Delta Q on the ball, ``(n,)``; `moved` eta of the inputs, `gamma` that of G."""
        ...


class Rule:
    """One operation with the shapes of what it reads; the defaults are those of a fixed linear map.

    Attributes:
        curved: Whether the second derivative in its inputs can be nonzero.
        inputs: Shapes of what it reads, without the batch.
        shape: Shape of its value.
    """

    curved = False

    def __init__(self, operation: Any, inputs: Sequence[Shape], shape: Shape) -> None:
        self.operation = operation
        self.inputs = tuple(inputs)
        self.shape = shape

    def visit(self, inputs: tuple[Ball, ...]) -> Visit:
        """The node at the stored weights."""
        return Visit(inputs, self.value(inputs))

    def value(self, inputs: tuple[Ball, ...]) -> Ball:
        """The value, ``(n, *shape)``."""
        raise NotImplementedError

    def push(self, visit: Visit, tangents: Tangents) -> Ball:
        """Tangents of the value; at least one of `tangents` is not None."""
        raise NotImplementedError

    def pull(self, visit: Visit, g: Ball) -> list[Ball]:
        """Cotangents of the inputs."""
        raise NotImplementedError

    def slope_norms(self, visit: Visit) -> list[Tensor]:
        """D hat for each input, ``(n,)``."""
        return [visit.zero + 1.0 for _ in self.inputs]

    def motion(self, visit: Visit, moved: Sequence[Tensor], radius: float) -> Motion:
        """eta and Delta on the ball of this radius; `moved` is eta of the inputs."""
        from talweg.enclosure import add_up, mul_up

        total = visit.zero
        for slope, eta in zip(self.slope_norms(visit), moved, strict=True):
            total = add_up(total, mul_up(slope, eta))
        return Motion(total, tuple(visit.zero for _ in self.inputs))

    def curvature(self, visit: Visit, g: Ball, balance: Tensor) -> Curvature:
        """The second-order term; `g` the cotangent of the value, `balance` tau ``(n,)`` > 0."""
        raise NotImplementedError

    def is_ideal_on(self, visit: Visit, moved: Sequence[Tensor]) -> bool:
        """Whether the module computes its ideal function wherever the inputs can get."""
        return True


def rearranged(ball: Ball, move: Callable[[Tensor], Tensor]) -> Ball:
    """A ball whose entries are moved, repeated or dropped, never computed with."""
    return Ball._moved(move(ball.mid), move(ball.rad))


def readers(sources: Tensor, size: int) -> Tensor:
    """For every entry the places ``k P + p`` of ``sources`` ``(K, P)`` that name it, ``(m, size)``.

    m is the largest number of places of one entry; ``K P`` fills what is left.
    """
    flat = sources.flatten()
    places = torch.argsort(flat, stable=True)
    entries = flat[places]
    counts = torch.bincount(flat, minlength=size + 1)
    rank = torch.arange(len(flat), device=flat.device) - (counts.cumsum(0) - counts)[entries]
    inside = entries < size
    found = flat.new_full((max(1, int(counts[:size].amax())), size), len(flat))
    found[rank[inside], entries[inside]] = places[inside]
    return found


def collected(parts: Ball, places: Tensor) -> Ball:
    """Sums of entries: parts ``(b, r, Q)``, places ``(m, S)`` with Q for none, ``(b, r, S)``."""

    def picked(t: Tensor) -> Tensor:
        return torch.nn.functional.pad(t, (0, 1))[:, :, places]

    return rearranged(parts, picked).sum(2)


def as_batch(ball: Ball) -> Ball:
    """``(n, m, *shape)`` as a batch ``(n m, *shape)``."""
    return ball.reshape(ball.shape[0] * ball.shape[1], *ball.shape[2:])


def unbatched(ball: Ball, like: Ball) -> Ball:
    """``(n m, *shape)`` with the first two axes of `like`."""
    return ball.reshape(like.shape[0], like.shape[1], *ball.shape[1:])


def flat(ball: Ball) -> Ball:
    """``(n, m, *shape)`` as ``(n, m, d)``."""
    return ball.reshape(ball.shape[0], ball.shape[1], -1)


def per_sample(values: Tensor, like: Ball) -> Tensor:
    """``(n,)`` to be broadcast over a ball ``(n, ...)``."""
    return values.reshape(-1, *(1,) * (like.ndim - 1))


def outputs_beside(g: Ball, t: Ball) -> tuple[Ball, Ball]:
    """Cotangents ``(n, k, 1, *shape)`` beside tangents ``(n, 1, m, *shape)``."""
    return (
        g.reshape(g.shape[0], g.shape[1], 1, *g.shape[2:]),
        t.reshape(t.shape[0], 1, *t.shape[1:]),
    )


def joined_outputs(ball: Ball) -> Ball:
    """``(n, k, m, *shape)`` -> ``(n, k m, *shape)``."""
    return ball.reshape(ball.shape[0], ball.shape[1] * ball.shape[2], *ball.shape[3:])


def column_norms_upper(g: Ball) -> Tensor:
    """``|G e_j|`` for every entry of a node: ``(n, k, *shape)`` -> ``(n, *shape)``."""
    from talweg.enclosure import norm_upper

    return norm_upper(g.magnitude_upper(), 1)


def weights_ball(values: Tensor) -> Ball:
    """Nonnegative upper bounds as exact factors; where they overflowed, the whole line."""
    finite = values.isfinite()
    zero = torch.zeros_like(values)
    unknown = torch.full_like(values, torch.inf)
    return Ball(torch.where(finite, values, zero), torch.where(finite, zero, unknown))
