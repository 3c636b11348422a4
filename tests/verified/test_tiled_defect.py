"""The residual bound in tiles holds for any factor: exact rationals are the referee."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from fractions import Fraction

import pytest
import torch
from torch import Tensor

from talweg.enclosure import norm_upper
from talweg.verified import (
    ImageSum,
    TileDefect,
    _tiled_defect,
    added_product,
    deflated_upper_from,
    tile_defect,
    tile_image,
    tiled_defect_rows,
)
from talweg.verified._defect import factor_defect_rows

EDGES = ((0, 1), (0, 3, 7), (0, 5, 10, 13), (0, 4, 8, 12, 13))


def symmetric(n: int, seed: int, scale: float = 1.0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    a = torch.randn(n, n, generator=generator, dtype=torch.float64) * scale
    return a @ a.T + (a @ a.T).T


def block_lower(factor: Tensor, edges: Sequence[int]) -> Tensor:
    """What the tiles on and below the diagonal hold."""
    kept = torch.zeros_like(factor)
    for first, last in itertools.pairwise(edges):
        kept[first:last, :last] = factor[first:last, :last]
    return kept


def tiled(g: Tensor, factor: Tensor, edges: Sequence[int], sigma: float, tau: float) -> Tensor:
    """The bound, with every tile computed on its own."""
    parts = [slice(a, b) for a, b in itertools.pairwise(edges)]
    tiles = {}
    for i, rows in enumerate(parts):
        for j, columns in enumerate(parts[: i + 1]):
            total: Tensor | None = None
            for k in parts[: j + 1]:
                before = None if total is None else total.numpy().tobytes()
                added = added_product(total, factor[rows, k], factor[columns, k])
                # An input is never changed, because it may be used again.
                assert total is None or total.numpy().tobytes() == before
                total = added
            tiles[i, j] = tile_defect(total, g[rows, columns], sigma, tau, on_diagonal=i == j)
    norms = norm_upper(block_lower(factor, edges), 1)
    return tiled_defect_rows(edges, tiles, norms)


def exact_row_sums(g: Tensor, factor: Tensor, sigma: float, tau: float) -> list[Fraction]:
    n = len(g)
    rows = [list(map(Fraction, row)) for row in factor.tolist()]
    entries = g.tolist()
    sums = []
    for i in range(n):
        total = Fraction(0)
        for j in range(n):
            product = sum((x * y for x, y in zip(rows[i], rows[j], strict=True)), Fraction(0))
            wanted = Fraction(tau) * Fraction(entries[i][j]) + (Fraction(sigma) if i == j else 0)
            total += abs(wanted - product)
        sums.append(total)
    return sums


@pytest.mark.parametrize("panel", [2, 3, 256])
@pytest.mark.parametrize("edges", EDGES)
@pytest.mark.parametrize(("sigma", "tau"), [(0.0, 1.0), (-1e-3, 1.0), (1e3, -1.0)])
def test_any_factor_is_bounded(
    monkeypatch: pytest.MonkeyPatch, panel: int, edges: tuple[int, ...], sigma: float, tau: float
) -> None:
    monkeypatch.setattr(_tiled_defect, "PANEL", panel)
    n = edges[-1]
    for seed, scale in ((0, 1.0), (1, 1e-160), (2, 1e-155)):
        g = symmetric(n, seed, scale)
        shifted = tau * g + sigma * torch.eye(n, dtype=torch.float64)
        good = torch.linalg.cholesky_ex(shifted).L
        generator = torch.Generator().manual_seed(seed)
        wrong = torch.randn(n, n, generator=generator, dtype=torch.float64) * scale
        for factor in (good, wrong, torch.zeros_like(g)):
            if not bool(factor.isfinite().all()):
                continue
            bounds = tiled(g, factor, edges, sigma, tau).tolist()
            exact = exact_row_sums(g, block_lower(factor, edges), sigma, tau)
            assert all(Fraction(b) >= e for b, e in zip(bounds, exact, strict=True))


@pytest.mark.parametrize("edges", EDGES)
def test_products_that_underflow_to_nothing_are_counted(edges: tuple[int, ...]) -> None:
    n = edges[-1]
    g = torch.zeros(n, n, dtype=torch.float64)
    factor = torch.full_like(g, 1.5e-162)  # each product is just below half the least number
    assert float((factor @ factor.T).amax()) == 0.0
    bounds = tiled(g, factor, edges, 0.0, 1.0).tolist()
    exact = exact_row_sums(g, block_lower(factor, edges), 0.0, 1.0)
    assert all(Fraction(b) >= e for b, e in zip(bounds, exact, strict=True))


@pytest.mark.parametrize("edges", [(0, 150, 300), (0, 257, 514, 700)])
def test_it_is_about_as_sharp_as_without_tiles(edges: tuple[int, ...]) -> None:
    n = edges[-1]
    g = symmetric(n, 3) / n + torch.eye(n, dtype=torch.float64)
    factor = torch.linalg.cholesky(g)
    bounds, others = tiled(g, factor, edges, 0.0, 1.0), factor_defect_rows(g, factor, 0.0, 1.0)
    # Norms of rows stand for |L|(|L|^T e): at most the root of n apart, here far less.
    assert float(bounds.max()) <= 8.0 * float(others.max())
    spoiled = factor.clone()
    spoiled[n - 1, 0] += 1e-6
    assert float(tiled(g, spoiled, edges, 0.0, 1.0)[-1]) > 1e-7


def test_what_is_missing_or_malformed_gives_no_bound() -> None:
    edges = (0, 2, 3)
    norms = torch.ones(3, dtype=torch.float64)

    def tile(rows: int, columns: int) -> TileDefect:
        zeros = [torch.zeros(s, dtype=torch.float64) for s in (rows, columns, rows)]
        return TileDefect(*zeros)

    good = {(0, 0): tile(2, 2), (1, 0): tile(1, 2), (1, 1): tile(1, 1)}
    assert bool(tiled_defect_rows(edges, good, norms).isfinite().all())
    negative = tile(1, 2)
    negative.rows[0] = -1.0
    nan = tile(1, 2)
    nan.columns[0] = math.nan
    single = TileDefect(torch.zeros(1), torch.zeros(2), torch.zeros(1))
    for bad in (tile(2, 2), tile(1, 1), negative, nan, single):
        assert bool(tiled_defect_rows(edges, good | {(1, 0): bad}, norms).isinf().all())
    missing = {key: value for key, value in good.items() if key != (1, 0)}
    assert bool(tiled_defect_rows(edges, missing, norms).isinf().all())
    for wrong in (norms[:2], norms.float(), -norms, norms * math.nan):
        assert bool(tiled_defect_rows(edges, good, wrong).isinf().all())


@pytest.mark.parametrize("edges", EDGES)
def test_products_with_vectors_hold_the_exact_ones(edges: tuple[int, ...]) -> None:
    n = edges[-1]
    parts = list(itertools.pairwise(edges))
    for seed, scale in ((0, 1.0), (1, 1e-160)):
        g = symmetric(n, seed, scale)
        generator = torch.Generator().manual_seed(seed)
        vectors = torch.randn(n, 2, generator=generator, dtype=torch.float64)
        x = torch.rand(n, generator=generator, dtype=torch.float64) + 0.1
        total = ImageSum(edges, vectors, x)
        for i, (top, bottom) in enumerate(parts):
            for j, (left, right) in enumerate(parts):
                assert total.result() is None  # something is missing
                total.add(
                    i, j, tile_image(g[top:bottom, left:right], vectors[left:right], x[left:right])
                )
        found = total.result()
        assert found is not None
        rows = [list(map(Fraction, row)) for row in g.tolist()]
        for i in range(n):
            for c in range(2):
                column = list(map(Fraction, vectors[:, c].tolist()))
                exact = sum((p * q for p, q in zip(rows[i], column, strict=True)), Fraction(0))
                mid, rad = (float(part[i, c]) for part in (found.image.mid, found.image.rad))
                assert abs(exact - Fraction(mid)) <= Fraction(rad)
            weights = list(map(Fraction, x.tolist()))
            size = sum((abs(p) * q for p, q in zip(rows[i], weights, strict=True)), Fraction(0))
            assert size / weights[i] <= Fraction(found.quotient)
        squares = sum((value**2 for row in rows for value in row), Fraction(0))
        assert squares <= Fraction(found.size) ** 2


def test_a_tile_twice_or_spoiled_gives_no_product() -> None:
    vectors, x = torch.ones(3, 1, dtype=torch.float64), torch.ones(3, dtype=torch.float64)
    tile = tile_image(torch.ones(3, 3, dtype=torch.float64), vectors, x)
    for second in (tile, None):
        total = ImageSum((0, 3), vectors, x)
        total.add(0, 0, tile)
        assert total.result() is not None
        total.add(0, 0, second)
        assert total.result() is None
    total = ImageSum((0, 3), vectors, x)
    tile.image[0, 0] = math.nan
    total.add(0, 0, tile)
    assert total.result() is None


@pytest.mark.parametrize("scale", [5e-324, 1e-310, 1e-160, 1e300, math.inf])
def test_deflation_at_extreme_scales_is_a_bound_or_nothing(scale: float) -> None:
    g = symmetric(6, 4) / 40.0
    values, vectors = torch.linalg.eigh(g)
    g, values = g * scale, (values * scale).flip(0)[:3]
    vectors = vectors.flip(1)[:, :3].contiguous()
    total = ImageSum((0, 6), vectors, torch.ones(6, dtype=torch.float64))
    total.add(0, 0, tile_image(g, vectors, torch.ones(6, dtype=torch.float64)))
    found = total.result()
    if found is None:
        assert scale == math.inf
        return
    bound = deflated_upper_from(found.image, found.size, vectors, values)
    assert bound >= float(values[0]) * (1.0 - 1e-13)
    assert found.quotient >= float(values[0]) * (1.0 - 1e-13)
    assert deflated_upper_from(found.image, found.size, vectors, values * math.nan) == math.inf
