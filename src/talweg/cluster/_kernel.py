"""A tangent kernel that no machine holds: its factors in blocks of rows, its tiles on demand.

A tile is formed where it is needed and dropped, because its factors are narrow. Wherever a claim
rests on a tile, that tile was formed once, by one task, whose every result was used.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from talweg.cluster import _tasks
from talweg.cluster._cluster import Cluster, Graph
from talweg.cluster._factor import GROUP, TiledFactor, factored
from talweg.cluster._tiles import Name, rows_of, tensor_of
from talweg.cluster._tiling import Tiling, tiling_of
from talweg.enclosure import norm_upper
from talweg.network import KernelTerms
from talweg.verified import (
    ImageSum,
    SymmetricImage,
    TileDefect,
    TileImage,
    tiled_defect_rows,
)

ATTEMPTS = 3
"""Times that the defect of one factor is computed, where tiles of it changed in between."""


class TiledKernel:
    """G: the lower triangle as the workers form it, and its mirror image.

    Args:
        cluster: Where.
        terms: Of all rows; sent once.
    """

    def __init__(self, cluster: Cluster, terms: KernelTerms) -> None:
        self._cluster = cluster
        self._terms = terms
        self.tiling: Tiling = tiling_of(len(terms) // terms.outputs, terms.outputs)
        self.dtype = terms.factors[0][0].dtype
        blocks = (rows_of(terms.samples(*self.tiling.samples(i))) for i in range(self.tiling.count))
        self._rows = cluster.hold("rows", list(blocks))

    def __len__(self) -> int:
        """Order."""
        return self.tiling.rows

    def diagonal(self) -> Tensor:
        """The diagonal, in floats."""
        return self._terms.diagonal()

    def product(self, x: Tensor) -> Tensor:
        """G X in floats, computed here.

        Args:
            x: ``(N, m)``.
        """
        return self._terms.product(x)

    def factor(self, sigma: float = 0.0, tau: float = 1.0) -> TiledFactor | None:
        """L with L L^T = tau G + sigma I up to rounding; None where there is none.

        Args:
            sigma: The shift.
            tau: 1.0 or -1.0.
        """
        stage = "factoring the kernel"
        return factored(
            self._cluster, self.tiling, self._rows, float(sigma), tau, self.dtype, stage
        )

    def defect_rows(self, factor: TiledFactor, sigma: float, tau: float) -> Tensor:
        """Upper bounds of the row sums of ``|tau G + sigma I - L L^T|``, verified.

        Args:
            factor: L, any.
            sigma: The shift.
            tau: 1.0 or -1.0.

        Returns:
            ``(N,)`` float64; inf where nothing was shown.
        """
        for _ in range(ATTEMPTS):
            rows = self._defect_rows(factor, float(sigma), tau)
            if rows is not None:
                return rows
        return torch.full((len(self),), torch.inf, dtype=torch.float64)

    def image(self, vectors: Tensor, x: Tensor) -> SymmetricImage | None:
        """G V and the sizes of its rows, enclosed; None where a worker gave no finite answer.

        Args:
            vectors: V ``(N, m)``, float64.
            x: ``(N,)`` > 0.
        """
        name, tiling = self._cluster.name("image"), self.tiling
        both = torch.cat([vectors, x[:, None]], 1).numpy()
        parts = self._cluster.hold(
            "vectors", [both[tiling.part(i)].copy() for i in range(tiling.count)]
        )
        graph: Graph = {}
        for i, j in tiling.lower():
            graph[f"{name}-{i}-{j}"] = (
                _tasks.image, self._rows[i], self._rows[j], i == j, parts[i], parts[j],
            )  # fmt: skip
        total = ImageSum(tiling.edges, vectors, x)
        found = self._cluster.fetch(graph, list(graph), "multiplying by the kernel")
        for (i, j), pair in zip(tiling.lower(), found, strict=True):
            direct, mirrored = pair if isinstance(pair, tuple) and len(pair) == 2 else (None, None)
            total.add(i, j, _image(direct))
            if i != j:
                total.add(j, i, _image(mirrored))
        return total.result()

    def _defect_rows(self, factor: TiledFactor, sigma: float, tau: float) -> Tensor | None:
        """None where two results speak of different versions of a tile of L."""
        tiling = self.tiling
        labels = self._labels(factor)
        if labels is None:
            return torch.full((len(self),), torch.inf, dtype=torch.float64)
        digests, norms = labels
        tiles: dict[tuple[int, int], TileDefect] = {}
        for (i, j), piece in zip(tiling.lower(), self._pieces(factor, sigma, tau), strict=True):
            if not (isinstance(piece, tuple) and len(piece) == 4 and _are_arrays(piece[:3])):
                continue  # a missing tile gives no bound
            if not _made_of(piece[3], i, j, digests):
                return None
            tiles[i, j] = TileDefect(*map(tensor_of, piece[:3]))
        return tiled_defect_rows(tiling.edges, tiles, norms)

    def _pieces(self, factor: TiledFactor, sigma: float, tau: float) -> Iterator[Any]:
        """What the workers say of each tile of E."""
        name = self._cluster.name("defect")
        graph: Graph = {}
        keys = []
        for i, j in self.tiling.lower():
            total: str | None = None
            for first in range(0, j + 1, GROUP):
                group = range(first, min(first + GROUP, j + 1))
                step = f"{name}-sum-{i}-{j}-{first}"
                graph[step] = (
                    _tasks.summed, total, i, j, first, [factor.tiles[i, k] for k in group],
                    [factor.tiles[j, k] for k in group],
                )  # fmt: skip
                total = step
            key = f"{name}-{i}-{j}"
            graph[key] = (
                _tasks.defect, total, self._rows[i], self._rows[j], i == j, sigma, tau,
            )  # fmt: skip
            keys.append(key)
        return self._cluster.fetch(graph, keys, "checking the factor")

    def _labels(self, factor: TiledFactor) -> tuple[dict[tuple[int, int], bytes], Tensor] | None:
        """Digests of the tiles of L, and upper bounds of the norms of its rows."""
        name = self._cluster.name("label")
        graph: Graph = {
            f"{name}-{i}-{j}": (_tasks.label, factor.tiles[i, j]) for i, j in self.tiling.lower()
        }
        digests: dict[tuple[int, int], bytes] = {}
        norms: list[list[np.ndarray]] = [[] for _ in range(self.tiling.count)]
        found = self._cluster.fetch(graph, list(graph), "reading the norms of the factor")
        for (i, j), labelled in zip(self.tiling.lower(), found, strict=True):
            rows, columns = self.tiling.part(i), self.tiling.part(j)
            shape = (rows.stop - rows.start, columns.stop - columns.start)
            if not (isinstance(labelled, tuple) and len(labelled) == 3 and labelled[1] == shape):
                return None
            if not (_are_arrays(labelled[2:]) and labelled[2].shape == shape[:1]):
                return None
            digests[i, j] = labelled[0]
            norms[i].append(labelled[2])
        return digests, _row_norms(norms)


def _made_of(
    used: Sequence[Name], i: int, j: int, digests: Mapping[tuple[int, int], bytes]
) -> bool:
    """Whether the tile (i, j) of L L^T was made of these versions of all the tiles it needs."""
    wanted = {(row, k) for k in range(j + 1) for row in (i, j)}
    if not all(isinstance(name, tuple) and len(name) == 3 for name in used):
        return False
    return {(row, k) for row, k, _ in used} == wanted and all(
        digests[row, k] == digest for row, k, digest in used
    )


def _row_norms(norms: list[list[np.ndarray]]) -> Tensor:
    return torch.cat(
        [norm_upper(torch.stack([tensor_of(part) for part in parts], 1), 1) for parts in norms]
    )


def _image(parts: Any) -> TileImage | None:
    """What a worker says of a tile; None where it is nothing of the kind."""
    if not (isinstance(parts, tuple) and len(parts) == 3 and _are_arrays(parts)):
        return None
    return TileImage(*map(tensor_of, parts))


def _are_arrays(parts: Sequence[Any]) -> bool:
    """Whether all are arrays of floats; their shapes are looked at where they are used."""
    return all(isinstance(part, np.ndarray) and part.dtype.kind == "f" for part in parts)
