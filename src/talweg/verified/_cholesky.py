"""The library's Cholesky factor in memory that is already there: a hint, never trusted."""

from __future__ import annotations

import torch
from torch import Tensor


def cholesky_in_place(matrix: Tensor, shift: float = 0.0) -> Tensor | None:
    """Lower triangular L with L L^T = M + shift I up to rounding, in the memory of M.

    Args:
        matrix: M (n, n), contiguous, symmetric, float32 or float64; overwritten.
        shift: added to the diagonal.

    Returns:
        (n, n), a transposed view of the matrix; None where LAPACK finds no factor.
    """
    matrix.diagonal().add_(shift)
    # Columns that are contiguous, as LAPACK wants them: input and output are then one array.
    columns = matrix.mT
    info = torch.empty((), dtype=torch.int32, device=matrix.device)
    factor, info = torch.linalg.cholesky_ex(columns, out=(columns, info))
    return None if int(info) else factor


def factor_in(buffer: Tensor, matrix: Tensor, shift: float, sign: float = 1.0) -> Tensor | None:
    """Lower triangular L with L L^T = sign M - shift I up to rounding, written into the buffer.

    Args:
        buffer: (n, n) contiguous; overwritten.
        matrix: M (n, n), symmetric, of the dtype and device of the buffer.
        shift: subtracted from the diagonal.
        sign: 1.0 or -1.0.

    Returns:
        (n, n), a transposed view of the buffer; None where LAPACK finds no factor.
    """
    buffer.copy_(matrix)
    if sign < 0.0:
        buffer.neg_()
    return cholesky_in_place(buffer, -shift)
