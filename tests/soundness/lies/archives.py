"""Faults of the container: the zip archive, and the header and data of the arrays."""

from __future__ import annotations

import io
import json
import struct
import zipfile
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from generator import canonical
from tests.soundness.lies.drafts import genuine
from tests.soundness.lies.planted import Group

TEXT, ARRAYS = "certificate.json", "arrays.safetensors"
EXACTLY, TWO = "^the archive must hold exactly", "two headers that disagree"
ZIP, STORED = "^not a well formed zip archive", "must be stored, without flags or comment"
Header = dict[str, Any]


def _parts(seed: int) -> tuple[bytes, bytes]:
    draft = genuine("T11", "mean", seed)
    return canonical(draft.tree()), draft.blob()


def _whole(seed: int) -> bytes:
    return _zip([(TEXT, _parts(seed)[0]), (ARRAYS, _parts(seed)[1])])


def _zip(members: list[tuple[Any, bytes]], method: int = zipfile.ZIP_STORED) -> bytes:
    body = io.BytesIO()
    with zipfile.ZipFile(body, "w", method) as archive:
        for name, data in members:
            info = name if isinstance(name, zipfile.ZipInfo) else zipfile.ZipInfo(name)
            info.compress_type = method
            archive.writestr(info, data)
    return body.getvalue()


def _named(one: str, two: str) -> Callable[[bytes, bytes], bytes]:
    return lambda text, blob: _zip([(one, text), (two, blob)])


def _info(**fields: Any) -> Callable[[bytes, bytes], bytes]:
    def build(text: bytes, blob: bytes) -> bytes:
        info = zipfile.ZipInfo(TEXT)
        for key, value in fields.items():
            setattr(info, key, value)
        return _zip([(info, text), (ARRAYS, blob)])

    return build


def _twice(text: bytes, blob: bytes) -> bytes:
    return _zip([(TEXT, text), ("xertificate.json", text)]).replace(b"xert", b"cert") + blob[:0]


MEMBERS: dict[str, tuple[Callable[[bytes, bytes], bytes], str]] = {
    "no members": (lambda t, b: _zip([]), EXACTLY),
    "only the text": (lambda t, b: _zip([(TEXT, t)]), EXACTLY),
    "only the arrays": (lambda t, b: _zip([(ARRAYS, b)]), EXACTLY),
    "in the other order": (lambda t, b: _zip([(ARRAYS, b), (TEXT, t)]), EXACTLY),
    "a third": (lambda t, b: _zip([(TEXT, t), (ARRAYS, b), ("note", b"")]), EXACTLY),
    "a folder first": (lambda t, b: _zip([("a/", b""), (TEXT, t), (ARRAYS, b)]), EXACTLY),
    "two of one name": (_twice, EXACTLY),
    "above": (_named("../certificate.json", ARRAYS), EXACTLY),
    "absolute": (_named("/certificate.json", ARRAYS), EXACTLY),
    "a backslash": (_named("a\\certificate.json", ARRAYS), EXACTLY),
    "a drive": (_named("C:certificate.json", ARRAYS), EXACTLY),
    "a dot": (_named("./certificate.json", ARRAYS), EXACTLY),
    "capitals": (_named("Certificate.json", ARRAYS), EXACTLY),
    "a trailing space": (_named("certificate.json ", ARRAYS), EXACTLY),
    "a name in a folder": (_named(TEXT, "x/arrays.safetensors"), EXACTLY),
    "another letter alike": (_named("certificate.j\u0455on", ARRAYS), EXACTLY),
    "deflated": (lambda t, b: _zip([(TEXT, t), (ARRAYS, b)], zipfile.ZIP_DEFLATED), STORED),
    "bzip2": (lambda t, b: _zip([(TEXT, t), (ARRAYS, b)], zipfile.ZIP_BZIP2), STORED),
    "lzma": (lambda t, b: _zip([(TEXT, t), (ARRAYS, b)], zipfile.ZIP_LZMA), STORED),
    "a deflated bomb": (
        lambda t, b: _zip([(TEXT, bytes(2**25)), (ARRAYS, b)], zipfile.ZIP_DEFLATED), STORED),
    "a text too long": (lambda t, b: _zip([(TEXT, bytes(2**24 + 1)), (ARRAYS, b)]), "larger than"),
    "a comment of a member": (_info(comment=b"x"), STORED),
    "an extra field of 40 bytes": (_info(extra=b"\xfe\xca\x24\0" + bytes(36)), "extra fields"),
    "gzip": (lambda t, b: b"\x1f\x8b\x08\0" + t, ZIP),
    "an archive in an archive": (
        lambda t, b: _zip([(TEXT, _zip([(TEXT, t), (ARRAYS, b)])), (ARRAYS, b)]), "not JSON"),
    "text alone": (lambda t, b: t, ZIP),
    "arrays alone": (lambda t, b: b, ZIP),
    "empty file": (lambda t, b: b"", ZIP),
    "one zero": (lambda t, b: b"\0", ZIP),
}  # fmt: skip


def _patched(offset: int, new: bytes, where: str) -> Callable[[bytes], bytes]:
    """Bytes replaced in the first or second local or central header, or in the end record."""

    def spoil(good: bytes) -> bytes:
        ends = good.rfind(b"PK\x05\x06")
        second = good.rfind(b"PK\x01\x02")
        first = good.rfind(b"PK\x01\x02", 0, second)
        start = {
            "local 1": 0, "local 2": struct.unpack("<I", good[second + 42 : second + 46])[0],
            "central 1": first, "central 2": second, "end": ends,
        }[where] + offset  # fmt: skip
        result = good[:start] + new + good[start + len(new) :]
        if result == good:
            raise ValueError("the archive has not changed")
        return result

    return spoil


def _inserted(between: bytes, where: str) -> Callable[[bytes], bytes]:
    """Bytes between two parts, every later offset moved along."""

    def spoil(good: bytes) -> bytes:
        ends, second = good.rfind(b"PK\x05\x06"), good.rfind(b"PK\x01\x02")
        first = good.rfind(b"PK\x01\x02", 0, second)
        local = struct.unpack("<I", good[second + 42 : second + 46])[0]
        at = {"start": 0, "members": local, "directory": first, "end": ends, "eof": len(good)}[
            where
        ]
        moved, size = bytearray(good), len(between)
        for header in (first, second):
            offset = struct.unpack("<I", good[header + 42 : header + 46])[0]
            if offset >= at:
                moved[header + 42 : header + 46] = struct.pack("<I", offset + size)
        if first >= at:
            moved[ends + 16 : ends + 20] = struct.pack("<I", first + size)
        return bytes(moved[:at]) + between + bytes(moved[at:])

    return spoil


ANY = (
    f"{ZIP}|{TWO}|{STORED}|belong to no member|does not end as|does not start|exactly|declares two"
)
BYTES: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "data before": (_inserted(b"#!/bin/sh\n", "start"), "does not start where"),
    "data before, offsets kept": (lambda g: b"MZ" + g, ANY),
    "data between the members": (_inserted(b"hidden", "members"), "does not start where"),
    "a third local member without entry": (
        _inserted(b"PK\x03\x04" + bytes(26), "members"), "does not start where"),
    "data before the directory": (_inserted(b"hidden", "directory"), "no member|does not end"),
    "data before the end record": (_inserted(b"hidden", "end"), ANY),
    "data behind": (lambda g: g + b"x", ANY),
    "a comment": (lambda g: g[:-2] + b"\x01\0x", "belong to no member"),
    "a second end record": (lambda g: g + g[-22:], ANY),
    "local name": (_patched(30, b"C", "local 1"), ZIP),
    "local method": (_patched(8, b"\x08", "local 1"), TWO),
    "local flags": (_patched(6, b"\x01", "local 1"), TWO),
    "local CRC": (_patched(14, b"\0\0\0\0", "local 1"), TWO),
    "local size": (_patched(18, b"\x01", "local 1"), TWO),
    "local true size": (_patched(22, b"\x01", "local 2"), TWO),
    "local date": (_patched(12, b"\x22", "local 1"), TWO),
    "local version": (_patched(4, b"\x2d", "local 2"), TWO),
    "local signature": (_patched(0, b"QK", "local 2"), f"{ZIP}|{TWO}"),
    "local name length": (_patched(26, b"\x0f", "local 1"), ANY),
    "local extra length": (_patched(28, b"\x04", "local 1"), ANY),
    "central flags: encrypted": (_patched(8, b"\x01", "central 1"), STORED),
    "central flags: sizes behind": (_patched(8, b"\x08", "central 1"), STORED),
    "central flags: UTF-8": (_patched(9, b"\x08", "central 1"), STORED),
    "central method": (_patched(10, b"\x08", "central 1"), STORED),
    "central method unknown": (_patched(10, b"\x63", "central 2"), STORED),
    "both CRCs": (lambda g: _patched(16, b"\0\0\0\0", "central 1")(
        _patched(14, b"\0\0\0\0", "local 1")(g)), f"{ZIP} .*CRC"),
    "central CRC": (_patched(16, b"\0\0\0\0", "central 1"), TWO),
    "central size": (_patched(20, b"\x01", "central 1"), "declares two sizes"),
    "central true size": (_patched(24, b"\x01", "central 1"), "declares two sizes"),
    "central size of 4 GiB": (_patched(20, b"\xff" * 8, "central 1"), f"{ZIP}|larger than"),
    "central offset": (_patched(42, b"\x01", "central 1"), "does not start where"),
    "both at one offset": (_patched(42, bytes(4), "central 2"), "does not start where"),
    "central date": (_patched(14, b"\x22", "central 1"), TWO),
    "central version": (_patched(6, b"\x2d", "central 1"), TWO),
    "central version 255": (_patched(6, b"\xff", "central 1"), ZIP),
    "central signature": (_patched(0, b"QK", "central 1"), ZIP),
    "central comment length": (_patched(32, b"\x01", "central 2"), "declares more than its entry"),
    "central name length": (_patched(28, b"\x0f", "central 1"), ANY),
    "central extra length": (_patched(30, b"\x01", "central 2"), "declares more than its entry"),
    "end: three members": (_patched(8, b"\x03\0\x03", "end"), "does not end as"),
    "end: one member": (_patched(10, b"\x01", "end"), "does not end as"),
    "end: none": (_patched(8, b"\0\0\0", "end"), "does not end as"),
    "end: another disk": (_patched(4, b"\x01", "end"), f"{ZIP}|does not end as"),
    "end: size of the directory": (_patched(12, b"\x01", "end"), ANY),
    "end: no directory": (_patched(12, bytes(4), "end"), ANY),
    "end: offset of the directory": (_patched(16, b"\xff\xff\xff", "end"), ANY),
    "end: zip64 without record": (_patched(16, b"\xff" * 4, "end"), ANY),
    "end: signature": (_patched(0, b"QK", "end"), ZIP),
    "zip64 locator into nothing": (
        _inserted(b"PK\x06\x07" + struct.pack("<IQI", 0, 2**63, 1), "end"), ANY),
    "zip64 records for small sizes": (
        lambda g: _inserted(
            struct.pack("<4sQ2H2I4Q", b"PK\6\6", 44, 45, 45, 0, 0, 2, 2, 0, 0)
            + struct.pack("<4sIQI", b"PK\6\7", 0, g.rfind(b"PK\x05\x06"), 1), "end")(g), ANY),
    "cut in the directory": (lambda g: g[:-30], ZIP),
    "cut in half": (lambda g: g[: len(g) // 2], ZIP),
    "cut by one": (lambda g: g[:-1], ZIP),
    "without its beginning": (lambda g: g[1:], ANY),
    "twice": (lambda g: g + g, ANY),
    "reversed": (lambda g: g[::-1], ZIP),
    "without its zeros": (lambda g: g.replace(b"\0", b""), ANY),
}  # fmt: skip


def _blob(seed: int, change: Callable[[bytes], bytes]) -> tuple[bytes, bytes]:
    text, blob = _parts(seed)
    spoilt = change(blob)
    if spoilt == blob:
        raise ValueError("the arrays have not changed")
    return text, spoilt


def _header(change: Callable[[Header], Any], keep: bool = False) -> Callable[[bytes], bytes]:
    def spoil(blob: bytes) -> bytes:
        length = int.from_bytes(blob[:8], "little")
        header = json.loads(blob[8 : 8 + length])
        text = json.dumps(change(header) or header).encode()
        return (length if keep else len(text)).to_bytes(8, "little") + text + blob[8 + length :]

    return spoil


def _entry(name: str, **fields: Any) -> Callable[[bytes], bytes]:
    return _header(lambda header: header[name].update(fields))


def _length(value: int) -> Callable[[bytes], bytes]:
    return lambda blob: (value % 2**64).to_bytes(8, "little") + blob[8:]


COUNTS, MATCH = "are no counts", "does not match its bytes"
GAP, DIMS = "overlaps, leaves a gap or is misaligned", "one or two dimensions, none of them empty"
LONG, HEADER = "longer than permitted", "^the safetensors header is not JSON"
NUMBERS = struct.pack("<d", float("nan")), struct.pack("<d", float("inf"))
BLOBS: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "empty": (lambda b: b"", "too short for a header"),
    "seven bytes": (lambda b: b[:7], "too short for a header"),
    "header length 0": (_length(0), HEADER),
    "header length one less": (lambda b: _length(int.from_bytes(b[:8], "little") - 90)(b), HEADER),
    "header length one more": (lambda b: _length(int.from_bytes(b[:8], "little") + 8)(b), HEADER),
    "header length beyond the file": (_length(2**19), LONG),
    "header length beyond the limit": (_length(2**20 + 1), LONG),
    "header length 2^63": (_length(2**63), LONG),
    "header length -1": (_length(-1), LONG),
    "header a list": (_header(lambda h: [h]), "the header must be an object"),
    "header of nothing": (_header(lambda h: {"": {}}), "missing key 'dtype'"),
    "header with NaN": (
        lambda b: _header(lambda h: h["inputs"].update(shape=[float("nan"), 4]))(b), "^NaN is not"),
    "header with a name twice": (
        lambda b: _header(lambda h: None)(b).replace(b'"targets"', b'"inputs" '), "^duplicate key"),
    "metadata": (_header(lambda h: h.update(__metadata__={"format": "pt"})), "key 'format'"),
    "empty metadata": (_header(lambda h: h.update(__metadata__={})), "missing key 'dtype'"),
    "an entry that is a list": (_header(lambda h: h.update(inputs=[])), "must be an object"),
    "an unknown entry": (_entry("inputs", order="C"), "unknown key 'order'"),
    "an entry without shape": (_header(lambda h: h["inputs"].pop("shape") and None), "'shape'"),
    "an entry without offsets": (
        _header(lambda h: h["inputs"].pop("data_offsets") and None), "'data_offsets'"),
    "dtype F8": (_entry("inputs", dtype="F8_E4M3"), "has dtype 'F8_E4M3'"),
    "dtype in small letters": (_entry("inputs", dtype="f64"), "has dtype 'f64'"),
    "dtype U64": (_entry("inputs", dtype="U64"), "has dtype 'U64'"),
    "dtype null": (_entry("inputs", dtype=None), "has dtype None"),
    "dtype a list": (_entry("inputs", dtype=["F64"]), "has dtype"),
    "dtype of half the size": (_entry("inputs", dtype="F32"), MATCH),
    "dtype of a quarter": (_entry("targets", dtype="F16"), MATCH),
    "shape huge": (_entry("inputs", shape=[2**62, 2**62]), MATCH),
    "shape whose product is 2^64 more": (_entry("inputs", shape=[6, 4 + 2**61]), MATCH),
    "shape whose product wraps to it": (_entry("inputs", shape=[2**32 + 6, 2**32 + 4]), MATCH),
    "shape negative": (_entry("inputs", shape=[-6, -4]), COUNTS),
    "shape of floats": (_entry("inputs", shape=[6.0, 4]), COUNTS),
    "shape of booleans": (_entry("weights/2.bias", shape=[True]), COUNTS),
    "shape of text": (_entry("inputs", shape=["6", "4"]), COUNTS),
    "shape a number": (_entry("weights/2.bias", shape=1), COUNTS),
    "shape null": (_entry("inputs", shape=None), COUNTS),
    "shape of a million entries": (_entry("inputs", shape=[1] * 100_000), DIMS),
    "no dimension": (_entry("weights/2.bias", shape=[]), DIMS),
    "three dimensions": (_entry("inputs", shape=[6, 2, 2]), DIMS),
    "no rows": (_entry("inputs", shape=[0, 4]), DIMS),
    "no columns": (_entry("inputs", shape=[6, 0], data_offsets=[0, 0]), DIMS),
    "a layer of width zero": (_entry("weights/0.weight", shape=[0, 4]), DIMS),
    "an empty bias": (_entry("weights/0.bias", shape=[0]), DIMS),
    "one row less": (_entry("inputs", shape=[5, 4]), MATCH),
    "one row more": (_entry("inputs", shape=[7, 4]), MATCH),
    "one offset": (_entry("targets", data_offsets=[0]), DIMS),
    "three offsets": (_entry("targets", data_offsets=[0, 1, 2]), DIMS),
    "offsets reversed": (_entry("targets", data_offsets=[48, 0]), f"{GAP}|{MATCH}"),
    "offsets of another array": (_entry("targets", data_offsets=[0, 48]), GAP),
    "offsets beyond the data": (_entry("targets", data_offsets=[10**9, 10**9 + 48]), GAP),
    "offsets of 2^64": (_entry("targets", data_offsets=[2**64, 2**64 + 48]), GAP),
    "offsets negative": (_entry("targets", data_offsets=[-48, 0]), COUNTS),
    "offsets of floats": (_entry("targets", data_offsets=[0.0, 48.0]), COUNTS),
    "all offsets one further": (
        lambda b: _header(lambda h: [e.update(data_offsets=[x + 8 for x in e["data_offsets"]])
                                     for e in h.values()] and None)(b) + bytes(8), GAP),
    "two arrays with the same bytes": (
        _header(lambda h: h["weights/0.bias"].update(
            data_offsets=[h["inputs"]["data_offsets"][0] + x for x in (0, 80)])), GAP),
    "an array missing": (_header(lambda h: h.pop("weights/0.bias") and None), GAP),
    "an array more": (
        lambda b: _header(lambda h: h.update({"weights/1.weight": {
            "dtype": "F64", "shape": [1], "data_offsets": [len(_data(b)), len(_data(b)) + 8]}}))(b)
        + bytes(8), "belongs to no operation"),
    "an array of another name": (
        _header(lambda h: h.update({"weights/1.bias": h.pop("weights/0.bias")})), "is missing or"),
    "bytes behind": (lambda b: b + bytes(8), "bytes that belong to no array"),
    "eight bytes less": (lambda b: b[:-8], MATCH),
    "no data": (lambda b: b[: 8 + int.from_bytes(b[:8], "little")], MATCH),
    "nan": (lambda b: b[:-8] + NUMBERS[0], "sha256|not finite"),
    "infinity": (lambda b: b[:-8] + NUMBERS[1], "sha256|not finite"),
}  # fmt: skip


def _data(blob: bytes) -> bytes:
    return blob[8 + int.from_bytes(blob[:8], "little") :]


def _not_finite(seed: int, name: str, value: float) -> tuple[bytes, bytes]:
    """An entry that is no number, under its true hash."""
    draft = genuine("T11", "mean", seed)
    raw, dtype, shape = draft.arrays[name]
    numbers = np.frombuffer(raw, "<f8").copy()
    numbers[-1] = value
    draft.arrays[name] = (numbers.tobytes(), dtype, shape)
    return canonical(draft.tree()), draft.blob()


def archives(seed: int) -> Group:
    """Members, headers and records of the zip archive."""
    group = Group("archives", {"": partial(_whole, seed)})
    for name, (build, reason) in MEMBERS.items():
        group.add(f"members: {name}", lambda b=build: b(*_parts(seed)), reason)
    for name, (spoil, reason) in BYTES.items():
        group.add(f"bytes: {name}", lambda s=spoil: s(_whole(seed)), reason)
    return group


def arrays(seed: int) -> Group:
    """Header and data of `arrays.safetensors`."""
    group = Group("arrays", {"": partial(_parts, seed)})
    for name, (change, reason) in BLOBS.items():
        group.add(name, partial(_blob, seed, change), reason)
    for name in ("weights/0.weight", "weights/2.bias", "inputs", "targets"):
        for value in (float("nan"), float("inf"), float("-inf")):
            group.add(f"{value} in {name}, hashed", partial(_not_finite, seed, name, value),
                      "an entry that is not finite")  # fmt: skip
    return group
