"""Rules of an activation applied to every entry."""

from __future__ import annotations

from talweg.enclosure import Ball, elementwise_orders
from talweg.network._graph import Elementwise

Jet = tuple[Ball, Ball, Ball]
"""Value, first and second derivative, entry by entry, all of one shape."""


def jet(operation: Elementwise, z: Ball) -> Jet:
    """Enclosures of ``phi``, ``phi'`` and ``phi''`` for every entry of ``z``.

    Args:
        operation: The activation.
        z: Any shape.

    Returns:
        Three balls of the shape of ``z``.
    """
    constants = {name: v for name, v in operation.parameters.items() if name != "threshold"}
    value, first, second = elementwise_orders(operation.function, (0, 1, 2), z, **constants)
    return value, first, second


def is_curved(operation: Elementwise) -> bool:
    """Whether the second derivative can be nonzero."""
    return operation.function != "identity"


def can_be_nonideal(operation: Elementwise) -> bool:
    """Whether the module is not its ideal function everywhere: PyTorch's Softplus."""
    return operation.function == "softplus"


def is_ideal_on(operation: Elementwise, z: Ball) -> bool:
    """Whether the module computes the ideal function for every input in ``z``.

    PyTorch's Softplus turns into the identity where ``beta z > threshold``.
    """
    if not can_be_nonideal(operation):
        return True
    scaled = z * operation.parameters["beta"]
    return bool((scaled.upper() < operation.parameters["threshold"]).all())
