"""Records of a run: one JSON object per line, which a killed process leaves readable.

A Parquet file cannot grow by a row: its index stands at the end. A record named ``run.parquet`` is
therefore kept as lines in ``run.jsonl`` beside it, and the table is written from them, whole, when
the Monitor ends. A killed run leaves the lines; the next one goes on with them.
"""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any

from talweg._errors import InputError
from talweg.monitor import _parquet

Row = dict[str, Any]
FORMAT = 1
HEADER: Row = {"format": FORMAT, "kind": "talweg.monitor"}


class RecordFile:
    """Appends rows to a file; each row reaches the system at once, and the disk now and then.

    Args:
        path: A new file, or one that an earlier run of the same program left, which goes on. With
            the ending ``.parquet``, the lines are in a file that ends in ``.jsonl`` instead, and
            `close` writes the table from them.
        flush_every: Rows after which the disk is waited for.

    Raises:
        InputError: a path that cannot be written, or a file that is no record of a Monitor.
        MissingDependencyError: a table without pyarrow.
    """

    def __init__(self, path: str | Path, flush_every: int = 50) -> None:
        self.path, self.table = Path(path), None
        if self.path.suffix == ".parquet":
            _parquet.required()  # now, not after a day of training
            self.table, self.path = self.path, self.path.with_suffix(".jsonl")
        self.flush_every, self.rows = flush_every, 0
        try:
            whole = _whole_bytes(self.path)
            self._file = open(self.path, "ab")  # noqa: SIM115 - open for the length of a run
            self._file.truncate(whole)
        except OSError as error:
            raise InputError(
                f"record of Monitor: a file that can be written is required; got "
                f"{str(self.path)!r} ({error.strerror}); choose another path"
            ) from error
        if whole == 0:
            self.append(HEADER)

    def append(self, row: Row) -> None:
        """Write one row."""
        self._file.write(json.dumps(_finite(row), allow_nan=False).encode() + b"\n")
        self._file.flush()
        self.rows += 1
        if self.rows % self.flush_every == 0:
            os.fsync(self._file.fileno())

    def close(self) -> None:
        """Wait for the disk and close; write the table if there is one."""
        if self._file.closed:
            return
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        if self.table is not None:
            _parquet.write_parquet(read_records(self.path), self.table)


def read_records(path: str | Path) -> list[Row]:
    """The rows of a record; a last line that was cut off is left out.

    Lines have the words "nan", "inf" and "-inf" for numbers that JSON lacks, a table the numbers.
    Findings, which a Monitor adds when it ends, are no measurements: see `read_findings`.

    Args:
        path: JSON lines, or a table if it ends in ``.parquet``.

    Raises:
        InputError: no such file, or one that is no record of a Monitor.
        MissingDependencyError: a table without pyarrow.
    """
    if Path(path).suffix == ".parquet":
        return _parquet.read_parquet(Path(path))
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
    """Length up to the last complete line; a file of another kind is refused, not cut."""
    if not path.exists():
        return 0
    data = path.read_bytes()
    first, whole, _ = data.partition(b"\n")
    try:
        own = json.loads(first).get("kind") == HEADER["kind"] if whole else _begun(first)
    except (ValueError, AttributeError, RecursionError):
        own = False
    if not own:
        raise InputError(
            f"record of Monitor: a new file, or the record of an earlier run, is required; "
            f"{str(path)!r} is something else; choose another path"
        )
    return data.rfind(b"\n") + 1


def _begun(line: bytes) -> bool:
    """Whether this is the beginning of a header that a kill cut off."""
    return json.dumps(HEADER).encode().startswith(line)


def _finite(value: Any) -> Any:
    """Infinite and undefined numbers as words, which JSON lacks."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, dict):
        return {str(key): _finite(item) for key, item in value.items()}
    return [_finite(item) for item in value] if isinstance(value, (list, tuple)) else value
