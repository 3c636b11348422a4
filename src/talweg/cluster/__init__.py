"""Kernels above one machine: tiles on a Dask cluster, bounds assembled here.

Dask is an extra (`talweg[dask]`), loaded where an address is given and not before.
"""

from talweg.cluster._cluster import Cluster, connected
from talweg.cluster._eigenvalues import (
    tiled_largest_eigenvalue_upper,
    tiled_smallest_eigenvalue_lower,
)
from talweg.cluster._factor import TiledFactor
from talweg.cluster._kernel import TiledKernel

__all__ = [
    "Cluster",
    "TiledFactor",
    "TiledKernel",
    "connected",
    "tiled_largest_eigenvalue_upper",
    "tiled_smallest_eigenvalue_lower",
]
