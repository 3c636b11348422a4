"""A tiled Cholesky factor on the cluster: a hint, never trusted.

    L_jj L_jj^T = M_jj - sum_{k<j} L_jk L_jk^T,      L_ij L_jj^T = M_ij - sum_{k<j} L_ik L_jk^T.

The sums run over groups of k, one task after the other, so that of each tile one intermediate
result lives at a time: L and what is left of M together are one N x N array at most, wherever the
work stands. `dask.array.linalg.cholesky` keeps every product L_ik L_jk^T until its sum is formed,
and L^T beside L, and wants tiles of one size.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from talweg.cluster import _tasks
from talweg.cluster._cluster import Cluster, Graph
from talweg.cluster._tiling import Tiling

GROUP = 4
"""Products subtracted by one task, which holds twice as many tiles."""


class TiledFactor:
    """L, block lower triangular, in tiles that stay on the cluster.

    Args:
        cluster: Where.
        tiling: Of the rows.
        tiles: Futures of `Tile` by block row and block column.
        dtype: Of the tiles.
    """

    def __init__(
        self, cluster: Cluster, tiling: Tiling, tiles: dict[tuple[int, int], Any],
        dtype: torch.dtype,
    ) -> None:  # fmt: skip
        self._cluster = cluster
        self.tiling = tiling
        self.tiles = tiles
        self.dtype = dtype

    def solve(self, b: Tensor) -> Tensor:
        """X with L L^T X = B, in the dtype of the tiles.

        Args:
            b: ``(N, m)``.

        Returns:
            ``(N, m)``; NaN where a worker gave something else.
        """
        name = self._cluster.name("solve")
        count, array = self.tiling.count, b.to(self.dtype).numpy()
        graph: Graph = {f"{name}-b-{i}": array[self.tiling.part(i)].copy() for i in range(count)}
        self._substitute(graph, name, "b", "y", range(count), transposed=False)
        self._substitute(graph, name, "y", "x", range(count - 1, -1, -1), transposed=True)
        keys = [f"{name}-x-{i}" for i in range(count)]
        parts = list(self._cluster.fetch(graph, keys, "solving triangular systems"))
        for i, part in enumerate(parts):
            rows = self.tiling.part(i)
            shape = (rows.stop - rows.start, b.shape[1])
            if not isinstance(part, np.ndarray) or part.shape != shape:
                return torch.full(tuple(b.shape), torch.nan, dtype=self.dtype)
        return torch.from_numpy(np.concatenate(parts))

    def _substitute(
        self, graph: Graph, name: str, of: str, to: str, order: range, *, transposed: bool
    ) -> None:
        """Forward substitution with L, or backward with L^T."""
        known: list[int] = []
        for i in order:
            parts = []
            for k in known:
                key = f"{name}-{to}-{i}-{k}"
                tile = self.tiles[(k, i) if transposed else (i, k)]
                graph[key] = (_tasks.partial_solution, tile, f"{name}-{to}-{k}", transposed)
                parts.append(key)
            graph[f"{name}-{to}-{i}"] = (
                _tasks.solution, self.tiles[i, i], f"{name}-{of}-{i}", parts, transposed,
            )  # fmt: skip
            known.append(i)


def factored(
    cluster: Cluster, tiling: Tiling, rows: Sequence[Any], sigma: float, tau: float,
    dtype: torch.dtype, stage: str,
) -> TiledFactor | None:  # fmt: skip
    """L with L L^T = tau K + sigma I up to rounding; None where LAPACK finds no factor.

    Args:
        cluster: Where.
        tiling: Of the rows.
        rows: Futures of `Rows`, one for each block.
        sigma: The shift.
        tau: 1.0 or -1.0.
        dtype: Of the rows, and of the result.
        stage: For the progress.
    """
    name = cluster.name("factor")
    graph: Graph = {}
    keys = {(i, j): f"{name}-{i}-{j}" for i, j in tiling.lower()}
    for (i, j), key in keys.items():
        start = (rows[i], rows[j], i == j, sigma, tau)
        left: Any = None
        for first in range(0, j, GROUP):
            group = range(first, min(first + GROUP, j))
            of_rows = [keys[i, k] for k in group]
            of_columns = [keys[j, k] for k in group]
            step = f"{name}-left-{i}-{j}-{first}"
            graph[step] = (
                (_tasks.started_and_eliminated, *start, of_rows, of_columns)
                if left is None
                else (_tasks.eliminated, left, of_rows, of_columns)
            )
            left = step
        if left is None:
            left = f"{name}-left-{i}-{j}"
            graph[left] = (_tasks.started, *start)
        graph[key] = (_tasks.factored, left) if i == j else (_tasks.divided, left, keys[j, j])
    futures = cluster.keep(graph, list(keys.values()), stage)
    tiles = dict(zip(keys, futures, strict=True))
    found = TiledFactor(cluster, tiling, tiles, dtype)
    return found if _exists(cluster, found) else None


def _exists(cluster: Cluster, factor: TiledFactor) -> bool:
    """Whether the last tile on the diagonal was reached, which needs all others."""
    name = cluster.name("exists")
    last = factor.tiling.count - 1
    graph: Graph = {name: (_is_tile, factor.tiles[last, last])}
    return next(iter(cluster.fetch(graph, [name], "looking at the factor"))) is True


def _is_tile(tile: object) -> bool:
    """On a worker."""
    return tile is not None
