"""Writing files whole, and reading records back.

A file appears under its name only after its bytes are on the disk: it is written beside it, flushed
to the device, and renamed. So whatever ends the process, a name never stands for half a file.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from talweg._durable import durable
from talweg._errors import MissingDependencyError


def write_parquet(path: Path, rows: list[dict[str, Any]]) -> None:
    """Write a table of rows that have the same columns.

    Raises:
        MissingDependencyError: pyarrow is not installed.
    """
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise MissingDependencyError(
            "Tables of an experiment need pyarrow, which is not installed. "
            "Run: pip install 'talweg[reproduce]'"
        ) from error
    with durable(path) as temporary:
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), temporary.absolute())


def write_text(path: Path, text: str) -> None:
    """Write a text file in UTF-8."""
    with durable(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def fingerprint(settings: Mapping[str, Any]) -> str:
    """What a stored result must have been made with to be taken over, as SHA-256."""
    return hashlib.sha256(json.dumps(dict(settings), sort_keys=True).encode()).hexdigest()


def write_json(path: Path, body: Mapping[str, Any]) -> None:
    """Write an object; JSON has no infinity and no NaN, so these become ``{"float": "inf"}``."""
    write_text(path, json.dumps(_encoded(dict(body)), indent=1, allow_nan=False))


def read_json(path: Path) -> dict[str, Any] | None:
    """The object that `write_json` wrote; None where there is none or it is damaged."""
    try:
        body = json.loads(path.read_text(encoding="utf-8"), object_hook=_decoded)
    except (OSError, ValueError, TypeError, OverflowError, RecursionError):
        return None
    return body if isinstance(body, dict) else None


def _encoded(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return {"float": str(value)}
    if isinstance(value, dict):
        return {key: _encoded(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_encoded(item) for item in value]
    return value


def _decoded(value: dict[str, Any]) -> Any:
    return float(value["float"]) if value.keys() == {"float"} else value
