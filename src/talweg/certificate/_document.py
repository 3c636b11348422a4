"""The `.talweg` file: canonical JSON and safetensors in a zip (docs/certificate-format.md)."""

from __future__ import annotations

import json
import os
import struct
import tempfile
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load as load_arrays
from safetensors.torch import save as save_arrays
from torch import Tensor

from talweg._errors import CertificateFileError
from talweg.certificate._model_record import CHAIN_FORMAT, GRAPH_FORMAT

FORMATS: dict[int, type] = {CHAIN_FORMAT: list, GRAPH_FORMAT: dict}
"""Formats with the type of what stands under ``model``."""
JSON_MEMBER, ARRAYS_MEMBER = "certificate.json", "arrays.safetensors"
PARTS = {"theorem": str, "claim": str, "loss": dict, "hashes": dict, "claims": dict}
JSON_LIMIT = 16 * 2**20
ARRAYS_LIMIT = 16 * 2**30


@dataclass(frozen=True, eq=False)
class Document:
    """What a file holds: the parsed JSON object and the arrays by name."""

    body: dict[str, Any]
    arrays: dict[str, Tensor]


def canonical(body: Mapping[str, Any]) -> bytes:
    """Canonical JSON bytes of an object without floats.

    Args:
        body: A JSON object; numbers are integers or hexadecimal strings.
    """
    text = json.dumps(
        body, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False
    )
    return text.encode("ascii")


def write_document(document: Document, path: Path) -> None:
    """Write a file through a temporary one beside it, so that it appears whole or not at all.

    Args:
        document: What to write.
        path: Where.

    Raises:
        CertificateFileError: The place cannot be written.
    """
    try:
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    except OSError as error:
        raise _unwritable(path, error) from error
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as stream:
            with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive:
                # A fixed date: the same certificate gives the same bytes.
                for member, content in (
                    (JSON_MEMBER, canonical(document.body)),
                    (ARRAYS_MEMBER, save_arrays(document.arrays)),
                ):
                    archive.writestr(zipfile.ZipInfo(member, (1980, 1, 1, 0, 0, 0)), content)
            stream.flush()
            os.fsync(stream.fileno())
        mask = os.umask(0)
        os.umask(mask)
        temporary.chmod(0o666 & ~mask)
        temporary.replace(path)
    except OSError as error:
        raise _unwritable(path, error) from error
    finally:
        temporary.unlink(missing_ok=True)


def _unwritable(path: Path, error: OSError) -> CertificateFileError:
    return CertificateFileError(
        f"`path` of Certificate.save(path) must be a place that can be written; {path} gave "
        f"{error.strerror or error}. Choose another file or folder."
    )


def read_document(path: str | Path) -> Document:
    """Parse a file for comparison or display; this is not a check (`talweg-check` is).

    Args:
        path: A `.talweg` file.

    Raises:
        CertificateFileError: It cannot be read, or is of no format from 1 to 2.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            infos = {info.filename: info for info in archive.infolist()}
            if list(infos) != [JSON_MEMBER, ARRAYS_MEMBER]:
                raise ValueError(f"its members are {list(infos)}")
            if any(info.compress_type != zipfile.ZIP_STORED for info in infos.values()):
                raise ValueError("a member is compressed")
            if infos[JSON_MEMBER].file_size > JSON_LIMIT:
                raise ValueError("its JSON is too large")
            if infos[ARRAYS_MEMBER].file_size > ARRAYS_LIMIT:
                raise ValueError("its arrays are too large")
            # Before anything is read: reading reserves what an entry declares.
            held = Path(path).stat().st_size
            if any(max(info.file_size, info.compress_size) > held for info in infos.values()):
                raise ValueError("a member declares more bytes than the file has")
            raw = archive.read(JSON_MEMBER)
            arrays = load_arrays(archive.read(ARRAYS_MEMBER))
        body = json.loads(raw)
        if not isinstance(body, dict) or canonical(body) != raw:
            raise ValueError("its JSON is not canonical")
        number = body.get("format")
        if type(number) is not int or number not in FORMATS:
            raise ValueError(f"its format is {number!r}")
        parts = {**PARTS, "model": FORMATS[number]}
        wrong = [key for key, kind in parts.items() if not isinstance(body.get(key), kind)]
        if number == GRAPH_FORMAT and not wrong and not _is_graph(body["model"]):
            wrong = ["model"]
        if wrong:
            raise ValueError(f"its {', '.join(wrong)} cannot be read")
    except (OSError, ValueError, EOFError, ArithmeticError, struct.error, RuntimeError,
            zipfile.BadZipFile, SafetensorError) as error:  # fmt: skip
        # RuntimeError: encrypted, of an unknown method, or nested too deeply.
        raise CertificateFileError(
            f"`path` of read_document(path) must be a .talweg file of format 1 or 2; {path}: "
            f"{str(error) or type(error).__name__}. Write it again with Certificate.save."
        ) from error
    return Document(body, arrays)


def _is_graph(model: dict[str, Any]) -> bool:
    """Whether the parts of a graph are there, so that it can be walked through."""
    operations, shape = model.get("operations"), model.get("input_shape")
    return (
        isinstance(operations, list)
        and all(isinstance(op, dict) and isinstance(op.get("inputs"), list) for op in operations)
        and isinstance(shape, list)
        and all(type(size) is int and size > 0 for size in shape)
    )
