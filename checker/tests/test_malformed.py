"""Files that are not of the one permitted form are refused, before anything is allocated."""

import io
import json
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from generator import Draft, canonical, write

from talweg_check import check
from talweg_check._file import BYTES


def _reason(path: Path) -> str:
    verdict = check(str(path))
    assert verdict.verdict == "invalid"
    return verdict.reason


def _text(draft: Draft, change: Callable[[Any], Any]) -> bytes:
    tree = draft.tree()
    return canonical(change(tree) or tree)


TEXTS: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "space": (lambda t: t.replace(b":", b": ", 1), "canonical"),
    "trailing newline": (lambda t: t + b"\n", "canonical"),
    "key order": (lambda t: t.replace(b'"assumptions":[],', b"").replace(
        b'"theorem"', b'"assumptions":[],"theorem"'), "canonical"),
    "duplicate key": (lambda t: t.replace(b'"format":1', b'"format":1,"format":1'),
                      "duplicate key 'format'"),
    "unicode escape": (lambda t: t.replace(b"made_by", "made_bý".encode()), "canonical"),
    "NaN": (lambda t: t.replace(b'"a test"', b"NaN"), "NaN"),
    "Infinity": (lambda t: t.replace(b'"a test"', b"-Infinity"), "Infinity"),
    "overflow": (lambda t: t.replace(b'"a test"', b"1e999"), "encoded"),
    "not JSON": (lambda t: t[:-1], "not JSON"),
    "not UTF-8": (lambda t: t.replace(b"a test", b"\xff"), "not JSON"),
    "not an object": (lambda t: b"[]", "must be an object"),
    "deep": (lambda t: b"[" * 200_000, "not JSON"),
    "huge integer": (lambda t: t.replace(b'"a test"', b"1" * 10_000), "not JSON"),
}  # fmt: skip


@pytest.mark.parametrize("name", TEXTS)
def test_text(name: str, draft: Draft, tmp_path: Path) -> None:
    change, word = TEXTS[name]
    path = write(tmp_path / "a.talweg", change(canonical(draft.tree())), draft.blob())
    assert word in _reason(path)


@pytest.mark.parametrize("where", ["top", "claims", "loss", "hashes", "counts", "linear", "tanh"])
@pytest.mark.parametrize("add", [True, False])
def test_keys(where: str, add: bool, draft: Draft, tmp_path: Path) -> None:
    tree = draft.tree()
    part = {
        "top": tree, "linear": tree["model"][0], "tanh": tree["model"][1],
    }.get(where) or tree[where]  # fmt: skip
    if add:
        part["surprise"] = 0
    else:
        del part[sorted(part)[0] if where not in ("linear", "tanh") else sorted(part)[-1]]
    path = write(tmp_path / "a.talweg", canonical(tree), draft.blob())
    assert ("unknown key 'surprise'" if add else "missing key") in _reason(path)


@pytest.mark.parametrize("key", ["residual_norm_upper", "radius", "step_size", "sigma_min_lower"])
@pytest.mark.parametrize(
    "value", ["nan", "inf", "-0x1.0p+0", "0x1p-1", "1.5", 1.5, None, "", "0x0.0p+0", " 0x1.0p+0"]
)
def test_numbers(key: str, value: Any, draft: Draft, tmp_path: Path) -> None:
    if key == "residual_norm_upper" and value == "0x0.0p+0":
        return  # a perfect fit is permitted
    tree = draft.tree()
    tree["claims"][key] = value
    assert key in _reason(write(tmp_path / "a.talweg", canonical(tree), draft.blob()))


@pytest.mark.parametrize(
    "value",
    [[], {}, [["0x1.0p+0"]], [["0x1.0p+0", "0x1.0p+0", "0x1.0p+0"]], [["0x0.0p+0", "0x1.0p+0"]],
     [["0x1.0p+0", "0x1.0p+0"], ["0x1.0p+0", "0x1.0p+0"]],
     [["0x1.0p+0", "0x1.0p+0"], ["0x1.0p+1", "0x1.0p-1"]], [["0x1.0p+0", "-0x1.0p+0"]]],
)  # fmt: skip
def test_profiles(value: Any, draft: Draft, tmp_path: Path) -> None:
    tree = draft.tree()
    tree["claims"]["jacobian_lipschitz_upper"] = value
    path = write(tmp_path / "a.talweg", canonical(tree), draft.blob())
    assert "jacobian_lipschitz_upper" in _reason(path)


def _header(change: Callable[[dict[str, Any]], Any]) -> Callable[[bytes], bytes]:
    def spoil(blob: bytes) -> bytes:
        length = int.from_bytes(blob[:8], "little")
        header = json.loads(blob[8 : 8 + length])
        text = json.dumps(change(header) or header).encode()
        return len(text).to_bytes(8, "little") + text + blob[8 + length :]

    return spoil


def _set(name: str, **fields: Any) -> Callable[[bytes], bytes]:
    return _header(lambda header: header[name].update(fields))


BLOBS: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda b: b"",
    "header longer than the file": lambda b: (2**20).to_bytes(8, "little") + b[8:],
    "header longer than permitted": lambda b: (2**60).to_bytes(8, "little") + b[8:],
    "header not JSON": lambda b: b[:9] + b"}" + b[10:],
    "metadata": _header(lambda h: h.update(__metadata__={"format": "pt"})),
    "extra array": _header(lambda h: h.update(
        {"weights/1.weight": {"dtype": "F16", "shape": [1], "data_offsets": [0, 2]}})),
    "missing array": _header(lambda h: h.pop("inputs") and None),
    "unknown dtype": _set("inputs", dtype="I64"),
    "other dtype": _set("inputs", dtype="F32"),
    "huge shape": _set("inputs", shape=[2**62, 2**62]),
    "negative shape": _set("inputs", shape=[-6, -4]),
    "empty shape": _set("inputs", shape=[]),
    "three dimensions": _set("inputs", shape=[6, 2, 2]),
    "zero rows": _set("inputs", shape=[0, 4]),
    "fractional shape": _set("inputs", shape=[6.0, 4]),
    "boolean shape": _set("weights/2.bias", shape=[True]),
    "transposed": _set("inputs", shape=[4, 6]),
    "offsets overlap": _set("targets", data_offsets=[0, 48]),
    "offsets beyond": _set("targets", data_offsets=[10**9, 10**9 + 48]),
    "offsets reversed": _set("targets", data_offsets=[48, 0]),
    "one offset": _set("targets", data_offsets=[0]),
    "unknown entry": _set("targets", order="C"),
    "unused bytes": lambda b: b + bytes(8),
    "cut short": lambda b: b[:-8],
    "duplicate names": lambda b: b.replace(b'"targets"', b'"inputs" '),
    "nan": lambda b: b[:-8] + struct.pack("<d", float("nan")),
    "inf": lambda b: b[:-8] + struct.pack("<d", float("inf")),
}  # fmt: skip


@pytest.mark.parametrize("name", BLOBS)
def test_arrays(name: str, draft: Draft, tmp_path: Path) -> None:
    blob = BLOBS[name](draft.blob())
    if name == "nan" or name == "inf":  # with the hash of what is stored
        last = max(draft.arrays, key=lambda key: draft.blob().rfind(draft.arrays[key][0]))
        raw, dtype, shape = draft.arrays[last]
        draft.arrays[last] = (raw[:-8] + blob[-8:], dtype, shape)
        blob = draft.blob()
    _reason(write(tmp_path / "a.talweg", canonical(draft.tree()), blob))


def _zip(path: Path, members: list[tuple[zipfile.ZipInfo, bytes]], **options: Any) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for info, data in members:
            archive.writestr(info, data, **options)
    return path


def _members(draft: Draft) -> list[tuple[zipfile.ZipInfo, bytes]]:
    return [
        (zipfile.ZipInfo("certificate.json"), canonical(draft.tree())),
        (zipfile.ZipInfo("arrays.safetensors"), draft.blob()),
    ]


def test_zip_members(draft: Draft, tmp_path: Path) -> None:
    path, good = tmp_path / "a.talweg", _members(draft)
    assert check(str(_zip(path, good))).verdict == "valid"
    assert "exactly" in _reason(_zip(path, good[::-1]))
    assert "exactly" in _reason(_zip(path, good[:1]))
    assert "exactly" in _reason(_zip(path, [*good, (zipfile.ZipInfo("note"), b"")]))
    assert "exactly" in _reason(_zip(path, [(zipfile.ZipInfo("folder/"), b""), *good]))
    for name in ("../certificate.json", "/certificate.json", "Certificate.json"):
        assert "exactly" in _reason(_zip(path, [(zipfile.ZipInfo(name), good[0][1]), good[1]]))
    packed = _zip(path, good, compress_type=zipfile.ZIP_DEFLATED)
    assert "stored" in _reason(packed)


def test_zip_bomb_is_not_unpacked(draft: Draft, tmp_path: Path) -> None:
    big, path = bytes(2**24 + 1), tmp_path / "a.talweg"
    members = [(zipfile.ZipInfo("certificate.json"), big), _members(draft)[1]]
    assert "stored" in _reason(_zip(path, members, compress_type=zipfile.ZIP_DEFLATED))
    members = [(zipfile.ZipInfo("certificate.json"), big), _members(draft)[1]]
    plain = _zip(path, members)
    assert "larger than permitted" in _reason(plain)


def _last_entry(good: bytes, offset: int) -> bytes:
    """The last entry of the directory with one byte set: what Python's zipfile does not look at."""
    at = good.rfind(b"PK\x01\x02") + offset
    return good[:at] + b"\x01" + good[at + 1 :]


def test_zip_bytes(draft: Draft, tmp_path: Path) -> None:
    good = draft.save(tmp_path / "a.talweg").read_bytes()
    central = good.rfind(b"PK\x01\x02", 0, good.rfind(b"PK\x01\x02"))
    spoilt = {
        "prefix": b"#!/bin/sh\n" + good,
        "suffix": good + b"x",
        "comment": good[:-2] + b"\x01\x00x",
        "gap": good[:central] + b"hidden" + good[central:-6]
        + struct.pack("<IH", central + 6, 0),
        "local method": good[:8] + b"\x08" + good[9:],
        "local size": good[:18] + b"\xff" + good[19:],
        "comment length": good[:central + 32] + b"\x01" + good[central + 33:],
        "comment length of the last": _last_entry(good, 32),
        "extra length of the last": _last_entry(good, 30),
        "disk of the last": _last_entry(good, 34),
        "encrypted": good[:central + 8] + b"\x01" + good[central + 9:],
        "empty": b"",
        "text": b"not a zip",
        "truncated": good[: len(good) // 2],
    }  # fmt: skip
    path = tmp_path / "b.talweg"
    for data in spoilt.values():
        path.write_bytes(data)
        _reason(path)


def test_two_local_headers_cannot_share_bytes(draft: Draft, tmp_path: Path) -> None:
    good = bytearray(draft.save(tmp_path / "a.talweg").read_bytes())
    second = good.rfind(b"PK\x01\x02")
    good[second + 42 : second + 46] = bytes(4)  # the second member points at the first
    (tmp_path / "b.talweg").write_bytes(good)
    _reason(tmp_path / "b.talweg")


def test_misaligned_arrays(draft: Draft, tmp_path: Path) -> None:
    raw, _, shape = draft.arrays["weights/2.bias"]
    draft.arrays["weights/2.bias"] = (raw[:2], "F16", shape)
    order = ["weights/2.bias", *(name for name in draft.arrays if name != "weights/2.bias")]
    header, position = {}, 0
    for name in order:
        raw, dtype, shape = draft.arrays[name]
        assert len(raw) % BYTES[dtype] == 0
        header[name] = {"dtype": dtype, "shape": shape,
                        "data_offsets": [position, position + len(raw)]}  # fmt: skip
        position += len(raw)
    text = json.dumps(header).encode()
    body = io.BytesIO()
    body.write(len(text).to_bytes(8, "little") + text)
    for name in order:
        body.write(draft.arrays[name][0])
    path = write(tmp_path / "a.talweg", canonical(draft.tree()), body.getvalue())
    assert "misaligned" in _reason(path)
