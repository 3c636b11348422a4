"""Products of matrices of balls: the exact range of every entry lies inside.

The entries of the factors vary independently, so the range of sum_k x_k y_k is the sum of the
ranges of x_k y_k, each spanned by four corner products. The diagonal of x x^T sums ranges of x_k^2.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from flint import fmpz_mat
from tests.soundness.containment import draws
from tests.soundness.containment.draws import MEMBER_SCALE, member
from tests.soundness.containment.enclosure_ball import drawn_ball
from tests.soundness.containment.record import Record, shard
from torch import Tensor

from talweg.enclosure import Ball, gram, matmul

UNDER_TEST = ("talweg.enclosure._matmul", "talweg.enclosure._ball", "talweg.enclosure._directed")
Ends = tuple[int, int]


def _factor(rng: np.random.Generator, m: int, n: int) -> Ball | Tensor:
    kind = int(rng.integers(6))
    if kind == 0:
        return draws.laid_out(rng, m, n)
    if kind == 1:
        return torch.from_numpy(rng.standard_normal((m, n)).astype(np.float32))
    if kind == 2:  # moderate midpoints, moderate relative radii: finite, comparable terms
        mid = rng.standard_normal((m, n))
        rad = np.abs(mid) * rng.choice([0.0, 1e-9, 0.1, 1.0, 3.0], (m, n))
        return Ball(draws.relaid(rng, mid), draws.relaid(rng, rad))
    return drawn_ball(rng, m, n, infinite=rng.random() < 0.2)


def _ends(x: Ball | Tensor) -> list[list[Ends]]:
    """The two ends of every entry, as whole numbers of 2^-1077."""
    ball = x if isinstance(x, Ball) else Ball.exact(x)
    return [
        [(member(m, r, -8), member(m, r, 8)) for m, r in zip(mids, rads, strict=True)]
        for mids, rads in zip(ball.mid.tolist(), ball.rad.tolist(), strict=True)
    ]


def _range(left: list[Ends], right: list[Ends]) -> Ends:
    low = high = 0
    for (a, b), (c, d) in zip(left, right, strict=True):
        products = (a * c,) if a == b and c == d else (a * c, a * d, b * c, b * d)
        low += min(products)
        high += max(products)
    return low, high


def _square_range(row: list[Ends]) -> Ends:
    low = high = 0
    for a, b in row:
        low += 0 if a < 0 < b else min(a * a, b * b)
        high += max(a * a, b * b)
    return low, high


def _check(
    record: Record, what: str, mid: Tensor, rad: Tensor, rows: list[list[Ends]], *parts: object
) -> None:
    if list(mid.shape) != [len(rows), len(rows[0]) if rows else mid.shape[-1]]:
        record.check(False, what, "has shape", tuple(mid.shape), *parts)
        return
    for i, row in enumerate(rows):
        for j, ends in enumerate(row):
            m, r = mid[i, j].item(), rad[i, j].item()
            good = all(draws.holds(m, r, e, 2 * MEMBER_SCALE) for e in ends)
            record.check(good, what, i, j, "gave", m, r, "for", *parts)
            record.counts["finite"] += int(r < float("inf"))


def product(rng: np.random.Generator, record: Record) -> None:
    """2-D, batched, vector and operator forms; both bounds, with and without panels."""
    m, n = int(rng.integers(0, 7)), int(rng.integers(1, 7))
    k = int(rng.choice([0, 1, 2, 3, 5, 9, 24]))
    x, y = _factor(rng, m, k), _factor(rng, k, n)
    if rng.integers(4) == 0:  # cancellation: (x, x) (y; -y)
        x, y = (t if isinstance(t, Ball) else Ball.exact(t) for t in (x, y))
        x = Ball(torch.cat([x.mid, x.mid], 1), torch.cat([x.rad, x.rad], 1))
        y = Ball(torch.cat([y.mid, -y.mid]), torch.cat([y.rad, y.rad]))
    bound: Literal["entries", "norms"] = "norms" if rng.integers(2) else "entries"
    panel = [None, None, 1, 2, 4, 100][int(rng.integers(6))]
    left, right = _ends(x), _ends(y)
    columns = [[row[j] for row in right] for j in range(n)]
    rows = [[_range(row, column) for column in columns] for row in left]
    form = int(rng.integers(6))
    if form == 0:
        result = record.call(matmul, x, y[:, 0], bound=bound, panel=panel)
        if result is not None:
            rows = [row[:1] for row in rows]
            _check(record, "vector", result.mid[:, None], result.rad[:, None], rows, x, y, bound)
        return
    if form == 1:  # a batch of x, two copies in another order, against one y
        twice = x[[0, 0]] if m and isinstance(x, Ball) else x
        batch = twice.reshape(1, *twice.shape)
        result = record.call(matmul, batch, y, bound=bound, panel=panel)
        rows = [rows[0], rows[0]] if m and isinstance(x, Ball) else rows
        result = None if result is None else result[0]
    elif form == 2 and (isinstance(x, Ball) or isinstance(y, Ball)):
        result = record.call(lambda: x @ y)
    else:
        result = record.call(matmul, x, y, bound=bound, panel=panel)
    if result is not None:
        _check(record, f"matmul {bound} {panel}", result.mid, result.rad, rows, x, y)


def gram_matrix(rng: np.random.Generator, record: Record) -> None:
    m, k = int(rng.integers(1, 7)), int(rng.choice([0, 1, 2, 3, 9, 24]))
    x = _factor(rng, m, k)
    result = record.call(gram, x, bound="norms" if rng.integers(2) else "entries")
    if result is None:
        return
    ends = _ends(x)
    rows = [
        [_square_range(p) if i == j else _range(p, q) for j, q in enumerate(ends)]
        for i, p in enumerate(ends)
    ]
    _check(record, "gram", result.mid, result.rad, rows, x)
    record.check(torch.equal(result.mid, result.mid.mT), "gram: the midpoint of", x)


def long_product(rng: np.random.Generator, record: Record) -> None:
    """Inner dimensions at which libraries cut their loops, with rounding errors of one sign."""
    k, size = int(rng.choice([63, 64, 65, 255, 256, 257, 385, 1000])), 12
    x = rng.standard_normal((size, k)) if rng.integers(2) else np.full((size, k), 1.0 / 3.0)
    x = np.ldexp(x, rng.choice([0, 0, 300, -300, -537], (size, 1)))
    a, b = draws.relaid(rng, x), draws.relaid(rng, draws.matrix(rng, k, size))
    left = fmpz_mat(size, k, draws.units_of(a))
    exact = (left * fmpz_mat(k, size, draws.units_of(b))).tolist()
    rows = [[(int(value) << 6, int(value) << 6) for value in row] for row in exact]
    for bound in ("entries", "norms"):
        panel = [None, 1, 16, 64][int(rng.integers(4))]
        result = record.call(matmul, a, b, bound=bound, panel=panel)
        if result is not None:
            _check(record, f"long {bound} {panel}", result.mid, result.rad, rows, a, b)


SHARDS = (
    shard("enclosure.matmul", UNDER_TEST, product, 400),
    shard("enclosure.matmul.long", UNDER_TEST, long_product, 16),
    shard("enclosure.gram", UNDER_TEST, gram_matrix, 300),
)
