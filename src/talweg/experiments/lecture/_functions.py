"""The functions of the experiments, with the constants that the theorems ask for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from talweg.theory import sine_well_constants

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Landscape:
    """A function on R^d with least value 0, evaluated on rows.

    Attributes:
        name: for tables and legends.
        dimension: d.
        smoothness: L, exact.
        pl: mu, a proved lower bound; 0 where there is none.
        value: (n, d) to (n,).
        gradient: (n, d) to (n, d).
    """

    name: str
    dimension: int
    smoothness: float
    pl: float
    value: Callable[[Array], Array]
    gradient: Callable[[Array], Array]


def sine_well() -> Landscape:
    """x^2 + 3 sin(x)^2: not convex, PL with the constant that E4 proves."""
    constants = sine_well_constants().conclusion
    if constants is None:
        raise AssertionError("sine_well_constants() of the stored bracket is PROVED")
    return Landscape(
        "x^2 + 3 sin(x)^2", 1, constants.smoothness, constants.pl_lower,
        lambda x: np.sum(x**2 + 3.0 * np.sin(x) ** 2, axis=1),
        lambda x: 2.0 * x + 3.0 * np.sin(2.0 * x),
    )  # fmt: skip


def quadratic(curvatures: tuple[float, ...], name: str) -> Landscape:
    """1/2 sum h_i x_i^2."""
    h = np.array(curvatures)
    return Landscape(
        name, len(h), float(h.max()), float(h.min()),
        lambda x: 0.5 * np.sum(h * x**2, axis=1),
        lambda x: h * x,
    )  # fmt: skip


def egg_box(dimension: int) -> Landscape:
    """sum (1 - cos x_i): bounded, 1-smooth, with saddles and maxima, not PL."""
    return Landscape(
        "sum of 1 - cos x_i", dimension, 1.0, 0.0,
        lambda x: np.sum(1.0 - np.cos(x), axis=1),
        lambda x: np.sin(x),
    )  # fmt: skip
