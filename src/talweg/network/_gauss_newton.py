"""Enclosures of the Jacobian by columns, for models with fewer parameters than residuals.

    J = [ G_l (x) h~_{l-1} ]_l   (N x p),        J^T J   (p x p),        grad 1/2 |r|^2 = J^T r,

row by row the outer product of the cotangent G_l and the extended input h~_{l-1} of stage l. Where
p >= N the tangent kernel J J^T is smaller and never needs J (`kernel_ball`); here J is formed,
because the smallest eigenvalue of J^T J is what makes a minimum isolated (theory T14).
"""

from __future__ import annotations

from torch import Tensor

from talweg._errors import InputError
from talweg.enclosure import Ball, cat, gram, matmul, norm_upper
from talweg.network._linearization import Linearization

MOST_ENTRIES = 50_000_000
"""Entries of J formed at once: 800 MB as a ball. Beyond this the model is not a small one."""


def jacobian_ball(state: Linearization) -> Ball:
    """The Jacobian of the (scaled) outputs by all trainable parameters.

    Row ``i k + o`` belongs to output o of sample i, as in `kernel_ball`. Columns go stage by stage;
    within a stage row by row of the weight, each row followed by its bias where that trains.

    Args:
        state: The linearization on the (merged) training rows.

    Returns:
        ``(N, p)``.

    Raises:
        InputError: J would have more than 50 million entries.
    """
    n, k = state.h[-1].shape
    blocks: list[Ball] = [state.h[-1].reshape(n * k, 1)[:, :0]]
    size = n * k * sum(
        g.shape[2] * h.shape[1]
        for g, h in zip(state.cotangent_z[1:], state.extended[1:], strict=True)
    )  # fmt: skip
    if size > MOST_ENTRIES:
        raise InputError(
            "`state` of jacobian_ball() must be a small model: J with at most "
            f"{MOST_ENTRIES} entries; got {size}. Use kernel_ball, which never forms J."
        )
    for g, h in zip(state.cotangent_z[1:], state.extended[1:], strict=True):
        d, c = g.shape[2], h.shape[1]
        if c:
            outer = g.reshape(n, k, d, 1) * h.reshape(n, 1, 1, c)  # (n, k, d, c)
            blocks.append(outer.reshape(n * k, d * c))
    return cat(blocks, 1)


def gauss_newton_ball(jacobian: Ball) -> Ball:
    """The Gauss-Newton matrix ``J^T J``, ``(p, p)`` with a symmetric midpoint.

    Its smallest eigenvalue is sigma_p(J)^2: `talweg.verified.smallest_eigenvalue_lower`.

    Args:
        jacobian: J, ``(N, p)``.
    """
    return gram(jacobian.T)


def gradient_norm_bound(state: Linearization, targets: Tensor, jacobian: Ball) -> float:
    """Upper bound of ``|grad 1/2 |r|^2| = |J^T r|`` at the stored weights.

    Args:
        state: The linearization.
        targets: ``(n, k)`` targets of the merged rows, read exactly.
        jacobian: ``jacobian_ball(state)``.
    """
    n, k = state.h[-1].shape
    residual = (state.h[-1] - Ball.exact(targets)) * state.root.reshape(n, 1)
    gradient = matmul(jacobian.T, residual.reshape(n * k, 1))  # (p, 1)
    return float(norm_upper(gradient.magnitude_upper()))
