"""The `.talweg` file: canonical JSON and safetensors in a zip (docs/certificate-format.md)."""

from __future__ import annotations

import hashlib
import json
import os
import struct
import tempfile
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_arrays
from safetensors.torch import save as save_arrays
from torch import Tensor

from talweg._errors import CertificateFileError
from talweg.network import Elementwise, Linear, Network

FORMAT = 1
JSON_MEMBER, ARRAYS_MEMBER = "certificate.json", "arrays.safetensors"
PARTS = {"theorem": str, "claim": str, "model": list, "loss": dict, "hashes": dict, "claims": dict}
JSON_LIMIT = 16 * 2**20
ARRAYS_LIMIT = 16 * 2**30
DTYPE_NAMES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
}


@dataclass(frozen=True, eq=False)
class Document:
    """What a file holds: the parsed JSON object and the arrays by name."""

    body: dict[str, Any]
    arrays: dict[str, Tensor]


def model_and_weights(network: Network) -> tuple[list[dict[str, Any]], dict[str, Tensor]]:
    """The operations in the grammar of the format, and the weights by array name.

    Args:
        network: A chain.

    Returns:
        The list under ``model``, and the arrays ``weights/<op>.weight`` and ``.bias``.
    """
    operations: list[dict[str, Any]] = []
    arrays: dict[str, Tensor] = {}
    for index, op in enumerate(network.chain_operations):
        if isinstance(op, Linear):
            weight, bias = f"weights/{index}.weight", f"weights/{index}.bias"
            arrays[weight] = stored(op.weight)
            if op.bias is not None:
                arrays[bias] = stored(op.bias)
            operations.append({
                "kind": "linear", "weight": weight, "bias": None if op.bias is None else bias,
                "weight_trainable": op.weight_trainable,
                "bias_trainable": op.bias is not None and op.bias_trainable,
            })  # fmt: skip
        elif isinstance(op, Elementwise):
            constants = {name: float(v).hex() for name, v in op.parameters.items()}
            operations.append(
                {"kind": "elementwise", "function": op.function, "parameters": constants}
            )
        else:
            operations.append({
                "kind": "scale", "numerator": float(op.numerator).hex(),
                "denominator": float(op.denominator).hex(),
            })  # fmt: skip
    return operations, arrays


def stored(tensor: Tensor) -> Tensor:
    """The tensor as it is written: on the CPU, detached, contiguous, storage of its own."""
    return tensor.detach().to("cpu", copy=True).contiguous()


def weights_hash(arrays: Mapping[str, Tensor], operations: list[dict[str, Any]]) -> str:
    """sha256 over the weights in the order of the operations, names included.

    Args:
        arrays: Arrays by name.
        operations: The list under ``model``.
    """
    digest = hashlib.sha256()
    for op in operations:
        if op["kind"] == "linear":
            for name in (op["weight"], op["bias"]):
                if name is not None:
                    digest.update(f"{name}\n".encode("ascii"))
                    _update(digest, arrays[name])
    return digest.hexdigest()


def array_hash(tensor: Tensor) -> str:
    """sha256 over dtype, shape and bytes of one array.

    Args:
        tensor: Any of the four float dtypes, or int64.
    """
    digest = hashlib.sha256()
    _update(digest, tensor)
    return digest.hexdigest()


def _update(digest: Any, tensor: Tensor) -> None:
    shape = ",".join(str(size) for size in tensor.shape)
    digest.update(f"{DTYPE_NAMES[tensor.dtype]}\n({shape})\n".encode("ascii"))
    plain = stored(tensor).reshape(-1)
    digest.update(np.ascontiguousarray(plain.view(torch.uint8).numpy()).tobytes())


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
        CertificateFileError: It cannot be read, or is not of format 1.
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
        if body.get("format") != FORMAT:
            raise ValueError(f"its format is {body.get('format')!r}")
        wrong = [key for key, kind in PARTS.items() if not isinstance(body.get(key), kind)]
        if wrong:
            raise ValueError(f"its {', '.join(wrong)} cannot be read")
    except (OSError, ValueError, EOFError, ArithmeticError, struct.error, RuntimeError,
            zipfile.BadZipFile, SafetensorError) as error:  # fmt: skip
        # RuntimeError: encrypted, of an unknown method, or nested too deeply.
        raise CertificateFileError(
            f"`path` of read_document(path) must be a .talweg file of format {FORMAT}; {path}: "
            f"{str(error) or type(error).__name__}. Write it again with Certificate.save."
        ) from error
    return Document(body, arrays)
