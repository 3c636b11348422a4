"""How far an untrusted Cholesky factor is from the matrix it should factor.

For symmetric G, floats sigma and tau in {1, -1}, and ANY real matrix L,

    M = tau G + sigma I,   E = M - L L^T   =>   lambda_min(M) >= -|E|_2 >= -max_i sum_j |E_ij|,

because L L^T >= 0 and E is symmetric. No property of the routine that computed L is used: it may
be wrong, blocked, run on an accelerator, or have stopped half way (then |E| is large, or NaN).
(Source: Rump, "Verification of positive definiteness", BIT 46, 2006, has the a-priori version for
sequential Cholesky; here the residual is formed and its rounding bounded instead.)

|E| is bounded as follows. L is cut into column panels of width b, and only its block lower
triangle is used (blocks as wide as a strip: that is the L of the theorem). Each panel's product is
formed on its own and the products are added, so a term meets at most
q = min(b, n) + ceil(n/b) - 1 roundings, in any order of summation:

    |fl(L L^T) - L L^T| <= gamma_q |L||L|^T + n eta                                     (1)

entrywise. D = fl(fl(L L^T) - tau G) is within u |D| of its exact value (2), on the diagonal sigma
is subtracted from that, with one more such rounding (3). So with e = (1, ..., 1)

    sum_j |E_ij| <= (1 + u) sum_j |D_ij| + u |D'_ii| + gamma_q (|L|(|L|^T e))_i + n^2 eta,

where D'_ii is the diagonal before sigma is subtracted. Only blocks on and below the diagonal are
formed, in strips of columns; E is symmetric, so a block below serves as the block above as well.
"""

from __future__ import annotations

import torch
from torch import Tensor

from talweg.enclosure import gamma, mul_up
from talweg.enclosure._directed import UNIT_ROUNDOFF, growth, underflow

PANEL = 256
STRIPS = 8  # column strips of the result, each formed at once: more save work, fewer save calls


def factor_defect_rows(g: Tensor, factor: Tensor, sigma: float, tau: float) -> Tensor:
    """Upper bounds of the row sums of |tau G + sigma I - L L^T|.

    Args:
        g: (n, n) float64, exactly symmetric; only its lower triangle is read.
        factor: (n, n) float64, any; its block lower triangle is L.
        sigma: the shift.
        tau: 1.0 or -1.0.

    Returns:
        (n,) float64; NaN or inf where the factor is not finite.
    """
    n = g.shape[0]
    sums = torch.zeros(n, dtype=torch.float64, device=g.device)
    before = torch.zeros_like(sums)
    width = PANEL * -(-n // (STRIPS * PANEL))
    for left in range(0, n, width):
        right = min(left + width, n)
        d = _strip_of_product(factor, left, right)
        d.sub_(g[left:, left:right], alpha=tau)
        diagonal = d.diagonal()  # of the square tile on top
        before[left:right] = diagonal.abs()
        diagonal.sub_(sigma)
        d.abs_()
        sums[left:].add_(d.sum(1))
        sums[left:right].add_(d[right - left :].sum(0))  # the tiles above the diagonal
    sizes = _absolute_row_sums(factor)
    roundings = min(PANEL, n) + -(-n // PANEL) - 1
    # Every sum here has at most 2 n + b + n/b terms, all >= 0: growth covers their roundings,
    # the factors 1 + u and the additions below.
    room = growth(4 * n + 4 * PANEL + 64)
    total = sums + UNIT_ROUNDOFF * before + gamma(roundings) * sizes
    return mul_up(total + underflow(n) * float(n + 1), room)


def _strip_of_product(factor: Tensor, left: int, right: int) -> Tensor:
    """fl(L L^T)[left:, left:right], panel by panel.

    The rows left:right of L end at column `right`: beyond it a lower triangular factor has zeros
    there, and L is defined to have them.
    """
    rows, columns = factor[left:], factor[left:right]
    total = torch.mm(rows[:, :PANEL], columns[:, :PANEL].mT)
    product = torch.empty_like(total)
    for start in range(PANEL, right, PANEL):
        stop = min(start + PANEL, right)
        torch.mm(rows[:, start:stop], columns[:, start:stop].mT, out=product)
        total.add_(product)
    return total


def _absolute_row_sums(factor: Tensor) -> Tensor:
    """|L|(|L|^T e) to nearest, over column panels."""
    sums = torch.zeros(factor.shape[0], dtype=torch.float64, device=factor.device)
    for left in range(0, factor.shape[0], PANEL):
        panel = factor[:, left : left + PANEL].abs()
        sums.add_(panel @ panel.sum(0))
    return sums
