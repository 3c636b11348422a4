"""Verified linear algebra: eigenvalue and norm bounds that hold whatever LAPACK returns."""

from talweg.verified._cholesky import cholesky_in_place
from talweg.verified._largest import psd_largest_eigenvalue_upper
from talweg.verified._smallest import smallest_eigenvalue_lower
from talweg.verified._spectral_norm import largest_eigenvalue_upper, spectral_norm_upper
from talweg.verified._symmetric import SymmetricBall

__all__ = [
    "SymmetricBall",
    "cholesky_in_place",
    "largest_eigenvalue_upper",
    "psd_largest_eigenvalue_upper",
    "smallest_eigenvalue_lower",
    "spectral_norm_upper",
]
