"""A row as the flat scalars that loggers of curves take."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def scalars(
    row: Mapping[str, Any], prefix: str = "monitor/", nested: bool = True
) -> dict[str, float]:
    """The numbers of a row by name: ``{"monitor/loss": ..., "monitor/weight_norms/0.bias": ...}``.

    Args:
        row: A row of a Monitor.
        prefix: Put in front of every name.
        nested: Whether to take the numbers by parameter and by module too.

    Returns:
        What is a number, the step excepted; truth values, words and lists of words are left out.
    """
    found: dict[str, float] = {}

    def visit(name: str, value: Any) -> None:
        if isinstance(value, int | float) and not isinstance(value, bool):
            found[name] = float(value)
        elif nested and isinstance(value, Mapping):
            for key, item in value.items():
                visit(f"{name}/{key}", item)
        elif nested and isinstance(value, list | tuple):
            for index, item in enumerate(value):
                visit(f"{name}/{index}", item)

    for key, value in row.items():
        if key != "step":
            visit(f"{prefix}{key}", value)
    return found
