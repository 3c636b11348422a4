"""The command line: talweg-check FILE [--json] [--grade GRADE] [--inputs X.npy --targets Y.npy].

Exit codes: 0 valid, 1 invalid, 2 misuse, 3 incomplete.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from talweg_check._grades import CHOICES
from talweg_check._verdict import Misuse

if TYPE_CHECKING:
    from talweg_check._check import Verdict
    from talweg_check._file import StoredArray

CODES = {"valid": 0, "invalid": 1, "incomplete": 3}
KINDS = {"<f8": "F64", "<f4": "F32", "<f2": "F16", "<i8": "I64"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line.

    Args:
        arguments: Without the name of the program; None: those of this process.

    Returns:
        The exit code.
    """
    parser = argparse.ArgumentParser(
        prog="talweg-check",
        description="Checks a talweg certificate in Arb arithmetic.",
        epilog="Exit codes: 0 valid; 1 invalid; 2 misuse or no such file; 3 incomplete: "
        "neither confirmed nor disproved.",
    )
    parser.add_argument("file", metavar="FILE", help="the certificate, a .talweg file")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument(
        "--grade", choices=CHOICES, default="auto",
        help="arithmetic: arb, float64 with rounding bounds, or arb where the size permits it",
    )  # fmt: skip
    parser.add_argument("--inputs", metavar="X.npy", help="the inputs, if the file has none")
    parser.add_argument("--targets", metavar="Y.npy", help="the targets, if the file has none")
    options = parser.parse_args(arguments)
    # Most products are small, and large ones have threads of their own: BLAS's would wait for one
    # another.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from talweg_check._check import check

    start = time.perf_counter()
    try:
        verdict = check(options.file, _data(options.inputs, options.targets), options.grade)
    except OSError as error:
        _complain(f"cannot read {options.file}: {error.strerror}")
        return 2
    except Misuse as error:
        _complain(str(error))
        return 2
    except Exception as error:  # noqa: BLE001 - exit code 1 must mean "invalid", never "crashed"
        _complain(f"internal error ({error!r}); nothing is confirmed")
        return CODES["incomplete"]
    record = {
        "verdict": verdict.verdict,
        "reason": verdict.reason,
        "claim": verdict.claim,
        "grade": verdict.grade,
        "seconds": round(time.perf_counter() - start, 3),
    }
    _print(json.dumps(record) if options.json else _in_words(verdict))
    return CODES[verdict.verdict]


def _in_words(verdict: Verdict) -> str:
    text = f"{verdict.verdict}: {verdict.reason}"
    if verdict.claim is None:
        return text
    heading = "proved" if verdict.verdict == "valid" else "claimed, NOT proved"
    return f"{text}\n{heading}: {verdict.claim}"


def _complain(text: str) -> None:
    """One line on stderr; where that is closed or full, the exit code alone speaks."""
    if sys.stderr is not None:
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.write(f"talweg-check: {text}\n")


def _print(text: str) -> None:
    """Writes to whatever the output is; where nobody reads it, the exit code alone speaks."""
    if sys.stdout is None:
        return
    encoding = sys.stdout.encoding or "ascii"  # a file may name keys that it cannot show
    try:
        sys.stdout.write(text.encode(encoding, "backslashreplace").decode(encoding) + "\n")
        sys.stdout.flush()
    except OSError:  # the reader has gone; nothing may be flushed at exit, which sets a code too
        sys.stdout = None


def _data(inputs: str | None, targets: str | None) -> tuple[StoredArray, StoredArray] | None:
    if inputs is None and targets is None:
        return None
    if inputs is None or targets is None:
        raise Misuse("--inputs and --targets must be given together")
    return _load(inputs), _load(targets)


def _load(path: str) -> StoredArray:
    import numpy as np

    from talweg_check._file import StoredArray, require_regular

    try:
        require_regular(path)
        array = np.load(path, mmap_mode="r", allow_pickle=False)  # mapped: nothing is allocated
    except Exception as error:  # noqa: BLE001 - a hostile header makes NumPy raise nearly anything
        raise Misuse(f"{path} is not a readable .npy file ({type(error).__name__})") from None
    kind = KINDS.get(getattr(array, "dtype", np.dtype(bool)).str)
    if kind is None or array.ndim < (1 if kind == "I64" else 2):
        raise Misuse(
            f"{path} must hold rows of little-endian float16, float32 or float64, or whole "
            "numbers: int64"
        )
    return StoredArray(kind, array.shape, array.tobytes())


if __name__ == "__main__":
    sys.exit(main())
