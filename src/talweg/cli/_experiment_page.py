"""From what ``talweg reproduce`` left in a folder to the report of it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from talweg._errors import InputError
from talweg.report import Report, experiment_report

MOST_BYTES = 2**24
"""Of one section's record."""
MONITOR = b'"talweg.monitor"'
"""In the first line of a record of a Monitor, whatever the file is called."""
RECORD = re.compile(r"[0-9]{2}_[a-z0-9_]+\.json")
RELATIONS = ("<=", ">=", "reported")
PICTURE = re.compile(r"[A-Za-z0-9_]+\.png")


def is_experiment(path: Path) -> bool:
    """Whether it is meant as an experiment: a folder, or the record of a section."""
    if path.is_dir() or path.suffix != ".json" or not path.is_file():
        return path.is_dir()
    try:
        with open(path, "rb") as stream:
            return MONITOR not in stream.readline(200)
    except OSError:
        return False  # what cannot be read is told where it is read


def experiment_pages(path: Path) -> list[Report]:
    """The reports of a folder: of one experiment, or of all below it; or of one section's record.

    Args:
        path: ``out/reproduce``, a folder in it, or a record there.

    Raises:
        InputError: There are no records, or one of them cannot be read as one.
    """
    if not path.is_dir():
        return [experiment_report([_section(path)], title=path.parent.resolve().name)]
    folders = [path, *sorted(p for p in path.iterdir() if p.is_dir() and not p.is_symlink())]
    found = {
        folder: records
        for folder in folders
        if (records := sorted(p for p in folder.iterdir() if RECORD.fullmatch(p.name)))
    }
    if not found:
        raise InputError(
            f"FILE of talweg report: a folder that `talweg reproduce` wrote is required; "
            f"{str(path)!r} holds no records of sections; check the path"
        )
    return [
        experiment_report([_section(record) for record in records], title=folder.resolve().name)
        for folder, records in found.items()
    ]


def _section(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > MOST_BYTES:
            raise ValueError("it is too large")
        body = json.loads(path.read_text(encoding="utf-8"), object_hook=_decoded)
        return _read(body, path.parent)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError,
            RecursionError) as error:  # fmt: skip
        if isinstance(error, OSError):
            detail = error.strerror or str(error)
        else:
            detail = f"no {error}" if isinstance(error, KeyError) else str(error)
        raise InputError(
            f"FILE of talweg report: a section's record, as `talweg reproduce` writes it, is "
            f"required; {str(path)!r} is none ({detail[:200]}); run the experiment again"
        ) from error


def _read(body: dict[str, Any], folder: Path) -> dict[str, Any]:
    from talweg.experiments import COLUMNS, Comparison, Record, compared, number

    record = Record(
        title=str(body["title"]),
        comparisons=tuple(_comparison(Comparison(**c)) for c in body["comparisons"]),
        tables={str(name): list(rows) for name, rows in body["tables"].items()},
        figures=tuple(map(str, body["figures"])),
        data=tuple(map(str, body["data"])),
        seconds=float(body["seconds"]),
    )
    rows, notes = compared(record)
    tables = {
        name: [list(map(str, listed[0])), *([number(v) for v in row.values()] for row in listed)]
        for name, listed in record.tables.items()
        if listed
    }
    return {
        "title": record.title, "columns": COLUMNS, "comparisons": rows, "notes": notes,
        "tables": tables, "seconds": record.seconds, "violated": len(record.violated),
        "bounds": sum(c.relation != "reported" for c in record.comparisons),
        "pictures": {name: _picture(folder, name) for name in record.figures},
    }  # fmt: skip


def _comparison(made: Any) -> Any:
    """What stands in a record may be of any type."""
    texts = made.quantity, made.source, made.note
    numbers = made.measured, 0.0 if made.predicted is None else made.predicted
    if (
        not all(isinstance(text, str) for text in texts)
        or not all(isinstance(v, int | float) for v in numbers)
        or made.relation not in RELATIONS
    ):
        raise ValueError("a comparison is none")
    return made


def _picture(folder: Path, name: str) -> bytes:
    """A file beside the record and nowhere else, whatever the record says."""
    path = folder / name
    if not PICTURE.fullmatch(name) or path.is_symlink():
        raise ValueError("a figure is no PNG file beside the record")
    if path.stat().st_size > MOST_BYTES:
        raise ValueError(f"{name} is too large")
    return path.read_bytes()


def _decoded(value: dict[str, Any]) -> Any:
    return float(value["float"]) if value.keys() == {"float"} else value
