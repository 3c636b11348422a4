"""Simulated faults of the arithmetic: the sentinel has to refuse every one.

A fault replaces a function of torch or Python by one that is wrong in a drawn way (how many bits
are lost, which term is dropped, how far a result is off), or sets the processor's control word.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import math
import os
import platform
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import numpy as np
import torch
from tests.soundness.containment.record import Record, shard
from torch import Tensor

from talweg._errors import UnsoundArithmeticError
from talweg.enclosure import _sentinel as sentinel
from talweg.enclosure import require_sound_arithmetic

UNDER_TEST = ("talweg.enclosure._sentinel",)
Faulty = Callable[..., Any]

# Bits of the control word of SSE: flush results, flush operands, round down, up, to zero.
CONTROL = {"flush": 0x8000, "operands": 0x0040, "down": 0x2000, "up": 0x4000, "zero": 0x6000}


@contextmanager
def control_word(bits: int) -> Iterator[None]:
    """The processor's SSE control word with these bits set, on Linux and x86-64."""
    library = ctypes.CDLL(ctypes.util.find_library("m"))
    before = (ctypes.c_uint32 * 8)()
    library.fegetenv(before)
    changed = (ctypes.c_uint32 * 8)(*before)
    changed[7] = (changed[7] & ~0xE040) | bits
    library.fesetenv(changed)
    try:
        yield
    finally:
        library.fesetenv(before)


def can_set_control_word() -> bool:
    """Whether `control_word` knows this machine."""
    return platform.machine() == "x86_64" and platform.system() == "Linux"


def truncated(x: Tensor, bits: int) -> Tensor:
    """x with mantissas of this many bits, rounded to nearest."""
    mantissa, exponent = torch.frexp(x)
    scale = 2.0**bits
    return torch.ldexp((mantissa * scale).round() / scale, exponent)


# -- faulty products -------------------------------------------------------------------------------


def _product(rng: np.random.Generator, exact: Faulty) -> tuple[str, Faulty]:
    kind = int(rng.integers(10))
    bits, late = int(rng.integers(7, 53)), int(rng.integers(7, 51))
    p, q = int(rng.integers(2**16)), int(rng.integers(2**16))
    relative = float(rng.choice([-1.0, 1.0])) * 2.0 ** float(rng.integers(-52, 1))

    def lost_term(a: Tensor, b: Tensor) -> Tensor:  # a whole column of a, or one of its entries
        a = a.clone(memory_format=torch.contiguous_format)
        flat, weights = a.view(-1, a.shape[-1]), b.abs().sum(-1) if b.ndim > 1 else b.abs()
        for shift in range(flat.numel()):  # a term that is 0 may be lost: the next one that is not
            row, column = divmod((p + 7919 * shift) % flat.numel(), a.shape[-1])
            if float(flat[row, column]) * float(weights[..., column].sum()) != 0.0:
                flat[(slice(None), column) if kind == 0 else (row, column)] = 0.0
                break
        return exact(a, b)

    def halves(a: Tensor, b: Tensor) -> Tensor:  # the accumulator keeps fewer bits
        cut = a.shape[-1] // 2
        rest = b[cut:] if b.ndim == 1 else b[..., cut:, :]
        first = b[:cut] if b.ndim == 1 else b[..., :cut, :]
        parts = (exact(a[..., :cut], first), exact(a[..., cut:], rest))
        return truncated(truncated(parts[0], late) + truncated(parts[1], late), late)

    def one_entry(a: Tensor, b: Tensor) -> Tensor:
        out = exact(a, b)
        flat = out.view(-1)
        used = flat.nonzero().reshape(-1)
        flat[used[p % len(used)]] *= 1.0 + relative
        return out

    def strassen(a: Tensor, b: Tensor) -> Tensor:
        if a.ndim != 2 or b.ndim != 2 or (a.shape[0] | a.shape[1] | b.shape[1]) % 2:
            return exact(a, b) if a.shape[-1] % 2 == 0 else _odd_strassen(exact, a, b)
        return _strassen(exact, a, b)

    def sliced(a: Tensor, b: Tensor) -> Tensor:  # fixed point, relative to the largest of a row
        top = a.abs().amax(-1, keepdim=True).clamp(min=2.0**-1000)
        step = top * 2.0 ** -float(40 + bits)
        return exact((a / step).round() * step, b)

    def single(a: Tensor, b: Tensor) -> Tensor:
        return exact(a.float(), b.float()).double()

    def flushed(a: Tensor, b: Tensor) -> Tensor:
        out = exact(a, b)
        return torch.where(out.abs() < 2.0**-1022, 0.0, out)

    def flushed_operands(a: Tensor, b: Tensor) -> Tensor:
        return exact(*(torch.where(t.abs() < 2.0**-1022, 0.0, t) for t in (a, b)))

    faults: list[tuple[str, Faulty]] = [
        ("lost column", lost_term),
        ("lost term", lost_term),
        (f"left operand of {bits} bits", lambda a, b: exact(truncated(a, bits), b)),
        (
            f"both operands of {bits} bits",
            lambda a, b: exact(truncated(a, bits), truncated(b, bits)),
        ),
        (f"right operand of {bits} bits", lambda a, b: exact(a, truncated(b, bits))),
        (f"accumulator of {late} bits", halves),
        (f"one entry off by {relative.hex()}", one_entry),
        ("Strassen", strassen) if q % 2 else (f"slices of {40 + bits} bits", sliced),
        ("single precision", single),
        ("flushed results", flushed) if q % 2 else ("flushed operands", flushed_operands),
    ]
    return faults[kind]


def _strassen(exact: Faulty, a: Tensor, b: Tensor) -> Tensor:
    m, k, n = a.shape[0] // 2, a.shape[1] // 2, b.shape[1] // 2
    a11, a12, a21, a22 = a[:m, :k], a[:m, k:], a[m:, :k], a[m:, k:]
    b11, b12, b21, b22 = b[:k, :n], b[:k, n:], b[k:, :n], b[k:, n:]
    m1, m2, m3 = exact(a11 + a22, b11 + b22), exact(a21 + a22, b11), exact(a11, b12 - b22)
    m4, m5 = exact(a22, b21 - b11), exact(a11 + a12, b22)
    m6, m7 = exact(a21 - a11, b11 + b12), exact(a12 - a22, b21 + b22)
    top = torch.cat([m1 + m4 - m5 + m7, m3 + m5], 1)
    return torch.cat([top, torch.cat([m2 + m4, m1 - m2 + m3 + m6], 1)])


def _odd_strassen(exact: Faulty, a: Tensor, b: Tensor) -> Tensor:
    """Strassen on an even inner dimension, and the last term beside it."""
    if a.ndim != 2 or b.ndim != 2 or a.shape[0] % 2 or b.shape[1] % 2:
        return exact(a, b)
    return _strassen(exact, a[:, :-1], b[:-1]) + exact(a[:, -1:], b[-1:])


# -- faulty sums, norms, steps and elementwise operations ------------------------------------------


def _reduction(rng: np.random.Generator, exact: Faulty) -> tuple[str, Faulty]:
    place, relative = int(rng.integers(2**12)), 2.0 ** float(rng.integers(-52, 1))
    bits = int(rng.integers(8, 40))

    def dropped(x: Tensor, *args: Any, **named: Any) -> Tensor:
        if x.dtype != torch.float64 or x.ndim == 0:
            return exact(x, *args, **named)
        x = x.clone(memory_format=torch.contiguous_format)
        x.view(-1)[place % x.numel()] = 0.0
        return exact(x, *args, **named)

    def narrow(x: Tensor, *args: Any, **named: Any) -> Tensor:
        out = exact(x, *args, **named)
        return truncated(out, bits) if x.dtype == torch.float64 else out

    def off(x: Tensor, *args: Any, **named: Any) -> Tensor:
        out = exact(x, *args, **named)
        return out * (1.0 + relative) if x.dtype == torch.float64 else out

    def single(x: Tensor, *args: Any, **named: Any) -> Tensor:
        return exact(x.float() if x.dtype == torch.float64 else x, *args, **named).to(x.dtype)

    faults = [("dropped", dropped), (f"{bits} bits", narrow), ("off", off), ("single", single)]
    return faults[int(rng.integers(4))]


def _step(rng: np.random.Generator, exact: Faulty) -> tuple[str, Faulty]:
    faults: list[tuple[str, Faulty]] = [
        ("no step", lambda x, end: x),
        ("two steps", lambda x, end: exact(exact(x, end), end)),
        ("wrong direction", lambda x, end: exact(x, -end)),
        ("stuck at 0", lambda x, end: torch.where(x == 0.0, x, exact(x.clone(), end))),
        ("stuck at infinity", lambda x, end: torch.where(x.isinf(), x, exact(x.clone(), end))),
        ("skips subnormals", lambda x, end: _without_subnormals(exact(x.clone(), end), end)),
        ("a ulp of x", lambda x, end: x + torch.sign(end) * x.abs() * 2.0**-52),
    ]
    return faults[int(rng.integers(len(faults)))]


def _without_subnormals(x: Tensor, end: Tensor) -> Tensor:
    return torch.where(x.abs() < 2.0**-1022, torch.copysign(torch.zeros_like(x), end), x)


def _operation(rng: np.random.Generator, exact: Faulty) -> tuple[str, Faulty]:
    """An elementwise operation with results of fewer bits, or moved by one float."""
    bits, upward = int(rng.integers(10, 53)), bool(rng.integers(2))

    def narrow(*args: Any) -> Tensor:
        return truncated(exact(*args), bits)

    def moved(*args: Any) -> Tensor:
        out = exact(*args)
        return torch.nextafter(out, torch.full_like(out, math.inf if upward else -math.inf))

    def flushed(*args: Any) -> Tensor:
        out = exact(*args)
        return torch.where(out.abs() < 2.0**-1022, 0.0, out)

    faults: list[tuple[str, Faulty]] = [(f"{bits} bits", narrow), ("moved", moved)]
    return [*faults, ("flushed", flushed)][int(rng.integers(3))]


def _quotient(rng: np.random.Generator, exact: Faulty) -> tuple[str, Faulty]:
    return "by a reciprocal", lambda x, y: x * exact(torch.ones((), dtype=x.dtype), y)


def _root(rng: np.random.Generator, exact: Faulty) -> tuple[str, Faulty]:
    relative = float(rng.choice([-1.0, 1.0])) * 2.0 ** float(rng.integers(-50, -1))
    return f"off by {relative.hex()}", lambda x: exact(x) * (1.0 + relative)


def _elementary(rng: np.random.Generator, exact: Faulty) -> tuple[str, Faulty]:
    wrong = str(rng.choice([name for name, _, _ in sentinel._CONSTANTS]))
    shift = float(rng.choice([-1.0, 1.0])) * 2.0 ** float(rng.integers(-48, 1))
    inward = bool(rng.integers(2))

    def faulty(name: str, lo: Tensor, hi: Tensor | None = None) -> tuple[Tensor, Tensor]:
        bottom, top = exact(name, lo, hi)
        if name != wrong:
            return bottom, top
        return (bottom, bottom) if inward else (bottom * (1.0 + shift), top * (1.0 + shift))

    return f"{wrong} {'unwidened' if inward else shift.hex()}", faulty


def _python_step(rng: np.random.Generator, exact: Faulty) -> tuple[str, Faulty]:
    faults: list[tuple[str, Faulty]] = [
        ("no step", lambda x, y: x),
        ("wrong direction", lambda x, y: exact(x, -y)),
        ("a ulp of x", lambda x, y: x + math.copysign(math.ulp(x), y)),
    ]
    return faults[int(rng.integers(3))]


FAULTS: dict[str, tuple[object, str, Callable[..., tuple[str, Faulty]]]] = {
    "torch.matmul": (torch, "matmul", _product),
    "Tensor.sum": (torch.Tensor, "sum", _reduction),
    "vector_norm": (torch.linalg, "vector_norm", _reduction),
    "torch.nextafter": (torch, "nextafter", _step),
    "Tensor.nextafter_": (torch.Tensor, "nextafter_", _step),
    "Tensor.__add__": (torch.Tensor, "__add__", _operation),
    "Tensor.__sub__": (torch.Tensor, "__sub__", _operation),
    "Tensor.__mul__": (torch.Tensor, "__mul__", _operation),
    "Tensor.__truediv__": (torch.Tensor, "__truediv__", _operation),
    "quotients": (torch.Tensor, "__truediv__", _quotient),
    "Tensor.sqrt": (torch.Tensor, "sqrt", _root),
    "enclose": (sentinel, "enclose", _elementary),
    "math.nextafter": (math, "nextafter", _python_step),
}


def _outermost(exact: Faulty, faulty: Faulty) -> Faulty:
    """The fault, which itself computes with the function that it replaces."""
    inside = False

    def call(*args: Any, **named: Any) -> Any:
        nonlocal inside
        if inside:
            return exact(*args, **named)
        inside = True
        try:
            return faulty(*args, **named)
        finally:
            inside = False

    return call


def _noticed(record: Record, name: str, what: str) -> None:
    try:
        require_sound_arithmetic()
    except UnsoundArithmeticError:
        record.counts[f"noticed in {name}"] += 1
        record.check(True)
    except Exception as error:  # the fault broke torch in another way: no certificate either
        record.counts[f"crashed in {name}: {type(error).__name__}"] += 1
    else:
        record.check(False, "missed:", name, what)


def planted_fault(rng: np.random.Generator, record: Record) -> None:
    """One fault of a drawn kind; sometimes none, and then nothing is refused."""
    kinds = [*FAULTS, "environment", "none", "control word", "torch.matmul"]
    name = kinds[int(rng.integers(len(kinds)))]
    if name == "none":
        record.check(record.call(require_sound_arithmetic) is None and not record.tracebacks)
    elif name == "environment":
        with mock.patch.dict(os.environ, {"IVAL_LIBRARY": str(rng.choice(["", "/tmp/x.so"]))}):
            _noticed(record, name, "IVAL_LIBRARY")
    elif name == "control word":
        if can_set_control_word():
            flushing = int(rng.choice([0, 0x8000, 0x40, 0x8040]))
            rounding = int(rng.choice([0, 0x2000, 0x4000, 0x6000]))
            if flushing | rounding:
                with control_word(flushing | rounding):
                    _noticed(record, name, hex(flushing | rounding))
    else:
        owner, attribute, draw = FAULTS[name]
        exact = getattr(owner, attribute)
        what, faulty = draw(rng, exact)
        with mock.patch.object(owner, attribute, _outermost(exact, faulty)):
            _noticed(record, name, what)


# A case runs the whole sentinel, about 12 ms: the slowest of the containment shards.
SHARDS = (
    shard(
        "enclosure.require_sound_arithmetic", UNDER_TEST, planted_fault, 60, 100_000, threaded=16
    ),
)
