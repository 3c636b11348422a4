"""The questions that a mutant has to answer like the checker; a wrong answer raises.

A case reaches the checker only through `Checker`, so that it meets the modules of this process,
mutated or not. Everything it compares with is computed elsewhere.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

from flint import ctx
from tests.soundness.mutation.mutants import PACKAGE


class Checker:
    """`checker.claims` is the module talweg_check._claims as this process has it."""

    def __getattr__(self, name: str) -> Any:
        return importlib.import_module(f"{PACKAGE}._{name}")

    def kinds(self, name: str = "") -> Any:
        """The module talweg_check.kinds, or one below it."""
        return importlib.import_module(f"{PACKAGE}.kinds" + (f".{name}" if name else ""))


Case = Callable[[Checker], None]
CASES: dict[str, Case] = {}


def case(function: Case) -> Case:
    """Registers a case under the name of its function."""
    return add(function.__name__, function)


def add(name: str, function: Case) -> Case:
    """Registers a case."""
    if name in CASES:
        raise ValueError(f"two cases are named {name!r}")
    CASES[name] = function
    return function


def precision(bits: int = 128) -> AbstractContextManager[Any]:
    """The working precision of Arb, for a while."""
    manager: AbstractContextManager[Any] = ctx.workprec(bits)
    return manager


def demand(holds: object, message: object) -> None:
    """Raises unless `holds`; like assert, but in every mode of Python."""
    if not holds:
        raise AssertionError(message)


def refused(action: Callable[[], object], exception: type[Exception], words: str) -> None:
    """Raises unless the action raises this exception, with these words in its message."""
    try:
        found = action()
    except exception as error:
        demand(words in str(error), f"refused for another reason: {error}, not {words}")
    else:
        raise AssertionError(f"not refused: {found!r}")
