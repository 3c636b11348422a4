"""What float64 says of the model stored in a certificate file, for the report; no proof.

Everything here is limited in size, and says what it left out: the page is to take seconds.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from talweg._errors import CertificateFileError, TalwegError
from talweg.certificate import Document, network_of
from talweg.cli._landscape import (
    MOST_PARAMETERS,
    landscape_of,
    linearised_descent,
    side_of,
)
from talweg.cli._layer_shares import layer_shares, shown_names
from talweg.cli._stored_descent import Descent, descend, stored_loss
from talweg.network import (
    FlatFunction,
    Linear,
    Network,
    Operation,
    Parametric,
    network_state,
    state_kernel_ball,
    tangent_kernel_of,
    value_shapes,
)

MOST_EIGENVALUES = 1500
MOST_LINEARISED = 800
"""Rows of the kernel, for its eigenvectors: half a second."""
MOST_ROWS = 20_000
MOST_KERNEL_WORK = 2e10
"""Multiplications for the kernel: a few seconds on one core."""
STEPS = 200
MOST_STEP_WORK = 5e9
"""Samples times parameters times steps of the measured descent."""
FEWEST_STEPS = 20


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
                value = compute()
                if value is not None:
                    found[key] = value
                    return
            except (RuntimeError, ArithmeticError, TalwegError):
                reason = "floating point gave no number"
        found["left_out"].append(f"{what}: left out, {reason}.")

    distinct, counts, places = inputs[:0], torch.ones(0), torch.zeros(0, dtype=torch.int64)
    if n <= MOST_ROWS:
        distinct, places, counts = torch.unique(
            inputs, dim=0, return_inverse=True, return_counts=True
        )
    rows = len(distinct)
    size = rows * (k - 1 if entropy else k)
    small = 0 < size <= MOST_EIGENVALUES and (rows * k) ** 2 * _widths(network) <= MOST_KERNEL_WORK
    kernels: list[Tensor] = []

    def eigenvalues() -> list[float]:
        kernels.append(_kernel(network, distinct, counts, zero_sum=entropy))
        values: list[float] = torch.linalg.eigvalsh(kernels[0]).tolist()
        return values

    add("eigenvalues", "The spectrum of the kernel", small, eigenvalues)
    if sum(map(_trained, network.operations)) > 1:
        names, radius = shown_names(body), float.fromhex(body["claims"]["radius"])
        add("layers", "The shares of the layers", rows > 0,
            lambda: layer_shares(network, distinct, counts, radius, names))  # fmt: skip
    steps = min(STEPS, int(MOST_STEP_WORK / (n * p)))
    function, loss = FlatFunction(network, inputs), stored_loss(body, targets, k)
    descents: list[Descent] = []

    def losses() -> list[tuple[int, float]]:
        step_size = float.fromhex(body["claims"]["step_size"])
        keep = p <= MOST_PARAMETERS
        descents.append(descend(function, loss, step_size, steps, keep=keep))
        return descents[0].losses

    def landscape() -> dict[str, Any]:
        claims, ahead = body["claims"], None
        if kernels and not entropy and len(kernels[0]) <= MOST_LINEARISED:
            merged = targets.new_zeros(rows, k).index_copy(0, places, targets)
            root = counts.to(torch.float64).sqrt()
            on_rows = FlatFunction(network, distinct, root)
            residual = on_rows(function.start) - root[:, None] * merged
            factor = {"mean": 2.0 / (n * k), "sum": 2.0, "half_sum": 1.0}[body["loss"]["scaling"]]
            with contextlib.suppress(ArithmeticError):
                ahead = linearised_descent(
                    on_rows, residual.reshape(-1), kernels[0],
                    factor * float.fromhex(claims["step_size"]), descents[0].kept[-1],
                )  # fmt: skip
        radius = float.fromhex(claims["radius"])
        return landscape_of(function, loss, descents[0], radius, side, ahead)

    add("losses", "Measured steps", steps >= FEWEST_STEPS, losses)
    side = side_of(function, p) if descents else 0
    add("landscape", "The slice of the loss", side > 0, landscape)
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


def _kernel(network: Network, X: Tensor, counts: Tensor, *, zero_sum: bool) -> Tensor:
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
    return kernel.reshape(n * k, n * k)
