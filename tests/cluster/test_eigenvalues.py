"""Bounds in tiles against exact arithmetic and against the bounds on one machine; attacks."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import talweg
from talweg.cluster import (
    Cluster,
    TiledKernel,
    _kernel,
    _tasks,
    _tiles,
    tiled_largest_eigenvalue_upper,
    tiled_smallest_eigenvalue_lower,
)
from talweg.network import KernelTerms
from talweg.verified import (
    SymmetricBall,
    psd_largest_eigenvalue_upper,
    smallest_eigenvalue_lower,
)

pytestmark = pytest.mark.usefixtures("small_tiles")


def integers(n: int, width: int, seed: int, top: int = 5) -> Tensor:
    """A factor with whole entries: its Gram matrix is exact, in tiles and at once."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(-top, top + 1, (n, width), generator=generator).to(torch.float64)


def terms_of(factor: Tensor) -> KernelTerms:
    """K = factor factor^T."""
    return KernelTerms(((factor, factor.new_ones(len(factor), 1)),), 1)


def zero_radius(n: int) -> Tensor:
    return torch.zeros(n, dtype=torch.float64)


def is_positive_definite(matrix: Tensor, shift: Fraction, sign: int) -> bool:
    """Whether sign (matrix - shift I) > 0, by exact elimination over the rationals."""
    rows = [[sign * Fraction(v) for v in row] for row in matrix.tolist()]
    n = len(rows)
    for i in range(n):
        rows[i][i] -= sign * shift
    for k in range(n):
        if rows[k][k] <= 0:
            return False
        for i in range(k + 1, n):
            ratio = rows[i][k] / rows[k][k]
            for j in range(k, n):
                rows[i][j] -= ratio * rows[k][j]
    return True


def assert_contained(k: Tensor, lower: float, upper: float) -> None:
    """lower <= lambda_min and lambda_max <= upper."""
    assert is_positive_definite(k, Fraction(math.nextafter(lower, -math.inf)), 1)
    assert is_positive_definite(k, Fraction(math.nextafter(upper, math.inf)), -1)


@pytest.mark.parametrize(
    ("n", "width", "seed"), [(1, 3, 0), (2, 3, 1), (5, 9, 2), (22, 23, 4), (30, 31, 5)]
)
def test_bounds_contain_the_exact_extremes(cluster: Cluster, n: int, width: int, seed: int) -> None:
    factor = integers(n, width, seed)
    k = factor @ factor.T
    kernel = TiledKernel(cluster, terms_of(factor))
    lower = tiled_smallest_eigenvalue_lower(kernel, zero_radius(n))
    upper = tiled_largest_eigenvalue_upper(kernel, zero_radius(n))
    assert_contained(k, lower, upper)
    exact = SymmetricBall(k, zero_radius(n))
    assert lower == pytest.approx(smallest_eigenvalue_lower(exact), rel=1e-6)
    assert upper == pytest.approx(psd_largest_eigenvalue_upper(exact), rel=1e-5)


def test_an_ill_conditioned_matrix(cluster: Cluster) -> None:
    n = 24  # rows i and i + 1 differ by little: condition about 1e9
    base = integers(1, n, 7, 40).expand(n, n) + torch.eye(n, dtype=torch.float64).cumsum(0)
    k = base @ base.T
    kernel = TiledKernel(cluster, terms_of(base))
    lower = tiled_smallest_eigenvalue_lower(kernel, zero_radius(n))
    upper = tiled_largest_eigenvalue_upper(kernel, zero_radius(n))
    assert upper / lower > 1e5
    assert_contained(k, lower, upper)
    values = torch.linalg.eigvalsh(k)
    assert lower >= 0.98 * float(values[0])
    assert upper <= 1.001 * float(values[-1])


@pytest.mark.parametrize("n", [140, 300])
def test_above_the_dense_order_as_sharp_as_on_one_machine(cluster: Cluster, n: int) -> None:
    generator = torch.Generator().manual_seed(n)
    factor = torch.randn(n, n + 30, generator=generator, dtype=torch.float64)
    factor *= torch.arange(1, n + 31, dtype=torch.float64) ** -0.7
    terms = terms_of(factor)
    kernel = TiledKernel(cluster, terms)
    radius = torch.full((n,), 1e-9, dtype=torch.float64)
    k = factor @ factor.T
    one = SymmetricBall(0.5 * (k + k.T), radius)
    lower = tiled_smallest_eigenvalue_lower(kernel, radius)
    upper = tiled_largest_eigenvalue_upper(kernel, radius)
    values = torch.linalg.eigvalsh(k)
    assert lower <= float(values[0]) * (1.0 + 1e-9)
    assert upper >= float(values[-1]) * (1.0 - 1e-12)
    assert lower == pytest.approx(smallest_eigenvalue_lower(one), rel=1e-4)
    assert upper == pytest.approx(psd_largest_eigenvalue_upper(one), rel=1e-3)


def test_a_spectrum_without_a_top_takes_a_factorisation(cluster: Cluster) -> None:
    n = 150  # an orthogonal factor: all eigenvalues about 1, both signs in every row
    generator = torch.Generator().manual_seed(1)
    q, _ = torch.linalg.qr(torch.randn(n, n, generator=generator, dtype=torch.float64))
    kernel = TiledKernel(cluster, terms_of(q))
    radius = torch.full((n,), 1e-12, dtype=torch.float64)
    assert 1.0 - 1e-12 <= tiled_largest_eigenvalue_upper(kernel, radius) <= 1.001
    assert 0.999 <= tiled_smallest_eigenvalue_lower(kernel, radius) <= 1.0 + 1e-12


def test_a_singular_matrix_has_no_bound_from_below(cluster: Cluster) -> None:
    factor = integers(12, 5, 3)
    kernel = TiledKernel(cluster, terms_of(factor))
    lower = tiled_smallest_eigenvalue_lower(kernel, zero_radius(12))
    assert lower <= 0.0
    upper = tiled_largest_eigenvalue_upper(kernel, zero_radius(12))
    assert_contained(factor @ factor.T, -1.0, upper)


def test_an_unknown_radius_gives_nothing(cluster: Cluster) -> None:
    kernel = TiledKernel(cluster, terms_of(integers(6, 8, 0)))
    radius = torch.full((6,), math.inf, dtype=torch.float64)
    assert tiled_smallest_eigenvalue_lower(kernel, radius) == -math.inf
    assert tiled_largest_eigenvalue_upper(kernel, radius) == math.inf


@pytest.mark.parametrize("value", [math.nan, math.inf, 1e200])
def test_an_overflow_gives_nothing(cluster: Cluster, value: float) -> None:
    factor = integers(9, 12, 0)
    factor[4, 3] = value
    kernel = TiledKernel(cluster, terms_of(factor))
    assert tiled_smallest_eigenvalue_lower(kernel, zero_radius(9)) == -math.inf
    assert tiled_largest_eigenvalue_upper(kernel, zero_radius(9)) == math.inf


# Attacks: what workers send is data.


@pytest.mark.parametrize("size", [1e-3, 1e3])
@pytest.mark.parametrize("where", ["factored", "divided"])
def test_a_corrupted_factor_never_gives_a_wrong_bound(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch, where: str, size: float
) -> None:
    factor = integers(13, 14, 3)
    genuine = getattr(_tasks, where)

    def corrupted(*arguments: Any) -> Any:
        tile = genuine(*arguments)
        if tile is None:
            return None
        spoiled = tile.array.copy()
        spoiled[-1, 0] += size
        return _tiles.sealed(torch.from_numpy(spoiled))

    monkeypatch.setattr(_tasks, where, corrupted)
    kernel = TiledKernel(cluster, terms_of(factor))
    k = factor @ factor.T
    lower = tiled_smallest_eigenvalue_lower(kernel, zero_radius(13))
    if lower > -math.inf:
        assert is_positive_definite(k, Fraction(math.nextafter(lower, -math.inf)), 1)
    good = smallest_eigenvalue_lower(SymmetricBall(k, zero_radius(13)))
    assert lower < good  # it is seen
    wrong = kernel.factor(1e9, -1.0)
    assert wrong is not None
    rows = kernel.defect_rows(wrong, 1e9, -1.0)
    assert float(rows.max()) >= 1e-2 * size


def test_a_kernel_formed_otherwise_in_the_factorisation_does_not_matter(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even one that is not symmetric: the claim is about the tiles of the defect."""
    factor = integers(13, 14, 3)
    genuine = _tasks._shifted_tile

    def skewed(*arguments: Any) -> Tensor:
        tile = genuine(*arguments)
        return tile + 1e-3 * torch.arange(tile.numel(), dtype=tile.dtype).reshape(tile.shape)

    monkeypatch.setattr(_tasks, "_shifted_tile", skewed)
    kernel = TiledKernel(cluster, terms_of(factor))
    lower = tiled_smallest_eigenvalue_lower(kernel, zero_radius(13))
    k = factor @ factor.T
    assert lower < smallest_eigenvalue_lower(SymmetricBall(k, zero_radius(13)))
    if lower > -math.inf:
        assert is_positive_definite(k, Fraction(math.nextafter(lower, -math.inf)), 1)


def _nothing(piece: Any) -> Any:
    return None


def _nan(piece: Any) -> Any:
    return (piece[0] * math.nan, *piece[1:])


def _negative(piece: Any) -> Any:
    return (piece[0], -1.0 - piece[1], *piece[2:])


def _short(piece: Any) -> Any:
    return (piece[0][:-1], *piece[1:])


def _single(piece: Any) -> Any:
    return (piece[0].astype(np.float32), *piece[1:])


def _other_tiles(piece: Any) -> Any:
    return (*piece[:3], piece[3][:-1])


@pytest.mark.parametrize("lie", [_nothing, _nan, _negative, _short, _single, _other_tiles])
def test_a_malformed_answer_is_no_claim(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch, lie: Any
) -> None:
    genuine = _tasks.defect

    def lying(product: Any, rows: Any, columns: Any, on_diagonal: bool, *rest: float) -> Any:
        piece = genuine(product, rows, columns, on_diagonal, *rest)
        return piece if on_diagonal else lie(piece)

    monkeypatch.setattr(_tasks, "defect", lying)
    kernel = TiledKernel(cluster, terms_of(integers(13, 14, 3)))
    factor = kernel.factor()
    assert factor is not None
    assert not bool((kernel.defect_rows(factor, 0.0, 1.0) < math.inf).any())
    if lie is _nan:
        assert tiled_smallest_eigenvalue_lower(kernel, zero_radius(13)) == -math.inf


def test_two_versions_of_a_factor_are_never_mixed(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A tile that changes between two tasks, as one that is computed again elsewhere may."""
    kernel = TiledKernel(cluster, terms_of(integers(13, 14, 3)))
    factor = kernel.factor()
    assert factor is not None
    assert bool(kernel.defect_rows(factor, 0.0, 1.0).isfinite().all())
    genuine = _tasks.summed

    def elsewhere(total: Any, i: int, j: int, first: int, left: list[Any], right: list[Any]) -> Any:
        if (i, j) == (2, 1):
            left = [_tiles.Tile(left[0].array, b"another version"), *left[1:]]
        return genuine(total, i, j, first, left, right)

    monkeypatch.setattr(_tasks, "summed", elsewhere)
    calls = []
    genuine_rows = TiledKernel._defect_rows

    def counted(self: TiledKernel, *arguments: Any) -> Any:
        calls.append(arguments)
        return genuine_rows(self, *arguments)

    monkeypatch.setattr(TiledKernel, "_defect_rows", counted)
    assert bool(kernel.defect_rows(factor, 0.0, 1.0).isinf().all())
    assert len(calls) == _kernel.ATTEMPTS


@pytest.mark.parametrize("entry", [math.nan, math.inf])
def test_a_product_that_is_not_finite_gives_no_bound_from_above(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch, entry: float
) -> None:
    genuine = _tasks._image_arrays

    def spoiled(g: Tensor, vectors: np.ndarray) -> tuple[np.ndarray, ...]:
        image, sums, norms = genuine(g, vectors)
        image[0, 0] = entry
        return image, sums, norms

    monkeypatch.setattr(_tasks, "_image_arrays", spoiled)
    kernel = TiledKernel(cluster, terms_of(integers(13, 14, 3)))
    assert tiled_largest_eigenvalue_upper(kernel, zero_radius(13)) == math.inf


@pytest.mark.parametrize("shape", [(1, 1), (1, 4), (4, 1)])
def test_tiles_of_another_shape_are_no_factor(cluster: Cluster, shape: tuple[int, int]) -> None:
    kernel = TiledKernel(cluster, terms_of(integers(13, 14, 3)))
    factor = kernel.factor()
    assert factor is not None
    tile = _tiles.Tile(np.zeros(shape), b"x" * 16)
    factor.tiles[1, 0] = cluster.hold("tile", [tile])[0]
    assert bool(kernel.defect_rows(factor, 0.0, 1.0).isinf().all())


@pytest.mark.parametrize("label", [None, (b"", (4, 4)), (b"", (4, 4), 3.0), 7])
def test_a_label_of_another_form_is_no_factor(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch, label: Any
) -> None:
    kernel = TiledKernel(cluster, terms_of(integers(13, 14, 3)))
    factor = kernel.factor()
    assert factor is not None
    monkeypatch.setattr(_tasks, "label", lambda _: label)
    assert bool(kernel.defect_rows(factor, 0.0, 1.0).isinf().all())


def test_a_task_that_fails_is_one_error(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(*_: Any) -> Any:
        raise MemoryError("no room")

    monkeypatch.setattr(_tasks, "divided", failing)
    kernel = TiledKernel(cluster, terms_of(integers(13, 14, 3)))
    with pytest.raises(talweg.ClusterError, match="run its tasks; that failed: MemoryError: no"):
        kernel.factor()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_solutions_of_the_tiled_systems(cluster: Cluster, dtype: torch.dtype) -> None:
    factor = integers(13, 20, 3).to(dtype)
    kernel = TiledKernel(cluster, terms_of(factor))
    tiles = kernel.factor(2.0)
    assert tiles is not None
    b = torch.randn(13, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    k = (factor @ factor.T).to(torch.float64) + 2.0 * torch.eye(13, dtype=torch.float64)
    x = tiles.solve(b)
    assert x.dtype == dtype
    tolerance = 1e-3 if dtype == torch.float32 else 1e-10
    assert float((k @ x.to(torch.float64) - b).abs().max()) <= tolerance


def test_the_factor_is_that_of_dask_array(cluster: Cluster) -> None:
    """The dense twin: `dask.array.linalg.cholesky`, which wants tiles of one size."""
    array = pytest.importorskip("dask.array")
    factor = integers(12, 20, 3)
    kernel = TiledKernel(cluster, terms_of(factor))
    tiles = kernel.factor()
    assert tiles is not None
    assert {b - a for a, b in zip(kernel.tiling.edges, kernel.tiling.edges[1:], strict=False)} == {
        4
    }
    k = array.from_array((factor @ factor.T).numpy(), chunks=4)
    expected = array.linalg.cholesky(k, lower=True).compute(scheduler="synchronous")
    for i, j in kernel.tiling.lower():
        rows, columns = kernel.tiling.part(i), kernel.tiling.part(j)
        tile = tiles.tiles[i, j].result()
        assert np.abs(tile.array - expected[rows, columns]).max() <= 1e-12
