"""What a file states, as far as a search for its violation needs it: chain, rows, loss, numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from flint import arb
from torch import Tensor

from talweg._errors import CertificateFileError, InputError
from talweg.certificate import Document
from talweg.certificate._model_record import GRAPH_FORMAT
from talweg.falsification._functions import NAMES
from talweg.falsification._losses import CrossEntropyLoss, Loss, SquaredLoss


@dataclass(frozen=True, eq=False)
class Layer:
    """z = x W^T + b, weight ``(d_out, d_in)``."""

    weight: Tensor
    bias: Tensor | None
    trains_weight: bool
    trains_bias: bool


@dataclass(frozen=True)
class Entrywise:
    """A function of `talweg.falsification._functions`."""

    name: str
    parameters: Mapping[str, float]


Operation = Layer | Entrywise
PROGRAMMED = ("tanh", "sigmoid", "identity")
"""Functions that the float64 program of T9 may hold."""


@dataclass(frozen=True, eq=False)
class Stated:
    """The claims of a file and what they are about.

    Attributes:
        theorem: As in the file.
        claims: The numbers by name, without the list of betas.
        profile: ``(radius, beta)``, as listed.
        operations: The chain.
        inputs: Distinct rows ``(n, d)``, float64.
        multiplicity: How often each occurs ``(n,)``.
        loss: Of the distinct rows.
        all_rows: Inputs and targets as stored, for the float64 program of T9.
    """

    theorem: str
    claims: Mapping[str, float]
    profile: tuple[tuple[float, float], ...]
    operations: tuple[Operation, ...]
    inputs: Tensor
    multiplicity: Tensor
    loss: Loss
    all_rows: tuple[Tensor, Tensor]

    @property
    def outputs(self) -> int:
        """Outputs k of one sample."""
        return int(self.loss.outputs)

    def lipschitz_integral(self, distance: Any) -> Any | None:
        """``int_0^x beta`` in Arb at an exact x; None where no beta is listed."""
        if not distance <= arb(self.profile[-1][0]):
            return None
        total, start = arb(0), arb(0)
        for end, beta in self.profile:
            stop = min(distance, arb(end))
            if stop > start:
                total += arb(beta) * (stop - start)
            start = arb(end)
        return total

    def lipschitz_integral_approx(self, distance: Tensor) -> Tensor:
        """The same in float64, continued with the last beta."""
        total, start = torch.zeros_like(distance), 0.0
        for index, (end, beta) in enumerate(self.profile):
            top = math.inf if index + 1 == len(self.profile) else end
            total = total + beta * (distance.clamp(max=top) - start).clamp(min=0.0)
            start = end
        return total


def stated(document: Document) -> Stated:
    """What a document states.

    Args:
        document: A parsed file; its claims need not be true, nor its hashes right.

    Raises:
        CertificateFileError: It is not a certificate of format 1.
        InputError: It leaves its data out, or is about a graph.
    """
    body, arrays = document.body, document.arrays
    if "inputs" not in arrays and "targets" not in arrays:
        raise InputError(
            "`certificate` of falsify must hold its data; this file leaves inputs and targets out. "
            "Write it again with its data."
        )
    if body.get("format") == GRAPH_FORMAT:
        raise InputError(
            "`certificate` of falsify must be about a chain, format 1; got format 2, a graph, "
            "which no search covers yet. `talweg check` says whether its claims are confirmed."
        )
    try:
        return _stated(body, arrays)
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, RuntimeError) as error:
        detail = f"no {error}" if isinstance(error, KeyError) else str(error)
        raise CertificateFileError(
            "`certificate` of falsify must be a certificate of format 1; this one does not read as "
            f"one ({detail}). `talweg check` says more."
        ) from error


def _stated(body: Mapping[str, Any], arrays: Mapping[str, Tensor]) -> Stated:
    stored = dict(body["claims"])
    pairs = stored.pop("jacobian_lipschitz_upper")
    profile = tuple((_number(radius), _number(beta)) for radius, beta in pairs)
    if not profile or any(a[0] >= b[0] for a, b in pairwise(profile)):
        raise ValueError("the listed radii must increase")
    claims = {name: _number(text) for name, text in stored.items()}
    theorem = str(body["theorem"])
    needed = _COMMON | _NEEDED.get((body["loss"]["kind"], theorem), {f"of {theorem!r}"})
    if needed - claims.keys():
        raise ValueError(f"theorem {theorem!r} needs the claims {sorted(needed - claims.keys())}")
    operations = tuple(_operation(item, arrays) for item in body["model"])
    inputs, targets = arrays["inputs"].to(torch.float64), arrays["targets"]
    kept, counts = _distinct(inputs)
    distinct = targets[kept]
    loss = _loss(body["loss"], distinct, counts, body["counts"])
    found = Stated(
        theorem, claims, profile, operations, inputs[kept], counts, loss,
        (inputs, targets.to(torch.float64) if targets.is_floating_point() else targets),
    )  # fmt: skip
    _require_shapes(found)
    return found


_COMMON = {
    "sigma_min_lower", "jacobian_norm_upper", "radius", "step_size", "rate", "one_minus_rate",
    "halving_steps",
}  # fmt: skip
_NEEDED = {
    ("squared", "T11"): {"residual_norm_upper"},
    ("squared", "T4"): {"residual_norm_upper", "epsilon"},
    ("squared", "T7"): {
        "residual_norm_upper", "target_loss", "steps_upper", "overshoot_radius",
    },
    ("squared", "T9"): {
        "residual_norm_upper", "theta", "gradient_error_upper", "floor", "steps_upper",
    },
    ("cross_entropy", "T4"): {"initial_gap_upper", "pl_lower", "epsilon"},
    ("cross_entropy", "T13"): {
        "initial_loss_upper", "epsilon", "target_loss", "steps_upper", "overshoot_radius",
    },
}  # fmt: skip


def _number(text: str) -> float:
    value = float.fromhex(text)
    if not math.isfinite(value):
        raise ValueError(f"{text!r} is not a finite number")
    return value


def _operation(item: Mapping[str, Any], arrays: Mapping[str, Tensor]) -> Operation:
    if item["kind"] == "linear":
        bias = None if item["bias"] is None else arrays[item["bias"]].to(torch.float64)
        weight = arrays[item["weight"]].to(torch.float64)
        return Layer(weight, bias, bool(item["weight_trainable"]), bool(item["bias_trainable"]))
    if item["kind"] == "scale":
        constants = {key: _number(item[key]) for key in ("numerator", "denominator")}
        if constants["denominator"] == 0.0:
            raise ValueError("a scale divides by zero")
        return Entrywise("scale", constants)
    if item["function"] not in NAMES - {"scale"}:
        raise ValueError(f"unknown function {item['function']!r}")
    names = sorted(item["parameters"])
    return Entrywise(item["function"], {key: _number(item["parameters"][key]) for key in names})


def _distinct(inputs: Tensor) -> tuple[list[int], Tensor]:
    """First index of every distinct row, and how often it occurs."""
    found: dict[tuple[float, ...], list[int]] = {}
    for index, row in enumerate(map(tuple, inputs.tolist())):  # -0.0 and 0.0 are equal as keys
        found.setdefault(row, []).append(index)
    kept = [indices[0] for indices in found.values()]
    return kept, torch.tensor([len(indices) for indices in found.values()])


def _loss(
    record: Mapping[str, Any], targets: Tensor, multiplicity: Tensor, counts: Mapping[str, int]
) -> Loss:
    samples, outputs, scaling = counts["samples"], counts["outputs"], record["scaling"]
    if not all(type(count) is int and count > 0 for count in (samples, outputs)):
        raise ValueError("samples and outputs must be counted")
    if record["kind"] == "squared":
        factor = {"mean": (1, samples * outputs), "sum": (1, 1), "half_sum": (1, 2)}[scaling]
        return SquaredLoss(factor, targets.to(torch.float64), multiplicity)
    if record["kind"] != "cross_entropy":
        raise ValueError(f"unknown kind of loss {record['kind']!r}")
    factor = {"mean": (1, samples), "sum": (1, 1)}[scaling]
    smoothing = _number(record["label_smoothing"])
    if not 0.0 <= smoothing <= 1.0:
        raise ValueError(f"label_smoothing is {smoothing!r}")
    if targets.dtype != torch.int64 or not ((targets >= 0) & (targets < outputs)).all():
        raise ValueError("the targets are no labels")
    return CrossEntropyLoss(factor, targets, multiplicity, outputs, smoothing)


def _require_shapes(found: Stated) -> None:
    tensors = [found.inputs, found.all_rows[1]]
    width = found.inputs.shape[1]
    for op in found.operations:
        if isinstance(op, Layer):
            high, wide = op.weight.shape
            if wide != width or (op.bias is not None and op.bias.shape != (high,)):
                raise ValueError("the layers do not fit together")
            width = high
            tensors += [op.weight] if op.bias is None else [op.weight, op.bias]
        elif found.theorem == "T9" and op.name not in PROGRAMMED:
            raise ValueError(f"the program of T9 has no {op.name}")
    if not all(bool(t.isfinite().all()) for t in tensors):
        raise ValueError("an array holds an entry that is not finite")
    if len(found.all_rows[0]) != len(found.all_rows[1]):
        raise ValueError("inputs and targets differ in their number of rows")
    if width != found.outputs:
        raise ValueError("the outputs do not fit the targets")
    if not any(
        isinstance(op, Layer) and (op.trains_weight or op.trains_bias) for op in found.operations
    ):
        raise ValueError("nothing is trained")
