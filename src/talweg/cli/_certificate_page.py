"""From a certificate file to the report of it: read, checked by the checker, measured beside."""

from __future__ import annotations

import contextlib
import hashlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from talweg._errors import InputError, MissingDependencyError
from talweg.certificate import read_document
from talweg.cli._checker import CheckerAnswer, checker_at_work
from talweg.cli._outcome import DONE, MISUSE
from talweg.cli._stored_model import measured_of
from talweg.report import Report, certificate_report

MOST_BYTES = 2**30


def certificate_page(
    file: Path, *, check: bool, progress: Callable[[str], None] = lambda _: None
) -> tuple[Report, int, dict[str, Any]]:
    """The report of a certificate file.

    Args:
        file: The certificate.
        check: Whether the independent checker is run.
        progress: Called with the running stage.

    Returns:
        The report, the exit code that the verdict calls for, and a record of it for JSON.

    Raises:
        TalwegError: The file cannot be read or is no certificate.
    """
    mark = _sha256(file)
    document = read_document(file)
    # Read before anything is run: what is no certificate ends here, with one message.
    certificate_report(document.body, file=str(file))
    # The checker reads in a process of its own while this one measures.
    with _checker(file, check) as checked:
        progress(f"measuring the model of {file.name}")
        with contextlib.redirect_stdout(sys.stderr):
            measured = measured_of(document, str(file))
        progress(f"waiting for the checker's word on {file.name}")
        verdict, code = checked()
    if verdict["verdict"] is not None and _sha256(file) != mark:
        raise InputError(
            f"FILE of talweg report: a file that stays as it is while it is read is required; "
            f"{str(file)!r} was changed meanwhile; run the command again"
        )
    made = certificate_report(
        document.body, file=str(file), check=verdict, measured=measured, sha256=mark
    )
    record = {"name": file.name, "theorem": document.body["theorem"], "sha256": mark, **verdict}
    return made, code, record


@contextlib.contextmanager
def _checker(file: Path, check: bool) -> Iterator[Callable[[], tuple[dict[str, Any], int]]]:
    """The checker at work: a function that waits for the verdict and its exit code."""
    with contextlib.ExitStack() as stack:
        reason = "--no-check"
        if check:
            try:
                answer = stack.enter_context(checker_at_work(file))
            except MissingDependencyError:
                reason = "the checker is not installed (pip install 'talweg[check]')"
            else:
                yield lambda: _verdict(file, answer())
                return
        yield lambda: ({"verdict": None, "reason": reason}, DONE)


def _verdict(file: Path, answer: CheckerAnswer) -> tuple[dict[str, Any], int]:
    if answer.exit_code == MISUSE:
        raise InputError(answer.message or f"the checker refused to read {file}.")
    found: dict[str, Any] = {
        "verdict": "incomplete", "reason": answer.message or None, "claim": None, "grade": None,
        "seconds": None, **answer.record,
    }  # fmt: skip
    return found, answer.exit_code


def _sha256(file: Path) -> str:
    try:
        if file.exists() and not file.is_file():
            raise InputError(
                f"FILE of talweg report: a certificate is required; {str(file)!r} is no regular "
                "file; check the path"
            )
        size = file.stat().st_size
        if size > MOST_BYTES:
            raise InputError(
                f"FILE of talweg report: a certificate of at most {MOST_BYTES // 2**20} MiB is "
                f"required; {str(file)!r} has {size / 2**20:,.0f} MiB; `talweg check` takes it"
            )
        with open(file, "rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise InputError(
            f"FILE of talweg report: a readable file is required; got {str(file)!r} "
            f"({error.strerror}); check the path"
        ) from error
