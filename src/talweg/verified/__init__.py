"""Verified linear algebra: eigenvalue and norm bounds that hold whatever LAPACK returns."""

from talweg.verified._cholesky import cholesky_in_place
from talweg.verified._deflated import deflated_upper_from
from talweg.verified._largest import psd_largest_eigenvalue_upper
from talweg.verified._smallest import smallest_eigenvalue_lower
from talweg.verified._spectral_norm import largest_eigenvalue_upper, spectral_norm_upper
from talweg.verified._symmetric import SymmetricBall
from talweg.verified._tiled_defect import (
    TileDefect,
    added_product,
    tile_defect,
    tiled_defect_rows,
)
from talweg.verified._tiled_image import ImageSum, SymmetricImage, TileImage, tile_image

__all__ = [
    "ImageSum",
    "SymmetricBall",
    "SymmetricImage",
    "TileDefect",
    "TileImage",
    "added_product",
    "cholesky_in_place",
    "deflated_upper_from",
    "largest_eigenvalue_upper",
    "psd_largest_eigenvalue_upper",
    "smallest_eigenvalue_lower",
    "spectral_norm_upper",
    "tile_defect",
    "tile_image",
    "tiled_defect_rows",
]
