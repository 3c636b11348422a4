"""Running the independent checker, ``talweg-check``, in a process of its own.

It shares no code with talweg and is not imported here; only its exit code and its JSON are read.
"""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
import sys
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
    done = subprocess.run(
        # Its name may begin with a dash.
        [
            *checker_command(),
            "--json",
            *([] if grade is None else ["--grade", grade]),
            "--",
            str(file),
        ],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    message = done.stderr.strip()
    try:
        record = json.loads(done.stdout)
    except json.JSONDecodeError:
        record = None
    # Exit code and JSON must tell the same story, or the file counts as not checked.
    if isinstance(record, dict) and _EXIT_OF_VERDICT.get(record.get("verdict", "")) == (
        done.returncode
    ):
        return CheckerAnswer(done.returncode, record, message)
    if done.returncode == MISUSE:
        return CheckerAnswer(MISUSE, {}, message)
    return CheckerAnswer(
        INCOMPLETE, {}, message or f"the checker ended with code {done.returncode} and no verdict"
    )
