"""Operations that move entries of balls: every exact member arrives at its new place."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from tests.soundness.containment import draws
from tests.soundness.containment.draws import MEMBER_SCALE, member
from tests.soundness.containment.enclosure_ball import UNDER_TEST, drawn_ball
from tests.soundness.containment.record import Record, shard
from torch import Tensor

from talweg.enclosure import Ball, cat, stack

Move = Callable[[Any], Any]


def _indexed(rng: np.random.Generator, m: int, n: int) -> Move:
    """Indexing by a number, slices, an ellipsis, a new axis, a list, a mask or a tensor."""
    i, j = int(rng.integers(-m, m)), int(rng.integers(-n, n))
    mask = torch.from_numpy(rng.random((m, n)) < 0.5)
    rows = torch.from_numpy(rng.integers(-m, m, 5))
    indices: list[Any] = [i, (i, j), slice(None, None, 2), (..., j), (slice(1, None), slice(j))]
    indices += [None, (i, None), mask, rows, (rows, rows % n), [i, 0, i], (slice(0, 0),), ...]
    index = indices[int(rng.integers(len(indices)))]
    return lambda t: t[index]


def _reshaped(rng: np.random.Generator, m: int, n: int) -> Move:
    shapes: list[tuple[Any, ...]] = [
        (-1,),
        (n, m),
        ((m * n,),),
        (m, 1, n),
        (1, -1, 1),
        ((n, 1, m),),
    ]
    shape = shapes[int(rng.integers(len(shapes)))]
    return lambda t: t.reshape(*shape)


def _transposed(rng: np.random.Generator, m: int, n: int) -> Move:
    return lambda t: t.T


def _last_transposed(rng: np.random.Generator, m: int, n: int) -> Move:
    lead = int(rng.integers(3))
    return lambda t: (t.mT, t.reshape(1, m, n).mT, t.reshape(m, n, 1).mT)[lead]


MOVES: dict[str, Callable[[np.random.Generator, int, int], Move]] = {
    "getitem": _indexed,
    "reshape": _reshaped,
    "T": _transposed,
    "mT": _last_transposed,
}


def _arrived(
    record: Record, name: str, sources: list[Ball], places: Tensor, result: Ball | None
) -> None:
    """Whether the extreme members of the source at `places` lie in the result's entries."""
    if result is None:
        return
    if result.shape != places.shape or result.ndim != places.ndim:
        record.check(False, name, "has shape", tuple(result.shape), "not", tuple(places.shape))
        return
    mids = [v for b in sources for v in b.mid.reshape(-1).tolist()]
    rads = [v for b in sources for v in b.rad.reshape(-1).tolist()]
    rows = (places.reshape(-1), result.mid.reshape(-1), result.rad.reshape(-1))
    for place, mid, rad in zip(*(t.tolist() for t in rows), strict=True):
        ends = (member(mids[place], rads[place], s) for s in (-8, 8))
        good = all(draws.holds(mid, rad, v, MEMBER_SCALE) for v in ends)
        record.check(good, name, mids[place], rads[place], "became", mid, rad)


def moved(name: str, rng: np.random.Generator, record: Record) -> None:
    m, n = int(rng.integers(1, 9)), int(rng.integers(1, 9))
    x = drawn_ball(rng, m, n)
    move = MOVES[name](rng, m, n)
    places = move(torch.arange(m * n).reshape(m, n))
    _arrived(record, name, [x], places, record.call(move, x))


def joined(name: str, rng: np.random.Generator, record: Record) -> None:
    m, n, count = int(rng.integers(1, 7)), int(rng.integers(1, 7)), int(rng.integers(1, 4))
    dim = int(rng.integers(-2, 2))
    shapes = [(m, n)] * count
    if name == "cat":  # sizes may differ along the joined dimension, zero among them
        sizes = rng.integers(0, 6, count).tolist()
        shapes = [(s, n) if dim in (0, -2) else (m, s) for s in sizes]
    sources = [drawn_ball(rng, *shape) for shape in shapes]
    starts = np.cumsum([0, *(b.mid.numel() for b in sources)]).tolist()
    places = [
        start + torch.arange(b.mid.numel()).reshape(b.shape)
        for start, b in zip(starts, sources, strict=False)
    ]
    routine, plain = (cat, torch.cat) if name == "cat" else (stack, torch.stack)
    _arrived(record, name, sources, plain(places, dim), record.call(routine, sources, dim))


SHARDS = (
    *(shard(f"enclosure.Ball.{o}", UNDER_TEST, partial(moved, o), 800) for o in MOVES),
    shard("enclosure.stack", UNDER_TEST, partial(joined, "stack"), 800),
    shard("enclosure.cat", UNDER_TEST, partial(joined, "cat"), 800),
)
