"""Exit codes, and how an error becomes one message and one exit code."""

from __future__ import annotations

import errno
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

import typer

from talweg._errors import TalwegError

DONE = 0
"""Proved, valid, or done."""
NOT_PROVED = 1
"""Undecided, refuted, or an invalid certificate."""
MISUSE = 2
"""Misuse or bad input; one message on stderr."""
INCOMPLETE = 3
"""The checker could neither confirm nor disprove."""
INTERNAL = 70
"""A defect of talweg itself; the only case that prints a traceback."""
INTERRUPTED = 130
"""Ctrl-C."""


@contextmanager
def errors_reported() -> Iterator[None]:
    """Turn every way to fail into one message on stderr and an exit code.

    Raises:
        typer.Exit: With `MISUSE` for a `TalwegError` or a failed file operation, `INTERRUPTED`
            for Ctrl-C, `INTERNAL` for anything that talweg should not have raised.
    """
    try:
        yield
    except (typer.Exit, typer.Abort):
        raise
    except TalwegError as error:
        _say(f"error: {error}")
        raise typer.Exit(MISUSE) from None
    except KeyboardInterrupt:
        _say("interrupted; no file was left half-written")
        raise typer.Exit(INTERRUPTED) from None
    except OSError as error:
        if error.errno == errno.EPIPE:  # the reader of stdout left, as `| head` does
            raise
        where = f"{error.filename}: " if error.filename else ""
        _say(f"error: {where}{error.strerror or error}")
        raise typer.Exit(MISUSE) from None
    except Exception:  # the outermost frame: anything here is a defect to report in full
        traceback.print_exc(file=sys.stderr)
        _say("internal error: this is a defect of talweg, not of the input; please report it")
        raise typer.Exit(INTERNAL) from None


def _say(message: str) -> None:
    print(f"talweg: {message}", file=sys.stderr)
