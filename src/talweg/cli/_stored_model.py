"""What float64 says of the model stored in a certificate file, for the report; no proof.

Everything here is limited in size, and says what it left out: the page is to take seconds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from talweg._errors import CertificateFileError, TalwegError
from talweg.certificate import Document, network_of
from talweg.network import (
    FlatFunction,
    Linear,
    Network,
    Operation,
    Parametric,
    network_state,
    state_kernel_ball,
    state_lipschitz,
    tangent_kernel_of,
    value_shapes,
)

MOST_EIGENVALUES = 1500
MOST_ROWS = 20_000
MOST_KERNEL_WORK = 2e10
"""Multiplications for the kernel: a few seconds on one core."""
MOST_LAYER_WORK = 5e7
"""Samples times outputs times parameters, for the shares of the layers."""
STEPS = 200
MOST_STEP_WORK = 5e9
"""Samples times parameters times steps of the measured descent."""
FEWEST_STEPS = 20
DIVERGED = 1e6
"""So many times the loss at the start, or 1: a false claim about the step; no more is run."""


def measured_of(document: Document, file: str) -> dict[str, Any]:
    """Spectrum, shares of the layers and the first steps, as `certificate_report` takes them.

    Args:
        document: A parsed file.
        file: Its name, for the message.

    Raises:
        CertificateFileError: Model and arrays do not fit together.
    """
    arrays = document.arrays
    if "inputs" not in arrays or "targets" not in arrays:
        return {"left_out": [
            "Nothing was computed from the stored model: the file leaves its data out."
        ]}  # fmt: skip
    try:
        network, inputs, targets = _read(document)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        detail = f"no {error}" if isinstance(error, KeyError) else str(error)
        raise CertificateFileError(
            f"FILE of talweg report: a certificate whose model and data fit together is required; "
            f"those of {file!r} do not ({detail[:200]}); `talweg check` says more"
        ) from error
    found: dict[str, Any] = {"left_out": []}
    body, k = document.body, network.output_dim
    entropy = body["loss"]["kind"] == "cross_entropy"
    n, p = len(inputs), network.trainable_parameters

    def add(key: str, what: str, small: bool, compute: Callable[[], Any]) -> None:
        reason = f"{n:,} samples, {k:,} outputs and {p:,} parameters are too many for this page"
        if small:
            try:
                found[key] = compute()
                return
            except (RuntimeError, ArithmeticError, TalwegError):
                reason = "floating point gave no number"
        found["left_out"].append(f"{what}: left out, {reason}.")

    distinct, counts = inputs[:0], torch.ones(0)
    if n <= MOST_ROWS:
        distinct, counts = torch.unique(inputs, dim=0, return_counts=True)
    rows = len(distinct)
    size = rows * (k - 1 if entropy else k)
    small = 0 < size <= MOST_EIGENVALUES and (rows * k) ** 2 * _widths(network) <= MOST_KERNEL_WORK
    add("eigenvalues", "The spectrum of the kernel", small,
        lambda: _eigenvalues(network, distinct, counts, zero_sum=entropy))  # fmt: skip
    if network.is_chain and sum(map(_trained, network.operations)) > 1:
        radius = float.fromhex(body["claims"]["radius"])
        add("layers", "The shares of the layers", 0 < rows * k * p <= MOST_LAYER_WORK,
            lambda: _shares(network, distinct, counts, radius))  # fmt: skip
    steps = min(STEPS, int(MOST_STEP_WORK / (n * p)))
    add("losses", "Measured steps", steps >= FEWEST_STEPS,
        lambda: _descent(network, inputs, targets, body, steps))  # fmt: skip
    return found


def _read(document: Document) -> tuple[Network, Tensor, Tensor]:
    """The chain and its rows, where all of it fits together."""
    body, arrays = document.body, document.arrays
    inputs, targets = arrays["inputs"].to(torch.float64), arrays["targets"]
    if inputs.dim() < 2 or 0 in inputs.shape or targets.dim() not in (1, 2):
        raise ValueError("inputs must be rows, targets rows or labels")
    shape = tuple(inputs.shape[1:])
    inputs = inputs.reshape(len(inputs), -1)
    network = network_of(body["model"], arrays, inputs.shape[1])
    if network.input_shape != shape:
        raise ValueError("the inputs do not have the shape that the model reads")
    n, k = len(inputs), network.output_dim
    labels = body["loss"]["kind"] == "cross_entropy"
    if targets.numel() != (n if labels else n * k):
        raise ValueError("the targets do not fit inputs and outputs")
    if labels:
        if targets.is_floating_point() or not bool(((targets >= 0) & (targets < k)).all()):
            raise ValueError("the targets are no labels")
        if k < 2:
            raise ValueError("labels need at least two classes")
        targets = targets.reshape(n)
    else:
        targets = targets.to(torch.float64).reshape(n, k)
    if not all(bool(t.isfinite().all()) for t in arrays.values() if t.is_floating_point()):
        raise ValueError("an array holds an entry that is not finite")
    if not any(map(_trained, network.operations)):
        raise ValueError("nothing is trained")
    return network, inputs, targets


def _trained(op: Operation) -> bool:
    return isinstance(op, Parametric) and op.trains


def _widths(network: Network) -> int:
    if not network.is_chain:
        return sum(math.prod(shape) for shape in value_shapes(network))
    return sum(sum(op.weight.shape) for op in network.operations if isinstance(op, Linear))


def _eigenvalues(network: Network, X: Tensor, counts: Tensor, *, zero_sum: bool) -> list[float]:
    n, k = len(X), network.output_dim
    if network.is_chain:
        kernel = tangent_kernel_of(network, X, dtype=torch.float64)
        root = counts.to(torch.float64).sqrt()
        kernel = kernel * root[:, None, None, None] * root[:, None]
    else:
        kernel = state_kernel_ball(network_state(network, X, counts)).mid.reshape(n, k, n, k)
    if zero_sum:
        # Columns: an orthonormal basis of the vectors with sum zero.
        basis = torch.linalg.qr(torch.eye(k, dtype=torch.float64)[:, 1:] - 1.0 / k).Q
        kernel = torch.einsum("iajb,ac,bd->icjd", kernel, basis, basis)
        k -= 1
    values: list[float] = torch.linalg.eigvalsh(kernel.reshape(n * k, n * k)).tolist()
    return values


def _shares(network: Network, X: Tensor, counts: Tensor, radius: float) -> list[tuple[str, float]]:
    """By the leading eigenvector v of T: v_l (T v)_l over |T|, which is v_l squared."""
    matrix = state_lipschitz(network_state(network, X, counts)).layer_matrix_upper(radius)
    if not bool(matrix.isfinite().all()):
        raise ArithmeticError("the bound is infinite")
    matrix = torch.maximum(matrix, matrix.T)
    vector = torch.linalg.eigh(matrix).eigenvectors[:, -1]
    shares = (vector**2).tolist()
    layers = [(index, op) for index, op in enumerate(network.operations) if isinstance(op, Linear)]
    return [
        (f"{index}: linear {op.weight.shape[1]}→{op.weight.shape[0]}", share)
        for (index, op), share in zip(layers, shares, strict=True)
        if _trained(op)  # a frozen layer has a row of zeros
    ]


def _descent(
    network: Network, X: Tensor, targets: Tensor, body: Mapping[str, Any], steps: int
) -> list[tuple[int, float]]:
    """Loss above the infimum at every step of gradient descent with the certified step."""
    loss, step_size = body["loss"], float.fromhex(body["claims"]["step_size"])
    function = FlatFunction(network, X)
    w = function.start.requires_grad_()
    infimum = 0.0
    if loss["kind"] == "cross_entropy":
        smoothing = float.fromhex(loss["label_smoothing"])
        k = network.output_dim
        share, hit = smoothing / k, 1.0 - smoothing + smoothing / k
        parts = [hit, *[share] * (k - 1)]
        infimum = -sum(q * math.log(q) for q in parts if q > 0.0)
        infimum *= len(X) if loss["scaling"] == "sum" else 1
    found = []
    for step in range(steps + 1):
        outputs = function(w)
        if loss["kind"] == "cross_entropy":
            reduction = "mean" if loss["scaling"] == "mean" else "sum"
            value = F.cross_entropy(
                outputs, targets, label_smoothing=smoothing, reduction=reduction
            )
        else:
            squares = (outputs - targets).square()
            value = squares.mean() if loss["scaling"] == "mean" else squares.sum()
            value = value / 2 if loss["scaling"] == "half_sum" else value
        found.append((step, value.item() - infimum))
        away = not found[-1][1] <= DIVERGED * max(found[0][1], 1.0)  # also where it is undefined
        if step == steps or away:
            break
        [gradient] = torch.autograd.grad(value, w)
        w = (w - step_size * gradient).detach().requires_grad_()
    return found
