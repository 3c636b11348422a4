"""Records of a run: one JSON object per line, which a killed process leaves readable."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any

from talweg._errors import InputError

Row = dict[str, Any]
FORMAT = 1


class RecordFile:
    """Appends rows to a file; each row reaches the system at once, and the disk now and then.

    Args:
        path: A new file, or one that an earlier run of the same program left, which goes on.
        flush_every: Rows after which the disk is waited for.
    """

    def __init__(self, path: str | Path, flush_every: int = 50) -> None:
        self.path = Path(path)
        self.flush_every, self.rows = flush_every, 0
        try:
            whole = _whole_bytes(self.path)
            self._file = open(self.path, "ab")  # noqa: SIM115 - open for the length of a run
            self._file.truncate(whole)
        except OSError as error:
            raise InputError(
                f"record of Monitor: a file that can be written is required; got {str(path)!r} "
                f"({error.strerror}); choose another path"
            ) from error
        if whole == 0:
            self.append({"format": FORMAT, "kind": "talweg.monitor"})

    def append(self, row: Row) -> None:
        """Write one row."""
        self._file.write(json.dumps(_finite(row), allow_nan=False).encode() + b"\n")
        self._file.flush()
        self.rows += 1
        if self.rows % self.flush_every == 0:
            os.fsync(self._file.fileno())

    def close(self) -> None:
        """Wait for the disk and close."""
        if not self._file.closed:
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()


def read_records(path: str | Path) -> list[Row]:
    """The rows of a record file; a last line that was cut off is left out.

    Findings, which a Monitor adds when it ends, are no measurements: see `read_findings`.

    Raises:
        InputError: no such file, or one that is no record of a Monitor.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise InputError(
            f"path of read_records: a readable file is required; got {str(path)!r} "
            f"({error.strerror}); check the path"
        ) from error
    rows: list[Row] = []
    for number, line in enumerate(data.split(b"\n")[:-1], 1):
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            row = None
        if not isinstance(row, dict) or (not rows and row.get("kind") != "talweg.monitor"):
            raise InputError(
                f"path of read_records: records of a Monitor are required; line {number} of "
                f"{str(path)!r} is something else; check the path"
            )
        rows.append(row)
    return [row for row in rows[1:] if "findings" not in row]


def _whole_bytes(path: Path) -> int:
    """Length up to the last complete line."""
    if not path.exists():
        return 0
    return path.read_bytes().rfind(b"\n") + 1


def _finite(value: Any) -> Any:
    """Infinite and undefined numbers as words, which JSON lacks."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, dict):
        return {str(key): _finite(item) for key, item in value.items()}
    return [_finite(item) for item in value] if isinstance(value, (list, tuple)) else value
