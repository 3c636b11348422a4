"""The empirical tangent kernel ``K = J J^T``, without forming ``J`` where the layers are known.

A plain chain of linear and elementwise layers goes through its stages (`_chain_kernel`). Any other
module is recorded, and its layers take the cheapest exact route each (`_structured_kernel`); what
cannot be recorded goes through per-sample Jacobians in chunks (`_sample_jacobian`).
`tangent_kernel` records and checks a module at every call, `TangentKernel` (`_prepared_kernel`)
when it is made.

Everything here is floating point: no number of this file is a bound.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import get_args

import torch
from torch import Tensor, nn

from talweg._errors import InputError, UnsupportedModelError
from talweg.network._chain_kernel import bytes_of_stages, kernel_of_stages
from talweg.network._graph import Network
from talweg.network._isolate import left_as_found, plain_autograd
from talweg.network._prepared_recording import Prepared, PreparedRecording
from talweg.network._recorded_calls import NotRecorded
from talweg.network._recording_checks import CheckedRecording
from talweg.network._sample_jacobian import (
    DEFAULT_MEMORY_BUDGET,
    Reduction,
    SampleFunction,
    kernel_by_sample_jacobians,
)
from talweg.network._stages import stages_of_network, stages_of_sequential
from talweg.network._structured_kernel import kernel_by_layers

# Whatever stood in the way of a route, the next one asks for less; an error of the module itself
# comes again there.
_NEXT_ROUTE = (NotRecorded, RuntimeError, ValueError, NotImplementedError)


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
    check_call("tangent_kernel", reduction, dtype, X2, memory_budget)
    kernel, _ = kernel_of(
        "tangent_kernel", model, X, X2, reduction=reduction, dtype=dtype,
        memory_budget=memory_budget, prepared=None,
    )  # fmt: skip
    return kernel


def kernel_of(
    call: str,
    model: nn.Module,
    X: Tensor,
    X2: Tensor | None,
    *,
    reduction: Reduction,
    dtype: torch.dtype | None,
    memory_budget: int,
    prepared: Prepared | None,
) -> tuple[Tensor, Prepared | None]:
    """The kernel by the first route that is open, and what a recording found out on the way.

    Args:
        call: Name of the public function, for messages.
        model: As in `tangent_kernel`.
        X: As in `tangent_kernel`.
        X2: As in `tangent_kernel`.
        reduction: As in `tangent_kernel`, already checked.
        dtype: As in `tangent_kernel`, already checked.
        memory_budget: As in `tangent_kernel`, already checked.
        prepared: What is known of the module; None to record and check it now.

    Returns:
        The kernel, and what is now known of the module: None if it cannot be recorded.

    Raises:
        InputError: as `tangent_kernel`.
    """
    stages = stages_of_sequential(model, X)
    if stages is not None and bytes_of_stages(stages, X, X2, reduction) <= memory_budget:
        return kernel_of_stages(stages, X, X2, reduction, dtype, call), prepared
    with _isolated(model, call):
        function = SampleFunction(model, dtype, call)
        X = function.inputs(X, "X")
        X2 = None if X2 is None else function.inputs(X2, "X2")
        if prepared is not None and prepared.serves(function, X, X2):
            try:
                recording = PreparedRecording(function, prepared)
                kernel = kernel_by_layers(
                    recording, X, X2, reduction=reduction, memory_budget=memory_budget
                )
                return kernel, prepared
            except torch.OutOfMemoryError:
                raise
            except _NEXT_ROUTE:
                pass  # no longer the module that was prepared
        try:
            checked = CheckedRecording(function, X)
            kernel = kernel_by_layers(
                checked, X, X2, reduction=reduction, memory_budget=memory_budget
            )
            return kernel, Prepared.of(checked, X)
        except torch.OutOfMemoryError:
            raise
        except _NEXT_ROUTE:
            kernel = kernel_by_sample_jacobians(
                function, X, X2, reduction=reduction, memory_budget=memory_budget
            )
            return kernel, None


def prepared_on(
    call: str, model: nn.Module, X: Tensor, dtype: torch.dtype | None
) -> Prepared | None:
    """What is known of a module after checks on X; None for chains and if it cannot be recorded.

    Args:
        call: Name of the public function, for messages.
        model: As in `tangent_kernel`.
        X: Samples to check on.
        dtype: As in `tangent_kernel`, already checked.

    Raises:
        InputError: as `tangent_kernel`.
    """
    stages = stages_of_sequential(model, X)
    if stages is not None:
        # For the checks of the inputs.
        kernel_of_stages(stages, X, None, "diagonal", dtype, call)
        return None
    with _isolated(model, call):
        function = SampleFunction(model, dtype, call)
        X = function.inputs(X, "X")
        try:
            return Prepared.of(CheckedRecording(function, X), X)
        except torch.OutOfMemoryError:
            raise
        except _NEXT_ROUTE:
            return None


@contextmanager
def _isolated(model: nn.Module, call: str) -> Iterator[None]:
    """Around passes through a module: it and the process are left as found; no draws allowed."""
    with left_as_found(model) as use, plain_autograd(), warnings.catch_warnings():
        # vmap's remark that an operation has no batching rule: the result is the same.
        warnings.filterwarnings("ignore", message="There is a performance drop")
        yield
    if use.drew:
        raise InputError(
            f"model of {call}: the outputs must be a fixed function of one sample; the "
            "forward pass draws random numbers; call model.eval() first, or take the draw out"
        )


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
    check_call("tangent_kernel_of", reduction, dtype, X2, DEFAULT_MEMORY_BUDGET)
    stages = stages_of_network(network)
    if stages is None:
        raise UnsupportedModelError(
            "network of tangent_kernel_of: a chain without shared parameters is required; this "
            "graph branches or uses a parameter twice; call tangent_kernel(model, X), which takes "
            "any module"
        )
    return kernel_of_stages(stages, X, X2, reduction, dtype, "tangent_kernel_of")


def check_call(
    call: str, reduction: str, dtype: torch.dtype | None, X2: Tensor | None, memory_budget: int
) -> None:
    """Refuse options that no kernel has; `call` is the public name for messages."""
    if reduction not in get_args(Reduction):
        raise InputError(
            f"reduction of {call}: one of {', '.join(get_args(Reduction))} is required; "
            f"got {reduction!r}; choose one of them"
        )
    if reduction == "diagonal" and X2 is not None:
        raise InputError(
            f"X2 of {call}: reduction='diagonal' pairs every sample with itself; got a "
            "second input; leave X2 out"
        )
    if dtype is not None and not dtype.is_floating_point:
        raise InputError(
            f"dtype of {call}: a floating dtype is required; got {dtype}; "
            "pass torch.float32 or torch.float64"
        )
    if memory_budget <= 0:
        raise InputError(
            f"memory_budget of {call}: a positive number of bytes is required; "
            f"got {memory_budget}; leave it out for {DEFAULT_MEMORY_BUDGET}"
        )
