"""How a result shows itself: a small table, as HTML in a notebook and as lines of text elsewhere.

The HTML takes its colours from the page around it, light or dark, loads and runs nothing, and
escapes every text: a name in a model or in a file is text of a stranger.
"""

from __future__ import annotations

import html
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

LABEL_WIDTH = 20

# Each can be told from white and from black (contrast above 3); the words say the same.
_EDGES = {"good": "#2e8b57", "open": "#c77700", "bad": "#c0392b", "": "rgba(128,128,128,.5)"}
_TONES = {"PROVED": "good", "UNDECIDED": "open", "REFUTED": "bad"}

# Notebooks align cells to the right and do not break their lines.
_CELL = (
    "padding:.15em .8em .15em 0;text-align:left;vertical-align:top;white-space:normal;"
    "border:0;border-bottom:1px solid rgba(128,128,128,.25)"
)
_LABEL = _CELL.replace("white-space:normal", "white-space:nowrap")
_NUMBER = _CELL.replace("text-align:left", "text-align:right") + ";white-space:nowrap"
_ROW = '<tr style="background:none">'
_CAPTION = "caption-side:top;padding:.1em 0 .3em;text-align:left;font-weight:600;color:inherit"


@dataclass(frozen=True)
class Grid:
    """A table with a heading over each column.

    Attributes:
        columns: The headings; the first column is text, the others of `numbers` are not.
        rows: One tuple of texts for each row.
        title: Above it.
        numbers: Indices of columns aligned to the right.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    title: str = ""
    numbers: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Sheet:
    """What a result shows.

    Attributes:
        title: Of which kind it is.
        rows: (label, text), in order.
        grids: Tables below.
        note: A sentence at the end.
        tone: "good", "open", "bad" or "": the colour of the edge, which the words say as well.
    """

    title: str
    rows: Sequence[tuple[str, str]] = ()
    grids: Sequence[Grid] = ()
    note: str = ""
    tone: str = ""

    @classmethod
    def of_status(
        cls, title: str, status: str, rows: Sequence[tuple[str, str]], *grids: Grid, note: str = ""
    ) -> Sheet:
        """A sheet whose tone is that of a status.

        Args:
            title: See the class.
            status: "PROVED", "UNDECIDED" or "REFUTED".
            rows: See the class.
            grids: See the class.
            note: See the class.
        """
        return cls(title, rows, grids, note, _TONES.get(status, ""))


class Shown:
    """A result that shows itself as a sheet. Dataclasses need ``repr=False`` to keep this repr."""

    __slots__ = ()

    def _sheet(self) -> Sheet:
        raise NotImplementedError

    def _repr_html_(self) -> str:
        return html_of(self._sheet())

    def __str__(self) -> str:
        return text_of(self._sheet())

    def __repr__(self) -> str:
        return str(self)


def html_of(sheet: Sheet) -> str:
    """The sheet as an HTML fragment that needs nothing else.

    Args:
        sheet: What to show.
    """
    parts = []
    if sheet.rows:
        body = "".join(
            f'{_ROW}<th scope="row" style="{_LABEL}">{html.escape(label)}</th>'
            f'<td style="{_CELL}">{html.escape(text)}</td></tr>'
            for label, text in sheet.rows
        )
        parts.append(_table(sheet.title, body))
    else:
        parts.append(f'<p style="margin:.1em 0;font-weight:600">{html.escape(sheet.title)}</p>')
    parts += [_grid(grid) for grid in sheet.grids if grid.rows]
    if sheet.note:
        parts.append(f'<p style="margin:.3em 0">{html.escape(sheet.note)}</p>')
    return (
        f'<div style="max-width:72em;overflow-x:auto;padding-left:.8em;color:inherit;'
        f'border-left:4px solid {_EDGES[sheet.tone]}">{"".join(parts)}</div>'
    )


def text_of(sheet: Sheet, width: int | None = None) -> str:
    """The sheet as lines of text, without its title.

    Args:
        sheet: What to show.
        width: Columns at which rows and the note are folded, at words; None for one line each.
    """

    def line(text: str, indent: int) -> str:
        return text if width is None else folded(text, width, indent)

    lines = [line(f"{label:<{LABEL_WIDTH}} {text}", LABEL_WIDTH + 1) for label, text in sheet.rows]
    for grid in sheet.grids:
        if grid.rows:
            lines += ["", *([grid.title] if grid.title else []), *_aligned(grid)]
    if sheet.note:
        lines.append(line(sheet.note, 0))
    return "\n".join(lines).lstrip("\n")


def folded(text: str, width: int, indent: int = 0) -> str:
    """One line folded at spaces; a word longer than a line, such as a hash, is left whole.

    Args:
        text: Spaces within it are kept where it is not folded.
        width: Columns.
        indent: Columns in front of every line but the first.
    """
    if len(text) <= width:
        return text
    return textwrap.fill(
        text, max(width, indent + 20), subsequent_indent=" " * indent, break_long_words=False,
        break_on_hyphens=False,
    )  # fmt: skip


def _table(title: str, body: str) -> str:
    caption = f'<caption style="{_CAPTION}">{html.escape(title)}</caption>' if title else ""
    return (
        '<table style="border-collapse:collapse;margin:.2em 0 .6em;color:inherit;'
        f'background:none">{caption}{body}</table>'
    )


def _grid(grid: Grid) -> str:
    def style(column: int) -> str:
        return _NUMBER if column in grid.numbers else _CELL

    head = "".join(
        f'<th scope="col" style="{style(i)}">{html.escape(text)}</th>'
        for i, text in enumerate(grid.columns)
    )
    rows = "".join(
        _ROW
        + "".join(f'<td style="{style(i)}">{html.escape(cell)}</td>' for i, cell in enumerate(row))
        + "</tr>"
        for row in grid.rows
    )
    return _table(grid.title, f"{_ROW}{head}</tr>{rows}")


def _aligned(grid: Grid) -> list[str]:
    table = [tuple(grid.columns), *(tuple(row) for row in grid.rows)]
    widths = [max(len(row[i]) for row in table) for i in range(len(grid.columns))]
    return [
        "  ".join(
            cell.rjust(width) if i in grid.numbers else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in table
    ]
