"""Exit codes, and how an error becomes one message and one exit code."""

from __future__ import annotations

import errno
import sys
import sysconfig
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

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
def errors_reported(*, writing: bool = False, may_exit: bool = False) -> Iterator[None]:
    """Turn every way to fail into one message on stderr and an exit code.

    Args:
        writing: Whether files are written, which an interrupt leaves whole or not at all.
        may_exit: Whether `sys.exit` is the regular end of what is run, and not a model's.

    Raises:
        typer.Exit: With `MISUSE` for a `TalwegError`, a failed file operation or code of the user
            that fails or exits while talweg calls it, `INTERRUPTED` for Ctrl-C, `INTERNAL` for
            anything that talweg should not have raised.
    """
    try:
        yield
    except (typer.Exit, typer.Abort):
        raise
    except TalwegError as error:
        _say(f"error: {error}")
        raise typer.Exit(MISUSE) from None
    except KeyboardInterrupt:
        _say(f"interrupted{'; no file was left half-written' if writing else ' before the end'}")
        raise typer.Exit(INTERRUPTED) from None
    except OSError as error:
        if error.errno == errno.EPIPE:  # the reader of stdout left, as `| head` does
            raise
        where = f"{error.filename}: " if error.filename else ""
        _say(f"error: {where}{error.strerror or error}")
        raise typer.Exit(MISUSE) from None
    except MemoryError:
        _say("error: not enough memory for a problem of this size")
        raise typer.Exit(MISUSE) from None
    except SystemExit as error:  # of a model, whose code must not pass for a verdict
        if may_exit:
            raise
        _say(f"error: the code that talweg called ended with sys.exit({error.code!r})")
        raise typer.Exit(MISUSE) from None
    except BaseException as error:  # the outermost frame: a defect, unless the code is foreign
        place = foreign_place(error)
        if place is not None:
            _say(f"error: the code that talweg called failed: {described(error)} ({place})")
            raise typer.Exit(MISUSE) from None
        traceback.print_exc(file=sys.stderr)
        _say("internal error: this is a defect of talweg, not of the input; please report it")
        raise typer.Exit(INTERNAL) from None


def described(error: BaseException) -> str:
    """The type and text of an error, whatever its own code does when it is asked for the text."""
    name = type(error).__name__
    try:
        text = str(error)
    except Exception:
        return f"{name} (its text cannot be read)"
    return f"{name}: {text}" if text else name


def foreign_place(error: BaseException) -> str | None:
    """File and line of the code that raised it, where that is neither talweg's nor a library's."""
    frames = traceback.extract_tb(error.__traceback__)
    if not frames or not Path(frames[-1].filename).is_file():
        return None
    file = Path(frames[-1].filename).resolve()
    known = [str(Path(__file__).resolve().parents[1])]
    known += [sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")]
    if any(file.is_relative_to(Path(folder).resolve()) for folder in known):
        return None
    return f"{file}, line {frames[-1].lineno}"


def _say(message: str) -> None:
    print(f"talweg: {message}", file=sys.stderr)
