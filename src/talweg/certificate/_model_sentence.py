"""The model in words, for the sentence of a claim (docs/certificate-format.md)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

from talweg.certificate._model_record import ModelRecord, Record

Arrays = Mapping[str, Tensor]


def model_sentence(model: ModelRecord, arrays: Arrays) -> str:
    """The model in words: every operation, its constants, and what of it is trained.

    Args:
        model: What stands under ``model``, in either format.
        arrays: Arrays by name, for the shapes.
    """
    if not isinstance(model, dict):
        return "; ".join(_operation(op, arrays, frozenset()) for op in model)
    words = [f"input {_by(model['input_shape'])}"]
    seen: set[str] = set()
    for index, op in enumerate(model["operations"]):
        text = _operation(op, arrays, frozenset(seen))
        seen |= {op[key] for key in ("weight", "bias") if op.get(key) is not None}
        if op["inputs"] != [index]:
            text += f" <- {', '.join(map(str, op['inputs']))}"
        words.append(text)
    return "; ".join(words)


def _operation(op: Record, arrays: Arrays, seen: frozenset[str]) -> str:
    rule = _WORDS.get(op["kind"])
    if rule is not None:
        return rule(op)
    shape = _by(arrays[op["weight"]].shape)
    match op["kind"]:
        case "linear":
            d_out, d_in = arrays[op["weight"]].shape
            return f"linear {d_in}->{d_out} ({_trained(op, seen)})"
        case "convolution":
            return (
                f"convolution {shape} (stride {_by(op['stride'])}, padding {_by(op['padding'])}, "
                f"dilation {_by(op['dilation'])}, groups {op['groups']}, {_trained(op, seen)})"
            )
        case "affine":
            return f"affine {shape} at axis {op['axis']} ({_trained(op, seen)})"
        case "shift":
            return f"shift {shape} at axis {op['axis']} ({_part(op, 'weight', seen)})"
        case "embedding":
            d_out, d_in = arrays[op["weight"]].shape
            return f"embedding {d_out}->{d_in} ({_part(op, 'weight', seen)})"
        case "standardize":
            return f"standardize {shape} (epsilon {number(op['epsilon'])})"
    raise KeyError(op["kind"])


def _trained(op: Record, seen: frozenset[str]) -> str:
    return f"{_part(op, 'weight', seen)}, {_part(op, 'bias', seen)}"


def _part(op: Record, field: str, seen: frozenset[str]) -> str:
    if op.get(field) is None:
        return f"{field} none"
    if not op[f"{field}_trainable"]:
        return f"{field} frozen"
    return f"{field} trained, shared" if op[field] in seen else f"{field} trained"


def number(text: str) -> str:
    """A hexadecimal float as Python prints it.

    Args:
        text: As in the file.
    """
    return repr(float.fromhex(text))


def _by(sizes: Any) -> str:
    return "x".join(str(int(size)) for size in sizes)


def _listed(numbers: list[int]) -> str:
    return ", ".join(map(str, numbers))


def _elementwise(op: Record) -> str:
    constants = ", ".join(f"{k}={number(v)}" for k, v in sorted(op["parameters"].items()))
    return f"{op['function']}({constants})" if constants else str(op["function"])


_WORDS: dict[str, Callable[[Record], str]] = {
    "elementwise": _elementwise,
    "scale": lambda op: f"scale({number(op['numerator'])}/{number(op['denominator'])})",
    "sum": lambda op: f"sum({', '.join('+' if sign > 0 else '-' for sign in op['signs'])})",
    "product": lambda op: "product",
    "matrix_product": lambda op: "matrix product",
    "softmax": lambda op: "softmax",
    "normalize": lambda op: f"normalize(axes {op['axes']}, epsilon {number(op['epsilon'])})",
    "average_pool": lambda op: (
        f"average pool(kernel {_by(op['kernel'])}, stride {_by(op['stride'])}, "
        f"padding {_by(op['padding'])})"
    ),
    "mean": lambda op: f"mean(axes {_listed(op['axes'])})",
    "concatenate": lambda op: f"concatenate(axis {op['axis']})",
    "reshape": lambda op: f"reshape({_by(op['shape'])})",
    "permute": lambda op: f"permute({_listed(op['axes'])})",
    "slice": lambda op: f"slice(axis {op['axis']}, {op['start']}:{op['stop']}:{op['step']})",
}
