"""Results on stdout: tables on a terminal, plain lines when piped, or one JSON object."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterable
from typing import Any

from rich.console import Console
from rich.table import Table

from talweg._display import folded

PLAIN_WIDTH = 100
"""Columns of a table that is piped or redirected, where there is no terminal to ask."""


def stdout_console() -> Console:
    """A console on stdout: coloured on a terminal unless ``NO_COLOR`` is set, plain when piped.

    Brackets stay text: rich would take "[linear 4->8]" in a claim for markup and leave it out.
    """
    width = None if sys.stdout.isatty() else PLAIN_WIDTH
    return Console(file=sys.stdout, width=width, highlight=False, soft_wrap=False, markup=False)


def print_lines(lines: Iterable[str], indent: int = 2) -> None:
    """Print lines on stdout: folded at words on a terminal, each on one line when piped.

    Words longer than a line, such as hashes and paths, are left whole.

    Args:
        lines: What to print.
        indent: Columns in front of the continuation of a folded line.
    """
    console = stdout_console()
    for line in lines:
        shown = folded(line, console.width, indent) if sys.stdout.isatty() else line
        console.print(shown, soft_wrap=True)


def print_result(result: object) -> None:
    """Print a result on stdout: as its rich table on a terminal, as plain lines when piped."""
    if sys.stdout.isatty():
        stdout_console().print(result)
    else:
        sys.stdout.write(plain_text(result))


def plain_text(result: object, width: int = PLAIN_WIDTH) -> str:
    """Text without colour or frames, for pipes and files: a table's cells, or ``str(result)``."""
    if not isinstance(result, Table):
        return f"{result}\n"
    console = Console(
        width=width, color_system=None, force_terminal=False, highlight=False, markup=False
    )
    with console.capture() as capture:
        console.print(result)
    return "\n".join(line.rstrip() for line in capture.get().splitlines()) + "\n"


def table(*columns: str, title: str | None = None) -> Table:
    """An empty table of right-aligned numbers without rules between rows."""
    made = Table(title=title, box=None, pad_edge=False, title_justify="left", padding=(0, 2, 0, 0))
    for column in columns:
        made.add_column(column, justify="right", no_wrap=True)
    return made


def print_json(record: dict[str, Any]) -> None:
    """Print one JSON object on stdout; numbers that JSON cannot hold (inf, NaN) become null."""
    print(json.dumps(finite(record), allow_nan=False))


def finite(value: Any) -> Any:
    """A copy of plain data in which every float that is not finite is None."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return value
