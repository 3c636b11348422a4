"""``talweg report``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from talweg._errors import InputError
from talweg.cli._console import print_json, print_result
from talweg.cli._experiment_page import experiment_pages, is_experiment
from talweg.cli._outcome import DONE, NOT_PROVED
from talweg.cli._paths import require_writable_file
from talweg.cli._progress import progress_shown
from talweg.report import (
    Follower,
    Report,
    comparison_report,
    joined_report,
    run_report,
    write,
)

SUFFIX = ".talweg"


def is_certificate(file: Path) -> bool:
    """Whether it is meant as one: by its name, or by being a zip archive."""
    if file.suffix == SUFFIX:
        return True
    if not file.is_file():
        return False  # nothing may be taken out of a pipe
    try:
        with open(file, "rb") as stream:
            return stream.read(4) == b"PK\x03\x04"
    except OSError:
        return False  # what cannot be read is told where it is read


def run_report_command(
    files: Sequence[Path], out: Path, *, check: bool = True, quiet: bool = False, as_json: bool
) -> int:
    """Write one page: certificates, then experiments, then one record, or several compared.

    Args:
        files: Certificates, folders or records of experiments, and records of a Monitor, in any
            order.
        out: The page.
        check: Whether certificates are given to the independent checker.
        quiet: No progress on stderr.
        as_json: Print one JSON object instead of a line.

    Returns:
        The exit code: 0, or that of the checker where a certificate was not confirmed.

    Raises:
        InputError: a file is neither, a record has no rows, or `out` cannot be written or is one
            of the files.
        CertificateFileError: a certificate is malformed.
        MissingDependencyError: the extra ``report`` is not installed.
    """
    require_writable_file(out, "--out of talweg report", example="run.html")
    if any(_same(out, file) for file in files):
        raise InputError(
            f"--out of talweg report: a file beside the records is required; got {str(out)!r}, "
            "which is one of them; choose another name"
        )
    names = dict(zip(files, _names(files), strict=True))
    certified = [file for file in files if is_certificate(file)]
    tried = [file for file in files if file not in certified and is_experiment(file)]
    recorded = {names[f]: f for f in files if f not in certified and f not in tried}
    reports: list[Report] = []
    runs = _runs(recorded)  # first: these are quick, and may end the command
    experiments = [page for path in tried for page in experiment_pages(path)]
    code, certificates = DONE, []
    with progress_shown("talweg report", quiet=quiet) as say:
        for file in certified:
            from talweg.cli._certificate_page import certificate_page  # and with it torch

            made, worst, record = certificate_page(file, check=check, progress=say)
            reports.append(made)
            certificates.append(record)
            # An invalid certificate outweighs one that could not be decided.
            code = NOT_PROVED if NOT_PROVED in (code, worst) else max(code, worst)
    reports += experiments
    if len(runs) == 1:
        [(name, rows)] = runs.items()
        reports.append(run_report(rows, title=name))
    elif runs:
        reports.append(comparison_report(runs))
    said = _counted(certificate=len(certified), experiment=len(experiments), run=len(runs))
    write(joined_report(reports, title=said), out)
    found: list[dict[str, Any]] = [{"name": name, "rows": len(rows)} for name, rows in runs.items()]
    if as_json:
        print_json({"file": str(out), "runs": found, "certificates": certificates,
                    "experiments": [page.title for page in experiments]})  # fmt: skip
        return code
    details = [f"{c['name']} {_told(c)}" for c in certificates]
    if runs:
        details.append(f"{sum(run['rows'] for run in found):,} rows")
    print_result(f"{out}: {', '.join([said, *details])}")
    return code


def _runs(recorded: dict[str, Path]) -> dict[str, list[dict[str, Any]]]:
    runs = {
        name: Follower(file, "FILE of talweg report").new_rows() for name, file in recorded.items()
    }
    empty = [name for name, rows in runs.items() if not rows]
    if empty:
        raise InputError(
            f"FILE of talweg report: records with at least one row are required; {empty[0]} has "
            "none yet; wait for the first look of its Monitor"
        )
    return runs


def _told(record: dict[str, Any]) -> str:
    """The verdict on a certificate, and why where it is none."""
    if record["verdict"] == "valid":
        return "valid"
    words = record["verdict"] or "not checked"
    return f"{words} ({record['reason']})" if record["reason"] else words


def _counted(**kinds: int) -> str:
    parts = [
        f"{count} {name}" if count == 1 else f"{count} {name}s"
        for name, count in kinds.items()
        if count
    ]
    return " and ".join(filter(None, (", ".join(parts[:-1]), parts[-1])))


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
