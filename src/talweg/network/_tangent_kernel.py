"""The empirical tangent kernel ``K = J J^T``, without forming ``J`` where the layers are known.

For a feed-forward chain ``z_l = h_{l-1} W_l^T + b_l``, ``h_l = phi_l(z_l)`` (B2),

    K = sum_l (G_l G_l^T) * (H_{l-1} H_{l-1}^T + 1),        G_l = dF/dz_l,

with the second factor shared by all pairs of outputs, and ``+ 1`` for a trainable bias. With n
samples, k outputs and width d a layer costs about ``n^2 k^2 d`` multiplications; with the Jacobian
it would be ``n^2 k^2 d^2``. Three facts are used besides: K is symmetric, so only panels on and
right of the diagonal are multiplied; ``G_L`` is the identity over outputs, so the last layer costs
no product; and the outputs are the slow index in memory, so that the second factor runs along
contiguous rows.

Any other module goes through per-sample Jacobians in chunks (`_sample_jacobian`).

Everything here is floating point: no number of this file is a bound.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import get_args

import torch
from torch import Tensor, nn

from talweg._errors import InputError, ReadingError, UnsupportedModelError
from talweg.network._graph import Network
from talweg.network._sample_jacobian import (
    DEFAULT_MEMORY_BUDGET,
    Reduction,
    kernel_by_sample_jacobians,
)
from talweg.network._stages import Affine, Stage, Sweep, stages_of_network, stages_of_sequential

# Rows of K multiplied at a time: fewer skip more of the lower triangle, more run faster. 256 to 512
# is the flat part measured on 2 cores, in float32 and float64.
_PANEL_ROWS = 256


def tangent_kernel(
    model: nn.Module,
    X: Tensor,
    X2: Tensor | None = None,
    *,
    reduction: Reduction = "full",
    dtype: torch.dtype | None = None,
    memory_budget: int = DEFAULT_MEMORY_BUDGET,
) -> Tensor:
    """Empirical tangent kernel of a model, in floating point.

    ``full[i, o, j, q] = <d F_o(x_i) / d w, d F_q(x'_j) / d w>`` over the trainable parameters w
    (``requires_grad``). The other reductions are

        trace[i, j]      = sum_o full[i, o, j, o]        (a sum, not divided by k)
        mean_trace[i, j] = trace[i, j] / k               (what neural-tangents returns by default)
        diagonal[i, o]   = full[i, o, i, o]

    Source: liu2020's kernel, evaluated layer by layer (B2) when the model is a chain of Linear and
    elementwise layers, and by chunked per-sample Jacobians (torch.func) for every other module. The
    module, its ``.grad``, ``.training`` and ``requires_grad`` and the random state are left alone.

    Args:
        model: Any module whose outputs for one sample depend on that sample only.
        X: Inputs ``(n, ...)``.
        X2: Second inputs ``(m, ...)``; by default `X`, and the kernel is exactly symmetric.
        reduction: Which of the four arrays to return.
        dtype: Floating dtype to compute in; by default that of the parameters. Parameters, buffers
            and inputs are converted to it, the module itself is not.
        memory_budget: Bytes of Jacobian rows held at once by the fallback. It bounds no other
            memory: the full result takes ``n k m k`` numbers.

    Returns:
        ``(n, k, m, k)``, ``(n, m)``, ``(n, m)`` or ``(n, k)``. The full kernel is a view whose
        memory order is (output, sample, output, sample).

    Raises:
        InputError: `X` is empty, not finite, or of another dtype than the parameters while `dtype`
            is None; no parameter is trainable; the model draws random numbers or mixes samples
            (dropout or batch normalisation in training mode).
    """
    _check_call(reduction, dtype, X2, memory_budget)
    stages = stages_of_sequential(model, X) or _stages_by_reading(model, X)
    if stages is None:
        return kernel_by_sample_jacobians(
            model, X, X2, reduction=reduction, dtype=dtype, memory_budget=memory_budget
        )
    return _kernel_of_stages(stages, X, X2, reduction, dtype)


def tangent_kernel_of(
    network: Network,
    X: Tensor,
    X2: Tensor | None = None,
    *,
    reduction: Reduction = "full",
    dtype: torch.dtype | None = None,
) -> Tensor:
    """Empirical tangent kernel of a network that has been read, in floating point.

    Source: B2. Arguments, result and input errors as in `tangent_kernel`.

    Args:
        network: A chain without shared parameters.
        X: Inputs ``(n, d)``.
        X2: Second inputs ``(m, d)``; by default `X`.
        reduction: As in `tangent_kernel`.
        dtype: As in `tangent_kernel`.

    Returns:
        As `tangent_kernel`.

    Raises:
        UnsupportedModelError: the network branches or uses a parameter twice.
        InputError: as in `tangent_kernel`.
    """
    _check_call(reduction, dtype, X2, DEFAULT_MEMORY_BUDGET)
    stages = stages_of_network(network)
    if stages is None:
        raise UnsupportedModelError(
            "network of tangent_kernel_of: a chain without shared parameters is required; this "
            "graph "
            "branches or uses a parameter twice; call tangent_kernel(model, X), which takes any "
            "module"
        )
    return _kernel_of_stages(stages, X, X2, reduction, dtype)


def _check_call(
    reduction: str, dtype: torch.dtype | None, X2: Tensor | None, memory_budget: int
) -> None:
    if reduction not in get_args(Reduction):
        raise InputError(
            f"reduction of tangent_kernel: one of {', '.join(get_args(Reduction))} is required; "
            f"got {reduction!r}; choose one of them"
        )
    if reduction == "diagonal" and X2 is not None:
        raise InputError(
            "X2 of tangent_kernel: reduction='diagonal' pairs every sample with itself; got a "
            "second "
            "input; leave X2 out"
        )
    if dtype is not None and not dtype.is_floating_point:
        raise InputError(
            f"dtype of tangent_kernel: a floating dtype is required; got {dtype}; "
            "pass torch.float32 or torch.float64"
        )
    if memory_budget <= 0:
        raise InputError(
            f"memory_budget of tangent_kernel: a positive number of bytes is required; "
            f"got {memory_budget}; leave it out for {DEFAULT_MEMORY_BUDGET}"
        )


def _stages_by_reading(model: nn.Module, X: Tensor) -> tuple[Stage, ...] | None:
    from talweg.network._read import read

    if X.dim() != 2:
        return None  # a chain reads rows; here samples have another shape
    try:
        return stages_of_network(read(model, X))
    except (UnsupportedModelError, ReadingError, InputError):
        return None  # not a smooth chain: the per-sample Jacobians ask nothing of the layers


def _kernel_of_stages(
    stages: tuple[Stage, ...],
    X: Tensor,
    X2: Tensor | None,
    reduction: Reduction,
    dtype: torch.dtype | None,
) -> Tensor:
    if not any(isinstance(s, Affine) and s.trains for s in stages):
        raise InputError(
            "model of tangent_kernel: at least one trainable parameter is required; every "
            "parameter "
            "has requires_grad=False; set requires_grad on those that training moves"
        )
    with torch.no_grad():
        stored = next(s for s in stages if isinstance(s, Affine)).weight.dtype
        left = Sweep(stages, _inputs("X", X, stored, dtype))
        right = None if X2 is None else Sweep(stages, _inputs("X2", X2, stored, dtype))
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
            f"{name} of tangent_kernel: at least one sample and finite entries are required; "
            f"got shape {tuple(data.shape)} with nothing, NaN or infinity in it; clean the data"
        )
    if dtype is None and data.dtype != stored:
        raise InputError(
            f"{name} of tangent_kernel: the dtype of the parameters, {stored}, is required; "
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
    m = n if right is None else len(right.values)
    panels = _panels(n, k, symmetric=right is None, on_cpu=left.values.device.type == "cpu")
    kernel: Tensor | None = None
    scratch = left.values.new_empty(0)
    diagonals: list[Tensor] = []  # (k, n, m)
    for gram, G, G2 in _factors(left, right):
        if G.dim() == 2:
            diagonals.append(G.T[:, :, None] * gram * G2.T[:, None, :])
            continue
        rows, columns = G.flatten(0, 1), G2.flatten(0, 1)  # (k n, d), (k m, d)
        created = kernel is None
        if kernel is None:
            kernel = G.new_empty(k, n, k, m)
            # One array for the products of all panels: fresh memory costs as much as a product.
            scratch = G.new_empty(max(p.rows.stop - p.rows.start for p in panels) * k * m)
        flat = kernel.view(k * n, k * m)
        for panel in panels:
            factor = gram[panel.samples, None, panel.first_sample :]
            here = kernel[panel.outputs, panel.samples, panel.first_output :, panel.first_sample :]
            first_column = panel.first_output * m + panel.first_sample
            block, other = rows[panel.rows], columns[first_column:].T
            if created:
                torch.mm(block, other, out=flat[panel.rows, first_column:])
                here.mul_(factor)
            else:
                product = scratch[: here.numel()].view(len(block), -1)
                here.addcmul_(torch.mm(block, other, out=product).view(here.shape), factor)
    if kernel is None:
        kernel = left.values.new_zeros(k, n, k, m)
    if diagonals:
        # The last layer couples an output with itself only: add to the blocks o = q.
        kernel.diagonal(dim1=0, dim2=2).add_(sum(diagonals[1:], diagonals[0]).permute(1, 2, 0))
    if right is None:
        _mirror_(kernel.view(k * n, k * n), panels)
    return kernel.permute(1, 0, 3, 2)


@dataclass(frozen=True)
class _Panel:
    """Rows ``(outputs, samples)`` of K, multiplied from column ``(first_output, first_sample)``."""

    outputs: slice
    samples: slice
    rows: slice  # the same rows, flat
    first_output: int
    first_sample: int


def _panels(n: int, k: int, *, symmetric: bool, on_cpu: bool) -> list[_Panel]:
    """Panels of about `_PANEL_ROWS` rows: several outputs, or part of the samples of one."""
    wanted = _PANEL_ROWS if on_cpu else 16 * _PANEL_ROWS
    panels: list[_Panel] = []
    if n < wanted:
        step = max(1, wanted // n)
        for o in range(0, k, step):
            stop = min(o + step, k)
            first = o if symmetric else 0
            panels.append(_Panel(slice(o, stop), slice(0, n), slice(o * n, stop * n), first, 0))
        return panels
    step = math.ceil(n / (n // wanted))
    for o in range(k):
        for i in range(0, n, step):
            stop = min(i + step, n)
            rows = slice(o * n + i, o * n + stop)
            # With one output the columns left of the panel's own rows can be skipped as well; with
            # more they cannot, without breaking the columns into two products.
            first_sample = i if symmetric and k == 1 else 0
            first_output = o if symmetric else 0
            panels.append(_Panel(slice(o, o + 1), slice(i, stop), rows, first_output, first_sample))
    return panels


def _mirror_(matrix: Tensor, panels: list[_Panel]) -> None:
    """Copy the entries right of the diagonal to the left, in place."""
    for panel in panels:
        start, stop = panel.rows.start, panel.rows.stop
        own = matrix[start:stop, start:stop]
        # The mean of the two roundings: a product of a matrix with its transpose need not be
        # symmetric.
        torch.mul(own + own.T, 0.5, out=own)
        matrix[stop:, start:stop] = matrix[start:stop, stop:].T


def _trace(left: Sweep, right: Sweep | None) -> Tensor:
    """``sum_o K[i, o, j, o]``, ``(n, m)``: per layer one product of inner length ``k d``."""
    kernel: Tensor | None = None
    for gram, G, G2 in _factors(left, right):
        if G.dim() == 2:
            product = G @ G2.T
        else:
            product = G[0] @ G2[0].T
            for o in range(1, len(G)):
                product.addmm_(G[o], G2[o].T)
        kernel = product.mul_(gram) if kernel is None else kernel.addcmul_(product, gram)
    if kernel is None:
        raise RuntimeError("unreachable: _kernel_of_stages checked that a layer trains")
    return (kernel + kernel.T).mul_(0.5) if right is None else kernel


def _diagonal(sweep: Sweep) -> Tensor:
    """``K[i, o, i, o]``, ``(n, k)``: squared gradient norms of the outputs."""
    kernel = torch.zeros_like(sweep.values)
    for layer, H, G in sweep:
        squares = G.square() if G.dim() == 2 else G.square().sum(-1).T  # (n, k)
        kernel.addcmul_(squares, layer.gram_diagonal(H)[:, None])
    return kernel
