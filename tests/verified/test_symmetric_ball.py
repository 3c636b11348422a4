"""Matrices with one radius for each row, and the bound from approximate eigenvectors."""

from __future__ import annotations

import math

import pytest
import torch

from talweg._errors import InputError
from talweg.enclosure import Ball, gram
from talweg.verified import (
    SymmetricBall,
    cholesky_in_place,
    psd_largest_eigenvalue_upper,
    smallest_eigenvalue_lower,
)
from talweg.verified._deflated import deflated_upper

EIGH_ERROR = 1e-13


def _kernel(n: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    a = torch.randn(n, n + 20, generator=generator, dtype=torch.float64)
    scale = torch.arange(1, n + 21, dtype=torch.float64) ** -0.7
    return gram(a * scale).mid


def test_row_radii_count_as_the_entries_do() -> None:
    mid = _kernel(40)
    rad = torch.full_like(mid, 1e-6)
    rows = rad.sum(1) * (1.0 + 1e-14)
    by_rows, by_entries = SymmetricBall(mid, rows), Ball(mid, rad)
    for bound in (smallest_eigenvalue_lower, psd_largest_eigenvalue_upper):
        assert bound(by_rows) == pytest.approx(bound(by_entries), rel=1e-11)
    assert smallest_eigenvalue_lower(by_rows) <= float(torch.linalg.eigvalsh(mid - rad)[0])
    assert smallest_eigenvalue_lower(SymmetricBall(mid, rows * math.inf)) == -math.inf


@pytest.mark.parametrize(
    ("mid", "rows", "message"),
    [
        (torch.eye(2).double(), torch.zeros(3).double(), "one radius for each row"),
        (torch.eye(2), torch.zeros(2).double(), "float64"),
        (torch.eye(2).double(), torch.tensor([-1.0, 0.0]).double(), "not NaN"),
        (torch.eye(2).double(), torch.tensor([math.nan, 0.0]).double(), "not NaN"),
        (torch.tensor([[1.0, 2.0], [0.0, 1.0]]).double(), torch.zeros(2).double(), "symmetric"),
        (torch.full((2, 2), math.inf).double(), torch.zeros(2).double(), "finite"),
    ],
)
def test_malformed_matrices_are_refused(
    mid: torch.Tensor, rows: torch.Tensor, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        SymmetricBall(mid, rows)


@pytest.mark.parametrize("seed", range(4))
def test_deflation_is_above_the_largest_eigenvalue_and_near(seed: int) -> None:
    mid = _kernel(150, seed)
    values, vectors = torch.linalg.eigh(mid)
    largest = float(values[-1])
    v, theta = vectors.flip(1)[:, :30].contiguous(), values.flip(0)[:30]
    bound = deflated_upper(mid, v, theta)
    assert largest * (1.0 - EIGH_ERROR) <= bound <= largest * (1.0 + 1e-9)


@pytest.mark.parametrize("seed", range(3))
def test_wrong_eigenvectors_never_give_a_wrong_bound(seed: int) -> None:
    mid = _kernel(60, seed)
    values, vectors = torch.linalg.eigh(mid)
    largest = float(values[-1])
    top = vectors.flip(1)[:, :12].contiguous()
    theta = values.flip(0)[:12]
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(60, 12, generator=generator, dtype=torch.float64)
    lies = [
        (top, 0.9 * theta), (top, 0.0 * theta), (top, theta.flip(0)), (top + 1e-3 * noise, theta),
        (torch.linalg.qr(noise)[0], theta), (vectors[:, :12].contiguous(), theta),
        (2.0 * top, theta), (top.roll(1, 1), theta), (0.0 * top, theta), (top * math.nan, theta),
        (top[:, 1:].contiguous(), theta[1:]), (torch.cat([top[:, :1]] * 3, 1), theta[:3]),
    ]  # fmt: skip
    for v, t in lies:
        assert deflated_upper(mid, v, t) >= largest * (1.0 - EIGH_ERROR)


def test_the_factor_takes_the_memory_of_the_matrix() -> None:
    mid = _kernel(30)
    for dtype in (torch.float64, torch.float32):
        matrix = mid.to(dtype, copy=True)
        factor = cholesky_in_place(matrix, 0.5)
        assert factor is not None
        assert factor.data_ptr() == matrix.data_ptr()
        shifted = mid + 0.5 * torch.eye(30, dtype=torch.float64)
        error = (factor.double() @ factor.double().T - shifted).abs().max()
        assert float(error) <= 1e-5 * float(mid.abs().max())
    assert cholesky_in_place(-mid) is None


def test_a_guess_that_is_too_high_costs_nothing_but_time() -> None:
    mid = _kernel(200)
    exact = float(torch.linalg.eigvalsh(mid)[0])
    for factor in (1.0, 1.001, 2.0, -1.0, math.nan):
        bound = smallest_eigenvalue_lower(
            SymmetricBall(mid, mid.new_zeros(200)), guess=factor * exact
        )
        assert bound <= exact
        assert bound >= 0.98 * exact or factor == -1.0
