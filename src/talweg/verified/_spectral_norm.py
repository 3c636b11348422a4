"""Verified upper bounds of operator norms, for batches of matrices.

|A|_2 <= |m_A|_2 + |r_A|_2 for every matrix of a ball. With C = A A^T or A^T A, whichever is smaller
(order w, inner dimension k), and for any float c and any matrix L,

    |A|_2^2 = lambda_max(C)
           <= c + max_i sum_j |c I - fl(C) - L L^T|_ij + max_i sum_j |C - fl(C)|_ij,

because c I - C = L L^T + (differences), L L^T >= 0. The last term is at most gamma_k |A|(|A^T| e)
+ k w eta, and the first sum is the computed residual plus its own rounding,
gamma_w |L|(|L^T| e) + w^2 eta and (1 + 2u) for the subtractions. c is put above an eigenvalue from
LAPACK, L is LAPACK's Cholesky factor: hints. A member of the batch whose factorisation fails is
tried again with a larger c. Two cheap norms always hold and cap the result:

    |A|_2 <= |A|_F,   |A|_2 <= sqrt(|A|_1 |A|_inf).

Each matrix is first scaled by a power of two so that its largest entry lies in [1/2, 1): entries
that underflow move by at most eta, by w k eta together.
"""

from __future__ import annotations

import torch
from torch import Tensor

from talweg._errors import InputError
from talweg.enclosure import (
    Ball,
    add_up,
    div_up,
    gamma,
    matmul_upper,
    mul_up,
    norm_upper,
    sqrt_up,
    sum_nonnegative_upper,
)
from talweg.enclosure._ball import is_zero
from talweg.enclosure._directed import UNIT_ROUNDOFF, growth, power_of_two, underflow
from talweg.verified._defect import factor_defect_rows
from talweg.verified._estimate import largest_ritz_approx

MARGINS = (2.0**-22, 2.0**-16, 2.0**-10)  # relative distances of c above the estimate
DENSE_ORDER = 96  # up to this order LAPACK's spectrum is the cheapest estimate
POWER_STEPS = 24
BATCHED_ORDER = 256  # up to this order whole stacks are treated at once
STACK_ENTRIES = 1 << 23  # entries of one stack of Gram matrices: 64 MiB


def spectral_norm_upper(a: Ball | Tensor) -> Tensor:
    """Numbers that are certainly >= |S|_2 for every matrix S in the ball, one per batch member.

    Args:
        a: (..., m, n) ball or exact tensor.

    Returns:
        (...) float64 on the same device: about 1e-7 relative above the norm of the midpoint plus
        a norm bound of the radius; inf where nothing is shown; 0 for m n = 0.

    Raises:
        InputError: fewer than two dimensions.
    """
    ball = a if isinstance(a, Ball) else Ball.exact(a)
    if ball.ndim < 2:
        raise InputError(
            "`A` of spectral_norm_upper(A) must be (..., m, n); got shape "
            f"{tuple(ball.shape)}. Use norm_upper for vectors."
        )
    m, n = ball.shape[-2:]
    batch = ball.shape[:-2]
    if ball.mid.numel() == 0:
        return torch.zeros(batch, dtype=torch.float64, device=ball.device)
    if min(m, n) == 1:  # a vector
        bound = norm_upper(ball.mid, (-2, -1))
        if not is_zero(ball.rad):
            bound = add_up(bound, norm_upper(ball.rad, (-2, -1)))
        return torch.where(bound.isnan(), torch.inf, bound)
    # Norms are invariant under transposition: the rows are the shorter side from here on.
    mid = (ball.mid if m <= n else ball.mid.mT).reshape(-1, min(m, n), max(m, n))
    bound = _midpoint_norm(mid)
    if not is_zero(ball.rad):
        bound = add_up(bound, _cheap_norm(ball.rad.reshape(-1, m, n)))
    return torch.where(bound.isnan(), torch.inf, bound).reshape(batch)


def largest_eigenvalue_upper(g: Ball) -> Tensor:
    """Numbers that are certainly >= lambda_max(S) for every symmetric S in the ball.

    Args:
        g: (b, n, n) balls with exactly symmetric midpoints.

    Returns:
        (b,) float64: about 1e-7 relative above lambda_max of a positive semidefinite midpoint plus
        a norm bound of the radius; inf where nothing is shown; 0 for n = 0.

    Raises:
        InputError: not a stack of square matrices, or a midpoint that is not exactly symmetric.
    """
    if g.ndim != 3 or g.shape[1] != g.shape[2] or not torch.equal(g.mid, g.mid.mT):
        raise InputError(
            "`g` of largest_eigenvalue_upper(g) must be (b, n, n) with symmetric midpoints; got "
            f"shape {tuple(g.shape)}. Use Ball.symmetrized."
        )
    if g.mid.numel() == 0:
        return torch.zeros(len(g), dtype=torch.float64, device=g.device)
    largest = g.mid.abs().amax((-2, -1))
    factor = power_of_two(-torch.frexp(largest).exponent.clamp(-1000, 1000))
    scaled = g.mid * factor[:, None, None]
    per_stack = max(1, STACK_ENTRIES // g.shape[1] ** 2)
    stacks = [_gram_norm(scaled[i : i + per_stack]) for i in range(0, len(scaled), per_stack)]
    # Entries that underflow move by eta at most; the cheap norm always holds.
    found = add_up(torch.cat(stacks), underflow(g.shape[1]))
    bound = torch.fmin(found, _cheap_norm(scaled))
    bound = torch.where(largest == 0.0, 0.0, div_up(bound, factor))
    if not is_zero(g.rad):
        bound = add_up(bound, _cheap_norm(g.rad))
    return torch.where(bound.isnan(), torch.inf, bound)


def _cheap_norm(a: Tensor) -> Tensor:
    """min(|A|_F, sqrt(|A|_1 |A|_inf)), rounded up, (b, m, n) -> (b,)."""
    size = a.abs()
    rows = sum_nonnegative_upper(size, -1).amax(-1)
    columns = sum_nonnegative_upper(size, -2).amax(-1)
    mixed = sqrt_up(mul_up(rows, columns))
    return torch.fmin(norm_upper(a, (-2, -1)), mixed)


def _midpoint_norm(a: Tensor) -> Tensor:
    """Bounds for exact matrices (b, w, k), w <= k, in stacks of bounded size."""
    w = a.shape[1]
    per_stack = max(1, STACK_ENTRIES // max(w * w, w * a.shape[2]))
    stacks = [_stack_norm(a[i : i + per_stack]) for i in range(0, len(a), per_stack)]
    return torch.cat(stacks)


def _stack_norm(a: Tensor) -> Tensor:
    count, w, k = a.shape
    largest = a.abs().amax((-2, -1))
    # Two factors, since the exponent of a subnormal matrix is beyond one float.
    exponent = torch.frexp(largest).exponent
    first = power_of_two(-torch.div(exponent, 2, rounding_mode="floor"))
    second = power_of_two(-(exponent - torch.div(exponent, 2, rounding_mode="floor")))
    scaled = a * first[:, None, None] * second[:, None, None]
    best = _cheap_norm(scaled)
    if w > 1:
        gram = torch.matmul(scaled, scaled.mT)
        gram = 0.5 * (gram + gram.mT)  # |fl - C| grows by u |fl| + eta at most: one more rounding
        size = scaled.abs()
        ones = torch.ones((count, k, 1), dtype=torch.float64, device=a.device)
        spread = matmul_upper(size, matmul_upper(size.mT, ones[:, :w]))[..., 0]
        error = add_up(mul_up(spread, gamma(k + 2)), 2.0 * underflow(k) * w).amax(-1)
        squared = _gram_norm(gram)
        best = torch.fmin(best, sqrt_up(add_up(squared, error)))
    best = add_up(best, underflow(w * k))
    restored = div_up(div_up(best, first), second)
    restored = torch.where(largest == 0.0, 0.0, restored)
    return torch.where(largest.isfinite(), restored, torch.inf)


def _gram_norm(gram: Tensor) -> Tensor:
    """Upper bounds of the largest eigenvalues of exactly symmetric (b, w, w); inf on failure."""
    count, w = gram.shape[:2]
    if w > BATCHED_ORDER:
        return torch.stack([_large_gram_norm(g) for g in gram])
    result = torch.full((count,), torch.inf, dtype=torch.float64, device=gram.device)
    estimate = _largest_eigenvalue_approx(gram)
    todo = estimate.isfinite().nonzero()[:, 0]
    # A power iteration that has not converged is below every small margin: LAPACK settles those.
    attempts = [(margin, False) for margin in MARGINS[:2]] if w > DENSE_ORDER else []
    for margin, exactly in [*attempts, *((margin, True) for margin in MARGINS)]:
        if not todo.numel():
            break
        if exactly and w > DENSE_ORDER and margin == MARGINS[0]:
            estimate[todo] = _lapack_largest_approx(gram[todo])
        part = gram[todo]
        c = estimate[todo] * (1.0 + margin + 4.0 * w * UNIT_ROUNDOFF)
        shifted = -part
        shifted.diagonal(dim1=-2, dim2=-1).add_(c[:, None])
        factor, info = torch.linalg.cholesky_ex(shifted)
        bound = add_up(c, _defects(part, factor, c))
        fine = (info == 0) & bound.isfinite()
        result[todo[fine]] = bound[fine]
        todo = todo[~fine]
    return result


def _defects(gram: Tensor, factor: Tensor, c: Tensor) -> Tensor:
    """max_i sum_j |c I - gram - L L^T|_ij for a stack, all roundings included."""
    w = gram.shape[-1]
    d = torch.matmul(factor, factor.mT).add_(gram)
    diagonal = d.diagonal(dim1=-2, dim2=-1)
    before = diagonal.abs()
    diagonal.sub_(c[:, None])
    sums = d.abs_().sum(-1)
    size = factor.abs()
    sizes = (size @ size.sum(-2)[..., None])[..., 0]
    total = sums + UNIT_ROUNDOFF * before + gamma(w) * sizes
    total = mul_up(add_up(total, underflow(w) * float(w + 1)), growth(4 * w + 64))
    return total.amax(-1)


def _large_gram_norm(gram: Tensor) -> Tensor:
    """The same for one large matrix, with the panelled residual."""
    n = gram.shape[0]
    result = torch.full((), torch.inf, dtype=torch.float64, device=gram.device)
    estimate, error = largest_ritz_approx(lambda x: gram @ x, n, gram.device)
    for margin in MARGINS:
        c = estimate * (1.0 + max(margin, min(error, 0.5)))
        if not 0.0 < c < float("inf"):
            break
        shifted = -gram
        shifted.diagonal().add_(c)
        factor, info = torch.linalg.cholesky_ex(shifted)
        if int(info) == 0:
            return add_up(factor_defect_rows(gram, factor, c, -1.0).amax(), c)
    return result


def _largest_eigenvalue_approx(gram: Tensor) -> Tensor:
    """Estimates of the largest eigenvalues of (b, w, w); hints, NaN where none was found.

    Small matrices by LAPACK. Larger ones by power iteration on the fourth power (two products),
    a tenth of the work of LAPACK's whole spectrum; it ends slightly below, within the margins.
    """
    if gram.shape[-1] <= DENSE_ORDER:
        return _lapack_largest_approx(gram)
    size = gram.diagonal(dim1=-2, dim2=-1).amax(-1).clamp(min=2.0**-500)[:, None, None]
    square = gram / size
    square = square @ square
    fourth = square @ square
    generator = torch.Generator().manual_seed(20111014)
    start = torch.randn(gram.shape[-1], 4, generator=generator, dtype=torch.float64)
    block = start.to(gram.device).expand(len(gram), -1, -1)
    for _ in range(POWER_STEPS):
        block = fourth @ block
        block = block / block.norm(dim=-2, keepdim=True).clamp(min=2.0**-500)
    return (block * (gram @ block)).sum(-2).amax(-1)


def _lapack_largest_approx(gram: Tensor) -> Tensor:
    """LAPACK's largest eigenvalues of (b, w, w), NaN where it gives up: hints."""
    try:
        values: Tensor = torch.linalg.eigvalsh(gram)
        return values[:, -1]
    except RuntimeError:  # LAPACK did not converge
        return torch.full(gram.shape[:1], torch.nan, dtype=torch.float64, device=gram.device)
