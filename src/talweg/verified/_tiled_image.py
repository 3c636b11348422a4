"""Products of a symmetric matrix with a few vectors, and the sizes of its rows, from its tiles.

What the bounds of the largest eigenvalue need of a matrix that no machine holds: G V with its
rounding, |G| x for a positive x, and the Euclidean norms of the rows. A tile (i, j) below the
diagonal serves row block i as it stands and row block j transposed. In fl(G V) each term meets at
most q = b + t roundings, b the largest tile and t the tiles in a row, so that

    |fl(G V) - G V|_ij <= gamma_q |G_i| |V_j| + n eta                      (Cauchy-Schwarz).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from talweg.enclosure import Ball, add_up, div_up, gamma, mul_up, norm_upper, sum_nonnegative_upper
from talweg.enclosure._directed import underflow


@dataclass(frozen=True, eq=False)
class TileImage:
    """What one tile contributes to one block of rows.

    Attributes:
        image: Tile times its part of V, ``(rows, m)``, to nearest.
        sums: |tile| times its part of x, ``(rows,)``, upper bounds.
        norms: Euclidean norms of the rows of the tile, ``(rows,)``, upper bounds.
    """

    image: Tensor
    sums: Tensor
    norms: Tensor


@dataclass(frozen=True, eq=False)
class SymmetricImage:
    """The products of the whole matrix.

    Attributes:
        image: Ball ``(n, m)`` that holds G V.
        quotient: Upper bound of ``max_i (|G| x)_i / x_i``.
        size: Upper bound of the Frobenius norm.
    """

    image: Ball
    quotient: float
    size: float


def tile_image(g: Tensor, vectors: Tensor, x: Tensor) -> TileImage:
    """The contribution of one tile to its rows.

    Args:
        g: ``(rows, columns)`` float64.
        vectors: The part of V of its columns ``(columns, m)``.
        x: The part of x, > 0, ``(columns,)``.
    """
    sums = sum_nonnegative_upper(mul_up(g.abs(), x), 1)
    return TileImage(torch.mm(g, vectors), sums, norm_upper(g, 1))


class ImageSum:
    """Adds the contributions of tiles, in any order.

    Args:
        edges: Where the tiles begin, and n.
        vectors: V ``(n, m)``, finite.
        x: ``(n,)``, > 0.
    """

    def __init__(self, edges: Sequence[int], vectors: Tensor, x: Tensor) -> None:
        self._edges, self._vectors, self._x = edges, vectors, x
        self._image = torch.zeros_like(vectors)
        self._sums = torch.zeros_like(x)
        self._norms: list[list[Tensor]] = [[] for _ in range(len(edges) - 1)]
        self._seen: set[tuple[int, int]] = set()
        self._spoiled = False

    def add(self, i: int, j: int, tile: TileImage | None) -> None:
        """Add what the tile in block row i and block column j gives to the rows of i.

        Args:
            i: Block row.
            j: Block column.
            tile: The contribution; None or one of another shape spoils the sum.
        """
        first, last = self._edges[i], self._edges[i + 1]
        if tile is None or (i, j) in self._seen or not self._fits(tile, last - first):
            self._spoiled = True
            return
        self._seen.add((i, j))
        self._image[first:last] += tile.image
        self._sums[first:last] = add_up(self._sums[first:last], tile.sums)
        self._norms[i].append(tile.norms)

    def result(self) -> SymmetricImage | None:
        """The whole, once every tile was added; None where one is missing or not finite."""
        count = len(self._edges) - 1
        if self._spoiled or len(self._seen) < count * count:
            return None
        norms = torch.cat([norm_upper(torch.stack(parts, 1), 1) for parts in self._norms])
        widest = max(self._edges[i + 1] - self._edges[i] for i in range(count))
        columns = norm_upper(self._vectors, 0)  # (m,)
        rounding = mul_up(mul_up(norms[:, None], columns[None, :]), gamma(widest + count))
        rad = add_up(rounding, underflow(len(norms) + 1))
        if not (bool(self._image.isfinite().all()) and bool(rad.isfinite().all())):
            return None
        quotient = float(div_up(self._sums, self._x).amax())
        size = float(norm_upper(norms))
        if math.isnan(quotient) or math.isnan(size):
            return None
        return SymmetricImage(Ball(self._image, rad), quotient, size)

    def _fits(self, tile: TileImage, rows: int) -> bool:
        parts = ((tile.image, (rows, self._vectors.shape[1])), (tile.sums, (rows,)),
                 (tile.norms, (rows,)))  # fmt: skip
        return all(
            isinstance(part, Tensor) and part.dtype == torch.float64 and tuple(part.shape) == shape
            for part, shape in parts
        ) and bool((tile.sums >= 0.0).all() & (tile.norms >= 0.0).all())
