"""What records of experiments show in a notebook and in a console."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from talweg._display import Grid, Sheet
from talweg.experiments._index import COLUMNS, compared, number, row

if TYPE_CHECKING:
    from talweg.experiments._record import Comparison, Record, Section
    from talweg.experiments._run import Outcome

MOST_ROWS = 12
"""Of one table; the files hold all of them."""
MOST_TABLES = 4
MOST_FILES = 6
LONGEST_CELL = 160
_NUMBERS = frozenset({2, 4})
"""Columns of predicted and measured."""


def comparison_sheet(comparison: Comparison) -> Sheet:
    """One line of "predicted | measured".

    Args:
        comparison: The line.
    """
    cells = [(label, text) for label, text in zip(COLUMNS, row(comparison), strict=True) if text]
    bound = comparison.relation != "reported"
    return Sheet(
        "predicted beside measured", cells, note=comparison.note,
        tone=_tone(int(bound), int(comparison.violated)),
    )  # fmt: skip


def record_sheet(record: Record | Section) -> Sheet:
    """A section: its lines, and the first rows of its tables.

    Args:
        record: A finished section, or one that is still being filled.
    """
    lines, notes = compared(record)
    bounds = sum(c.relation != "reported" for c in record.comparisons)
    broken = sum(c.violated for c in record.comparisons)
    rows = [("section", record.title), ("bounds", counted(bounds, broken))]
    files = (*record.data, *record.figures)
    if files:
        rows.append(("files", _listed(files)))
    seconds = getattr(record, "seconds", None)
    if seconds is not None:
        rows.append(("seconds", f"{seconds:.1f}"))
    grids = [Grid(COLUMNS, [_cut(line) for line in lines], "Predicted beside measured", _NUMBERS)]
    grids.append(Grid(("", "note"), [(f"[{i}]", note) for i, note in enumerate(notes, start=1)]))
    grids += [_table(name, listed) for name, listed in list(record.tables.items())[:MOST_TABLES]]
    more = len(record.tables) - MOST_TABLES
    note = f"{more} more tables are in the files." if more > 0 else ""
    return Sheet("section of an experiment", rows, grids, note, _tone(bounds, broken))


def outcome_sheet(outcome: Outcome) -> Sheet:
    """An experiment: a line for each section, and the bounds that are broken.

    Args:
        outcome: The finished experiment.
    """
    every = [c for record in outcome.records for c in record.comparisons]
    bounds = sum(c.relation != "reported" for c in every)
    rows = [
        ("experiment", outcome.name),
        ("bounds", counted(bounds, len(outcome.violated))),
        ("seconds", f"{outcome.seconds:.1f}"),
        ("page", str(outcome.folder / "index.md")),
    ]
    if outcome.taken_over:
        rows.append(("taken over", f"{len(outcome.taken_over)} sections of an earlier run"))
    sections = Grid(
        ("section", "bounds", "broken", "seconds"),
        [
            (record.title, str(sum(c.relation != "reported" for c in record.comparisons)),
             str(len(record.violated)), f"{record.seconds:.1f}")
            for record in outcome.records
        ],
        numbers=frozenset({1, 2, 3}),
    )  # fmt: skip
    broken = Grid(COLUMNS, [_cut(row(c)) for c in outcome.violated], "Broken bounds", _NUMBERS)
    return Sheet("experiment", rows, (sections, broken), "", _tone(bounds, len(outcome.violated)))


def counted(bounds: int, broken: int) -> str:
    """How many bounds were checked and whether they hold, in words.

    Args:
        bounds: Lines in which a theorem bounds what was measured.
        broken: How many of them do not hold.
    """
    if not bounds:
        return "none checked"
    return f"{bounds} checked, " + (f"{broken} VIOLATED" if broken else "all hold")


def _tone(bounds: int, broken: int) -> str:
    return "bad" if broken else "good" if bounds else ""


def _table(name: str, listed: Sequence[Mapping[str, Any]]) -> Grid:
    cut = f"{name} (the first {MOST_ROWS} of {len(listed)} rows)"
    columns = tuple(str(column) for column in listed[0]) if listed else ()
    rows = [_cut(tuple(number(value) for value in line.values())) for line in listed[:MOST_ROWS]]
    return Grid(columns, rows, cut if len(listed) > MOST_ROWS else name,
                frozenset(range(1, len(columns))))  # fmt: skip


def _cut(cells: Sequence[str]) -> tuple[str, ...]:
    return tuple(c if len(c) <= LONGEST_CELL else c[: LONGEST_CELL - 1] + "…" for c in cells)


def _listed(files: Sequence[str]) -> str:
    more = len(files) - MOST_FILES
    return ", ".join(files[:MOST_FILES]) + (f" and {more} more" if more > 0 else "")
