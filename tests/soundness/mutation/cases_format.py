"""The container, byte by byte: every field of the archive and of the arrays, broken alone."""

from __future__ import annotations

import io
import json
import os
import struct
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from tests.soundness.mutation import materials
from tests.soundness.mutation.registry import Checker, case, demand, refused

MEMBERS = ("certificate.json", "arrays.safetensors")
TEXT = b'{"a":1}'
BLOB = (2).to_bytes(8, "little") + b"{}"


@dataclass(frozen=True)
class Record:
    """One member, as its two headers describe it."""

    name: str
    data: bytes
    version: int = 20
    flags: int = 0
    method: int = 0
    time: int = 0x6E7D  # 13:51:58
    date: int = 0x5B9D  # 2025-12-29
    extra: bytes = b""
    extra_there: bytes = b""  # in the directory
    comment: bytes = b""
    local: dict[int, Any] = field(default_factory=dict)  # fields of the local header, replaced
    offset: int | None = None
    sizes: tuple[int, int] | None = None
    crc: int | None = None
    before: bytes = b""
    disk: int = 0


def archive(records: list[Record], *, comment: bytes = b"", gap: bytes = b"", tail: bytes = b"",
            end: dict[int, Any] | None = None) -> bytes:  # fmt: skip
    """A zip archive with nothing taken for granted."""
    body, directory = b"", b""
    for r in records:
        crc = zlib.crc32(r.data) if r.crc is None else r.crc
        packed, unpacked = r.sizes or (len(r.data), len(r.data))
        name = r.name.encode()
        body += r.before
        offset = len(body) if r.offset is None else r.offset
        fields = [b"PK\3\4", r.version, r.flags, r.method, r.time, r.date, crc, packed, unpacked,
                  len(name), len(r.extra)]  # fmt: skip
        for at, value in r.local.items():
            fields[at] = value
        body += struct.pack("<4s5H3I2H", *fields) + name + r.extra + r.data
        directory += struct.pack(
            "<4s6H3I5H2I", b"PK\1\2", 20, r.version, r.flags, r.method, r.time, r.date, crc,
            packed, unpacked, len(name), len(r.extra_there), len(r.comment), r.disk, 0, 0, offset,
        ) + name + r.extra_there + r.comment  # fmt: skip
    closing: list[Any] = [b"PK\5\6", 0, 0, len(records), len(records), len(directory),
                          len(body) + len(gap), len(comment)]  # fmt: skip
    for at, value in (end or {}).items():
        closing[at] = value
    return body + gap + directory + struct.pack("<4s4H2IH", *closing) + comment + tail


def pair(text: bytes = TEXT, blob: bytes = BLOB, **changes: Any) -> list[Record]:
    """Both members; `changes` of the second one."""
    return [Record(MEMBERS[0], text), replace(Record(MEMBERS[1], blob), **changes)]


def read(checker: Checker, data: bytes) -> Any:
    return checker.file.read(materials.file("probe.talweg", data))


def bad(checker: Checker, data: bytes, words: str) -> None:
    refused(lambda: read(checker, data), checker.verdict.Invalid, words)


@case
def a_plain_archive(checker: Checker) -> None:
    tree, arrays = read(checker, archive(pair()))
    demand(tree == {"a": 1} and arrays == {}, "what was stored")
    extra = b"\1\0" + (28).to_bytes(2, "little") + bytes(28)
    read(checker, archive(pair(extra=extra)))
    read(checker, archive(pair(extra_there=extra)))
    whole = (2**32 - 1, 2**32 - 1)
    read(checker, archive(pair(local={7: whole[0], 8: whole[1]})))
    for time, date in ((0, 0x0021), (0xBF7D, 0xFF9F)):
        read(checker, archive(pair(time=time, date=date)))


@case
def members(checker: Checker) -> None:
    exactly = "the archive must hold exactly certificate.json and arrays.safetensors, in this order"
    one, two = pair()
    note, renamed = Record("note", b""), replace(one, name="x")
    for records in ([two, one], [one], [two], [], [one, two, note], [note, one, two], [one, one],
                    [renamed, two]):  # fmt: skip
        bad(checker, archive(records), exactly)
    for which in (0, 1):
        name = MEMBERS[which]

        def spoilt(which: int = which, **changes: Any) -> bytes:
            records = pair()
            records[which] = replace(records[which], **changes)
            return archive(records)

        stored = f"member {name} must be stored, without flags or comment"
        bad(checker, spoilt(method=8), stored)
        bad(checker, spoilt(method=99), stored)
        bad(checker, spoilt(flags=8), stored)
        bad(checker, spoilt(flags=1), stored)
        bad(checker, spoilt(flags=0x800), stored)
        bad(checker, spoilt(comment=b"c"), stored)
        sizes = f"member {name} is larger than permitted or declares two sizes"
        length = len(pair()[which].data)
        bad(checker, spoilt(sizes=(length + 1, length)), sizes)
        bad(checker, spoilt(sizes=(length - 1, length)), sizes)
        gap = f"member {name} does not start where the bytes before it end"
        bad(checker, spoilt(offset=1 if which == 0 else 0), gap)
        two_headers = f"member {name} has two headers that disagree"
        for at, value in ((0, b"PK\3\5"), (1, 21), (1, 19), (2, 1), (3, 8), (4, 0), (4, 0x6E7C),
                          (4, 0x6E5D), (4, 0x667D), (5, 0x5B9C), (5, 0x5BBD), (5, 0x5D9D), (6, 0),
                          (7, length + 1), (8, length + 1), (7, 2**32 - 1),
                          (8, 2**32 - 1)):  # fmt: skip
            bad(checker, spoilt(local={at: value}), two_headers)
        bad(checker, spoilt(local={6: 0, 7: 2**32 - 1, 8: 2**32 - 1}), two_headers)
        more = f"member {name} declares more than its entry holds"
        bad(checker, spoilt(disk=1), more)
        bad(checker, spoilt(name=f"{name}\0x"), "")
        fields = f"member {name} carries extra fields"
        extra = b"\1\0" + (29).to_bytes(2, "little") + bytes(29)
        bad(checker, spoilt(extra=extra), fields)
        bad(checker, spoilt(extra_there=extra), fields)


@case
def bytes_that_belong_to_nobody(checker: Checker) -> None:
    hidden = "the archive holds bytes that belong to no member"
    bad(checker, archive(pair(), comment=b"c"), hidden)
    bad(checker, archive(pair(before=b"xx")), "does not start where the bytes before it end")
    bad(checker, archive(pair(), gap=b"xx"), hidden)
    bad(checker, archive(pair(), gap=b"x"), hidden)
    long = replace(pair()[0], local={9: 15})
    bad(checker, archive([long, pair()[1]]), "does not start where the bytes before it end")
    ends = "the archive does not end as one of these two members does"
    bad(checker, archive(pair(extra_there=b"", local={10: 4}), end={}), "")
    for at, value in ((1, 0), (3, 2)):
        read(checker, archive(pair(), end={at: value}))
    for at, value in ((1, 1), (2, 1), (3, 1), (3, 3), (3, 0)):
        bad(checker, archive(pair(), end={at: value}), ends)
    good = archive(pair())
    bad(checker, b"x" + good, "")
    bad(checker, good + b"x", hidden)
    bad(checker, good[:-1], "not a well formed zip archive")
    # A shorter local header than there are bytes, or a last member that claims some of them.
    records = pair(local={9: len(MEMBERS[1]) + 1})
    bad(checker, archive(records), "")
    bad(checker, archive(pair(local={10: 1})), "")


@case
def not_an_archive(checker: Checker) -> None:
    """Whatever Python's zipfile raises is a refusal."""
    broken = "not a well formed zip archive"
    good = archive(pair())
    bad(checker, b"", broken)
    bad(checker, b"PK", broken)
    bad(checker, good[: len(good) // 2], broken)
    crc = archive(pair(crc=1))
    bad(checker, crc, broken)  # BadZipFile when the member is read
    start = good.find(b"PK\1\2")
    version = bytearray(good)
    version[start + 6] = 255
    bad(checker, bytes(version), broken)  # NotImplementedError
    cut = archive([pair()[0], replace(pair()[1], offset=10**6)])
    bad(checker, cut, "")
    sizes = (2**25, 2**25)
    bad(checker, archive([replace(pair()[0], sizes=sizes), pair()[1]]),
        "member certificate.json is larger than permitted or declares two sizes")  # fmt: skip
    just = (2**24, 2**24)
    bad(checker, archive([replace(pair()[0], sizes=just), pair()[1]]), "")
    over = (2**24 + 1, 2**24 + 1)
    bad(checker, archive([replace(pair()[0], sizes=over), pair()[1]]), "larger than permitted")


@case
def sixteen_mebibytes(checker: Checker) -> None:
    """The largest permitted text is read."""
    text = b'{"a":"' + b"x" * (2**24 - 8) + b'"}'
    tree, _ = read(checker, archive(pair(text=text)))
    demand(len(tree["a"]) == 2**24 - 8, "a text of 16 MiB")


@case
def pipes_and_devices(checker: Checker) -> None:
    """They may have no end; nothing waits for one, and nothing is read."""
    pipe = materials.folder() / "pipe"
    if not pipe.exists():
        os.mkfifo(pipe)
    holder = os.open(pipe, os.O_RDWR | os.O_NONBLOCK)  # so that not even a mutant waits
    os.write(holder, bytes(4096))
    try:
        for path, words in ((str(pipe), "it is no regular file"),
                            ("/dev/null", "it is no regular file"),
                            (str(materials.folder()), "Is a directory")):  # fmt: skip
            refused(lambda p=path: checker.file.read(p), OSError, words)  # type: ignore[misc]
            refused(lambda p=path: checker.check.check(p), OSError, f"{words}: {path!r}")  # type: ignore[misc]
            refused(lambda p=path: checker.cli._load(p), checker.verdict.Misuse,  # type: ignore[misc]
                    f"{path} is not a readable .npy file (OSError)")  # fmt: skip
    finally:
        os.close(holder)


@case
def limits(checker: Checker) -> None:
    """As the page of the format states them."""
    module = checker.file
    demand({MEMBERS[0]: 2**24, MEMBERS[1]: 2**34} == module.MEMBERS, "16 MiB and 16 GiB")
    demand(module.HEADER_LIMIT == 2**20, "1 MiB")


TEXTS: list[tuple[bytes, str]] = [
    (b'{"a": 1}', "certificate.json is not in canonical form"),
    (b'{"b":1,"a":1}', "certificate.json is not in canonical form"),
    (b'{"a":1}\n', "certificate.json is not in canonical form"),
    (b'{"a":1.50}', "certificate.json is not in canonical form"),
    ('{"a":"\u00e9"}'.encode(), "certificate.json is not in canonical form"),
    (b'{"a":1,"a":1}', "duplicate key 'a'"),
    (b'{"a":NaN}', "NaN is not a permitted number"),
    (b'{"a":-Infinity}', "-Infinity is not a permitted number"),
    (b'{"a":1e999}', "certificate.json cannot be encoded again"),
    (b'{"a":1', "certificate.json is not JSON (JSONDecodeError)"),
    (b'{"a":"\xff"}', "certificate.json is not JSON (UnicodeDecodeError)"),
    (b"[" * 100_000, "certificate.json is not JSON (RecursionError)"),
    (b'{"a":' + b"1" * 10_000 + b"}", "certificate.json is not JSON (ValueError)"),
    (b"\xef\xbb\xbf{}", "certificate.json is not JSON"),
]


@case
def texts(checker: Checker) -> None:
    for text, words in TEXTS:
        bad(checker, archive(pair(text=text)), words)
    for text in (b"[]", b"null", b'{"a":1,"b":{"c":[]}}', b'"\\u00e9"'):
        tree, _ = read(checker, archive(pair(text=text)))
        demand(tree == json.loads(text), text)


@case
def spellings_of_numbers(checker: Checker) -> None:
    number = checker.file.number
    for value in (0.0, 1.0, -1.5, 5e-324, 1.7976931348623157e308, 0.1):
        demand(number(value.hex(), "x") == value, value)
    form = "x must be a hexadecimal float string"
    for spelling in (None, 1, "", "z", [], "0x1p+9999999"):
        refused(lambda s=spelling: number(s, "x"), checker.verdict.Invalid, form)  # type: ignore[misc]
    finite = "x must be finite and spelled as float.hex() does"
    for spelling in ("inf", "nan", "-inf", "0x1p+0", "1.0", "0X1.0000000000000P+0", "1e400"):
        refused(lambda s=spelling: number(s, "x"), checker.verdict.Invalid, finite if  # type: ignore[misc]
                spelling != "1e400" else "x must be")  # fmt: skip
    count: Callable[[Any], bool] = checker.file.is_count
    for value, expected in ((0, True), (7, True), (-1, False), (True, False), (1.0, False)):
        demand(count(value) is expected, value)


class _Far(io.BytesIO):
    """A file that believes to be longer than it is."""

    place = 0

    def tell(self) -> int:
        return self.place

    def seek(self, *place: int) -> int:
        return self.place

    def close(self) -> None:
        """Keeps what was written."""


class _Two(list[zipfile.ZipInfo]):
    """Counts two members whose directory has been written."""

    def __len__(self) -> int:
        return 2


@case
def archives_beyond_two_gib_end_otherwise(checker: Checker) -> None:
    """The closing records, against those that Python's zipfile writes from 2^31 bytes on."""
    for position in (10, 2**31 - 1, 2**31, 2**32 - 2, 2**32 - 1, 2**32, 2**33 + 5):
        far = _Far()
        far.place = position + 123
        writer = zipfile.ZipFile(io.BytesIO(), "w")
        writer.fp, writer.start_dir, writer.filelist = far, position, _Two()
        writer.close()
        written = far.getvalue()
        demand(checker.file._ends(position, 123) == written, (position, written))
