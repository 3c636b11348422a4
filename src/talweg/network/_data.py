"""Checking training data, and bringing it to float64 without rounding."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from talweg._errors import InputError
from talweg.network._graph import Network
from talweg.network._refuse import FLOAT_DTYPES


@dataclass(frozen=True, eq=False)
class Data:
    """Checked training data.

    Attributes:
        inputs: ``(n, d)`` float64, exactly the values given, each sample flattened in row-major
            order; ``network.input_shape`` tells the shape of one.
        targets: ``(n, k)`` float64, exactly the values given.
        notes: What was normalised, for the report.
    """

    inputs: Tensor
    targets: Tensor
    notes: tuple[str, ...] = ()


def check_data(X: Tensor, y: Tensor, network: Network | int) -> Data:
    """Check inputs and targets, and convert both to float64, which is exact.

    Targets of shape ``(n,)`` count as ``(n, 1)`` where the model has one output, and only there,
    so nothing is ever broadcast.

    Args:
        X: Inputs ``(n, d)`` or ``(n, *shape)``, float16 to float64, or int64.
        y: Targets ``(n, k)``, or ``(n,)`` where ``k = 1``; float16 to float64, on the device of X.
        network: The network they are for, or its number of outputs ``k``.

    Returns:
        The data, with tensors of their own.

    Raises:
        InputError: A tensor is malformed, not finite, or the shapes do not fit each other.
    """
    outputs = network.output_dim if isinstance(network, Network) else network
    check_inputs(X, whole=isinstance(network, Network) and not network.is_chain)
    _require_real_tensor(y, "y", "targets (n, k)")
    n, notes = int(X.shape[0]), []
    if isinstance(network, Network):
        if not _fits(network, X):
            raise InputError(
                f"X of the data must have {network.input_dim} features, as the model "
                f"was read (shape of one sample {network.input_shape}); got shape "
                f"{tuple(X.shape)}. Pass the inputs of this model."
            )
        notes += _dtype_notes(network, X)
    if y.ndim == 1 and outputs == 1:
        notes.append("y of shape (n,) read as (n, 1)")
    elif y.ndim != 2 or y.shape[1] != outputs:
        todo = "Give y one column per output."
        if y.ndim == 1:
            todo = "Use one-hot targets or y[:, None], whichever is meant; nothing is broadcast."
        raise InputError(
            f"y of the data must have shape (n, {outputs}) for a model of {outputs} "
            f"outputs; got {tuple(y.shape)}, with X {tuple(X.shape)}. {todo}"
        )
    if y.shape[0] != n:
        raise InputError(
            f"y of the data must have one row for each row of X; got y "
            f"{tuple(y.shape)} and X {tuple(X.shape)}. Pass inputs and targets of the same samples."
        )
    if y.device != X.device:
        raise InputError(
            f"y of the data must be on the device of X, {X.device}; got {y.device}. "
            f"Call y.to({str(X.device)!r})."
        )
    _require_finite(y, "y")
    return Data(
        _exact_float64(X).reshape(n, -1), _exact_float64(y).reshape(n, outputs), tuple(notes)
    )


def check_inputs(X: object, *, whole: bool = True) -> None:
    """Check that ``X`` is a finite, nonempty batch ``(n, d)`` or ``(n, *shape)``.

    It is floating, or, where ``whole`` numbers are allowed, int64 with entries below 2^53, which
    float64 holds exactly.

    Raises:
        InputError: Names what it is instead, or the first row that is not finite.
    """
    tensor = _require_real_tensor(X, "X", "inputs (n, d)", whole=whole)
    if tensor.ndim < 2:
        raise InputError(
            f"X of the data must have the batch and at least one axis more, (n, d); got "
            f"shape {tuple(tensor.shape)}. Please use X[:, None] or X[None]."
        )
    if tensor.numel() == 0:
        raise InputError(
            f"X of the data must hold at least one sample and one feature; got shape "
            f"{tuple(tensor.shape)}. Pass the training inputs."
        )
    if tensor.dtype == torch.int64:
        largest = max(abs(int(tensor.min())), abs(int(tensor.max())))
        if largest >= 2**53:
            raise InputError(
                f"X of the data must hold whole numbers below 2^53; got {largest}. Use "
                "smaller indices."
            )
        return
    _require_finite(tensor, "X")


def _fits(network: Network, X: Tensor) -> bool:
    """Whether the samples have the shape of the network, or come as rows of its entries."""
    shape = tuple(int(size) for size in X.shape[1:])
    if shape == network.input_shape:
        return True
    rows = len(shape) == 1 or len(network.input_shape or ()) == 1
    return rows and math.prod(shape) == network.input_dim


def _require_real_tensor(value: object, name: str, role: str, *, whole: bool = False) -> Tensor:
    def must_be(requirement: str, came: str, todo: str) -> InputError:
        return InputError(f"{name} of the data must be {requirement}; got {came}. {todo}")

    if not isinstance(value, Tensor):
        raise must_be(
            f"a tensor of {role}", f"a {type(value).__name__}", f"Use torch.as_tensor({name})."
        )
    if value.is_nested:
        raise must_be("a dense tensor", "a nested one", "Pad or stack its parts.")
    shape = f"shape {tuple(value.shape)}"
    if value.is_meta or value.is_quantized or value.layout != torch.strided:
        raise must_be(
            "a dense tensor with values",
            f"a {'meta' if value.is_meta else value.layout} tensor of {shape}",
            f"Use {name}.to_dense(), or load the values.",
        )
    if value.is_complex():
        raise must_be("real", f"dtype {value.dtype}", "Use real and imaginary parts as features.")
    if value.dtype not in FLOAT_DTYPES and not (whole and value.dtype == torch.int64):
        todo = f"Cast it: {name}.to(torch.float32)."
        if name == "y":
            todo = (
                "If these are class labels, choose loss='cross_entropy' where there is one "
                "(certify, train_until_proved), or one-hot encode them: "
                "torch.nn.functional.one_hot(y).to(X.dtype); if they are numbers, cast: "
                "y.to(X.dtype)."
            )
        raise must_be("float16, bfloat16, float32 or float64", f"{value.dtype}, {shape}", todo)
    return value


def _require_finite(value: Tensor, name: str) -> None:
    bad = ~torch.isfinite(value.detach())
    if bool(bad.any()):
        index = tuple(int(i) for i in bad.nonzero()[0])
        where = f"row {index[0]}" + (f", column {index[1]}" if len(index) > 1 else "")
        raise InputError(
            f"{name} of the data must be finite; {where} is "
            f"{float(value.detach()[index])} ({int(bad.sum())} bad entries of {value.numel()}). "
            "Remove or repair these rows."
        )


def _dtype_notes(network: Network, inputs: Tensor) -> list[str]:
    weights = {slot.tensor.dtype for slot in network.slots() if slot.field == "weight"}
    if not weights or weights == {inputs.dtype} or inputs.dtype == torch.int64:
        return []
    names = ", ".join(sorted(str(dtype).removeprefix("torch.") for dtype in weights))
    note = (
        f"weights are {names}, data is {str(inputs.dtype).removeprefix('torch.')}: the ideal "
        "function takes both at their exact values"
    )
    return [note]


def _exact_float64(value: Tensor) -> Tensor:
    # Every float16, bfloat16 and float32 is a float64; leaving inference mode keeps it usable.
    with torch.inference_mode(False):
        return value.detach().to(torch.float64, copy=True, memory_format=torch.contiguous_format)
