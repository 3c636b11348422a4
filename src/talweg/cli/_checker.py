"""Running the independent checker, ``talweg-check``, in a process of its own.

It shares no code with talweg and is not imported here; only its exit code and its JSON are read.
"""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from talweg._errors import MissingDependencyError
from talweg.cli._outcome import DONE, INCOMPLETE, MISUSE, NOT_PROVED

_EXIT_OF_VERDICT = {"valid": DONE, "invalid": NOT_PROVED, "incomplete": INCOMPLETE}


@dataclass(frozen=True)
class CheckerAnswer:
    """What the checker said.

    Attributes:
        exit_code: 0 valid, 1 invalid, 2 misuse, 3 incomplete.
        record: Its JSON object (``verdict``, ``reason``, ``claim``, ``grade``, ``seconds``); empty
            on misuse.
        message: What it wrote to stderr.
    """

    exit_code: int
    record: dict[str, Any]
    message: str


def checker_command() -> list[str]:
    """The command that starts the checker: this Python's own, else one that is on PATH.

    Raises:
        MissingDependencyError: There is none.
    """
    if importlib.util.find_spec("talweg_check") is not None:
        # -P: a folder of that name in the current directory must not pass for the checker.
        return [sys.executable, "-P", "-m", "talweg_check"]
    found = shutil.which("talweg-check")
    if found is None:
        raise MissingDependencyError(
            "the independent checker must be installed for this; the command talweg-check was not "
            "found. Install it with: pip install 'talweg[check]'"
        )
    return [found]


def run_checker(file: Path, grade: str | None = None) -> CheckerAnswer:
    """Check ``file`` in a separate process.

    Args:
        file: The certificate.
        grade: "arb", "float64" or "auto", the arithmetic of the check; None: the checker decides.

    Raises:
        MissingDependencyError: The checker is not installed.
    """
    with checker_at_work(file, grade) as answer:
        return answer()


@contextmanager
def checker_at_work(file: Path, grade: str | None = None) -> Iterator[Callable[[], CheckerAnswer]]:
    """Check ``file`` in a separate process while this one does something else.

    Args:
        file: The certificate.
        grade: As `run_checker`.

    Yields:
        A function that waits for the checker's answer; who leaves without it ends the checker.

    Raises:
        MissingDependencyError: The checker is not installed.
    """
    process = subprocess.Popen(
        # Its name may begin with a dash.
        [
            *checker_command(),
            "--json",
            *([] if grade is None else ["--grade", grade]),
            "--",
            str(file),
        ],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            yield lambda: _answer(process)
        finally:
            process.kill()  # nothing happens where it has ended


def _answer(process: subprocess.Popen[str]) -> CheckerAnswer:
    out, err = process.communicate()
    message = err.strip()
    try:
        record = json.loads(out)
    except json.JSONDecodeError:
        record = None
    # Exit code and JSON must tell the same story, or the file counts as not checked.
    code = process.returncode
    if isinstance(record, dict) and _EXIT_OF_VERDICT.get(record.get("verdict", "")) == code:
        return CheckerAnswer(code, record, message)
    if code == MISUSE:
        return CheckerAnswer(MISUSE, {}, message)
    return CheckerAnswer(
        INCOMPLETE, {}, message or f"the checker ended with code {code} and no verdict"
    )
