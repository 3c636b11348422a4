"""Estimates of extreme eigenvalues by block Krylov spaces: hints, never bounds.

Everything here is untrusted (`_approx`): a Ritz value lies inside the spectrum, on the wrong side
for a bound. It only says where a verified bound should be attempted.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

DENSE_ORDER = 128  # up to this order the operator is written out


def largest_ritz_approx(
    apply: Callable[[Tensor], Tensor],
    n: int,
    device: torch.device,
    *,
    width: int = 8,
    steps: int = 40,
    tolerance: float = 1e-6,
) -> tuple[float, float]:
    """Largest Ritz value of a symmetric operator on a block Krylov space, and its last change.

    Block Lanczos (Golub and Underwood 1977) orthogonalised against the whole basis, Rayleigh-Ritz
    at every step; stops when the largest value changes by less than `tolerance`.

    Args:
        apply: X (n, b) -> A X.
        n: order of A.
        device: where the vectors live.
        width: columns per block.
        steps: most blocks.
        tolerance: relative change at which to stop.

    Returns:
        The estimate and a guess of its relative error; (nan, inf) if the operator breaks down.
    """
    if n <= DENSE_ORDER:
        image = apply(torch.eye(n, dtype=torch.float64, device=device))
        if not bool(image.isfinite().all()):
            return math.nan, math.inf
        # Halved before the sum: inverses of tiny eigenvalues are near overflow.
        return _largest_eigenvalue_approx(0.5 * image + 0.5 * image.mT), 1e-12
    value, error, _, _ = _krylov(apply, n, device, width, steps, tolerance)
    return value, error


def top_ritz_approx(
    apply: Callable[[Tensor], Tensor], n: int, device: torch.device, count: int, tolerance: float
) -> tuple[float, float, Tensor, Tensor]:
    """As `largest_ritz_approx`, with the leading Ritz values and vectors of the same space.

    Args:
        apply: X (n, b) -> A X.
        n: order of A, above DENSE_ORDER.
        device: where the vectors live.
        count: most Ritz pairs.
        tolerance: relative change of the largest value at which to stop.

    Returns:
        The estimate, a guess of its relative error, vectors (n, m) and values (m,), m <= count,
        values falling; m = 0 where nothing was found.
    """
    value, error, basis, projected = _krylov(apply, n, device, 8, 40, tolerance)
    none = basis[:, :0], torch.zeros(0, dtype=torch.float64, device=device)
    if math.isnan(value):
        return value, error, *none
    try:
        values, mixing = torch.linalg.eigh(projected)
    except RuntimeError:
        return value, error, *none
    order = range(len(values) - 1, max(len(values) - 1 - count, -1), -1)
    kept = torch.tensor(list(order))
    return value, error, basis @ mixing[:, kept].to(device), values[kept].to(device)


def _krylov(
    apply: Callable[[Tensor], Tensor], n: int, device: torch.device, width: int, steps: int,
    tolerance: float,
) -> tuple[float, float, Tensor, Tensor]:  # fmt: skip
    """Estimate, relative error, the basis (n, b) and the projected operator (b, b)."""
    generator = torch.Generator().manual_seed(20220329)
    block = torch.randn(n, width, generator=generator, dtype=torch.float64).to(device)
    block, _ = torch.linalg.qr(block)
    basis = block
    projected = torch.zeros((0, 0), dtype=torch.float64)
    value, change = math.nan, math.inf
    for _ in range(steps):
        image = apply(block)
        coefficients = basis.mT @ image  # the new columns of the projected operator
        projected = _bordered(projected, coefficients.cpu())
        if not bool(projected.isfinite().all()):
            return math.nan, math.inf, basis, projected
        latest = _largest_eigenvalue_approx(projected)
        if math.isnan(latest):
            return math.nan, math.inf, basis, projected
        if not math.isnan(value):
            change = abs(latest - value) / max(abs(latest), 1e-300)
        value = latest
        if change < tolerance or basis.shape[1] + width > n:
            break
        block, _ = torch.linalg.qr(torch.addmm(image, basis, coefficients, alpha=-1.0))
        # Once the space has caught the top of the spectrum, what is left is rounding noise, which
        # is orthogonal to the basis only after a second pass.
        block, _ = torch.linalg.qr(torch.addmm(block, basis, basis.mT @ block, alpha=-1.0))
        basis = torch.cat([basis, block], 1)
    return value, 4.0 * change, basis[:, : len(projected)], projected


def _largest_eigenvalue_approx(symmetric: Tensor) -> float:
    """LAPACK's largest eigenvalue, NaN where it gives up."""
    try:
        return float(torch.linalg.eigvalsh(symmetric)[-1])
    except RuntimeError:
        return math.nan


def _bordered(projected: Tensor, columns: Tensor) -> Tensor:
    """The symmetric matrix that continues `projected` by new columns (and rows)."""
    old, new = projected.shape[0], columns.shape[0]
    grown = torch.zeros((new, new), dtype=torch.float64)
    grown[:old, :old] = projected
    grown[:, old:] = columns
    grown[old:, :old] = columns[:old].mT
    grown[old:, old:] = 0.5 * (columns[old:] + columns[old:].mT)
    return grown
