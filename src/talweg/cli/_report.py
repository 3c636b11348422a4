"""``talweg report``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from talweg._errors import InputError
from talweg.cli._console import print_json, print_result
from talweg.cli._outcome import DONE
from talweg.cli._paths import require_writable_file
from talweg.report import Follower, comparison_report, run_report, write


def run_report_command(files: Sequence[Path], out: Path, *, as_json: bool) -> int:
    """Write the report of one record, or the comparison of several; returns the exit code.

    Raises:
        InputError: a file is no record or has no rows, or `out` cannot be written or is one of
            the records.
        MissingDependencyError: the extra ``report`` is not installed.
    """
    require_writable_file(out, "--out of talweg report", example="run.html")
    if any(_same(out, file) for file in files):
        raise InputError(
            f"--out of talweg report: a file beside the records is required; got {str(out)!r}, "
            "which is one of them; choose another name"
        )
    runs = {
        name: Follower(file, "FILE of talweg report").new_rows()
        for name, file in zip(_names(files), files, strict=True)
    }
    empty = [name for name, rows in runs.items() if not rows]
    if empty:
        raise InputError(
            f"FILE of talweg report: records with at least one row are required; {empty[0]} has "
            "none yet; wait for the first look of its Monitor"
        )
    if len(runs) == 1:
        [(name, rows)] = runs.items()
        made = run_report(rows, title=name)
    else:
        made = comparison_report(runs)
    write(made, out)
    found: list[dict[str, Any]] = [{"name": name, "rows": len(rows)} for name, rows in runs.items()]
    if as_json:
        print_json({"file": str(out), "runs": found})
    else:
        rows_in_all = sum(run["rows"] for run in found)
        what = "1 run" if len(runs) == 1 else f"{len(runs)} runs"
        print_result(f"{out}: {what}, {rows_in_all:,} rows")
    return DONE


def _names(files: Sequence[Path]) -> list[str]:
    """The shortest names that tell the files apart."""
    for given in ([file.name for file in files], [str(file) for file in files]):
        if len(set(given)) == len(files):
            return given
    raise InputError(
        "FILE of talweg report: different records are required; got one of them twice; name each "
        "once"
    )


def _same(a: Path, b: Path) -> bool:
    return a.exists() and b.exists() and a.samefile(b)
