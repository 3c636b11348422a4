"""What travels between client and workers: blocks of factors, tiles, sums; as arrays.

A tile of the factor carries a digest of its numbers, taken where it was computed, and whatever is
made of it says which digests it was made of. A worker that is lost takes its tiles with it; they
are computed again, perhaps by another library with other roundings, and a bound that had mixed the
two would not be a bound.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from talweg._errors import ClusterError
from talweg.cluster._code import code_digest
from talweg.network import KernelTerms

Name = tuple[int, int, bytes]
"""Block row and block column of a tile of the factor, and its digest."""


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
        factors = tuple((tensor_of(g), tensor_of(h)) for g, h in self.factors)
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
    factors = tuple((array_of(g), array_of(h)) for g, h in terms.factors)
    return Rows(code_digest(), factors, terms.outputs, terms.lift)


def sealed(tile: Tensor) -> Tile:
    """A tile of the factor with its digest.

    Args:
        tile: Its numbers.
    """
    array = array_of(tile)
    return Tile(array, hashlib.blake2b(array.data, digest_size=16).digest())


def tensor_of(array: np.ndarray) -> Tensor:
    """The array as a tensor; a copy where its memory came read-only, which torch does not know.

    Args:
        array: Of floats.
    """
    return torch.from_numpy(array if array.flags.writeable else array.copy())


def array_of(tensor: Tensor) -> np.ndarray:
    """The tensor as a C-contiguous array.

    Args:
        tensor: On the CPU.
    """
    found: np.ndarray = tensor.contiguous().numpy()
    return found
