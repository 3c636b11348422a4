"""Conditioning of the tangent kernel on a few samples, in the direction the loss pulls.

With F the outputs on n samples, J_i the Jacobian of those of sample i, r_i = df/dF_i and its
direction u_i = r_i / |r_i|, the measured matrix is

    K_ij = <J_i^T u_i, J_j^T u_j>                        # (n, n)

It is P J J^T P^T with orthonormal rows P, so by Cauchy's interlacing its eigenvalues lie between
the ends of the spectrum of the whole tangent kernel, of these samples or of more: the condition
number of the whole is at least the one seen here. For one output per sample it is the kernel of
these samples up to signs. With a_i = |r_i|,

    |grad f|^2 = a^T K a >= lambda_min(K) |a|^2,

so `kernel_pl` = lambda_min |a|^2 / (2 (f - f*)) is the PL ratio that the kernel grants on these
samples, however their residuals are spread over them. For squared losses |a|^2 / f is a constant,
and lambda_min times it is the PL constant of liu2020.

Why this direction, and not a random one: at a large vocabulary a random direction weighs outputs
that the loss does not look at, and tells nothing of |grad f|^2.

Source: liu2020, E5. Nothing here is a bound: the spectrum is in floating point, and eigenvalues
below `kernel_resolution` are not told from zero.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, get_gradient_edge

from talweg.monitor._gradients import gram_matrix
from talweg.monitor._looks import batch_size, first, tensors
from talweg.monitor._undisturbed import Loss, Replica, plain, undisturbed

Row = dict[str, Any]
MOST_BYTES = 2**30  # of gradients held at once; talweg.tangent_kernel has the same limit


def look_at_kernel(model: nn.Module, loss: Loss, batch: Any, most: int, f_star: float) -> Row:
    """Ends and conditioning of the tangent kernel on the first samples of a batch.

    One pass forward on all of them together, in the mode the model is in, and one backward per
    sample; batch normalisation in training mode therefore counts as the map of these samples that
    it is.

    Args:
        model: The model in training.
        loss: Mean loss of a batch.
        batch: At least one sample.
        most: Samples to take; fewer where their gradients would not fit `MOST_BYTES`.
        f_star: A lower bound of the loss.

    Returns:
        A row; with `kernel_samples` 0 and nothing else where the loss is not a function of one
        tensor of outputs with a row per sample. Samples whose residual is 0 are left out: they
        have no direction, and add nothing to the gradient.
    """
    with undisturbed(model) as replica:
        leaves = replica.trained
        row_bytes = sum(p.numel() * p.element_size() for p in leaves)
        samples = min(batch_size(batch), most, max(2, MOST_BYTES // row_bytes))
        value, found = _evaluated(model, replica, loss, first(batch, samples))
        if len(found) != 1 or len(found[0][0]) != samples:
            return {"kernel_samples": 0}
        outputs, pull = found[0]  # F and r, (n, ...)
        lengths = pull.reshape(samples, -1).double().norm(dim=1)  # a, (n,)
        chosen = torch.nonzero(lengths).reshape(-1).tolist()
        row: Row = {"kernel_samples": len(chosen)}
        if len(chosen) < 2 or not bool(lengths.isfinite().all()):
            return row
        gradients = []
        for i in chosen:
            direction = torch.zeros_like(outputs)
            direction[i] = pull[i].to(outputs) / lengths[i].to(outputs)
            gradients.append(
                torch.autograd.grad(
                    outputs, leaves, direction, retain_graph=True, materialize_grads=True
                )
            )
        eps = max(torch.finfo(t.dtype).eps for t in (pull, *leaves))
        gap = float(value.detach()) - f_star
        return row | _spectrum(gram_matrix(gradients), eps, float(lengths.square().sum()), gap)


def _spectrum(kernel: Tensor, eps: float, pull: float, gap: float) -> Row:
    """Numbers of a kernel ``(n, n)``; `pull` is |a|^2."""
    if not bool(kernel.isfinite().all()):
        return {"kernel_max": math.nan, "kernel_min": math.nan, "kernel_condition": math.nan}
    values = torch.linalg.eigvalsh(kernel)
    largest, smallest = float(values[-1]), max(0.0, float(values[0]))
    resolution = len(kernel) * eps * largest
    squares = float(kernel.square().sum())
    row = {
        "kernel_max": largest,
        "kernel_min": smallest,
        "kernel_resolution": resolution,
        "kernel_condition": largest / smallest if smallest > resolution else math.inf,
        "kernel_rank": float(kernel.trace()) ** 2 / squares if squares > 0 else 0.0,
    }
    if gap > 0 and smallest > resolution:
        row["kernel_pl"] = smallest * pull / (2 * gap)
    return row


def _evaluated(
    model: nn.Module, replica: Replica, loss: Loss, part: Any
) -> tuple[Tensor, list[tuple[Tensor, Tensor]]]:
    """The loss f, and the outputs F of the model that it was computed from, each with df/dF."""
    calls: list[Any] = []

    def keep(_: nn.Module, inputs: Any, output: Any) -> None:
        del inputs
        calls.append(output)

    handle = plain(model).register_forward_hook(keep)
    try:
        value = replica.loss(loss, part)
    finally:
        handle.remove()
    if len(calls) != 1 or not value.requires_grad:
        return value, []
    output = calls[0]
    # Outputs of transformers hold hidden states beside the logits.
    logits = output.get("logits") if isinstance(output, Mapping) else None
    candidates = [t for t in tensors(output if logits is None else logits) if t.requires_grad]
    pulls = [(t, _pull(value, t)) for t in candidates if t.ndim > 0]
    return value, [(t, pull) for t, pull in pulls if pull is not None]


def _pull(value: Tensor, outputs: Tensor) -> Tensor | None:
    """df/dF, or None where f was not computed from F."""
    edges = [get_gradient_edge(outputs)]
    node = outputs.grad_fn
    if node is not None and node.name() == "ToCopyBackward0":
        # Returned in another precision than the loss was computed from, as accelerate does.
        before, number = node.next_functions[0]
        edges += [GradientEdge(before, number)] if before is not None else []
    found = torch.autograd.grad(value, edges, retain_graph=True, allow_unused=True)
    return next((pull for pull in found if isinstance(pull, Tensor)), None)
