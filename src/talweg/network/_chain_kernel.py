"""The tangent kernel of a feed-forward chain, from its values, slopes and cotangents.

For ``z_l = h_{l-1} W_l^T + b_l``, ``h_l = phi_l(z_l)`` (B2),

    K = sum_l (G_l G_l^T) * (H_{l-1} H_{l-1}^T + 1),        G_l = dF/dz_l,

with the second factor shared by all pairs of outputs, and ``+ 1`` for a trainable bias. With n
samples, k outputs and width d a layer costs about ``n^2 k^2 d`` multiplications; with the Jacobian
it would be ``n^2 k^2 d^2``. Three facts are used besides: K is symmetric, so only panels on and
right of the diagonal are multiplied; ``G_L`` is the identity over outputs, so the last layer costs
no product; and the outputs are the slow index in memory, so that the second factor runs along
contiguous rows.

Everything here is floating point: no number of this file is a bound.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from talweg._errors import InputError
from talweg.network._kernel_sum import FullSum, TraceSum
from talweg.network._sample_jacobian import Reduction
from talweg.network._stages import Affine, Stage, Sweep


def bytes_of_stages(
    stages: tuple[Stage, ...], X: Tensor, X2: Tensor | None, reduction: Reduction
) -> int:
    """About what the chain's route takes beside its result."""
    affine = [s for s in stages if isinstance(s, Affine)]
    widths = [len(s.weight) for s in affine]
    rows, columns = len(X), len(X if X2 is None else X2)
    k = 1 if not widths else widths[-1]
    cotangents = 2 * k * max(widths, default=1)  # a layer's, and those of the layer below
    both = rows if X2 is None else rows + columns
    numbers = both * (cotangents + 2 * sum(widths) + math.prod(X.shape[1:]))
    if reduction != "diagonal":
        numbers += 2 * rows * columns + (512 * columns * k if reduction == "full" else 0)
    return numbers * (affine[0].weight.itemsize if affine else 8)


def kernel_of_stages(
    stages: tuple[Stage, ...],
    X: Tensor,
    X2: Tensor | None,
    reduction: Reduction,
    dtype: torch.dtype | None,
    call: str = "tangent_kernel",
) -> Tensor:
    """The kernel of `tangent_kernel` of a chain; `call` is the public name for messages."""
    if not any(isinstance(s, Affine) and s.trains for s in stages):
        raise InputError(
            f"model of {call}: at least one trainable parameter is required; every "
            "parameter "
            "has requires_grad=False; set requires_grad on those that training moves"
        )
    with torch.no_grad():
        stored = next(s for s in stages if isinstance(s, Affine)).weight.dtype
        left = Sweep(stages, _inputs(f"X of {call}", X, stored, dtype))
        right = None if X2 is None else Sweep(stages, _inputs(f"X2 of {call}", X2, stored, dtype))
        if reduction == "diagonal":
            return _diagonal(left)
        if reduction == "full":
            return _full(left, right)
        kernel = _trace(left, right)
        return kernel / left.values.shape[1] if reduction == "mean_trace" else kernel


def _inputs(name: str, data: Tensor, stored: torch.dtype, dtype: torch.dtype | None) -> Tensor:
    # The sum is one cheap pass; only if it overflows or meets NaN are the entries looked at.
    if data.numel() == 0 or not (math.isfinite(data.sum()) or bool(torch.isfinite(data).all())):
        raise InputError(
            f"{name}: at least one sample and finite entries are required; "
            f"got shape {tuple(data.shape)} with nothing, NaN or infinity in it; clean the data"
        )
    if dtype is None and data.dtype != stored:
        raise InputError(
            f"{name}: the dtype of the parameters, {stored}, is required; "
            f"got {data.dtype}; convert it, or name the dtype to compute in with dtype="
        )
    return data.detach().reshape(len(data), -1).to(stored if dtype is None else dtype)


def _factors(left: Sweep, right: Sweep | None) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Per trainable layer ``(H H'^T + 1, G, G')``, last layer first."""
    if right is None:
        for layer, H, G in left:
            yield layer.gram(H, H), G, G
        return
    for (layer, H, G), (_, H2, G2) in zip(left, right, strict=True):
        yield layer.gram(H, H2), G, G2


def _full(left: Sweep, right: Sweep | None) -> Tensor:
    """``K`` as a view ``(n, k, m, k)`` of memory ordered ``(k, n, k, m)``."""
    n, k = left.values.shape
    size = None if right is None else (k, len(right.values))
    total = FullSum((k, n), size, left.values)
    _add_layers(total, left, right)
    return total.result().permute(1, 0, 3, 2)


def _trace(left: Sweep, right: Sweep | None) -> Tensor:
    """``sum_o K[i, o, j, o]``, ``(n, m)``: per layer one product of inner length ``k d``."""
    m = None if right is None else len(right.values)
    total = TraceSum(len(left.values), m, left.values)
    _add_layers(total, left, right)
    return total.result()


def _add_layers(total: FullSum | TraceSum, left: Sweep, right: Sweep | None) -> None:
    for gram, G, G2 in _factors(left, right):
        if G.dim() == 3:
            total.add_gram(G, G2, gram)
        else:  # diagonal over the outputs
            total.add_diagonal(G.T[:, :, None] * gram * G2.T[:, None, :])


def _diagonal(sweep: Sweep) -> Tensor:
    """``K[i, o, i, o]``, ``(n, k)``: squared gradient norms of the outputs."""
    kernel = torch.zeros_like(sweep.values)
    for layer, H, G in sweep:
        squares = G.square() if G.dim() == 2 else G.square().sum(-1).T  # (n, k)
        kernel.addcmul_(squares, layer.gram_diagonal(H)[:, None])
    return kernel
