"""Rows of a record, read with care: only numbers that make sense come out, whatever is inside.

A record may be cut off, be of another version or have been written by someone else. Infinite and
undefined numbers stand in it as words, which JSON lacks.
"""

from __future__ import annotations

import itertools
import math
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Row = Mapping[str, Any]
WORDS = {"inf": math.inf, "-inf": -math.inf, "nan": math.nan}
MOST_POINTS = 1500  # drawn in one line; more cannot be told apart
MOST_LAYERS = 150
LONGEST = 60  # letters of a name


@dataclass(frozen=True)
class Series:
    """A quantity over the run.

    Attributes:
        steps: Where it was measured; it may start again where a run was taken up again.
        values: What was measured; may be infinite or undefined.
        errors: Standard errors, undefined where there is none.
    """

    steps: tuple[float, ...] = ()
    values: tuple[float, ...] = ()
    errors: tuple[float, ...] = ()

    def __len__(self) -> int:
        return len(self.steps)

    @property
    def last(self) -> float:
        """The last value that is finite; nan if there is none."""
        return next((v for v in reversed(self.values) if math.isfinite(v)), math.nan)

    @property
    def finite(self) -> tuple[float, ...]:
        """Its finite values."""
        return tuple(v for v in self.values if math.isfinite(v))

    def where(self, keep: Sequence[bool]) -> Series:
        """The points that are to be kept."""
        chosen = [i for i, wanted in enumerate(keep) if wanted]
        return Series(*(tuple(part[i] for i in chosen)
                        for part in (self.steps, self.values, self.errors)))  # fmt: skip


def number(value: Any) -> float | None:
    """A number of a record, also one that is written as a word; None for anything else."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        try:
            return float(value)
        except OverflowError:
            return None
    return WORDS.get(value) if isinstance(value, str) else None


def step_of(row: Row) -> float | None:
    """The step of a row; None where it has none."""
    step = number(row.get("step"))
    return step if step is not None and math.isfinite(step) and step >= 0 else None


def is_look(row: Row) -> bool:
    """Whether something was measured, not only a loss taken down that the loop had anyway."""
    return "findings" not in row and set(row) != {"step", "fresh", "batch_loss"}


def series(rows: Sequence[Row], key: str, error: str | None = None) -> Series:
    """A quantity over the run.

    Args:
        rows: Rows of a record.
        key: Of the quantity.
        error: Of its standard error.
    """
    return _collected(((row, row) for row in rows), key, error)


def by_layer(rows: Sequence[Row], key: str, inner: str | None = None) -> dict[str, Series]:
    """A quantity of every layer, by its name as shown.

    Args:
        rows: Rows of a record.
        key: Of a dict by layer.
        inner: Of a number in what stands there, where that is a dict itself.
    """
    names: dict[str, None] = {}
    for row in rows:
        found = row.get(key)
        if isinstance(found, Mapping):
            names |= dict.fromkeys(map(str, found))
    made: dict[str, Series] = {}
    for name in list(names)[:MOST_LAYERS]:
        pairs = []
        for row in rows:
            found = row.get(key)
            if isinstance(found, Mapping) and name in found:
                value = found[name]
                if inner is not None:
                    value = value.get(inner) if isinstance(value, Mapping) else None
                pairs.append((row, {"value": value}))
        values = _collected(pairs, "value")
        if len(values):
            made[distinct(shown_name(name), made)] = values
    return made


def _collected(pairs: Iterable[tuple[Row, Row]], key: str, error: str | None = None) -> Series:
    """From pairs of a row, which has the step, and a mapping, which has the quantity."""
    steps, values, errors = [], [], []
    for row, source in pairs:
        step, value = step_of(row), number(source.get(key))
        if step is None or value is None:
            continue
        spread = number(source.get(error)) if error is not None else None
        steps.append(step)
        values.append(value)
        errors.append(math.nan if spread is None or spread < 0 else spread)
    return Series(tuple(steps), tuple(values), tuple(errors))


def shown_name(text: str, longest: int = LONGEST) -> str:
    """A name from a record on one line, without control characters and of bearable length."""
    clean = "".join(
        " " if unicodedata.category(letter) in ("Cc", "Cf", "Zl", "Zp", "Cs") else letter
        for letter in text[: 4 * longest]
    ).strip()
    return clean if len(clean) <= longest else clean[: longest - 1] + "…"


def distinct(name: str, taken: Mapping[str, Any]) -> str:
    """The name, with a number behind it if it is taken."""
    found, count = name, 1
    while found in taken:
        count += 1
        found = f"{name} ({count})"
    return found


def thinned(values: Series, most: int = MOST_POINTS) -> Series:
    """At most so many points: of every stretch the smallest and the largest, so that peaks stay."""
    if len(values) <= most:
        return values
    size = math.ceil(2 * len(values) / most)
    keep = [False] * len(values)
    for begin in range(0, len(values), size):
        part = range(begin, min(begin + size, len(values)))
        known = [i for i in part if not math.isnan(values.values[i])] or list(part)
        keep[min(known, key=values.values.__getitem__)] = True
        keep[max(known, key=values.values.__getitem__)] = True
    keep[0] = keep[-1] = True
    return values.where(keep)


def runs(steps: Sequence[float]) -> list[range]:
    """Stretches of indices over which the steps grow."""
    cuts = [0, *(i for i in range(1, len(steps)) if steps[i] <= steps[i - 1]), len(steps)]
    return [range(a, b) for a, b in itertools.pairwise(cuts) if b > a]
