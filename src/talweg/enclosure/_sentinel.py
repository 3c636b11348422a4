"""A quick test that this machine's floating point keeps the promises the enclosures rest on.

The enclosures assume IEEE 754 binary64, round to nearest, gradual underflow, a correct `nextafter`,
and matrix products within  gamma_k |A||B| + k eta  entrywise. Each promise is tried on a planted
problem with a known exact answer:

* products and sums of integers are exact in every order of summation while they stay below 2^53:
  sums of 320 products that fill 2^52, where a lost term or an accumulator of fewer bits shows, and
  single products of a number of 53 bits and a power of two, where an operand or a result of fewer
  bits shows (TF32, bfloat16 and float32 passes, sliced emulation);
* rows and columns of very different scales, and an entry 2^200 that meets a zero: Strassen's method
  and emulated float64 (slices scaled by the row maximum) lose the small entries;
* subnormal results and operands, in one thread and in many: flush-to-zero modes lose them;
* ties and near ties in both signs: they tell the rounding directions apart;
* full mantissas against Python's arithmetic: approximate quotients and roots differ from it.

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
    _require(_multiplies_subnormals(where), "torch.matmul", "flushes subnormal numbers", where)
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
        and one / 3.0 == 6004799503160661 * 2.0**-54
        and math.sqrt(2.0 * one) == 6369051672525773 * 2.0**-52
        and math.nextafter(one, math.inf) == 1.0 + _ULP
        and math.nextafter(-one, math.inf) == -1.0 + 0.5 * _ULP
    )


def _keeps_subnormals(device: torch.device) -> bool:
    small = torch.full((_MANY,), 2.0**-1022, dtype=torch.float64, device=device)
    halved = small * 0.5  # a subnormal result, then a subnormal operand
    back = halved * 2.0
    tiny = _vector([_ETA], device)
    normal = _vector([2.0**-1022], device)
    return bool(
        (halved == 2.0**-1023).all()
        & (back == 2.0**-1022).all()
        & (halved > 0.0).all()
        & (tiny + tiny == 2.0 * _ETA).all()
        & (1.5 * normal - normal == 2.0**-1023).all()
        & (normal / (2.0 * torch.ones_like(normal)) == 2.0**-1023).all()
        & (tiny / tiny == 1.0).all()
        & (tiny.sum() == 16.0 * _ETA)
        & ((tiny.sqrt() - 2.0**-537).abs() <= 2.0**-589).all()
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
        & _agrees_with_python(device)
    )


def _agrees_with_python(device: torch.device) -> bool:
    """Basic operations on full mantissas, for which a shortcut such as x (1/y) shows."""
    a = _moved(_scattered(64, 53), torch.device("cpu"))
    b = _moved(_scattered(128, 53)[64:], torch.device("cpu")) * 2.0**-20
    pairs = list(zip(a.tolist(), b.tolist(), strict=True))
    x, y = a.to(device), b.to(device)
    came = torch.stack([x + y, x - y, x * y, x / y, -x, y.abs()], 1)
    expected = [(p + q, p - q, p * q, p / q, -p, abs(q)) for p, q in pairs]
    roots = torch.stack([x.sqrt(), y.sqrt()], 1)
    near = torch.tensor(
        [(math.sqrt(p), math.sqrt(q)) for p, q in pairs], dtype=torch.float64, device=device
    )
    return bool(
        (came == torch.tensor(expected, dtype=torch.float64, device=device)).all()
        & ((roots - near).abs() <= near * _ULP).all()  # one float apart at most
    )


def _scattered(count: int, bits: int) -> Tensor:
    """Odd whole numbers below 2^bits, scattered by a multiplicative hash; int64 on the CPU."""
    hashed = torch.arange(1, count + 1, dtype=torch.int64) * -7046029254386353131  # wraps
    return ((hashed >> (64 - bits)) & ((1 << bits) - 1)) | 1


def _steps_correctly(device: torch.device) -> bool:
    starts = [0.0, _ETA, -_ETA, 1.0, -1.0, 2.0**-1022, math.inf, -math.inf, 1.5e300]
    x = _vector(starts, device)
    for toward in (math.inf, -math.inf):
        end = torch.full((), toward, dtype=torch.float64, device=device)
        expected = _vector([math.nextafter(s, toward) for s in starts], device)
        stepped, in_place = torch.nextafter(x, end), x.clone().nextafter_(end)
        if not bool(((stepped == expected) & (in_place == expected)).all()):
            return False
    return True


def _sums_exactly(device: torch.device) -> bool:
    n = 4096
    count = torch.arange(1, n + 1, dtype=torch.float64, device=device)
    alternating = torch.cat([count * 2.0**30, 1.0 - count * 2.0**30])
    whole = _scattered(n, 41)  # sums below 2^53
    grid = whole.reshape(64, 64)
    floats = grid.to(torch.float64).to(device)
    squares = torch.full((n,), 3.0, dtype=torch.float64, device=device)
    leg = 2.0**22 - 1.0  # 16 (3 leg)^2 + 16 (4 leg)^2 = (20 leg)^2, which takes 49 bits
    legs = torch.tensor([3.0 * leg, 4.0 * leg], dtype=torch.float64, device=device).repeat(2, 16)
    wide = _moved(_scattered(64, 53), device)
    norms = torch.linalg.vector_norm(wide[:, None].expand(64, 16), dim=-1)  # 4 wide, 18 roundings
    return bool(
        (count.sum() == n * (n + 1) / 2)
        & (alternating.sum() == n)
        & (floats.sum() == int(whole.sum()))
        & all((floats.sum(dim) == _moved(grid.sum(dim), device)).all() for dim in (0, 1))
        & (torch.linalg.vector_norm(squares) == 192.0)
        & (torch.linalg.vector_norm(legs, dim=-1) == 20.0 * leg).all()
        & (torch.linalg.vector_norm(legs.mT, dim=0) == 20.0 * leg).all()
        & ((norms - 4.0 * wide).abs() <= wide * 2.0**-47).all()
    )


def _moved(whole: Tensor, device: torch.device) -> Tensor:
    return whole.to(torch.float64).to(device)


@cache
def _planted(device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """A, B and the exact A B: whole numbers, scaled by powers of two per row and per column.

    A = [2^200 | P],  B = [0; Q] with entries of P below 2^22 and of Q below 2^22 in size: the
    entries of P Q and all partial sums are whole numbers below 2^53, and rounding never happens.
    """
    m, k = 96, 320
    i = torch.arange(m, dtype=torch.float64, device=device)
    p = _scattered(m * k, 22).reshape(m, k)
    q = _scattered(m * k + 1, 22)[1:].reshape(k, m)
    q = torch.where(torch.arange(m) % 3 == 0, q - 2**21, q)  # columns that cancel
    exact = torch.stack([(p * q[:, j]).sum(1) for j in range(m)], 1)
    first = torch.full((m, 1), 2.0**200, dtype=torch.float64, device=device)
    a = torch.cat([first, _moved(p, device)], 1)
    b = torch.cat([torch.zeros_like(i)[None, :], _moved(q, device)])
    rows = torch.where(i % 2 == 0, 1.0, 2.0**60)[:, None]
    columns = torch.where(i < m // 2, 1.0, 2.0**-90)
    return a * rows, b * columns, _moved(exact, device) * rows * columns


@cache
def _wide(device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """W (one number of 53 bits in each row), powers of two P, and the exact W P."""
    m, k = 32, 160
    numbers = _moved(_scattered(m, 52) + 2**52, device)
    i, p = torch.arange(m, device=device), torch.arange(k, device=device)
    one_hot = (p[None, :] == (37 * i[:, None]) % k).to(torch.float64)
    powers = torch.ldexp(
        torch.ones((k, m), dtype=torch.float64, device=device), (p[:, None] + 3 * i) % 5 - 2
    )
    return one_hot * numbers[:, None], powers, numbers[:, None] * powers[(37 * i) % k]


def _multiplies_subnormals(device: torch.device) -> bool:
    rows = torch.full((64, 16), 2.0**-537, dtype=torch.float64, device=device)
    ones = torch.ones((16, 64), dtype=torch.float64, device=device)
    return bool(
        (torch.matmul(rows[:1], rows[:1].mT) == 16.0 * _ETA).all()
        & (torch.matmul(rows, rows.mT) == 16.0 * _ETA).all()
        & (torch.matmul(rows * 2.0**-503, ones) == 2.0**-1036).all()
        & (torch.matmul(ones.mT, rows.mT * 2.0**-503) == 2.0**-1036).all()
    )


def _multiplies_exactly(device: torch.device) -> bool:
    a, b, exact = _planted(device)
    whole = torch.matmul(a, b)
    turned = torch.matmul(b.mT, a.mT)  # the library's other kernels: transposed operands
    batched = torch.matmul(torch.stack([a[:8], a[8:16]]), b[:, :8])
    vector = torch.matmul(a, b[:, 5])
    wide, powers, products = _wide(device)
    return bool(
        (whole == exact).all()
        & (turned.mT == exact).all()
        & (batched.reshape(16, 8) == exact[:16, :8]).all()
        & (vector == exact[:, 5]).all()
        & (torch.matmul(wide, powers) == products).all()
        & (torch.matmul(powers.mT, wide.mT) == products.mT).all()
    )


# f, x and the float just below f(x), which no float is.
_CONSTANTS = (
    ("exp", 1.0, 6121026514868073 * 2.0**-51),
    ("log", 3.0, 4947709893870346 * 2.0**-52),
    ("log1p", 1.0, 6243314768165359 * 2.0**-53),
    ("tanh", 1.0, 6859830313939860 * 2.0**-53),
    ("erfc", 1.0, 5667301202058708 * 2.0**-55),
    ("sin", 1.0, 7579296827247854 * 2.0**-53),
    ("cos", 1.0, 4866610526750347 * 2.0**-53),
)


def _encloses_constants() -> bool:
    for name, x, value in _CONSTANTS:
        lo, hi = enclose(name, torch.full((1,), x, dtype=torch.float64))
        if not float(lo) <= value < float(hi) <= value + 4.0 * math.ulp(value):
            return False
    return True
