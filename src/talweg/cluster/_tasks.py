"""What the workers do: pure functions of tiles, imported there by name.

A tile of the factor carries a digest of its numbers, taken where it was computed, and whatever is
made of it says which digests it was made of. A worker that is lost takes its tiles with it; they
are computed again, perhaps by another library with other roundings, and a bound that had mixed the
two would not be a bound. None stands for a tile that does not exist: a matrix that was found not to
be positive definite. Inputs are never changed, because another task may read them later.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from talweg._errors import ClusterError
from talweg.cluster._code import code_digest
from talweg.enclosure import norm_upper, require_sound_arithmetic
from talweg.network import KernelTerms, kernel_tile
from talweg.verified import (
    TileDefect,
    TileImage,
    added_product,
    tile_defect,
    tile_image,
)

Thing = TypeVar("Thing")
Name = tuple[int, int, bytes]
"""Block row and block column of a tile of the factor, and its digest."""

_checked = threading.local()


@dataclass(frozen=True, eq=False)
class Rows:
    """The factors of a block of samples.

    Attributes:
        code: Digest of the talweg that made them.
        factors: As those of `KernelTerms`, as arrays.
        outputs: k.
        lift: As that of `KernelTerms`.
    """

    code: str
    factors: tuple[tuple[np.ndarray, np.ndarray], ...]
    outputs: int
    lift: float

    def __sizeof__(self) -> int:
        return 256 + sum(g.nbytes + h.nbytes for g, h in self.factors)

    def terms(self) -> KernelTerms:
        """For `kernel_tile`."""
        if self.code != code_digest():
            raise ClusterError(
                "Every worker of `scheduler` of certify() must run the same talweg as the client; "
                f"the sources of one are {code_digest()}, not {self.code}. Install the same "
                "version there."
            )
        factors = tuple((_tensor(g), _tensor(h)) for g, h in self.factors)
        return KernelTerms(factors, self.outputs, self.lift)


@dataclass(frozen=True, eq=False)
class Tile:
    """A tile of the factor.

    Attributes:
        array: Its numbers, C-contiguous.
        digest: Of their bytes.
    """

    array: np.ndarray
    digest: bytes

    def __sizeof__(self) -> int:
        return 256 + self.array.nbytes


@dataclass(frozen=True, eq=False)
class PartialSum:
    """A sum of products of tiles of the factor.

    Attributes:
        array: Its numbers.
        used: What it was made of.
    """

    array: np.ndarray
    used: tuple[Name, ...]

    def __sizeof__(self) -> int:
        return 256 + self.array.nbytes + 96 * len(self.used)


def rows_of(terms: KernelTerms) -> Rows:
    """The factors as they travel.

    Args:
        terms: Of a block of samples.
    """
    factors = tuple((_array(g), _array(h)) for g, h in terms.factors)
    return Rows(code_digest(), factors, terms.outputs, terms.lift)


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
    return _array(_shifted_tile(rows, columns, on_diagonal, shift, sign))


def started_and_eliminated(
    rows: Rows, columns: Rows, on_diagonal: bool, shift: float, sign: float,
    left: Sequence[Tile | None], right: Sequence[Tile | None],
) -> np.ndarray | None:  # fmt: skip
    """`started`, then `eliminated`, without the tile in between."""
    if None in left or None in right:
        return None
    tile = _shifted_tile(rows, columns, on_diagonal, shift, sign)
    return _array(_eliminated(tile, left, right))


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
    return _array(_eliminated(_tensor(tile).clone(), left, right))


def factored(tile: np.ndarray | None) -> Tile | None:
    """The Cholesky factor of a tile on the diagonal, None where LAPACK finds none.

    Args:
        tile: What is left of the matrix there.
    """
    if tile is None:
        return None
    factor, info = torch.linalg.cholesky_ex(_tensor(tile))
    return None if int(info) or not bool(factor.isfinite().all()) else _sealed(factor)


def divided(tile: np.ndarray | None, diagonal: Tile | None) -> Tile | None:
    """L_ij from L_ij L_jj^T = the tile.

    Args:
        tile: What is left of the matrix there.
        diagonal: L_jj.
    """
    if tile is None or diagonal is None:
        return None
    solved = torch.linalg.solve_triangular(
        _tensor(diagonal.array).mT, _tensor(tile), upper=True, left=False
    )
    return _sealed(solved)


def label(tile: Tile | None) -> tuple[bytes, tuple[int, ...], np.ndarray] | None:
    """Digest and shape of a tile of the factor, and upper bounds of the norms of its rows.

    Args:
        tile: The tile.
    """
    _require_sound()
    if tile is None:
        return None
    return tile.digest, tile.array.shape, _array(norm_upper(_tensor(tile.array), 1))


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
    array = None if total is None else _tensor(total.array)
    used = () if total is None else total.used
    for k, (a, b) in enumerate(zip(left, right, strict=True), first):
        if a is None or b is None:
            return None
        array = added_product(array, _tensor(a.array), _tensor(b.array))
        used = (*used, (i, k, a.digest), (j, k, b.digest))
    return None if array is None else PartialSum(_array(array), used)


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
    found: TileDefect = tile_defect(_tensor(product.array), g, sigma, tau, on_diagonal=on_diagonal)
    return _array(found.rows), _array(found.columns), _array(found.before), product.used


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
    factor = _tensor(tile.array)
    return _array((factor.mT if transposed else factor) @ _tensor(x))


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
    right = _tensor(b).clone()
    for part in parts:
        right -= _tensor(part)
    factor = _tensor(tile.array)
    matrix = factor.mT if transposed else factor
    return _array(torch.linalg.solve_triangular(matrix, right, upper=transposed))


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
            tile.addmm_(_tensor(a.array), _tensor(b.array).mT, alpha=-1.0)
    return tile


def _image_arrays(g: Tensor, vectors: np.ndarray) -> tuple[np.ndarray, ...]:
    both = _tensor(vectors)
    found: TileImage = tile_image(g, both[:, :-1].contiguous(), both[:, -1].contiguous())
    return _array(found.image), _array(found.sums), _array(found.norms)


def _sealed(tile: Tensor) -> Tile:
    array = _array(tile)
    return Tile(array, hashlib.blake2b(array.data, digest_size=16).digest())


def _tensor(array: np.ndarray) -> Tensor:
    """The array as a tensor; a copy where its memory came read-only, which torch does not know."""
    return torch.from_numpy(array if array.flags.writeable else array.copy())


def _array(tensor: Tensor) -> np.ndarray:
    found: np.ndarray = tensor.contiguous().numpy()
    return found


def _require_sound() -> None:
    """Once in each thread: some modes of floating point are those of a thread."""
    if not getattr(_checked, "done", False):
        require_sound_arithmetic()
        _checked.done = True
