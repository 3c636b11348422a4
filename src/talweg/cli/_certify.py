"""``talweg certify``."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import Any

from talweg.certificate import certify
from talweg.cli._console import print_json, print_lines, print_result
from talweg.cli._outcome import DONE, NOT_PROVED
from talweg.cli._paths import require_writable_file
from talweg.cli._progress import progress_shown
from talweg.cli._spec import load_problem


def run_certify(
    spec: str, out: Path | None, chosen: dict[str, Any], *, quiet: bool = False, as_json: bool
) -> int:
    """Certify a specification, print the certificate, and save it where it is proved.

    Args:
        spec: The specification.
        out: The file to write, or None.
        chosen: Arguments of `talweg.certify` given on the command line; they win over the
            specification's own, which win over the defaults here (polish on).
        quiet: No progress on stderr.
        as_json: Print one JSON object instead of a table.

    Returns:
        The exit code: 0 where the verdict is PROVED, 1 otherwise.

    Raises:
        TalwegError: As `load_problem` and `talweg.certify`, or ``out`` cannot be written.
    """
    if out is not None:
        require_writable_file(out, "--out of talweg certify")
    problem = load_problem(spec)
    settings = {"polish": True, **problem.settings, **chosen}
    # A forward that prints would otherwise end up in the middle of the JSON.
    with (
        contextlib.redirect_stdout(sys.stderr),
        progress_shown("talweg certify", quiet=quiet) as progress,
    ):
        certificate = certify(problem.model, (problem.X, problem.y), **settings, progress=progress)
    proved = certificate.status == "PROVED"
    if out is not None and proved:
        certificate = certificate.save(out)
    if as_json:
        print_json(certificate.to_dict())
    else:
        print_result(certificate)
        if out is not None and not proved:
            print_lines([f"not written: {out} (only a proved claim is stored)"])
    return DONE if proved else NOT_PROVED
