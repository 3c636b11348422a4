"""Spoilt copies of a valid certificate file: bytes, JSON trees, array headers, zip records."""

from __future__ import annotations

import copy
import json
import math
import random
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

TEXT, ARRAYS = "certificate.json", "arrays.safetensors"
NASTY: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 2, 6, 1.5, -0.0, 1e308, 10**30, -(2**63), 2**64, "", "0", "nan",
    "inf", "T4", "T7", "T11", "squared", "cross_entropy", "sum", "linear", "tanh", "softplus",
    "identity", "weights/0.weight", "inputs", "0x1.0p+0", "0x1.0000000000000p+0", "0x0.0p+0",
    "-0x0.0p+0", "-0x1.0000000000000p+0", "0x1.fffffffffffffp+1023", "0x0.0000000000001p-1022",
    "a" * 5000, "\u0000", "\ud800", "\U0001f4a3", "0" * 64, [], {}, [[]], [None], [1, 2, 3],
    {"kind": "linear"}, {"": None}, [["0x1.0000000000000p-4", "0x1.0000000000000p+4"]],
)  # fmt: skip
NUMBERS = (0, 1, 2, 7, 8, 22, 45, 46, 98, 255, 256, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1)


def container(text: bytes, blob: bytes) -> bytes:
    """The archive of two members, as it has to be."""
    body, central = b"", b""
    for name, data in ((TEXT.encode(), text), (ARRAYS.encode(), blob)):
        fields = (20, 0, 0, 0, 33, zlib.crc32(data), len(data), len(data), len(name), 0)
        central += struct.pack("<4sH5H3I2H", b"PK\1\2", 20, *fields)
        central += struct.pack("<3H2I", 0, 0, 0, 0, len(body)) + name
        body += struct.pack("<4s5H3I2H", b"PK\3\4", *fields) + name + data
    end = struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, 2, 2, len(central), len(body), 0)
    return body + central + end


def canonical(tree: Any) -> bytes:
    """The JSON text that a reader re-encodes to."""
    return json.dumps(tree, sort_keys=True, separators=(",", ":")).encode()


@dataclass(frozen=True)
class Genuine:
    """A valid file, in parts."""

    text: bytes
    blob: bytes

    @property
    def whole(self) -> bytes:
        """The archive."""
        return container(self.text, self.blob)

    @property
    def tree(self) -> Any:
        """The JSON tree, to be spoilt."""
        return json.loads(self.text)


def flipped(good: Genuine, rng: random.Random) -> bytes:
    """One to four bits of the archive inverted."""
    data = bytearray(good.whole)
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return bytes(data)


def overwritten(good: Genuine, rng: random.Random) -> bytes:
    """A run of bytes replaced by zeros, ones, noise, or by another part of the file."""
    data = bytearray(good.whole)
    start, size = rng.randrange(len(data)), rng.choice((1, 2, 4, 8, 64, 500))
    size = min(size, len(data) - start)
    other = rng.randrange(len(data) - size + 1)
    kinds = (bytes(size), b"\xff" * size, rng.randbytes(size), bytes(data[other : other + size]))
    data[start : start + size] = rng.choice(kinds)
    return bytes(data)


def resized(good: Genuine, rng: random.Random) -> bytes:
    """Cut, extended, with a part removed, inserted or doubled."""
    data = good.whole
    one, two = sorted(rng.randrange(len(data) + 1) for _ in range(2))
    near = min(two, one + rng.choice((1, 2, 8, 100)))
    return rng.choice((
        data[:one], data[one:], data[:one] + data[near:], data[:one] + data[one:two] + data[one:],
        data[:one] + rng.randbytes(rng.choice((1, 4, 30))) + data[one:], data + data[one:two],
        data[one:two], data[two:] + data[:two],
    ))  # fmt: skip


def spliced(good: Genuine, rng: random.Random, others: tuple[Genuine, ...]) -> bytes:
    """Parts of two valid files: one member each, or a cut through both."""
    other = rng.choice([file for file in others if file != good])
    if rng.random() < 0.5:
        return container(*rng.choice(((good.text, other.blob), (other.text, good.blob))))
    data, more = good.whole, other.whole
    return data[: rng.randrange(len(data))] + more[rng.randrange(len(more)) :]


def _nodes(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _nodes(item, (*path, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _nodes(item, (*path, index))


def _at(tree: Any, path: tuple[Any, ...]) -> Any:
    for step in path:
        tree = tree[step]
    return tree


def _nudged(value: Any, rng: random.Random) -> Any:
    """A number moved a little, or a lot; what is no number stays."""
    if not isinstance(value, str) or "0x" not in value:
        return rng.choice(NASTY)
    number = float.fromhex(value)
    moved = (
        math.nextafter(number, math.inf), math.nextafter(number, 0), number * (1 + 2.0**-20),
        number * (1 - 2.0**-20), number * 2, number / 2, number * 1e9, number * 1e-9, -number,
    )  # fmt: skip
    return rng.choice(moved).hex()


def replanted(tree: Any, rng: random.Random) -> Any:
    """One node of a JSON tree replaced, removed, renamed, doubled or traded for another."""
    paths = list(_nodes(tree))
    for _ in range(rng.choice((1, 1, 2))):
        path = rng.choice(paths)
        if not path:
            continue
        try:
            parent, key = _at(tree, path[:-1]), path[-1]
            old = parent[key]
        except (KeyError, IndexError, TypeError):
            continue  # an earlier change took it away
        if not isinstance(parent, dict | list):
            continue
        kind = rng.randrange(7)
        if kind == 0 and isinstance(parent, dict):
            del parent[key]
        elif kind == 0:
            parent.pop(key)
        elif kind == 1 and isinstance(parent, dict):
            parent[rng.choice(("surprise", "", str(key) + " ", str(key).upper()))] = old
        elif kind == 2 and isinstance(parent, list):
            parent.insert(rng.randrange(len(parent) + 1), copy.deepcopy(old))
        elif kind == 3:
            try:
                parent[key] = copy.deepcopy(_at(tree, rng.choice(paths)))
            except (KeyError, IndexError, TypeError):
                parent[key] = None
        elif kind <= 5:
            parent[key] = copy.deepcopy(rng.choice(NASTY))
        else:
            parent[key] = _nudged(old, rng)
    return tree


def reworded(good: Genuine, rng: random.Random) -> bytes:
    """A spoilt tree in canonical form."""
    return container(canonical(replanted(good.tree, rng)), good.blob)


def respelt(good: Genuine, rng: random.Random) -> bytes:
    """The same text with characters inserted, removed or swapped, under its right CRC."""
    data = bytearray(good.text)
    at = rng.randrange(len(data))
    kind = rng.randrange(4)
    if kind == 0:
        data.insert(at, rng.choice(b' \n\t,:"\\{}[]0e.-\x00\xff'))
    elif kind == 1:
        del data[at]
    elif kind == 2:
        data[at] = rng.choice(b' ,:"\\{}[]01aexp.-+NTfn\x00\xc3\xff')
    else:
        end = min(len(data), at + rng.choice((2, 5, 40)))
        data[at:end] = data[at:end] * 2
    return container(bytes(data), good.blob)


def reheaded(good: Genuine, rng: random.Random) -> bytes:
    """A spoilt header of the arrays, its length right or wrong; or spoilt data."""
    blob = good.blob
    length = int.from_bytes(blob[:8], "little")
    header, data = json.loads(blob[8 : 8 + length]), blob[8 + length :]
    kind = rng.randrange(6)
    if kind == 0:
        wrong = rng.choice((0, 1, length - 1, length + 1, 2**20, 2**63, 2**64 - 1, *NUMBERS))
        return container(good.text, wrong.to_bytes(8, "little") + blob[8:])
    if kind == 1:
        at = rng.randrange(len(blob))
        return container(good.text, blob[:at] + rng.randbytes(1) + blob[at + 1 :])
    if kind == 2:
        data = rng.choice((data[:-8], data + bytes(8), data[: len(data) // 2], b"", data * 2))
    else:
        header = replanted(header, rng)
        entries = [e for e in header.values() if isinstance(e, dict)] if isinstance(
            header, dict) else []  # fmt: skip
        if entries and kind == 3:
            entry = rng.choice(entries)
            numbers = (*NUMBERS, -1, 2**62, 2**64, 10**25, 1.0, True, "8")
            entry[rng.choice(("shape", "data_offsets"))] = [
                rng.choice(numbers) for _ in range(rng.choice((0, 1, 2, 2, 3)))
            ]
    text = json.dumps(header).encode("utf-8", "surrogatepass")
    return container(good.text, len(text).to_bytes(8, "little") + text + data)


def rezipped(good: Genuine, rng: random.Random) -> bytes:
    """One or two fields of the zip records set to something else."""
    data = bytearray(good.whole)
    end = len(data) - 22
    second = end - 46 - len(ARRAYS)
    first = second - 46 - len(TEXT)
    local = 30 + len(TEXT) + len(good.text)
    fields = [(s, o, n) for s in (0, local) for o, n in
              ((0, 4), (4, 2), (6, 2), (8, 2), (10, 2), (12, 2), (14, 4), (18, 4), (22, 4), (26, 2),
               (28, 2), (30, 1))]  # fmt: skip
    fields += [(s, o, n) for s in (first, second) for o, n in
               ((0, 4), (4, 2), (6, 2), (8, 2), (10, 2), (12, 2), (14, 2), (16, 4), (20, 4),
                (24, 4), (28, 2), (30, 2), (32, 2), (34, 2), (36, 2), (38, 4), (42, 4),
                (46, 1))]  # fmt: skip
    fields += [(end, o, n) for o, n in
               ((0, 4), (4, 2), (6, 2), (8, 2), (10, 2), (12, 4), (16, 4), (20, 2))]  # fmt: skip
    for _ in range(rng.choice((1, 1, 2))):
        start, offset, size = rng.choice(fields)
        value = rng.choice((*NUMBERS, len(data), end, first, rng.randrange(2**32)))
        field = (value % 2 ** (8 * size)).to_bytes(size, "little")
        data[start + offset : start + offset + size] = field
    return bytes(data)


Mutation = Callable[[Genuine, random.Random], bytes]
KINDS: dict[str, tuple[Mutation, ...]] = {
    "bytes": (flipped, overwritten, resized),
    "text": (reworded, reworded, respelt),
    "arrays": (reheaded,),
    "zip": (rezipped,),
}
