"""Entrywise operations of a file, in chains and graphs: their keys, and what sentences say."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from talweg_check._file import as_object, number
from talweg_check._verdict import Invalid

PLAIN = ("tanh", "sigmoid", "silu", "gelu", "gelu_tanh", "sin", "identity")
PARAMETERS: dict[str, tuple[str, ...]] = {
    "softplus": ("beta", "threshold"),
    "smooth_leaky_relu": ("slope",),
}


def entrywise(stated: Any, where: str) -> dict[str, Any]:
    """An `elementwise` or `scale` operation with its numbers read."""
    if stated["kind"] == "scale":
        item = dict(as_object(stated, ("kind", "numerator", "denominator"), where))
        for key in ("numerator", "denominator"):
            item[key] = number(item[key], f"{key} of {where}")
        if item["denominator"] == 0:
            raise Invalid(f"{where} divides by zero")
        return item
    item = dict(as_object(stated, ("kind", "function", "parameters"), where))
    name = item["function"]
    if not isinstance(name, str) or (name not in PLAIN and name not in PARAMETERS):
        raise Invalid(f"{where} has the unknown function {name!r}")
    names = PARAMETERS.get(name, ())
    stated = as_object(item["parameters"], names, f"the parameters of {where}")
    numbers = {key: number(stated[key], f"{key} of {where}") for key in names}
    if numbers.get("beta", 1) <= 0 or not 0 < numbers.get("slope", 0.5) < 1:
        raise Invalid(f"{where} has a parameter outside its range")
    item["parameters"] = numbers
    return item


def said(item: Mapping[str, Any]) -> str:
    """How a sentence names one."""
    if item["kind"] == "scale":
        return f"scale({item['numerator']!r}/{item['denominator']!r})"
    numbers = [f"{key}={item['parameters'][key]!r}" for key in sorted(item["parameters"])]
    return str(item["function"]) + (f"({', '.join(numbers)})" if numbers else "")
