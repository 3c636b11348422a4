"""Rows of a Monitor as a Parquet table, which pandas, polars and DuckDB read.

A column per key; a row that lacks a key holds null there. What is a dict by parameter or by module
becomes a map, so the columns do not depend on the model and tables of several runs can be joined.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from talweg._durable import durable
from talweg._errors import InputError, MissingDependencyError

Row = dict[str, Any]
_MARK = b"talweg.monitor"
_WORDS = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}  # as JSON lines spell them
_NUMBERS = (int, float)


def write_parquet(rows: Iterable[Mapping[str, Any]], path: str | Path) -> None:
    """Write rows as one Parquet table, whole or not at all; a file of that name is replaced.

    Args:
        rows: ``m.rows`` or what `read_records` returns; "nan" and "inf" become numbers again.
        path: The file; its folder exists.

    Raises:
        InputError: rows that are no dicts, a key with values of several kinds, or a path that
            cannot be written.
        MissingDependencyError: pyarrow is not installed.
    """
    pyarrow = required()
    kept = list(rows)
    if not all(isinstance(row, Mapping) for row in kept):
        raise InputError(
            "rows of write_parquet: the rows of a Monitor, dicts, are required; got "
            f"{sorted({type(row).__name__ for row in kept})}; pass m.rows"
        )
    target = Path(path)
    keys = list(dict.fromkeys(key for row in kept for key in row))
    columns = {key: [row.get(key) for row in kept] for key in keys}
    try:
        types = {key: _type(pyarrow, values, "double") for key, values in columns.items()}
        arrays = [
            pyarrow.array([_value(pyarrow, v, types[key]) for v in values], types[key])
            for key, values in columns.items()
        ]
    except (TypeError, ValueError, AttributeError, pyarrow.ArrowException) as error:
        raise InputError(
            "rows of write_parquet: values of one kind per key are required (numbers, words, or "
            f"dicts or lists of them); got something else ({error}); pass m.rows as they are"
        ) from error
    schema = pyarrow.schema(list(types.items()), {_MARK: b"1"})
    try:
        with durable(target) as temporary:
            pyarrow.parquet.write_table(
                pyarrow.Table.from_arrays(arrays, schema=schema), temporary.absolute()
            )
    except OSError as error:
        raise InputError(
            f"path of write_parquet: a file that can be written is required; got {str(path)!r} "
            f"({error.strerror or error}); choose another path"
        ) from error


def read_parquet(path: Path) -> list[Row]:
    """The rows of a table that `write_parquet` wrote; a file of another kind is an InputError."""
    pyarrow = required()
    try:
        table = pyarrow.parquet.read_table(path.absolute(), memory_map=False)
    except (OSError, pyarrow.ArrowException) as error:
        raise InputError(
            f"path of read_records: a readable file is required; got {str(path)!r} ({error}); "
            "check the path"
        ) from error
    if _MARK not in (table.schema.metadata or {}):
        raise InputError(
            f"path of read_records: records of a Monitor are required; {str(path)!r} is a table "
            "of something else; check the path"
        )
    rows = table.to_pylist(maps_as_pydicts="strict")
    return [{key: value for key, value in row.items() if value is not None} for row in rows]


def required() -> Any:
    """The package pyarrow, or an error that names the extra."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise MissingDependencyError(
            "Parquet files need pyarrow, which is not installed. Run: "
            "pip install 'talweg[reproduce]'"
        ) from error
    return pyarrow


def _type(pyarrow: Any, values: Sequence[Any], empty: str) -> Any:
    """The narrowest type that holds all values; `empty` where there are none to go by."""
    known = [value for value in values if value is not None]
    if not known:
        return pyarrow.type_for_alias(empty)
    if any(isinstance(value, Mapping) for value in known):
        inner = [item for value in known for item in value.values()]
        return pyarrow.map_(pyarrow.string(), _type(pyarrow, inner, "double"))
    if any(isinstance(value, list | tuple) for value in known):
        # Lists without any entry: names of parameters, of which there happened to be none.
        return pyarrow.list_(_type(pyarrow, [i for value in known for i in value], "string"))
    if all(isinstance(value, bool) for value in known):
        return pyarrow.bool_()
    if all(isinstance(value, int) and -(2**63) <= value < 2**63 for value in known):
        return pyarrow.int64()
    if all(isinstance(value, _NUMBERS) or value in _WORDS for value in known):
        return pyarrow.float64()
    return pyarrow.string()


def _value(pyarrow: Any, value: Any, kind: Any) -> Any:
    if value is None:
        return None
    if pyarrow.types.is_map(kind):
        return [(str(k), _value(pyarrow, item, kind.item_type)) for k, item in value.items()]
    if pyarrow.types.is_list(kind):
        return [_value(pyarrow, item, kind.value_type) for item in value]
    if pyarrow.types.is_float64(kind):
        return float(_WORDS.get(value, value))
    return value
