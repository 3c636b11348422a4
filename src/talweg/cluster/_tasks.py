"""What the workers do: pure functions of tiles, imported there by name.

None stands for a tile that does not exist: a matrix that was found not to be positive definite.
Inputs are never changed, because another task may read them later.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from talweg.cluster._tiles import Name, PartialSum, Rows, Tile, array_of, sealed, tensor_of
from talweg.enclosure import norm_upper, require_sound_arithmetic
from talweg.network import kernel_tile
from talweg.verified import (
    TileDefect,
    TileImage,
    added_product,
    tile_defect,
    tile_image,
)

Thing = TypeVar("Thing")
_checked = threading.local()


def same(thing: Thing) -> Thing:
    """The thing: a task that keeps it on the cluster, and makes it again where it was lost.

    Args:
        thing: Anything.
    """
    return thing


def started(rows: Rows, columns: Rows, on_diagonal: bool, shift: float, sign: float) -> np.ndarray:
    """The tile of sign K + shift I.

    Args:
        rows: Factors of its rows.
        columns: Of its columns.
        on_diagonal: Whether they are the same.
        shift: Added to the diagonal.
        sign: 1.0 or -1.0.
    """
    return array_of(_shifted_tile(rows, columns, on_diagonal, shift, sign))


def started_and_eliminated(
    rows: Rows, columns: Rows, on_diagonal: bool, shift: float, sign: float,
    left: Sequence[Tile | None], right: Sequence[Tile | None],
) -> np.ndarray | None:  # fmt: skip
    """`started`, then `eliminated`, without the tile in between."""
    if None in left or None in right:
        return None
    tile = _shifted_tile(rows, columns, on_diagonal, shift, sign)
    return array_of(_eliminated(tile, left, right))


def eliminated(
    tile: np.ndarray | None, left: Sequence[Tile | None], right: Sequence[Tile | None]
) -> np.ndarray | None:
    """The tile minus the products L_ik L_jk^T of some k.

    Args:
        tile: What is left of the matrix there.
        left: L_ik.
        right: L_jk.
    """
    if tile is None or None in left or None in right:
        return None
    return array_of(_eliminated(tensor_of(tile).clone(), left, right))


def factored(tile: np.ndarray | None) -> Tile | None:
    """The Cholesky factor of a tile on the diagonal, None where LAPACK finds none.

    Args:
        tile: What is left of the matrix there.
    """
    if tile is None:
        return None
    factor, info = torch.linalg.cholesky_ex(tensor_of(tile))
    return None if int(info) or not bool(factor.isfinite().all()) else sealed(factor)


def divided(tile: np.ndarray | None, diagonal: Tile | None) -> Tile | None:
    """L_ij from L_ij L_jj^T = the tile.

    Args:
        tile: What is left of the matrix there.
        diagonal: L_jj.
    """
    if tile is None or diagonal is None:
        return None
    solved = torch.linalg.solve_triangular(
        tensor_of(diagonal.array).mT, tensor_of(tile), upper=True, left=False
    )
    return sealed(solved)


def label(tile: Tile | None) -> tuple[bytes, tuple[int, ...], np.ndarray] | None:
    """Digest and shape of a tile of the factor, and upper bounds of the norms of its rows.

    Args:
        tile: The tile.
    """
    _require_sound()
    if tile is None:
        return None
    return tile.digest, tile.array.shape, array_of(norm_upper(tensor_of(tile.array), 1))


def summed(
    total: PartialSum | None, i: int, j: int, first: int, left: Sequence[Tile | None],
    right: Sequence[Tile | None],
) -> PartialSum | None:  # fmt: skip
    """The sum of L_ik L_jk^T over k up to here, each product formed in panels.

    Args:
        total: The sum over the k before; None where ``first`` is 0, or where a tile was missing.
        i: Block row.
        j: Block column.
        first: The first k.
        left: L_ik for some consecutive k.
        right: L_jk for the same.
    """
    _require_sound()
    if first and total is None:
        return None
    array = None if total is None else tensor_of(total.array)
    used = () if total is None else total.used
    for k, (a, b) in enumerate(zip(left, right, strict=True), first):
        if a is None or b is None:
            return None
        array = added_product(array, tensor_of(a.array), tensor_of(b.array))
        used = (*used, (i, k, a.digest), (j, k, b.digest))
    return None if array is None else PartialSum(array_of(array), used)


def defect(
    product: PartialSum | None, rows: Rows, columns: Rows, on_diagonal: bool, sigma: float,
    tau: float,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, tuple[Name, ...]] | None:  # fmt: skip
    """Sums of ``|L L^T - tau K - sigma I|`` over a tile, and the tiles of L they are about.

    Args:
        product: The tile of L L^T.
        rows: Factors of its rows.
        columns: Of its columns.
        on_diagonal: Whether they are the same.
        sigma: The shift.
        tau: 1.0 or -1.0.
    """
    _require_sound()
    if product is None:
        return None
    g = kernel_tile(rows.terms(), columns.terms(), on_diagonal=on_diagonal)
    found: TileDefect = tile_defect(
        tensor_of(product.array), g, sigma, tau, on_diagonal=on_diagonal
    )
    return array_of(found.rows), array_of(found.columns), array_of(found.before), product.used


def image(
    rows: Rows, columns: Rows, on_diagonal: bool, of_rows: np.ndarray, of_columns: np.ndarray
) -> tuple[tuple[np.ndarray, ...], tuple[np.ndarray, ...] | None]:
    """What a tile gives to its rows and, transposed, to its columns.

    Args:
        rows: Factors of its rows.
        columns: Of its columns.
        on_diagonal: Whether they are the same.
        of_rows: V and x side by side at the rows.
        of_columns: At the columns.
    """
    _require_sound()
    g = kernel_tile(rows.terms(), columns.terms(), on_diagonal=on_diagonal)
    direct = _image_arrays(g, of_columns)
    return direct, None if on_diagonal else _image_arrays(g.mT.contiguous(), of_rows)


def partial_solution(tile: Tile, x: np.ndarray, transposed: bool) -> np.ndarray:
    """L_ik x, or L_ik^T x.

    Args:
        tile: L_ik.
        x: A block of vectors.
        transposed: Which.
    """
    factor = tensor_of(tile.array)
    return array_of((factor.mT if transposed else factor) @ tensor_of(x))


def solution(
    tile: Tile, b: np.ndarray, parts: Sequence[np.ndarray], transposed: bool
) -> np.ndarray:
    """x with L_ii x, or L_ii^T x, = b minus the parts.

    Args:
        tile: L_ii.
        b: A block of right-hand sides.
        parts: What the other unknowns contribute.
        transposed: Which.
    """
    right = tensor_of(b).clone()
    for part in parts:
        right -= tensor_of(part)
    factor = tensor_of(tile.array)
    matrix = factor.mT if transposed else factor
    return array_of(torch.linalg.solve_triangular(matrix, right, upper=transposed))


def _shifted_tile(
    rows: Rows, columns: Rows, on_diagonal: bool, shift: float, sign: float
) -> Tensor:
    tile = kernel_tile(rows.terms(), columns.terms(), on_diagonal=on_diagonal)
    if sign < 0.0:
        tile.neg_()
    if on_diagonal:
        tile.diagonal().add_(shift)
    return tile


def _eliminated(tile: Tensor, left: Sequence[Tile | None], right: Sequence[Tile | None]) -> Tensor:
    for a, b in zip(left, right, strict=True):
        if a is not None and b is not None:
            tile.addmm_(tensor_of(a.array), tensor_of(b.array).mT, alpha=-1.0)
    return tile


def _image_arrays(g: Tensor, vectors: np.ndarray) -> tuple[np.ndarray, ...]:
    both = tensor_of(vectors)
    found: TileImage = tile_image(g, both[:, :-1].contiguous(), both[:, -1].contiguous())
    return array_of(found.image), array_of(found.sums), array_of(found.norms)


def _require_sound() -> None:
    """Once in each thread: some modes of floating point are those of a thread."""
    if not getattr(_checked, "done", False):
        require_sound_arithmetic()
        _checked.done = True
