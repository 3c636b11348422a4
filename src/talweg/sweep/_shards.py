"""The files of a sweep: one Parquet file per finished chunk, and a manifest of its settings.

A file appears under its name only after its bytes are on the disk (it is written beside it, flushed
to the device and renamed), so whatever ends the process, no name stands for half a file. Each shard
carries the fingerprint of the settings; one that does not fit is computed again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet

from talweg._durable import durable
from talweg._errors import InputError

MANIFEST = "manifest.json"
SUMMARY = "summary.parquet"
_MARK, _CHUNK = b"talweg.fingerprint", b"talweg.chunk"


def fingerprint(settings: Mapping[str, Any]) -> str:
    """SHA-256 of the settings that a result depends on."""
    return hashlib.sha256(json.dumps(dict(settings), sort_keys=True).encode()).hexdigest()


def prepare(folder: Path, settings: Mapping[str, Any], *, fresh: bool) -> None:
    """Make the folder ready: write the manifest, or check the one that is there.

    Args:
        folder: Where the sweep's files go; made where it is missing.
        settings: Everything that the results depend on.
        fresh: Remove the files of an earlier sweep first.

    Raises:
        InputError: An earlier sweep's settings differ, or the manifest cannot be read.
    """
    (folder / "shards").mkdir(parents=True, exist_ok=True)
    manifest = folder / MANIFEST
    mark = fingerprint(settings)
    if fresh:
        # The manifest last: a kill in between leaves shards that still belong to it.
        for path in [*folder.glob("shards/*chunk-*.parquet*"), folder / SUMMARY, manifest]:
            path.unlink(missing_ok=True)
    if manifest.exists():
        try:
            stored = json.loads(manifest.read_text(encoding="utf-8"))
            stored_mark, stored_settings = stored["fingerprint"], stored["settings"]
            if not isinstance(stored_settings, dict):
                raise TypeError("the settings are no object")
        except (ValueError, KeyError, TypeError, RecursionError):
            raise InputError(
                f"`folder` of talweg.sweep.Sweep.run must be new or hold a sweep; {manifest} "
                "cannot be read. Choose another folder, or start anew with fresh=True (--fresh)."
            ) from None
        if stored_mark != mark:
            raise InputError(
                f"`folder` of talweg.sweep.Sweep.run must be new or hold a sweep of the same "
                f"settings; {folder} holds one with {_difference(stored_settings, settings)}. "
                "Choose another folder, or start anew with fresh=True (--fresh)."
            )
        return
    with durable(manifest) as temporary:
        body = {"fingerprint": mark, "settings": dict(settings)}
        temporary.write_text(json.dumps(body, indent=1) + "\n", encoding="utf-8")


def _difference(stored: Mapping[str, Any], settings: Mapping[str, Any]) -> str:
    keys = sorted(
        key
        for key in stored.keys() | settings.keys()
        if fingerprint({"": stored.get(key)}) != fingerprint({"": settings.get(key)})
    )
    parts = [f"{key} = {_short(stored.get(key))}, not {_short(settings.get(key))}" for key in keys]
    return "; ".join(parts) or "another fingerprint"


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else text[:57] + "..."


def shard_path(folder: Path, index: int) -> Path:
    """Where the shard of a chunk is."""
    return folder / "shards" / f"chunk-{index:05d}.parquet"


def write_shard(path: Path, table: pyarrow.Table, mark: str, index: int) -> None:
    """Write the rows of one chunk with the fingerprint they belong to."""
    marked = table.replace_schema_metadata({_MARK: mark.encode(), _CHUNK: str(index).encode()})
    write_table(path, marked)


def write_table(path: Path, table: pyarrow.Table) -> None:
    """Write a table whole or not at all."""
    with durable(path) as temporary:
        pyarrow.parquet.write_table(table, temporary.absolute())  # "a:b/c" is read as a URI


def shard_is_whole(path: Path, mark: str, index: int) -> bool:
    """Whether a shard is there, can be read in full, and belongs to these settings."""
    return _read(path, mark, index) is not None


def read_shard(path: Path, mark: str, index: int) -> pyarrow.Table:
    """The rows of a chunk.

    Raises:
        InputError: The shard was removed or damaged since it was written.
    """
    table = _read(path, mark, index)
    if table is None:
        raise InputError(
            f"The shards of a sweep must stay as they are while it runs; {path} was changed or "
            "removed. Run the sweep again: only what is missing is computed."
        )
    return table


def _read(path: Path, mark: str, index: int) -> pyarrow.Table | None:
    try:
        table = pyarrow.parquet.read_table(path.absolute(), memory_map=False)
    except (OSError, pyarrow.ArrowException):
        return None
    metadata = table.schema.metadata or {}
    if metadata.get(_MARK) != mark.encode() or metadata.get(_CHUNK) != str(index).encode():
        return None
    return table.replace_schema_metadata(None)
