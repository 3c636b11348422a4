"""Rules of a linear layer, ``z = h W^T + b``, with exact stored weights."""

from __future__ import annotations

import torch

from talweg.enclosure import Ball, cat, matmul
from talweg.network._graph import Linear
from talweg.verified import spectral_norm_upper


def value(operation: Linear, h: Ball) -> Ball:
    """``z`` for a batch of inputs.

    Args:
        operation: The layer, ``d_in -> d_out``.
        h: Inputs ``(n, d_in)``.

    Returns:
        ``(n, d_out)``.
    """
    z = matmul(h, Ball.exact(operation.weight).T)
    return z if operation.bias is None else z + Ball.exact(operation.bias)


def cotangent(operation: Linear, g: Ball) -> Ball:
    """Cotangent of the input, ``G W``.

    Args:
        operation: The layer.
        g: ``(n, k, d_out)``, derivative of the outputs with respect to ``z``.

    Returns:
        ``(n, k, d_in)``.
    """
    n, k, d_out = g.shape
    product = matmul(g.reshape(n * k, d_out), Ball.exact(operation.weight))
    return product.reshape(n, k, operation.weight.shape[1])


def extended_input(operation: Linear, h: Ball) -> Ball:
    """Extended inputs ``(t^W h, t^b)``: a direction ``(dW, db)`` changes ``z`` by ``(dW, db) h~``.

    The layer's share of the tangent kernel is ``(G G^T) o (H~ H~^T)`` (theory B2).

    Args:
        operation: The layer; frozen parameters drop their columns.
        h: Inputs ``(n, d_in)``.

    Returns:
        ``(n, c)`` with ``c = d_in + 1``, ``d_in``, 1 or 0.
    """
    columns = [h[:, :0]]
    if operation.weight_trainable:
        columns.append(h)
    if operation.bias_trainable:
        columns.append(Ball.exact(torch.ones(len(h), 1, dtype=torch.float64, device=h.device)))
    return cat(columns, 1)


def weight_norm_upper(operation: Linear) -> float:
    """Upper bound of the operator norm of the weight."""
    return float(spectral_norm_upper(Ball.exact(operation.weight)))
