"""``talweg falsify``: a search for a violation of a certificate."""

from __future__ import annotations

import contextlib
import math
import sys
from pathlib import Path

from talweg._errors import InputError
from talweg.cli._console import print_json, print_result
from talweg.cli._outcome import DONE, NOT_PROVED
from talweg.cli._paths import require_writable_file
from talweg.cli._progress import progress_shown
from talweg.falsification import Falsification, Search


def run_falsify(
    file: Path, out: Path | None, *, seconds: float, seed: int, quiet: bool = False, as_json: bool
) -> int:
    """Search until the time is up or a violation is proved, and print what was tried.

    After Ctrl-C, too, what was tried so far is printed.

    Args:
        file: The certificate.
        out: Where a counterexample goes; nothing is written without one.
        seconds: How long to search.
        seed: Of everything random.
        quiet: No progress on stderr.
        as_json: Print one JSON object instead of a table.

    Returns:
        0 where no violation was found, 1 where one was proved.

    Raises:
        TalwegError: The file is no certificate, an option is out of range, or ``out`` cannot be
            written.
    """
    if not file.is_file():
        raise InputError(f"FILE of talweg falsify must be a certificate; there is no file {file}.")
    if not (0.0 < seconds < math.inf):
        raise InputError(
            f"--seconds of talweg falsify must be a positive number; got {seconds!r}. Pass 60."
        )
    if not 0 <= seed < 2**63:
        raise InputError(
            f"--seed of talweg falsify must be an integer from 0 to 2^63 - 1; got {seed}. Pass 0."
        )
    if out is not None:
        require_writable_file(out, "--out of talweg falsify")
    with (
        contextlib.redirect_stdout(sys.stderr),
        progress_shown("talweg falsify", quiet=quiet) as progress,
    ):
        search = Search(file, seed=seed, progress=progress)
        interrupt: KeyboardInterrupt | None = None
        try:
            search.run(seconds=seconds)
        except KeyboardInterrupt as pressed:
            interrupt = pressed
    found = search.result()
    if out is not None and found.violation is not None:
        found.violation.save(out)
    _print(found, out, interrupted=interrupt is not None, as_json=as_json)
    if interrupt is not None and found.violation is None:
        raise interrupt
    return DONE if found.violation is None else NOT_PROVED


def _print(found: Falsification, out: Path | None, *, interrupted: bool, as_json: bool) -> None:
    written = None if out is None or found.violation is None else str(out)
    if as_json:
        print_json({**found.to_dict(), "interrupted": interrupted, "file": written})
        return
    print_result(found)
    if written is not None:
        print(f"counterexample: {written}")
