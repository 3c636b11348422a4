"""Verified bounds of the extreme eigenvalues of a kernel in tiles.

The statements are those of `talweg.verified`: for every symmetric matrix G + E, the row sums of |E|
within the radius, any floats s, alpha and any L

    lambda_min >= s - max_i ( sum_j |G - s I - L L^T|_ij + radius_i ),
    lambda_max <= alpha + max_i ( sum_j |alpha I - G - L L^T|_ij + radius_i ),

and for the largest one the bounds of Collatz and Wielandt, of a few approximate eigenvectors, and
of Frobenius. Shifts, vectors and factors are hints; G is what the workers formed while they
computed the sums, whatever they had formed before.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from talweg.cluster._factor import TiledFactor
from talweg.cluster._kernel import TiledKernel
from talweg.enclosure import add_up, sub_down
from talweg.verified import deflated_upper_from
from talweg.verified._estimate import DENSE_ORDER, largest_ritz_approx, top_ritz_approx
from talweg.verified._largest import CLOSE
from talweg.verified._largest import MARGINS as MARGINS_ABOVE
from talweg.verified._smallest import MARGINS, SHARP_MARGIN

VECTORS = 16
"""Approximate eigenvectors at most: each is sent to every tile."""


def tiled_smallest_eigenvalue_lower(kernel: TiledKernel, radius_rows: Tensor) -> float:
    """A number that is certainly <= lambda_min of every symmetric matrix in the ball.

    As sharp as `talweg.verified.smallest_eigenvalue_lower`, for two factorisations, some triangular
    solves and one triangular product on the cluster.

    Args:
        kernel: G.
        radius_rows: ``(N,)`` float64 >= 0.

    Returns:
        The bound; -inf where nothing is shown, also where G is not positive definite.
    """
    if not bool(radius_rows.isfinite().all()):
        return -math.inf
    factor = kernel.factor()
    if factor is None:
        return -math.inf
    estimate, uncertainty = _smallest_approx(kernel, factor)
    del factor  # its tiles, before those of the next
    if not math.isfinite(estimate):
        return -math.inf
    sharp = (SHARP_MARGIN,) if len(kernel) <= DENSE_ORDER else ()
    for margin in (*sharp, *MARGINS):
        shift = estimate - max(margin * abs(estimate), uncertainty)
        defect = _defect(kernel, radius_rows, -shift, 1.0)
        if defect < math.inf:
            return float(sub_down(shift, defect))
        uncertainty *= 8.0
    return -math.inf


def tiled_largest_eigenvalue_upper(kernel: TiledKernel, radius_rows: Tensor) -> float:
    """A number that is certainly >= lambda_max of every symmetric matrix in the ball.

    Args:
        kernel: G.
        radius_rows: ``(N,)`` float64 >= 0.

    Returns:
        The bound, mostly about 1e-6 relative above, at most 1e-3 where a factorisation was needed
        and found; inf where nothing is shown.
    """
    thickness = float(radius_rows.amax())
    if not math.isfinite(thickness):
        return math.inf
    estimate, error, vectors, values = _top_approx(kernel)
    if not (math.isfinite(estimate) and bool(vectors.isfinite().all())):
        return math.inf
    top = vectors[:, 0].abs()
    image = kernel.image(vectors, top / top.amax() + 2.0**-40)
    if image is None:
        return math.inf
    deflated = deflated_upper_from(image.image, image.size, vectors, values)
    best = float(add_up(min(image.quotient, deflated, image.size), thickness))
    if best <= (1.0 + CLOSE) * estimate + thickness:
        return best
    for margin in MARGINS_ABOVE:
        alpha = estimate + max(margin, error) * abs(estimate)
        if best <= alpha + thickness:
            return best
        defect = _defect(kernel, radius_rows, alpha, -1.0)
        if defect < math.inf:
            return min(best, float(add_up(alpha, defect)))
    return best


def _defect(kernel: TiledKernel, radius_rows: Tensor, sigma: float, tau: float) -> float:
    """|tau (G + E) + sigma I - L L^T|_inf with the factor that the cluster finds; inf if none."""
    factor = kernel.factor(sigma, tau)
    if factor is None:
        return math.inf
    defect = float(add_up(kernel.defect_rows(factor, sigma, tau), radius_rows).amax())
    return defect if defect < math.inf else math.inf  # also where it is NaN


def _smallest_approx(kernel: TiledKernel, factor: TiledFactor) -> tuple[float, float]:
    """An estimate of lambda_min(G) by block inverse iteration, and of its error."""
    scale = float(kernel.diagonal().abs().amax())
    device = torch.device("cpu")
    inverse, error = largest_ritz_approx(factor.solve, len(kernel), device, tolerance=3e-5)
    if not inverse > 0.0:
        return math.nan, math.inf
    return 1.0 / inverse, error / inverse + 4.0 * 2.0**-53 * scale


def _top_approx(kernel: TiledKernel) -> tuple[float, float, Tensor, Tensor]:
    """Hints: the largest eigenvalue, its relative error, leading Ritz vectors and values."""
    n, device = len(kernel), torch.device("cpu")
    nothing = torch.zeros(n, 1, dtype=torch.float64), torch.zeros(1, dtype=torch.float64)
    if n > DENSE_ORDER:
        found = top_ritz_approx(kernel.product, n, device, VECTORS, 1e-8)
        return found if len(found[3]) else (math.nan, math.inf, *nothing)
    full = kernel.product(torch.eye(n, dtype=torch.float64))
    if not bool(full.isfinite().all()):
        return math.nan, math.inf, *nothing
    try:
        values, vectors = torch.linalg.eigh(0.5 * full + 0.5 * full.mT)
    except RuntimeError:
        return math.nan, math.inf, *nothing
    count = min(VECTORS, n)
    return float(values[-1]), 1e-12, vectors[:, -count:].flip(1), values[-count:].flip(0)
