"""Stored arrays against bit patterns decoded by hand, hashes and hexadecimal numbers."""

from __future__ import annotations

import hashlib
import math
import struct
from fractions import Fraction

import numpy as np
from tests.soundness.containment import draws
from tests.soundness.containment.record import Record, shard

from talweg_check._file import StoredArray, digest, number
from talweg_check._verdict import Invalid

UNDER_TEST = ("talweg_check._file",)
LAYOUTS = {"F64": (11, 52), "F32": (8, 23), "F16": (5, 10), "BF16": (8, 7)}
Pattern = int


def decoded(pattern: Pattern, dtype: str) -> Fraction | None:
    """The number with this bit pattern, None where it is not finite."""
    exponents, digits = LAYOUTS[dtype]
    mantissa = pattern & ((1 << digits) - 1)
    exponent = (pattern >> digits) & ((1 << exponents) - 1)
    if exponent == (1 << exponents) - 1:
        return None
    sign = -1 if pattern >> (exponents + digits) else 1
    if exponent:
        mantissa += 1 << digits
    bias = (1 << (exponents - 1)) - 1
    return sign * mantissa * Fraction(2) ** (max(exponent, 1) - bias - digits)


def patterns(rng: np.random.Generator, dtype: str, count: int) -> list[Pattern]:
    """Bit patterns: any, subnormal, at the ends of the range, now and then not finite."""
    exponents, digits = LAYOUTS[dtype]
    width = 1 + exponents + digits
    drawn = []
    for kind in rng.integers(0, 12, count).tolist():
        pattern = int(rng.integers(0, 2**63)) * 2 + int(rng.integers(2)) & ((1 << width) - 1)
        if kind < 3:
            pattern &= ~(((1 << exponents) - 1) << digits)
        elif kind < 11 and (pattern >> digits) & ((1 << exponents) - 1) == (1 << exponents) - 1:
            pattern &= ~(1 << digits)
        drawn.append(pattern)
    return drawn


def values(rng: np.random.Generator, record: Record) -> None:
    """`StoredArray.values` entry by entry, or its refusal of what is not finite."""
    dtype = str(rng.choice(list(LAYOUTS)))
    shape = (int(rng.integers(1, 5)), int(rng.integers(1, 9)))
    count = shape[0] * shape[1]
    width = (1 + sum(LAYOUTS[dtype])) // 8
    drawn = patterns(rng, dtype, count)
    if rng.random() < 0.8:  # finite numbers only
        drawn = [p if decoded(p, dtype) is not None else 1 for p in drawn]
    raw = b"".join(p.to_bytes(width, "little") for p in drawn)
    numbers = [decoded(p, dtype) for p in drawn]
    array = StoredArray(dtype, shape, raw)
    try:
        found = array.values()
    except Invalid:
        record.counts["refused"] += 1
        record.check(None in numbers, "refused", dtype, drawn)
        return
    record.check(found.shape == shape and found.dtype == np.float64, "shape", found.shape, shape)
    for pattern, value, came in zip(drawn, numbers, found.ravel().tolist(), strict=True):
        good = value is not None and math.isfinite(came) and Fraction(came) == value
        record.check(good, dtype, pattern, "gave", came)
    if dtype != "BF16":
        code = {"F64": "d", "F32": "f", "F16": "e"}[dtype]
        unpacked = struct.unpack(f"<{count}{code}", raw)
        record.check(list(unpacked) == found.ravel().tolist(), "struct differs", dtype, raw.hex())


def integers(rng: np.random.Generator, record: Record) -> None:
    """Labels, two's complement."""
    drawn = [int(x) for x in rng.integers(-(2**63), 2**63, 50, dtype=np.int64, endpoint=False)]
    drawn += [2**63 - 1, -(2**63), 0, -1]
    raw = b"".join((x % 2**64).to_bytes(8, "little") for x in drawn)
    found = StoredArray("I64", (len(drawn),), raw).integers().tolist()
    for x, came in zip(drawn, found, strict=True):
        record.check(x == came, "I64", x, "gave", came)


def hashes(rng: np.random.Generator, record: Record) -> None:
    """What a hash runs over, byte for byte as the format says."""
    for _ in range(20):
        dtype = str(rng.choice([*LAYOUTS, "I64"]))
        shape = tuple(int(x) for x in rng.integers(1, 200, int(rng.integers(1, 3))))
        raw = rng.bytes(int(rng.integers(0, 64)))
        text = dtype + "\n(" + ",".join(str(x) for x in shape) + ")\n"
        array = StoredArray(dtype, shape, raw)
        record.check(array.digest_input() == text.encode() + raw, "digest input", text)
        name = f"weights/{int(rng.integers(20))}.weight".encode() + b"\n"
        expected = hashlib.sha256(name + text.encode() + raw).hexdigest()
        record.check(digest([name, array.digest_input()]) == expected, "digest", text)


def hexadecimals(rng: np.random.Generator, record: Record) -> None:
    """One spelling for each finite float; every other one is refused."""
    for x in draws.numbers(rng, 40).tolist():
        spelled = x.hex()
        came = number(spelled, "x")
        mantissa, exponent = spelled.removeprefix("-").removeprefix("0x").split("p")
        whole, _, digits = mantissa.partition(".")
        scale = Fraction(2) ** int(exponent)
        true = (int(whole, 16) + Fraction(int(digits or "0", 16), 16 ** len(digits))) * scale
        true = -true if spelled[0] == "-" else true
        record.check(Fraction(came) == true, "number", spelled, "gave", came)
        others = [
            spelled.upper(), spelled + " ", "+" + spelled, spelled.replace("0x", ""), repr(x),
            spelled.replace("p", "0p", 1), "nan", "inf", "-inf", "", x, None, "0x1p9999",
        ]  # fmt: skip
        for other in others:
            try:
                number(other, "x")
            except Invalid:
                record.check(True)
            else:
                record.check(False, "number accepts", other)


SHARDS = (
    shard("checker.array_values", UNDER_TEST, values, 200),
    shard("checker.array_integers", UNDER_TEST, integers, 100),
    shard("checker.digest", UNDER_TEST, hashes, 100),
    shard("checker.hexadecimal", UNDER_TEST, hexadecimals, 20),
)
