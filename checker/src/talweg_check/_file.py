"""The container of a `.talweg` file: two stored zip members, canonical JSON, exact arrays.

Nothing is allocated before its declared size has been compared with the bytes that are there.
Everything that is not the one permitted form is refused by name.
"""

from __future__ import annotations

import errno
import hashlib
import json
import math
import os
import stat
import struct
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from talweg_check._verdict import Incomplete, Invalid

MEMBERS = {"certificate.json": 2**24, "arrays.safetensors": 2**34}
HEADER_LIMIT = 2**20
AXES = 16  # of an array of format 2; of format 1 it is 2
EXTRA_LIMIT = 32  # bytes of a zip64 record
BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8}


@dataclass(frozen=True)
class StoredArray:
    """One array: its stored dtype, shape and bytes, and its exact values as binary64."""

    dtype: str
    shape: tuple[int, ...]
    raw: bytes

    def digest_input(self) -> bytes:
        """The bytes that a hash runs over: dtype, shape, then the data."""
        return f"{self.dtype}\n({','.join(map(str, self.shape))})\n".encode("ascii") + self.raw

    def values(self) -> NDArray[np.float64]:
        """The stored real numbers; every floating dtype here is a subset of binary64."""
        if self.dtype == "I64":
            raise Invalid("an array of integers stands where real numbers are needed")
        if self.dtype == "BF16":
            bits = np.frombuffer(self.raw, "<u2").astype(np.uint32) << 16
            numbers = bits.view(np.float32).astype(np.float64)
        else:
            kind = f"<f{BYTES[self.dtype]}"
            numbers = np.frombuffer(self.raw, kind).astype(np.float64)
        if not np.isfinite(numbers).all():
            raise Invalid("an array holds an entry that is not finite")
        return numbers.reshape(self.shape)

    def integers(self) -> NDArray[np.int64]:
        """The stored integers."""
        if self.dtype != "I64":
            raise Invalid("an array of real numbers stands where integers are needed")
        return np.frombuffer(self.raw, "<i8").astype(np.int64).reshape(self.shape)


def read(path: str) -> tuple[Any, dict[str, StoredArray]]:
    """The JSON tree and the arrays of the file at `path`; Invalid when it is not well formed.

    Raises OSError when it cannot be read, or is a pipe or a device: these may have no end.
    """
    require_regular(path)
    _require_subnormals()
    with open(path, "rb") as file:
        try:
            text, blob = _members(file)
        except (zipfile.BadZipFile, EOFError, struct.error, NotImplementedError, RuntimeError,
                ValueError, OverflowError) as error:  # fmt: skip
            raise Invalid(f"not a well formed zip archive ({error})") from None
    tree = _canonical(text)
    graph = isinstance(tree, dict) and tree.get("format") == 2
    return tree, _arrays(blob, AXES if graph else 2)


def _require_subnormals() -> None:
    """Raises Incomplete where this process flushes subnormal numbers: files could not be read."""
    for dtype, exponent in (("F64", -1074), ("F32", -149), ("BF16", -133), ("F16", -24)):
        least = StoredArray(dtype, (1,), (1).to_bytes(BYTES[dtype], "little")).values()[0]
        if least * 2.0**600 != math.ldexp(1.0, exponent + 600):
            raise Incomplete("this process flushes subnormal numbers to zero: check in another one")


def require_regular(path: str) -> None:
    """Raises OSError unless `path` is a regular file; opening a pipe would already wait."""
    if not stat.S_ISREG(os.stat(path).st_mode):
        reason = os.strerror(errno.EISDIR) if os.path.isdir(path) else "it is no regular file"
        raise OSError(errno.EINVAL, reason, path)


def digest(chunks: Iterable[bytes]) -> str:
    """The sha256 of the chunks, one after the other, in lower-case hex."""
    state = hashlib.sha256()
    for chunk in chunks:
        state.update(chunk)
    return state.hexdigest()


def _members(file: BinaryIO) -> tuple[bytes, bytes]:
    """Both members, after the archive has been shown to be nothing but these two, stored."""
    end = os.fstat(file.fileno()).st_size
    with zipfile.ZipFile(file) as archive:
        infos = archive.infolist()
        if [info.filename for info in infos] != list(MEMBERS):
            raise Invalid(f"the archive must hold exactly {' and '.join(MEMBERS)}, in this order")
        position, directory = 0, 0
        for info in infos:
            name = info.filename
            if info.compress_type != zipfile.ZIP_STORED or info.flag_bits or info.comment:
                raise Invalid(f"member {name} must be stored, without flags or comment")
            if info.compress_size != info.file_size or info.file_size > MEMBERS[name]:
                raise Invalid(f"member {name} is larger than permitted or declares two sizes")
            if info.header_offset != position:
                raise Invalid(f"member {name} does not start where the bytes before it end")
            file.seek(position)
            local = struct.unpack("<4s5H3I2H", file.read(30))
            sizes = (info.CRC, info.compress_size, info.file_size)
            time, date = local[4:6]
            written = (
                (date >> 9) + 1980, (date >> 5) & 15, date & 31,
                time >> 11, (time >> 5) & 63, 2 * (time & 31),
            )  # fmt: skip
            if (
                local[:4] != (b"PK\3\4", info.extract_version, 0, zipfile.ZIP_STORED)
                or (written != info.date_time)
                or (local[6:9] != sizes and local[6:9] != (info.CRC, 2**32 - 1, 2**32 - 1))
            ):
                raise Invalid(f"member {name} has two headers that disagree")
            if max(local[10], len(info.extra)) > EXTRA_LIMIT:
                raise Invalid(f"member {name} carries extra fields")
            position += 30 + local[9] + local[10] + info.file_size
            directory += 46 + len(name) + len(info.extra)
        if archive.comment or end > position + directory + len(_ends(position, directory)):
            raise Invalid("the archive holds bytes that belong to no member")
        file.seek(position)
        for info in infos:
            lengths = len(info.filename), len(info.extra)
            if struct.unpack_from("<28x4H", file.read(46 + sum(lengths))) != (*lengths, 0, 0):
                raise Invalid(f"member {info.filename} declares more than its entry holds")
        if file.read() != _ends(position, directory):
            raise Invalid("the archive does not end as one of these two members does")
        return archive.read(infos[0]), archive.read(infos[1])


def _ends(position: int, directory: int) -> bytes:
    """The records that close an archive whose directory starts at `position`."""
    offset = min(position, 2**32 - 1)
    closing = struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, 2, 2, directory, offset, 0)
    if position < 2**31:  # where Python's zipfile turns to zip64
        return closing
    record = struct.pack("<4sQ2H2I4Q", b"PK\6\6", 44, 45, 45, 0, 0, 2, 2, directory, position)
    return record + struct.pack("<4sIQI", b"PK\6\7", 0, position + directory, 1) + closing


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for key, value in pairs:
        if key in result:
            raise Invalid(f"duplicate key {key!r}")
        result[key] = value
    return result


def _refuse_constant(name: str) -> None:
    raise Invalid(f"{name} is not a permitted number")


def _json(text: bytes, what: str) -> Any:
    try:
        return json.loads(
            text.decode("utf-8"), object_pairs_hook=_pairs, parse_constant=_refuse_constant
        )
    except (ValueError, RecursionError) as error:
        raise Invalid(f"{what} is not JSON ({type(error).__name__})") from None


def _canonical(text: bytes) -> Any:
    tree = _json(text, "certificate.json")
    try:
        again = json.dumps(tree, sort_keys=True, separators=(",", ":"), allow_nan=False)
    except (ValueError, RecursionError):
        raise Invalid("certificate.json cannot be encoded again") from None
    if again.encode("ascii") != text:
        raise Invalid("certificate.json is not in canonical form")
    return tree


def _arrays(blob: bytes, axes: int) -> dict[str, StoredArray]:
    """The arrays of a safetensors blob whose entries tile the data exactly."""
    if len(blob) < 8:
        raise Invalid("arrays.safetensors is too short for a header")
    length = int.from_bytes(blob[:8], "little")
    if length > HEADER_LIMIT or length > len(blob) - 8:
        raise Invalid("the header of arrays.safetensors is longer than permitted")
    header = as_object(_json(blob[8 : 8 + length], "the safetensors header"), None, "the header")
    entries = []
    for name, entry in header.items():
        entry = as_object(entry, ("dtype", "shape", "data_offsets"), f"array {name!r}")
        dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
        if not isinstance(dtype, str) or dtype not in BYTES:
            raise Invalid(f"array {name!r} has dtype {dtype!r}; permitted: {', '.join(BYTES)}")
        for numbers in (shape, offsets):
            if not isinstance(numbers, list) or not all(is_count(x) for x in numbers):
                raise Invalid(f"array {name!r} has a shape or offsets that are no counts")
        if not 1 <= len(shape) <= axes or min(shape) < 1 or len(offsets) != 2:
            most = "one or two" if axes == 2 else f"1 to {axes}"
            raise Invalid(f"array {name!r} must have {most} dimensions, none of them empty")
        entries.append((offsets[0], offsets[1], name, dtype, tuple(shape)))
    arrays, position, data = {}, 0, memoryview(blob)[8 + length :]
    for begin, end, name, dtype, shape in sorted(entries):
        if begin != position or begin % BYTES[dtype]:
            raise Invalid(f"array {name!r} overlaps, leaves a gap or is misaligned")
        if end - begin != math.prod(shape) * BYTES[dtype] or end > len(data):
            raise Invalid(f"array {name!r} declares a shape that does not match its bytes")
        arrays[name] = StoredArray(dtype, shape, bytes(data[begin:end]))
        position = end
    if position != len(data):
        raise Invalid("arrays.safetensors holds bytes that belong to no array")
    return arrays


def as_object(value: Any, keys: tuple[str, ...] | None, where: str) -> dict[str, Any]:
    """`value` as an object with exactly these keys (None: any)."""
    if not isinstance(value, dict):
        raise Invalid(f"{where} must be an object")
    if keys is not None:
        for key in value:
            if key not in keys:
                raise Invalid(f"unknown key {key!r} in {where}")
        for key in keys:
            if key not in value:
                raise Invalid(f"missing key {key!r} in {where}")
    return value


def is_count(value: Any) -> bool:
    """Whether `value` is a nonnegative integer (true and false are not)."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def number(value: Any, where: str) -> float:
    """A finite binary64 from its one hexadecimal spelling."""
    try:
        result = float.fromhex(value)
    except (TypeError, ValueError, OverflowError):
        raise Invalid(f"{where} must be a hexadecimal float string") from None
    if not math.isfinite(result) or result.hex() != value:
        raise Invalid(f"{where} must be finite and spelled as float.hex() does")
    return result
