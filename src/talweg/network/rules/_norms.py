"""Norms of stacks of positive semidefinite matrices, from above."""

from __future__ import annotations

import torch
from torch import Tensor

from talweg.enclosure import Ball, sqrt_up
from talweg.verified import largest_eigenvalue_upper


def psd_norm_upper(matrix: Ball) -> Tensor:
    """``lambda_max^(1/2)`` from above of positive semidefinite matrices ``(n, m, m)``, ``(n,)``.

    Args:
        matrix: Balls with exactly symmetric midpoints.
    """
    if not matrix.shape[-1]:
        return torch.zeros(matrix.shape[:-2], dtype=torch.float64, device=matrix.device)
    return sqrt_up(largest_eigenvalue_upper(matrix).clamp(min=0.0))
