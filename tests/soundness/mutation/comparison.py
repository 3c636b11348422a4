"""How cases compare numbers, and how they change what a module sees."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from tests.soundness.mutation.registry import Checker, demand

Array = Any


def close(checker: Checker, found: Any, wanted: Array, what: str, rtol: float = 1e-12) -> None:
    """Numbers that are exact up to rounding, in the shape of the reference."""
    demand(found.shape == wanted.shape, f"{what}: shape {found.shape}, not {wanted.shape}")
    error = np.abs(checker.arrays.approx(found) - wanted)
    size = np.abs(wanted).max() if wanted.size else 0.0
    demand((error <= rtol * (1 + size)).all(), f"{what} differs by {error.max(initial=0)}")
    wide = [x for x in found.ravel() if x.rad() > 1e-20 * (1 + size)]
    demand(not wide, f"{what} is wide")


def bound(
    checker: Checker, found: Any, wanted: Array, what: str, above: float = 1e-7,
    below: float = 1e-12, tiny: float = 1e-14,
) -> None:  # fmt: skip
    """Upper bounds: not below the reference, and hardly above it."""
    near = checker.arrays.approx(np.asarray(found, dtype=object) + np.zeros_like(wanted))
    demand(near.shape == np.shape(wanted), f"{what}: shape {near.shape}, not {np.shape(wanted)}")
    demand((near >= wanted * (1 - below) - tiny).all(), f"{what} too small: {near} < {wanted}")
    demand((near <= wanted * (1 + above) + 10 * tiny).all(), f"{what} too large: {near} > {wanted}")


@contextmanager
def instead(owner: Any, **values: Any) -> Iterator[None]:
    """Other values for some names of a module, for a while."""
    kept = {name: getattr(owner, name) for name in values}
    for name, value in values.items():
        setattr(owner, name, value)
    try:
        yield
    finally:
        for name, value in kept.items():
            setattr(owner, name, value)


def lying(name: str, change: Callable[[Any], Any], action: Callable[[], Any]) -> Any:
    """What an action does where LAPACK's answers are changed."""
    genuine = getattr(np.linalg, name)
    with instead(np.linalg, **{name: lambda *given: change(genuine(*given))}):
        return action()
