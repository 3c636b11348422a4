"""A page in Markdown beside the files of an experiment: comparisons, tables, figures."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from talweg.experiments._record import Comparison, Record, Section

COLUMNS = ("quantity", "source", "predicted", "relation", "measured", "result")
"""Heads of the table of comparisons."""


def number(value: Any) -> str:
    """A number as it is printed; text unchanged, and a dash where there is none."""
    if value is None:
        return "-"
    if isinstance(value, bool) or not isinstance(value, float):
        return str(value)
    if math.isfinite(value) and value == int(value) and abs(value) < 1e6:
        return str(int(value))
    return f"{value:.6g}"


def row(comparison: Comparison) -> tuple[str, ...]:
    """One comparison under `COLUMNS`.

    Two different numbers that would look equal are printed in full: a bound broken in the last
    digits must not read as if it held.
    """
    predicted, measured = number(comparison.predicted), number(comparison.measured)
    if predicted == measured and comparison.violated:
        predicted, measured = repr(comparison.predicted), repr(comparison.measured)
    result = "VIOLATED" if comparison.violated else "ok"
    if comparison.relation == "reported":
        result = "-"
    return (
        comparison.quantity, comparison.source, predicted, comparison.relation, measured, result
    )  # fmt: skip


def compared(record: Record | Section) -> tuple[list[tuple[str, ...]], list[str]]:
    """The comparisons of a section under `COLUMNS`, and their notes.

    A note is printed once, under the table; quantities refer to it by its number.

    Args:
        record: A section, finished or not.

    Returns:
        The rows, and the notes in order: ``[1]`` in a row refers to the first.
    """
    notes = list(dict.fromkeys(c.note for c in record.comparisons if c.note))
    rows = []
    for comparison in record.comparisons:
        quantity, *cells = row(comparison)
        if comparison.note:
            quantity += f" [{notes.index(comparison.note) + 1}]"
        rows.append((quantity, *cells))
    return rows, notes


def index_page(name: str, records: Sequence[Record], settings: str) -> str:
    """The page of one experiment.

    Args:
        name: Its name.
        records: Its finished sections.
        settings: How it was run, in words.
    """
    lines = [f"# {name}", "", f"{settings}. Each line compares one measured number with theory:"]
    lines += ["`<=` and `>=` say how the measured number must stand to the predicted one.", ""]
    for record in records:
        lines += [f"## {record.title}", ""]
        if record.comparisons:
            rows, notes = compared(record)
            lines += [*_table(COLUMNS, rows), ""]
            lines += [f"[{i}] {note}  " for i, note in enumerate(notes, start=1)]
            lines += [""] * bool(notes)
        for title, listed in record.tables.items():
            lines += [f"**{title}**", ""]
            lines += [*_table(tuple(listed[0]), (map(number, r.values()) for r in listed)), ""]
        for figure in record.figures:
            lines += [f"![{figure}]({figure})", ""]
        if record.data:
            lines += ["Data: " + ", ".join(f"[{f}]({f})" for f in record.data), ""]
        lines += [f"{record.seconds:.1f} s", ""]
    return "\n".join(lines)


def _table(columns: Sequence[str], rows: Iterable[Iterable[str]]) -> list[str]:
    def line(cells: Iterable[str]) -> str:
        return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"

    return [line(columns), line("---" for _ in columns), *map(line, rows)]
