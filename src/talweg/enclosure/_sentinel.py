"""A quick test that this machine's floating point keeps the promises the enclosures rest on.

The enclosures assume IEEE 754 binary64, round to nearest, gradual underflow, a correct `nextafter`,
and matrix products within  gamma_k |A||B| + k eta  entrywise. Each promise is tried on a planted
problem with a known exact answer:

* products and sums of integers below 2^53 are exact in every order of summation; TF32, bfloat16
  passes and any other reduced precision are not;
* rows and columns of very different scales, and an entry 2^200 that meets a zero: Strassen's method
  and emulated float64 (slices scaled by the row maximum) lose the small entries;
* subnormal results and operands, in one thread and in many: flush-to-zero modes lose them;
* ties and near ties in both signs: they tell the rounding directions apart.

A passed test is evidence, not proof; a failed one is a proof that certificates would be void.
"""

from __future__ import annotations

import math
from functools import cache

import torch
from torch import Tensor

from talweg._errors import UnsoundArithmeticError
from talweg.enclosure._elementary import enclose, refuse_redirected_library

_ETA = 2.0**-1074
_ULP = 2.0**-52
_MANY = 1 << 17  # entries: enough for torch to use every thread


def require_sound_arithmetic(device: torch.device | str = "cpu") -> None:
    """Check the floating point of the given device, and of Python, in a few milliseconds.

    Args:
        device: where tensors will be computed.

    Raises:
        UnsoundArithmeticError: flush-to-zero, another rounding direction, a wrong `nextafter`, sums
            or float64 matrix products outside their bounds, wrong elementary functions, or the
            environment variable IVAL_LIBRARY.
    """
    where = torch.device(device)
    refuse_redirected_library()
    _require(_python_rounds_to_nearest(), "Python floats", "are not rounded to nearest", where)
    _require(_keeps_subnormals(where), "torch", "flushes subnormal numbers to zero", where)
    _require(_rounds_to_nearest(where), "torch", "does not round to nearest", where)
    _require(_steps_correctly(where), "torch.nextafter", "misses the neighbouring float", where)
    _require(_sums_exactly(where), "torch.sum or vector_norm", "is outside its bound", where)
    _require(_multiplies_exactly(where), "torch.matmul", "is outside the float64 bound", where)
    _require(_encloses_constants(), "the elementary library", "misses a known value", where)


def _require(holds: bool, part: str, failure: str, device: torch.device) -> None:
    if not holds:
        raise UnsoundArithmeticError(
            f"require_sound_arithmetic() requires IEEE 754 float64, round to nearest, with "
            f"subnormals; {part} on {device} {failure}. Turn off torch.set_flush_denormal, "
            "reduced-precision or emulated float64 products, or use another machine."
        )


def _vector(values: list[float], device: torch.device) -> Tensor:
    """The values repeated, so that the vectorised code paths are tried as well."""
    return torch.tensor(values, dtype=torch.float64, device=device).repeat(16)


def _python_rounds_to_nearest() -> bool:
    one = float("1")  # not a literal: the sums below must happen at run time
    return (
        one + 2.0**-53 == 1.0
        and one + 1.5 * 2.0**-53 == 1.0 + _ULP
        and -one - 1.5 * 2.0**-53 == -1.0 - _ULP
        and one * 2.0**-1022 * 0.5 == 2.0**-1023 > 0.0
        and math.nextafter(one, math.inf) == 1.0 + _ULP
    )


def _keeps_subnormals(device: torch.device) -> bool:
    small = torch.full((_MANY,), 2.0**-1022, dtype=torch.float64, device=device)
    halved = small * 0.5  # a subnormal result, then a subnormal operand
    back = halved * 2.0
    sums = _vector([_ETA], device) + _ETA
    row = torch.full((1, 16), 2.0**-537, dtype=torch.float64, device=device)
    product = row @ row.mT  # 16 eta
    return bool(
        (halved == 2.0**-1023).all()
        & (back == 2.0**-1022).all()
        & (halved > 0.0).all()
        & (sums == 2.0 * _ETA).all()
        & (product == 16.0 * _ETA).all()
    )


def _rounds_to_nearest(device: torch.device) -> bool:
    ones = _vector([1.0], device)
    above = ones + 2.0**-30
    return bool(
        (ones + 2.0**-53 == 1.0).all()
        & (ones + 1.5 * 2.0**-53 == 1.0 + _ULP).all()
        & (-ones - 1.5 * 2.0**-53 == -1.0 - _ULP).all()
        & (-ones - 2.0**-54 == -1.0).all()
        & (above * above == 1.0 + 2.0**-29).all()
        & (-above * above == -1.0 - 2.0**-29).all()
        & (ones / 3.0 == 6004799503160661 * 2.0**-54).all()
        & ((2.0 * ones).sqrt() == 6369051672525773 * 2.0**-52).all()
    )


def _steps_correctly(device: torch.device) -> bool:
    starts = [0.0, _ETA, -_ETA, 1.0, -1.0, 2.0**-1022, math.inf, -math.inf, 1.5e300]
    x = _vector(starts, device)
    for toward in (math.inf, -math.inf):
        end = torch.full((), toward, dtype=torch.float64, device=device)
        expected = _vector([math.nextafter(s, toward) for s in starts], device)
        if not bool((torch.nextafter(x, end) == expected).all()):
            return False
    return True


def _sums_exactly(device: torch.device) -> bool:
    n = 4096
    count = torch.arange(1, n + 1, dtype=torch.float64, device=device)
    alternating = torch.cat([count * 2.0**30, 1.0 - count * 2.0**30])
    squares = torch.full((n,), 3.0, dtype=torch.float64, device=device)
    return bool(
        (count.sum() == n * (n + 1) / 2)
        & (alternating.sum() == n)
        & (torch.linalg.vector_norm(squares) == 192.0)
    )


@cache
def _planted(device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """A, B and the exact A B: integers, scaled by powers of two per row and per column.

    A = [2^200 | u v^T + w 1^T],  B = [0; x y^T + z t^T]; the entries of A B before scaling are
    integers below 2^53, as are all partial sums, and rounding never happens.
    """
    m, k = 96, 320
    i = torch.arange(m, dtype=torch.float64, device=device)
    p = torch.arange(k, dtype=torch.float64, device=device)
    u, w, y, t = i + 1.0, -(i * i) + 3.0, 2.0 * i - 90.0, i % 7.0
    v, x, z = p - 160.0, (p * p) % 101.0 - 50.0, 1.0 - p
    inner = u[:, None] * v + w[:, None]
    a = torch.cat([torch.full((m, 1), 2.0**200, dtype=torch.float64, device=device), inner], 1)
    b = torch.cat([torch.zeros_like(y)[None, :], x[:, None] * y + z[:, None] * t])
    vx, vz, sx, sz = (float(s.sum()) for s in (v * x, v * z, x, z))
    product = (u * vx + w * sx)[:, None] * y + (u * vz + w * sz)[:, None] * t
    rows = torch.where(i % 2 == 0, 1.0, 2.0**60)[:, None]
    columns = torch.where(i < m // 2, 1.0, 2.0**-90)
    return a * rows, b * columns, product * rows * columns


def _multiplies_exactly(device: torch.device) -> bool:
    a, b, exact = _planted(device)
    whole = torch.matmul(a, b)
    batched = torch.matmul(torch.stack([a[:8], a[8:16]]), b[:, :8])
    vector = torch.matmul(a, b[:, 5])
    return bool(
        (whole == exact).all()
        & (batched.reshape(16, 8) == exact[:16, :8]).all()
        & (vector == exact[:, 5]).all()
    )


def _encloses_constants() -> bool:
    ends = [enclose(name, torch.ones(1, dtype=torch.float64)) for name in ("exp", "tanh", "erfc")]
    # e, tanh 1 and erfc 1 lie strictly between these floats and the next ones.
    floats = (6121026514868073 * 2.0**-51, 6859830313939860 * 2.0**-53, 5667301202058708 * 2.0**-55)
    return all(
        float(lo) <= value < float(hi) <= value + 4.0 * math.ulp(value)
        for (lo, hi), value in zip(ends, floats, strict=True)
    )
