"""``talweg reproduce``: the experiments of one source or of all, predicted beside measured."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, redirect_stdout
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.status import Status
from rich.table import Table
from rich.text import Text

from talweg._errors import InputError
from talweg.cli._console import plain_text, print_json, stdout_console, table
from talweg.cli._outcome import DONE, NOT_PROVED
from talweg.cli._paths import make_writable_folder
from talweg.cli._progress import stages_shown
from talweg.experiments import (
    COLUMNS,
    NAMES,
    Outcome,
    Record,
    compared,
    number,
    row,
    run,
    write_overview,
)

ALL = "all"


def run_reproduce(
    source: str, out: Path, *, quick: bool, seed: int, fresh: bool, quiet: bool = False,
    as_json: bool,
) -> int:  # fmt: skip
    """Run the experiments of a source, print every section, and say which bounds are broken.

    Args:
        source: One of the experiments' names, or "all".
        out: Folder for data, figures and pages.
        quick: The short form.
        seed: Base seed.
        fresh: Run again what an earlier run had finished.
        quiet: No progress on stderr.
        as_json: Print one JSON object instead of tables.

    Returns:
        The exit code: 0, or 1 where a measured number breaks a bound.

    Raises:
        TalwegError: There is no such source, ``out`` cannot be written, or a library is missing.
    """
    if source not in (*NAMES, ALL):
        raise InputError(
            f"SOURCE of talweg reproduce must be one of {', '.join((*NAMES, ALL))}; got "
            f"{source!r}. Choose one of them."
        )
    if seed < 0:
        raise InputError(
            f"--seed of talweg reproduce must be an integer from 0 on; got {seed}. Pass 0 or more."
        )
    make_writable_folder(out, "--out of talweg reproduce")
    outcomes = []
    for name in NAMES if source == ALL else (source,):
        if not as_json:
            _print(Text(name, style="bold"))
        outcomes.append(_run_one(name, out, quick, seed, fresh, quiet, as_json))
        if not as_json:
            _print_end(outcomes[-1])
    if len(outcomes) > 1:
        write_overview(out, outcomes)
    violated = [(o.name, r.title, c) for o in outcomes for r in o.records for c in r.violated]
    if as_json:
        print_json(_as_record(outcomes, quick, seed))
    elif violated:
        for name, title, comparison in violated:
            quantity, where, predicted, relation, measured, _ = row(comparison)
            _print(
                f"VIOLATED: {name}, {title}: {quantity} must be {relation} {predicted} "
                f"({where}); measured {measured}"
            )
    if len(outcomes) > 1 and not as_json:
        seconds = sum(outcome.seconds for outcome in outcomes)
        _print(f"{seconds:.1f} s altogether; overview: {out / 'index.md'}")
    return NOT_PROVED if violated else DONE


def _run_one(
    name: str, out: Path, quick: bool, seed: int, fresh: bool, quiet: bool, as_json: bool
) -> Outcome:
    with stages_shown("talweg reproduce", quiet=quiet) as (say, status), ExitStack() as stack:
        if as_json:  # what an experiment itself prints must not end up in the middle of the object
            stack.enter_context(redirect_stdout(sys.stderr))

        def finished(record: Record) -> None:
            if not as_json:
                with _paused(status):
                    _print_section(record)

        return run(name, out, quick=quick, seed=seed, fresh=fresh, progress=say, finished=finished)


@contextmanager
def _paused(status: Status | None) -> Iterator[None]:
    """Take the running line away: while it is shown, rich sends stdout's text to stderr."""
    if status is None:
        yield
        return
    status.stop()
    try:
        yield
    finally:
        status.start()


def _print_section(record: Record) -> None:
    _print("")
    if record.comparisons:
        table_of_section = _table(COLUMNS, record.title)
        rows, notes = compared(record)
        for *cells, result in rows:
            style = "bold red" if result == "VIOLATED" else ""
            # As Text, because "[1]" would be read as markup.
            table_of_section.add_row(*map(Text, cells), Text(result, style=style))
        _print(table_of_section)
        for index, note in enumerate(notes, start=1):
            _print(f"  [{index}] {note}")
    else:
        _print(Text(record.title, style="italic"))
    for title, listed in record.tables.items():
        shown = _table(listed[0], title)
        for cells_of_row in listed:
            shown.add_row(*(Text(number(value)) for value in cells_of_row.values()))
        _print("")
        _print(shown)


def _table(columns: Iterable[str], title: str) -> Table:
    """A table whose first column is text of any length, which wraps instead of being cut."""
    first, *others = columns
    made = table()
    made.title = Text(title)  # as Text, because brackets in a string would be read as markup
    made.add_column(Text(first), overflow="fold")
    for column in others:
        made.add_column(Text(column), justify="right", overflow="fold")
    return made


def _print_end(outcome: Outcome) -> None:
    _print("")
    broken = len(outcome.violated)
    bounds = sum(c.relation != "reported" for r in outcome.records for c in r.comparisons)
    files = [file for record in outcome.records for file in record.files]
    verdict = f"{bounds} bounds checked, " + (f"{broken} VIOLATED" if broken else "all hold")
    _print(f"{outcome.name}: {verdict}; {outcome.seconds:.1f} s")
    if outcome.taken_over:
        _print(
            f"{len(outcome.taken_over)} of {len(outcome.records)} sections were taken over from an "
            "earlier run (--fresh runs them again)"
        )
    figures = sum(file.endswith(".png") for file in files)
    _print(f"{figures} figures and {len(files) - figures} data files in {outcome.folder}")
    _print(f"all of it on one page: {outcome.folder / 'index.md'}")
    _print("")


def _print(what: str | Text | Table) -> None:
    """To stdout: with colour and frames on a terminal, as plain lines when piped."""
    if sys.stdout.isatty():
        stdout_console().print(what, soft_wrap=isinstance(what, str))
    else:
        sys.stdout.write(plain_text(what))
        sys.stdout.flush()


def _as_record(outcomes: list[Outcome], quick: bool, seed: int) -> dict[str, Any]:
    return {
        "quick": quick,
        "seed": seed,
        "seconds": sum(outcome.seconds for outcome in outcomes),
        "violated": [
            {"experiment": o.name, "section": r.title, "quantity": c.quantity}
            for o in outcomes
            for r in o.records
            for c in r.violated
        ],
        "experiments": [
            {
                "name": outcome.name,
                "folder": str(outcome.folder),
                "index": str(outcome.folder / "index.md"),
                "seconds": outcome.seconds,
                "taken_over": list(outcome.taken_over),
                "sections": [
                    {
                        "title": record.title,
                        "comparisons": [
                            {**asdict(c), "violated": c.violated} for c in record.comparisons
                        ],
                        "tables": record.tables,
                        "figures": list(record.figures),
                        "data": list(record.data),
                        "seconds": record.seconds,
                    }
                    for record in outcome.records
                ],
            }
            for outcome in outcomes
        ],
    }
