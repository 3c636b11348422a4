"""The grid of a sweep: its axes, and the runs that they span."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from talweg._errors import InputError
from talweg.sweep._starts import INITIALISERS

Initialiser = Callable[..., None]
"""Fills a model's parameters in place: ``initialise(model, generator=..., **other_axes)``."""

Value = bool | int | float | str
RESERVED = ("run", "step", "loss", "gradient_norm", "distance", "status")
"""Columns of the results, which no axis may be named after."""


@dataclass(frozen=True)
class Grid:
    """The axes of a sweep, in the order of the nesting: the last one varies fastest.

    Attributes:
        axes: Values by name; always "seed", "init", "scale" and "lr", then further ones.
        initialisers: The functions that were given in the place of a name.
    """

    axes: dict[str, tuple[Value, ...]]
    initialisers: dict[str, Initialiser]

    @property
    def extra(self) -> tuple[str, ...]:
        """Axes that are passed to the initialisers as keyword arguments."""
        return tuple(name for name in self.axes if name not in ("seed", "init", "scale", "lr"))

    @property
    def size(self) -> int:
        """Number of runs."""
        return math.prod(len(values) for values in self.axes.values())

    def runs(self, first: int, last: int) -> list[dict[str, Value]]:
        """The settings of the runs ``first`` to ``last - 1``."""
        combinations = itertools.islice(itertools.product(*self.axes.values()), first, last)
        return [dict(zip(self.axes, values, strict=True)) for values in combinations]


def parse_grid(grid: Mapping[str, Any]) -> Grid:
    """Check a grid and put its defaults in.

    Args:
        grid: Each axis with its values: a sequence, or one value. "lr" is required. For "init" the
            values are names of `INITIALISERS` or functions; a mapping names the functions.

    Raises:
        InputError: An axis is empty, repeats a value, or holds something it must not.
    """
    if not isinstance(grid, Mapping) or "lr" not in grid:
        raise InputError(
            "`grid` of talweg.sweep.Sweep must be a mapping with at least the axis 'lr'; got "
            f"{sorted(map(str, grid)) if isinstance(grid, Mapping) else grid!r}. Write for example "
            '{"seed": range(100), "init": ["lecun"], "lr": [0.01, 0.1]}.'
        )
    axes: dict[str, tuple[Value, ...]] = {"seed": (0,), "init": ("default",), "scale": (1.0,)}
    initialisers: dict[str, Initialiser] = {}
    for name, given in grid.items():
        if not isinstance(name, str) or not name.isidentifier() or name in RESERVED:
            raise InputError(
                "An axis of `grid` of talweg.sweep.Sweep must be named by an identifier other than "
                f"{', '.join(RESERVED)}; got {name!r}. Rename it."
            )
        values = _listed(given)
        if name == "init":
            values, initialisers = _initialisers(given if isinstance(given, Mapping) else values)
        axes[name] = _of_one_type(name, [_checked(name, value) for value in values])
        if not values or len(set(axes[name])) != len(values):
            raise InputError(
                f"Axis {name!r} of `grid` of talweg.sweep.Sweep must hold at least one value, each "
                f"once; got {values!r}. Remove what is repeated."
            )
    # The step size last: neighbouring runs then share their starting weights.
    axes["lr"] = axes.pop("lr")
    return Grid(axes, initialisers)


def _listed(given: Any) -> list[Any]:
    if isinstance(given, str) or callable(given) or not isinstance(given, Iterable):
        return [given]
    return list(given)


def _initialisers(given: Any) -> tuple[list[str], dict[str, Initialiser]]:
    named: dict[str, Initialiser] = {}
    names: list[str] = []
    pairs = given.items() if isinstance(given, Mapping) else ((_name(v), v) for v in given)
    for name, value in pairs:
        if callable(value):
            if name in INITIALISERS or name in named or isinstance(value, nn.Module):
                raise InputError(
                    "A function of the axis 'init' of talweg.sweep.Sweep must have a name of its "
                    f"own; {name!r} is taken or no function. Pass a mapping of names to functions."
                )
            named[name] = value
        elif value not in INITIALISERS or name != value:
            raise InputError(
                "A value of the axis 'init' of talweg.sweep.Sweep must be a function, or one of "
                f"{', '.join(INITIALISERS)}; got {value!r}. Choose one of them."
            )
        names.append(name)
    return names, named


def _name(value: Any) -> str:
    """A function's own name, without the underscore of functions that work in place."""
    return str(getattr(value, "__name__", value)).rstrip("_")


def _of_one_type(axis: str, values: list[Value]) -> tuple[Value, ...]:
    """The values as one column holds them: integers become floats beside floats."""
    types = {type(value) for value in values}
    if types == {int, float}:
        return tuple(float(value) for value in values)
    if len(types) > 1:
        raise InputError(
            f"The values of axis {axis!r} of `grid` of talweg.sweep.Sweep must be all numbers, all "
            f"texts or all flags; got {values!r}. Split them into two axes."
        )
    return tuple(values)


def _checked(axis: str, value: Any) -> Value:
    item = getattr(value, "item", None)
    value = item() if callable(item) else value
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if axis == "seed":
        right, requirement = (
            number and isinstance(value, int) and 0 <= value < 2**63,
            ("an integer from 0 on"),
        )
    elif axis in ("lr", "scale"):
        value = float(value) if number else value
        right = number and math.isfinite(value) and (axis == "scale" or value > 0)
        requirement = "a finite number" + (" above 0" if axis == "lr" else "")
    else:
        right = isinstance(value, bool | int | float | str) and value == value
        requirement = "a number, a text or a flag"
    if not right:
        raise InputError(
            f"A value of the axis {axis!r} of talweg.sweep.Sweep must be {requirement}; got "
            f"{value!r}. Change the grid."
        )
    checked: Value = value
    return checked
