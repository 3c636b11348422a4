"""Reading all of a record, findings included, also while another process writes it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from talweg._errors import InputError

Row = dict[str, Any]


class Follower:
    """The rows of a record file as they arrive.

    Args:
        path: The file; it exists, and may still be empty.
        argument: What to call the path in errors.

    Attributes:
        restarts: How often the file was replaced or cut by another run.
    """

    def __init__(self, path: str | Path, argument: str = "path of Follower") -> None:
        self.path, self.argument = Path(path), argument
        self.restarts = 0
        self._place = 0
        self._line = 0
        self._file: int | None = None

    def new_rows(self) -> list[Row]:
        """The rows since the last call; a line that is not complete yet waits for its end.

        Raises:
            InputError: the file cannot be read, or is no record of a Monitor.
        """
        try:
            with open(self.path, "rb") as file:
                state = os.fstat(file.fileno())
                replaced = self._file is not None and state.st_ino != self._file
                if replaced or state.st_size < self._place:
                    self._place, self._line = 0, 0
                    self.restarts += 1
                self._file = state.st_ino
                file.seek(self._place)
                data = file.read()
        except OSError as error:
            raise InputError(
                f"{self.argument}: a readable file is required; got {str(self.path)!r} "
                f"({error.strerror}); check the path"
            ) from error
        whole = data.rfind(b"\n") + 1
        self._place += whole
        rows = []
        for line in data[:whole].split(b"\n")[:-1]:
            self._line += 1
            row = self._row(line)
            if self._line > 1:
                rows.append(row)
        return rows

    def _row(self, line: bytes) -> Row:
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            row = None
        if isinstance(row, dict) and (self._line > 1 or row.get("kind") == "talweg.monitor"):
            return row
        raise InputError(
            f"{self.argument}: a record of a Monitor is required; line {self._line} of "
            f"{str(self.path)!r} is something else; check the path"
        )


def read_findings(path: str | Path) -> list[dict[str, Any]]:
    """The latest findings in a record file, as dicts; empty if there are none.

    Raises:
        InputError: no such file, or one that is no record of a Monitor.
    """
    for row in reversed(Follower(path, "path of read_findings").new_rows()):
        found = row.get("findings")
        if isinstance(found, list):
            return [finding for finding in found if isinstance(finding, dict)]
    return []
