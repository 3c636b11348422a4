"""How far an untrusted factor is from the matrix it should factor, tile by tile.

The theorem is that of `_defect.py`: for symmetric G, floats sigma and tau in {1, -1}, ANY real L,

    M = tau G + sigma I,   E = M - L L^T   =>   lambda_min(M) >= -max_i sum_j |E_ij|.

L is block lower triangular over a partition of the rows into tiles, its diagonal tiles full. For
i >= j the tile E_ij needs the tiles G_ij and L_ik, L_jk, k <= j, and E_ji is its mirror image, so
that nothing above the diagonal is formed. Each product L_ik L_jk^T is formed in panels of width b,
one after the other added to the sum, so that a term meets at most q = min(b, n) + p - 1 roundings,
p the number of panels of all tiles of a row:

    |fl(L L^T) - L L^T|_ij <= gamma_q (|L||L|^T)_ij + n eta <= gamma_q |L_i| |L_j| + n eta,

the last step by Cauchy and Schwarz with the Euclidean norms of rows of L, which take one pass over
L where |L|(|L|^T e) takes two. The difference from tau G and sigma is as in `_defect.py`.

One L stands in all tiles of E. Where its tiles may be computed twice (a machine was lost, and its
tiles are made again, with other roundings perhaps), whoever calls has to see to that.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from talweg._errors import InputError
from talweg.enclosure import add_up, gamma, mul_up, sum_nonnegative_upper
from talweg.enclosure._directed import UNIT_ROUNDOFF, underflow

PANEL = 256


@dataclass(frozen=True, eq=False)
class TileDefect:
    """Sums over one tile of the rounded E, upper bounds each.

    Attributes:
        rows: ``sum_j |D_ij|`` within the tile, ``(rows,)``.
        columns: ``sum_i |D_ij|``, ``(columns,)``; zeros for a tile on the diagonal.
        before: ``|D_ii|`` before sigma is subtracted, zeros off the diagonal, ``(rows,)``.
    """

    rows: Tensor
    columns: Tensor
    before: Tensor


def panels(sizes: Iterable[int]) -> int:
    """Number of panels that a row of L is cut into.

    Args:
        sizes: Columns of its tiles.
    """
    return sum(-(-size // PANEL) for size in sizes)


def added_product(total: Tensor | None, left: Tensor, right: Tensor) -> Tensor:
    """``total + left right^T``, panel by panel; the total is not changed.

    Args:
        total: The sum so far ``(m, n)``, or None.
        left: ``(m, b)``, float64.
        right: ``(n, b)``.
    """
    own = False
    for start in range(0, left.shape[1], PANEL):
        stop = start + PANEL
        product = torch.mm(left[:, start:stop], right[:, start:stop].mT)
        if total is not None and total.shape != product.shape:  # a sum would broadcast
            raise InputError(
                "`total` of added_product(total, left, right) must have the shape of left right^T; "
                f"got {tuple(total.shape)} and {tuple(product.shape)}. Check the tiles."
            )
        # Not addmm: it may start its sums from the total, and then rounds that b times.
        if own and total is not None:
            total.add_(product)
        else:
            total = product if total is None else total + product
        own = True
    if total is None:
        return left.new_zeros(len(left), len(right))
    return total


def tile_defect(
    product: Tensor, g: Tensor, sigma: float, tau: float, *, on_diagonal: bool
) -> TileDefect:
    """Sums of ``|fl(L L^T) - tau G - sigma I|`` over one tile.

    Args:
        product: fl(L L^T), the tile, float64.
        g: The tile of G.
        sigma: The shift.
        tau: 1.0 or -1.0.
        on_diagonal: Whether it is a tile on the diagonal.
    """
    d = torch.sub(product, g, alpha=tau)
    before = d.new_zeros(len(d))
    if on_diagonal:
        before = d.diagonal().abs()
        d.diagonal().sub_(sigma)
    d.abs_()
    columns = d.new_zeros(d.shape[1]) if on_diagonal else sum_nonnegative_upper(d, 0)
    return TileDefect(sum_nonnegative_upper(d, 1), columns, before)


def tiled_defect_rows(
    edges: Sequence[int], tiles: Mapping[tuple[int, int], TileDefect], norms: Tensor
) -> Tensor:
    """Upper bounds of the row sums of ``|tau G + sigma I - L L^T|``.

    Args:
        edges: Where the tiles begin, and n: ``len(edges) - 1`` tiles in a row.
        tiles: By row and column of the tile, on and below the diagonal.
        norms: Upper bounds of the Euclidean norms of the rows of L, ``(n,)``.

    Returns:
        ``(n,)`` float64; inf in every row where a tile is missing or has another shape, or a number
        is negative; inf or NaN where the numbers are.
    """
    n, count = edges[-1], len(edges) - 1
    unknown = torch.full((n,), torch.inf, dtype=torch.float64)
    if not _is_sizes(norms, n):
        return unknown
    sums, before = torch.zeros_like(unknown), torch.zeros_like(unknown)
    for i in range(count):
        rows = slice(edges[i], edges[i + 1])
        for j in range(i + 1):
            columns = slice(edges[j], edges[j + 1])
            tile = tiles.get((i, j))
            height, width = rows.stop - rows.start, columns.stop - columns.start
            if (
                tile is None
                or not _is_sizes(tile.rows, height)
                or not _is_sizes(tile.before, height)
                or not _is_sizes(tile.columns, width)
            ):
                return unknown
            sums[rows] = add_up(sums[rows], tile.rows)
            if i == j:
                before[rows] = tile.before
            else:
                sums[columns] = add_up(sums[columns], tile.columns)
    width = min(PANEL, n)
    roundings = width + panels(edges[i + 1] - edges[i] for i in range(count)) - 1
    rounded = mul_up(mul_up(norms, sum_nonnegative_upper(norms)), gamma(roundings))
    # sum |E_ij| <= (1 + u) sum |D_ij| + u |D'_ii| + ..., with 2 u for u.
    total = add_up(mul_up(sums, 1.0 + 2.0 * UNIT_ROUNDOFF), mul_up(before, 2.0 * UNIT_ROUNDOFF))
    floor = math.nextafter(underflow(n) * float(n + 1), math.inf)
    return add_up(add_up(total, rounded), floor)


def _is_sizes(numbers: Tensor, n: int) -> bool:
    """Whether it is a float64 vector of n numbers >= 0; NaN fails."""
    return (
        isinstance(numbers, Tensor)
        and numbers.dtype == torch.float64
        and tuple(numbers.shape) == (n,)
        and bool((numbers >= 0.0).all())
    )
