"""Sums over layers of blocks of the tangent kernel, in scratch memory that is used again.

`FullSum` holds ``K[o, i, q, j]`` in that memory order, `TraceSum` ``sum_o K[o, i, o, j]``. A
symmetric block is multiplied on and right of its diagonal only, in panels of rows, and mirrored at
the end.

Everything here is floating point: no number of this file is a bound.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

# Rows of K multiplied at a time: fewer skip more of the lower triangle, more run faster. 256 to 512
# is the flat part measured on 2 cores, in float32 and float64.
PANEL_ROWS = 256

# Bytes of the intermediate arrays of the positions route: such that they stay in the cache.
SCRATCH = 2**23


@dataclass(frozen=True)
class Panel:
    """Rows ``(outputs, samples)`` of K, multiplied from column ``(first_output, first_sample)``."""

    outputs: slice
    samples: slice
    rows: slice  # the same rows, flat
    first_output: int
    first_sample: int


def panels_of(n: int, k: int, *, symmetric: bool, wanted: int) -> list[Panel]:
    """Panels of about `wanted` rows: several outputs, or part of the samples of one."""
    panels: list[Panel] = []
    if n < wanted:
        step = max(1, wanted // n)
        for o in range(0, k, step):
            stop = min(o + step, k)
            first = o if symmetric else 0
            panels.append(Panel(slice(o, stop), slice(0, n), slice(o * n, stop * n), first, 0))
        return panels
    step = math.ceil(n / (n // wanted))
    for o in range(k):
        for i in range(0, n, step):
            stop = min(i + step, n)
            rows = slice(o * n + i, o * n + stop)
            # With one output the columns left of the panel's own rows can be skipped as well; with
            # more they cannot, without breaking the columns into two products.
            first_sample = i if symmetric and k == 1 else 0
            first_output = o if symmetric else 0
            panels.append(Panel(slice(o, o + 1), slice(i, stop), rows, first_output, first_sample))
    return panels


def _wanted_rows(rows: int, like: Tensor, long: bool) -> int:
    wanted = PANEL_ROWS if like.device.type == "cpu" else 16 * PANEL_ROWS
    if long:
        return max(1, wanted // 4, min(wanted, rows // 8))
    # A small block in two panels: it skips a quarter of the products. A smaller one in one panel.
    return max(1, min(wanted, rows // 2)) if 2 * rows >= wanted else wanted


class FullSum:
    """``K[o, i, q, j]`` of samples and outputs of a block.

    Args:
        left: ``(k, n)``, outputs and samples of the rows.
        right: ``(k', m)`` of the columns; None for a symmetric block.
        like: A tensor of the dtype and device.
        scratch: Bytes for a tile of products between positions.
        long: Whether the products have long inner dimensions; they are fast with fewer rows in a
            panel, and fewer skip more.
    """

    def __init__(
        self,
        left: tuple[int, int],
        right: tuple[int, int] | None,
        like: Tensor,
        scratch: int = SCRATCH,
        long: bool = False,
    ) -> None:
        self._tile_bytes = scratch
        self.k, self.n = left
        self.k2, self.m = left if right is None else right
        self.symmetric = right is None
        wanted = _wanted_rows(self.k * self.n, like, long)
        self._panels = panels_of(self.n, self.k, symmetric=self.symmetric, wanted=wanted)
        self._like = like
        self._kernel: Tensor | None = None
        self._tiles: list[tuple[Tensor, Tensor, Tensor]] = []
        self._diagonals: list[tuple[int, int, Tensor]] = []  # first row, first column, (k, n, m)

    def _created(self) -> Tensor:
        if self._kernel is None:
            self._kernel = self._like.new_zeros(self.k, self.n, self.k2, self.m)
        return self._kernel

    def add_rows(self, J: Tensor, J2: Tensor) -> None:
        """``J J'^T``; J is ``(k, n, p)``."""
        rows, columns = J.flatten(0, 1), J2.flatten(0, 1)
        created = self._kernel is None
        if self._kernel is None:
            self._kernel = J.new_empty(self.k, self.n, self.k2, self.m)
        flat = self._kernel.view(self.k * self.n, self.k2 * self.m)
        for panel in self._panels:
            first = panel.first_output * self.m + panel.first_sample
            target = flat[panel.rows, first:]
            if created:
                torch.mm(rows[panel.rows], columns[first:].T, out=target)
            else:
                target.addmm_(rows[panel.rows], columns[first:].T)

    def add_gram(self, G: Tensor, G2: Tensor, gram: Tensor) -> None:
        """``(G G'^T) * gram``; G is ``(k, n, d)``, the second factor ``(n, m)``."""
        rows, columns = G.flatten(0, 1), G2.flatten(0, 1)
        created = self._kernel is None
        if self._kernel is None:
            self._kernel = G.new_empty(self.k, self.n, self.k2, self.m)
        if not created and not self._tiles:
            self._tiles = self._tiles_of(self._kernel)
        flat = self._kernel.view(self.k * self.n, self.k2 * self.m)
        for t, panel in enumerate(self._panels):
            factor = gram[panel.samples, None, panel.first_sample :]
            first = panel.first_output * self.m + panel.first_sample
            block, other = rows[panel.rows], columns[first:].T
            if created:
                torch.mm(block, other, out=flat[panel.rows, first:])
                _panel_of(self._kernel, panel).mul_(factor)
            else:
                here, product, shaped = self._tiles[t]
                torch.mm(block, other, out=product)
                here.addcmul_(shaped, factor)

    def _tiles_of(self, kernel: Tensor) -> list[tuple[Tensor, Tensor, Tensor]]:
        """Per panel its part of the kernel, and scratch for a product, flat and in its shape."""
        # One array for the products of all panels: fresh memory costs as much as a product.
        most = max(p.rows.stop - p.rows.start for p in self._panels)
        scratch = kernel.new_empty(most * self.k2 * self.m)
        tiles = []
        for panel in self._panels:
            here = _panel_of(kernel, panel)
            product = scratch[: here.numel()].view(panel.rows.stop - panel.rows.start, -1)
            tiles.append((here, product, product.view(here.shape)))
        return tiles

    def add_diagonal(self, blocks: Tensor) -> None:
        """``blocks[o, i, j]`` where ``q = o``: a layer that couples an output with itself only."""
        self._diagonals.append((0, 0, blocks))

    def add_output(self, gram: Tensor, rows: slice, columns: slice) -> None:
        """`gram` where ``q = o``, for a block of the outputs `rows` and `columns`."""
        first, stop = max(rows.start, columns.start), min(rows.stop, columns.stop)
        if first < stop:
            blocks = gram.expand(stop - first, *gram.shape)
            self._diagonals.append((first - rows.start, first - columns.start, blocks))

    def add_positions(self, G: Tensor, G2: Tensor, products: Products) -> None:
        """``sum_{p, p'} (G[.., p] . G'[.., p']) (H[p] . H'[p'])``; G is ``(n, k, o, P)``.

        For each sample j of the columns ``T = G (H^T H'_j)``, then ``T G'_j^T``. Of a symmetric
        block only samples ``i <= j`` are multiplied.
        """
        n, k, o, P = G.shape
        k2, P2 = G2.shape[1], G2.shape[3]
        kernel = self._created()
        flat = G.view(n, k * o, P)
        tile = max(1, min(32, self._tile_bytes // max(1, n * P * P2 * G.element_size())))
        scratch = G.new_empty(n, k * o, P2)
        results = G.new_empty(tile, n * k, k2)
        for start in range(0, self.m, tile):
            stop = min(start + tile, self.m)
            rows = stop if self.symmetric else n
            inner = products(slice(0, rows), slice(start, stop))  # (rows, P, tile, P')
            for j in range(start, stop):
                T = torch.bmm(flat[:rows], inner[:, :, j - start], out=scratch[:rows])
                here = results[j - start, : rows * k]
                torch.mm(T.view(rows * k, o * P2), G2[j].view(k2, o * P2).T, out=here)
            found = results[: stop - start, : rows * k].view(stop - start, rows, k, k2)
            if self.symmetric:
                # Rows below the tile's first sample are their own mirror images' business.
                kernel[:, start:stop, :, :start] += found[:, :start].permute(3, 0, 2, 1)
            kernel[:, :rows, :, start:stop] += found.permute(2, 1, 3, 0)

    def result(self) -> Tensor:
        """``(k, n, k', m)``."""
        kernel = self._created()
        for row, column, blocks in self._diagonals:
            count = len(blocks)
            here = kernel[row : row + count, :, column : column + count]
            here.diagonal(dim1=0, dim2=2).add_(blocks.permute(1, 2, 0))
        if self.symmetric:
            mirror_(kernel.view(self.k * self.n, self.k * self.n), self._panels)
        return kernel


def _panel_of(kernel: Tensor, panel: Panel) -> Tensor:
    return kernel[panel.outputs, panel.samples, panel.first_output :, panel.first_sample :]


class Products:
    """``H[i, p] . H'[j, p']`` (plus one for a bias), ``(rows, P, columns, P')``, on demand."""

    def __init__(
        self, H: Tensor, H2: Tensor, *, bias: bool, padding: int | None, dtype: torch.dtype
    ) -> None:
        self._tokens = not H.is_floating_point()
        self._bias, self._padding = bias, padding
        self._left, self._right = (
            H if self._tokens else H[:, 0].transpose(1, 2).contiguous(),  # (n, P, c)
            H2 if self._tokens else H2[:, 0].transpose(1, 2).contiguous(),
        )
        self._dtype = dtype

    def __call__(self, rows: slice, columns: slice) -> Tensor:
        left, right = self._left[rows], self._right[columns]
        if self._tokens:
            equal = left[:, :, None, None] == right
            if self._padding is not None:
                equal &= (left != self._padding)[:, :, None, None]
            return equal.to(self._dtype)
        product = left.flatten(0, 1) @ right.flatten(0, 1).T
        if self._bias:
            product += 1.0
        return product.view(*left.shape[:2], *right.shape[:2])


def mirror_(matrix: Tensor, panels: list[Panel]) -> None:
    """Copy the entries right of the diagonal to the left, in place."""
    for panel in panels:
        start, stop = panel.rows.start, panel.rows.stop
        own = matrix[start:stop, start:stop]
        # The mean of the two roundings: a product of a matrix with its transpose need not be
        # symmetric.
        torch.mul(own + own.T, 0.5, out=own)
        matrix[stop:, start:stop] = matrix[start:stop, stop:].T


class TraceSum:
    """``sum_o K[o, i, o, j]``, ``(n, m)``; arguments as of `FullSum`."""

    def __init__(
        self, n: int, m: int | None, like: Tensor, scratch: int = SCRATCH, long: bool = False
    ) -> None:
        self._tile_bytes = scratch
        self.n, self.m = n, n if m is None else m
        self.symmetric = m is None
        wanted = _wanted_rows(self.n, like, long)
        self._panels = panels_of(self.n, 1, symmetric=self.symmetric, wanted=wanted)
        self._kernel = like.new_zeros(self.n, self.m)
        self._like = like

    def add_rows(self, J: Tensor, J2: Tensor) -> None:
        """As `FullSum.add_rows`."""
        for panel in self._panels:
            target = self._kernel[panel.samples, panel.first_sample :]
            for left, right in zip(J, J2, strict=True):
                target.addmm_(left[panel.samples], right[panel.first_sample :].T)

    def add_gram(self, G: Tensor, G2: Tensor, gram: Tensor) -> None:
        """As `FullSum.add_gram`."""
        for panel in self._panels:
            columns = slice(panel.first_sample, None)
            product = G[0, panel.samples] @ G2[0, columns].T
            for left, right in zip(G[1:], G2[1:], strict=True):
                product.addmm_(left[panel.samples], right[columns].T)
            self._kernel[panel.samples, columns].addcmul_(product, gram[panel.samples, columns])

    def add_diagonal(self, blocks: Tensor) -> None:
        """As `FullSum.add_diagonal`."""
        self._kernel += blocks.sum(0)

    def add_output(self, gram: Tensor, rows: slice, columns: slice) -> None:
        """As `FullSum.add_output`."""
        count = max(0, min(rows.stop, columns.stop) - max(rows.start, columns.start))
        self._kernel.add_(gram, alpha=count)

    def add_positions(self, G: Tensor, G2: Tensor, products: Products) -> None:
        """As `FullSum.add_positions`, with G ``(n, P, k o)``: both Gram matrices, summed."""
        P, P2 = G.shape[1], G2.shape[1]
        tile = max(1, self._tile_bytes // max(1, self.m * P * P2 * G.element_size()))
        for panel in self._panels:
            columns = slice(panel.first_sample, self.m)
            for start in range(panel.samples.start, panel.samples.stop, tile):
                rows = slice(start, min(start + tile, panel.samples.stop))
                inner = products(rows, columns)
                left, right = G[rows], G2[columns]
                outer = (left.flatten(0, 1) @ right.flatten(0, 1).T).view(inner.shape)
                self._kernel[rows, columns] += outer.mul_(inner).sum((1, 3))

    def result(self) -> Tensor:
        """``(n, m)``."""
        if self.symmetric:
            mirror_(self._kernel, self._panels)
        return self._kernel
