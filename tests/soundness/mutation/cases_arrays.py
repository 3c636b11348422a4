"""Arrays as the file stores them: their header, their numbers, their hashes."""

from __future__ import annotations

import hashlib
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from tests.soundness.mutation.cases_format import archive, bad, pair, read
from tests.soundness.mutation.registry import Checker, case, demand, refused


def blob(header: Any, data: bytes = b"", length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return (len(text) if length is None else length).to_bytes(8, "little") + text + data


def entry(**changes: Any) -> dict[str, Any]:
    return {"x": {"dtype": "F64", "shape": [1, 2], "data_offsets": [0, 16]} | changes}


@case
def arrays_tile_their_data(checker: Checker) -> None:
    def stored(header: Any, data: bytes = b"", length: int | None = None) -> Any:
        return read(checker, archive(pair(blob=blob(header, data, length))))[1]

    def wrong(words: str, header: Any, data: bytes = b"", length: int | None = None) -> None:
        bad(checker, archive(pair(blob=blob(header, data, length))), words)

    (array,) = stored(entry(), bytes(range(16))).values()
    demand((array.dtype, array.shape, array.raw) == ("F64", (1, 2), bytes(range(16))), array)
    other = {"dtype": "F32", "shape": [2, 1], "data_offsets": [0, 8]}
    both = stored(entry(dtype="F16", shape=[2], data_offsets=[8, 12]) | {"y": other}, bytes(12))
    demand(sorted(both) == ["x", "y"] and both["x"].shape == (2,), both)
    for size in range(8):
        bad(
            checker, archive(pair(blob=bytes(size))), "arrays.safetensors is too short for a header"
        )
    long = "the header of arrays.safetensors is longer than permitted"
    wrong(long, {}, b"", 3)
    wrong(long, b"{}" + b" " * (2**20 - 1), b"")
    demand(stored(b"{}" + b" " * (2**20 - 2)) == {}, "a header of 1 MiB")
    wrong("the safetensors header is not JSON", b"{}", b" ", 1)
    wrong("the safetensors header is not JSON", b"", b"")
    wrong(long, b"{}", b"", 2 + 2**56)
    wrong("the safetensors header is not JSON", b"{]", b"")
    wrong("duplicate key 'x'", b'{"x":1,"x":1}')
    wrong("NaN is not a permitted number", b'{"x":NaN}')
    wrong("the header must be an object", [])
    wrong("array 'x' must be an object", {"x": 1})
    for key in ("dtype", "shape", "data_offsets"):
        lacking = entry()
        del lacking["x"][key]
        wrong(f"missing key {key!r} in array 'x'", lacking, bytes(16))
    wrong("unknown key 'more' in array 'x'", entry(more=1), bytes(16))
    for dtype in ("I32", "BOOL", "f64", 8, ["F64"], None):
        wrong("array 'x' has dtype", entry(dtype=dtype), bytes(16))
    counts = "array 'x' has a shape or offsets that are no counts"
    for shape in ((1, 2), "12", [1, 2.0], [True, 2], [-1, -2], None, {"1": 2}):
        if not isinstance(shape, tuple):
            wrong(counts, entry(shape=shape), bytes(16))
    for offsets in ([0, 16.0], [False, 16], [-16, 0], "01", None):
        wrong(counts, entry(data_offsets=offsets), bytes(16))
    form = "array 'x' must have one or two dimensions, none of them empty"
    for shape in ([], [1, 1, 2], [0, 2], [2, 0], [0]):
        wrong(form, entry(shape=shape), bytes(16))
    for offsets in ([0], [0, 16, 16], []):
        wrong(form, entry(data_offsets=offsets), bytes(16))
    gap = "overlaps, leaves a gap or is misaligned"
    wrong(gap, entry(data_offsets=[8, 24]), bytes(24))
    wrong(gap, entry() | {"y": {"dtype": "F64", "shape": [1], "data_offsets": [8, 16]}}, bytes(24))
    wrong(gap, entry() | {"y": {"dtype": "F64", "shape": [1], "data_offsets": [24, 32]}}, bytes(32))
    small = {"dtype": "F16", "shape": [1], "data_offsets": [0, 2]}
    wrong(gap, {"y": small, "x": {"dtype": "F32", "shape": [1], "data_offsets": [2, 6]}}, bytes(6))
    match = "array 'x' declares a shape that does not match its bytes"
    wrong(match, entry(shape=[2, 2]), bytes(16))
    wrong(match, entry(shape=[1]), bytes(16))
    wrong(match, entry(data_offsets=[0, 8]), bytes(16))
    wrong(match, entry(), bytes(15))
    wrong(match, entry(shape=[2**62, 2**62]), bytes(16))
    unused = "arrays.safetensors holds bytes that belong to no array"
    wrong(unused, entry(), bytes(17))
    wrong(unused, {}, bytes(1))


@case
def numbers_in_arrays(checker: Checker) -> None:
    """Every dtype as the exact numbers it stores; I64 is never a real number."""
    array = checker.file.StoredArray
    rng = np.random.default_rng(0)
    for dtype, kind in (("F64", "<f8"), ("F32", "<f4"), ("F16", "<f2")):
        numbers = rng.normal(size=(3, 2)).astype(kind)
        found = array(dtype, (3, 2), numbers.tobytes()).values()
        demand(found.dtype == np.float64 and (found == numbers.astype(float)).all(), dtype)
        for special in (np.inf, -np.inf, np.nan):
            numbers[1, 1] = special
            raw = numbers.tobytes()
            words = "an array holds an entry that is not finite"
            refused(lambda d=dtype, r=raw: array(d, (3, 2), r).values(),  # type: ignore[misc]
                    checker.verdict.Invalid, words)  # fmt: skip
    bits = np.array([0x3F80, 0xBFC0, 0x0001, 0x7F7F], dtype="<u2")
    found = array("BF16", (2, 2), bits.tobytes()).values().tolist()
    demand(found == [[1.0, -1.5], [2.0**-133, 255 * 2.0**120]], found)
    refused(lambda: array("BF16", (1,), b"\x80\x7f").values(), checker.verdict.Invalid,
            "an array holds an entry that is not finite")  # fmt: skip
    labels = np.array([[2**62, -1], [0, 5]], dtype="<i8")
    found = array("I64", (2, 2), labels.tobytes()).integers()
    demand(found.dtype == np.int64 and (found == labels).all(), found)
    refused(lambda: array("I64", (1,), bytes(8)).values(), checker.verdict.Invalid,
            "an array of integers stands where real numbers are needed")  # fmt: skip
    refused(lambda: array("F64", (1,), bytes(8)).integers(), checker.verdict.Invalid,
            "an array of real numbers stands where integers are needed")  # fmt: skip
    refused(lambda: array("F64", (2,), bytes(8)).values(), ValueError, "")


@case
def hashes(checker: Checker) -> None:
    """As the page of the format says, over dtype, shape and bytes."""
    array = checker.file.StoredArray("F32", (2, 1), b"abcdefgh")
    expected = b"F32\n(2,1)\nabcdefgh"
    demand(array.digest_input() == expected, array.digest_input())
    demand(checker.file.StoredArray("F64", (1,), b"12345678").digest_input()
           == b"F64\n(1)\n12345678", "one dimension")  # fmt: skip
    known = hashlib.sha256(b"abc").hexdigest()
    demand(checker.file.digest([b"a", b"", b"bc"]) == known, "sha256")


@case
def subnormal_numbers_are_needed(checker: Checker) -> None:
    """A process that reads the least number of any kind as another one checks nothing."""
    file, words = checker.file, "this process flushes subnormal numbers"
    kept = file.StoredArray.values
    file._require_subnormals()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "none.talweg"
        path.write_bytes(b"no zip")
        refused(lambda: file.read(str(path)), checker.verdict.Invalid, "not a well formed zip")
        try:
            for flushed in ("F64", "F32", "BF16", "F16"):
                for factor in (0.0, 2.0):

                    def values(self: Any, d: str = flushed, f: float = factor) -> Any:
                        return kept(self) * (f if self.dtype == d else 1.0)

                    file.StoredArray.values = values
                    refused(file._require_subnormals, checker.verdict.Incomplete, words)
                    refused(lambda: file.read(str(path)), checker.verdict.Incomplete, words)
        finally:
            file.StoredArray.values = kept
