"""The empirical tangent kernel ``K = J J^T``, without forming ``J`` where the layers are known.

For a feed-forward chain ``z_l = h_{l-1} W_l^T + b_l``, ``h_l = phi_l(z_l)`` (B2),

    K = sum_l (G_l G_l^T) * (H_{l-1} H_{l-1}^T + 1),        G_l = dF/dz_l,

with the second factor shared by all pairs of outputs, and ``+ 1`` for a trainable bias. With n
samples, k outputs and width d a layer costs about ``n^2 k^2 d`` multiplications; with the Jacobian
it would be ``n^2 k^2 d^2``. Three facts are used besides: K is symmetric, so only panels on and
right of the diagonal are multiplied; ``G_L`` is the identity over outputs, so the last layer costs
no product; and the outputs are the slow index in memory, so that the second factor runs along
contiguous rows.

Any other module is recorded, and its layers take the cheapest exact route each
(`_structured_kernel`); what cannot be recorded goes through per-sample Jacobians in chunks
(`_sample_jacobian`).

Everything here is floating point: no number of this file is a bound.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from typing import get_args

import torch
from torch import Tensor, nn

from talweg._errors import InputError, UnsupportedModelError
from talweg.network._graph import Network
from talweg.network._isolate import left_as_found, plain_autograd
from talweg.network._kernel_sum import FullSum, TraceSum
from talweg.network._recorded_calls import NotRecorded
from talweg.network._sample_jacobian import (
    DEFAULT_MEMORY_BUDGET,
    Reduction,
    SampleFunction,
    kernel_by_sample_jacobians,
)
from talweg.network._stages import Affine, Stage, Sweep, stages_of_network, stages_of_sequential
from talweg.network._structured_kernel import kernel_by_layers


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

    Source: liu2020's kernel, evaluated layer by layer: directly (B2) when the model is a chain of
    Linear and elementwise layers, and from one recorded forward and k backward passes for other
    modules whose parameters are weights and biases of linear layers, convolutions, normalisations
    and embeddings, or summands and factors. Modules that use a parameter otherwise, or whose
    forward pass looks at values, take chunked per-sample Jacobians (torch.func): slower, same
    result. The module, its ``.grad``, hooks, attributes, ``.training`` and ``requires_grad`` and
    the random state are left as they were, also after an error.

    Args:
        model: Any module whose outputs for one sample depend on that sample only.
        X: Inputs ``(n, ...)``.
        X2: Second inputs ``(m, ...)``; by default `X`, and the kernel is exactly symmetric.
        reduction: Which of the four arrays to return.
        dtype: Floating dtype to compute in; by default that of the parameters. Parameters, buffers
            and inputs are converted to it, the module itself is not.
        memory_budget: Bytes for everything but the result (the full one takes ``n k m k``
            numbers), as far as cutting samples and outputs into blocks can keep it. More blocks
            mean more passes through the model.

    Returns:
        ``(n, k, m, k)``, ``(n, m)``, ``(n, m)`` or ``(n, k)``. The full kernel is a view whose
        memory order is (output, sample, output, sample).

    Raises:
        InputError: `X` is empty, not finite, or of another dtype than the parameters while `dtype`
            is None; no parameter is trainable; the model draws random numbers or mixes samples
            (dropout or batch normalisation in training mode).
    """
    _check_call(reduction, dtype, X2, memory_budget)
    stages = stages_of_sequential(model, X)
    if stages is not None and _bytes_of_stages(stages, X, X2, reduction) <= memory_budget:
        return _kernel_of_stages(stages, X, X2, reduction, dtype)
    return _kernel_of_module(model, X, X2, reduction, dtype, memory_budget)


def _kernel_of_module(
    model: nn.Module,
    X: Tensor,
    X2: Tensor | None,
    reduction: Reduction,
    dtype: torch.dtype | None,
    memory_budget: int,
) -> Tensor:
    with left_as_found(model) as use, plain_autograd(), warnings.catch_warnings():
        # vmap's remark that an operation has no batching rule: the result is the same.
        warnings.filterwarnings("ignore", message="There is a performance drop")
        function = SampleFunction(model, dtype, "tangent_kernel")
        X = function.inputs(X, "X")
        X2 = None if X2 is None else function.inputs(X2, "X2")
        try:
            kernel = kernel_by_layers(
                function, X, X2, reduction=reduction, memory_budget=memory_budget
            )
        except torch.OutOfMemoryError:
            raise
        except (NotRecorded, RuntimeError, ValueError, NotImplementedError):
            # Whatever stood in the way of the recording, the other route asks for less; an error
            # of the module itself comes again there.
            kernel = kernel_by_sample_jacobians(
                function, X, X2, reduction=reduction, memory_budget=memory_budget
            )
    if use.drew:
        raise InputError(
            "model of tangent_kernel: the outputs must be a fixed function of one sample; the "
            "forward pass draws random numbers; call model.eval() first, or take the draw out"
        )
    return kernel


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


def _bytes_of_stages(
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
