"""``talweg check``: the independent checker, and a comparison with the live model."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from talweg._errors import InputError
from talweg.cli._checker import run_checker
from talweg.cli._console import print_json, print_lines
from talweg.cli._outcome import DONE, MISUSE, NOT_PROVED
from talweg.cli._progress import progress_shown
from talweg.cli._spec_place import spec_place

if TYPE_CHECKING:
    from talweg.cli._spec import Problem


def run_check(
    file: Path, against: str | None, grade: str | None, *, quiet: bool = False, as_json: bool
) -> int:
    """Check a certificate file; with ``against``, compare it with the live model and data too.

    The checker decides whether the file proves its claim. Whether the claim speaks of *your* model
    is another question, and ``against`` answers it: operations and hashes are compared. ``grade``
    is the arithmetic of the check; None leaves it to the checker; ``quiet`` is without progress.

    Returns:
        The checker's exit code, or 1 where the file is valid but speaks of something else.

    Raises:
        TalwegError: The file or the specification cannot be read, or the checker is missing.
    """
    if not file.is_file():
        raise InputError(f"FILE of talweg check must be a certificate; there is no file {file}.")
    problem = None if against is None else _loaded(against)
    with progress_shown("talweg check", quiet=quiet) as say:
        say("the checker reads and computes")
        answer = run_checker(file, grade)
    if answer.exit_code == MISUSE:
        raise InputError(answer.message or f"the checker refused to read {file}.")
    record: dict[str, Any] = {
        "verdict": "incomplete",
        "reason": answer.message or None,
        "claim": None,
        "grade": None,
        "seconds": None,
        **answer.record,
    }
    code = answer.exit_code
    if problem is not None:
        record["against"] = against
        record["differences"] = _differences(file, problem)
        if record["differences"] and code == DONE:
            code = NOT_PROVED
    if as_json:
        print_json(record)
    else:
        _print(record)
    return code


def _loaded(spec: str) -> Problem:
    spec_place(spec)  # before torch is loaded
    from talweg.cli._spec import load_problem

    return load_problem(spec)


def _differences(file: Path, problem: Problem) -> list[str]:
    from talweg.certificate import differences

    with contextlib.redirect_stdout(sys.stderr):
        return list(differences(file, problem.model, (problem.X, problem.y)))


def _print(record: dict[str, Any]) -> None:
    lines = [str(record["verdict"])]
    if record["reason"]:
        lines.append(f"reason: {record['reason']}")
    if record["claim"]:
        lines.append(f"claim: {record['claim']}")
    if record.get("differences"):
        lines.append(f"the file speaks of something else than {record['against']}:")
        lines += [f"  - {difference}" for difference in record["differences"]]
    elif "differences" in record:
        lines.append(f"the file speaks of exactly the model and data of {record['against']}")
    print_lines(lines)
