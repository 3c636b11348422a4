"""Directed tensor arithmetic against exact rationals, on hard inputs and odd layouts."""

import math
from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

import talweg.enclosure as enc
from talweg._errors import InputError
from talweg.enclosure import _directed
from talweg.enclosure._directed import power_of_two

INF = math.inf
floats = st.floats(allow_nan=False, allow_infinity=False) | st.sampled_from(
    [0.0, 5e-324, -5e-324, 2.0**-1022, 1.7976931348623157e308, -1.7976931348623157e308, 1e-200]
)
lists = st.lists(floats, min_size=1, max_size=12)
OPERATIONS = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
    "div": lambda a, b: a / b,
}


def tensor(values):
    return torch.tensor(values, dtype=torch.float64)


def at_most(x: float, exact: Fraction) -> bool:
    return x == -INF or (math.isfinite(x) and Fraction(x) <= exact)


def at_least(x: float, exact: Fraction) -> bool:
    return x == INF or (math.isfinite(x) and Fraction(x) >= exact)


@pytest.mark.parametrize("name", OPERATIONS)
@given(a=floats, b=floats)
def test_binary_operations_bound_the_exact_result(name, a, b):
    if name == "div" and b == 0.0:
        return
    exact = OPERATIONS[name](Fraction(a), Fraction(b))
    up, down = getattr(enc, f"{name}_up"), getattr(enc, f"{name}_down")
    assert at_least(up(a, b), exact)
    assert at_most(down(a, b), exact)
    many = torch.full((9,), a, dtype=torch.float64), torch.full((9,), b, dtype=torch.float64)
    for x, y in ((many[0], many[1]), (many[0], b), (a, many[1])):
        assert all(at_least(v, exact) for v in up(x, y).tolist())
        assert all(at_most(v, exact) for v in down(x, y).tolist())


@given(st.floats(min_value=0.0, allow_nan=False, allow_infinity=False))
def test_square_roots_bound_the_exact_root(a):
    for up, down in (
        (enc.sqrt_up(a), enc.sqrt_down(a)),
        (enc.sqrt_up(tensor([a])).item(), enc.sqrt_down(tensor([a])).item()),
    ):
        assert Fraction(down) ** 2 <= Fraction(a) <= Fraction(up) ** 2


@given(lists)
def test_sums_bound_the_exact_sum(values):
    exact = sum(map(Fraction, values))
    x = tensor(values)
    assert at_least(enc.sum_upper(x).item(), exact)
    assert at_most(enc.sum_lower(x).item(), exact)
    size = sum(abs(Fraction(v)) for v in values)
    assert at_least(enc.sum_nonnegative_upper(x.abs()).item(), size)


@given(lists)
def test_norms_bound_the_exact_norm(values):
    exact = sum(Fraction(v) ** 2 for v in values)
    bound = enc.norm_upper(tensor(values)).item()
    assert bound == INF or Fraction(bound) ** 2 >= exact
    if exact and bound < INF:  # tight at every scale above the subnormal numbers
        assert Fraction(bound) ** 2 <= exact * (1 + Fraction(1, 10**12)) or bound < 1e-300


@settings(deadline=None)
@given(st.integers(0, 2**31), st.sampled_from([(3, 4), (4, 3), (1, 7), (5, 0), (0, 5)]))
def test_reductions_along_a_dimension_of_odd_layouts(seed, shape):
    generator = torch.Generator().manual_seed(seed)
    base = torch.randn(*shape, 2, generator=generator, dtype=torch.float64)
    for x in (base[..., 0], base[..., 1].T, base[::2, ::2, 0]):
        rows = [sum(map(Fraction, row)) for row in x.tolist()]
        squares = [sum(Fraction(v) ** 2 for v in row) for row in x.tolist()]
        assert all(map(at_least, enc.sum_upper(x, 1).tolist(), rows))
        assert all(map(at_most, enc.sum_lower(x, 1).tolist(), rows))
        norms = enc.row_norms_upper(x).tolist()
        assert len(norms) == x.shape[0]
        assert all(Fraction(n) ** 2 >= s for n, s in zip(norms, squares, strict=True))


def test_sums_that_overflow_or_hold_infinities_give_infinity():
    largest = 1.7976931348623157e308
    assert enc.sum_upper(tensor([-largest, -largest, largest, largest])).item() == INF
    assert enc.sum_lower(tensor([largest, largest, -largest])).item() == -INF
    assert enc.sum_upper(tensor([INF, -INF])).item() == INF
    assert math.isnan(enc.sum_upper(tensor([math.nan, 1.0])).item())
    assert math.isnan(enc.norm_upper(tensor([math.nan, 1.0])).item())
    assert enc.norm_upper(tensor([INF, 1.0])).item() == INF


def test_zeros_stay_zero():
    zeros = torch.zeros(4, 3, dtype=torch.float64)
    assert (enc.norm_upper(zeros, 1) == 0.0).all()
    assert (enc.sum_upper(zeros, 1) == 0.0).all()
    assert enc.sqrt_up(0.0) == 0.0
    assert enc.mul_up(0.0, INF) == 0.0


@given(st.integers(0, 2**31))
def test_nonnegative_products_bound_the_exact_product(seed):
    generator = torch.Generator().manual_seed(seed)
    a = torch.rand(3, 5, generator=generator, dtype=torch.float64) * 2.0**-530
    b = torch.rand(5, 2, generator=generator, dtype=torch.float64) * 2.0**-530
    bound = enc.matmul_upper(a, b).tolist()
    for i in range(3):
        for j in range(2):
            terms = zip(a[i].tolist(), b[:, j].tolist(), strict=True)
            assert Fraction(bound[i][j]) >= sum(Fraction(x) * Fraction(y) for x, y in terms)


@given(st.integers(0, 10**7))
def test_gamma_is_an_upper_bound(k):
    exact = Fraction(k, 2**53) / (1 - Fraction(k, 2**53))
    assert exact <= Fraction(enc.gamma(k)) <= exact * (1 + Fraction(1, 10**14))


def test_gamma_beyond_its_range():
    assert enc.gamma(2**52 + 1) == INF
    with pytest.raises(InputError, match="gamma"):
        enc.gamma(-1)


def test_powers_of_two_are_exact():
    exponents = torch.arange(-1022, 1024)
    assert power_of_two(exponents).tolist() == [2.0**e for e in range(-1022, 1024)]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.int32])
def test_conversion_is_exact(dtype):
    bits = torch.arange(-(2**15), 2**15, dtype=torch.int32)
    t = bits if dtype is torch.int32 else bits.to(torch.int16).view(torch.float16)
    if dtype is torch.bfloat16:
        t = bits.to(torch.int16).view(torch.bfloat16)
    elif dtype is torch.float32:
        t = (bits.to(torch.int64) * 65537 % 2**31).to(torch.int32).view(torch.float32)
    exact = enc.exact_float64(t)
    back = exact.to(dtype)
    assert exact.dtype == torch.float64
    assert torch.equal(back.isnan(), t.isnan())
    assert torch.equal(back[~t.isnan()], t[~t.isnan()])


@pytest.mark.parametrize("dtype", [torch.int64, torch.complex64])
def test_conversions_that_may_round_are_refused(dtype):
    with pytest.raises(InputError, match="exact_float64"):
        enc.exact_float64(torch.ones(2).to(dtype))


def test_single_precision_operands_are_refused():
    with pytest.raises(InputError, match="float64"):
        enc.add_up(torch.ones(2), 1.0)
    with pytest.raises(InputError, match="float64"):
        enc.norm_upper(torch.ones(2))


@pytest.mark.parametrize("name", ["add", "sub", "mul", "div"])
@pytest.mark.parametrize("number", [2**53 + 1, -(2**60) - 1, 10**400, Fraction(1, 3)])
def test_numbers_that_no_float_equals_are_refused(name, number):
    x = torch.ones(2, dtype=torch.float64)
    for side in ("up", "down"):
        operation = getattr(enc, f"{name}_{side}")
        for pair in ((x, number), (number, x), (1.0, number), (number, 1.0)):
            with pytest.raises(InputError, match=f"{name}_{side} must be floats"):
                operation(*pair)


def test_a_divisor_is_a_tensor_on_the_same_device():
    """torch multiplies by a rounded reciprocal when a CUDA tensor meets a number on the CPU."""
    seen = []

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            if function.overloadpacket is torch.ops.aten.div:
                seen.append(args)
            return function(*args, **(kwargs or {}))

    x = torch.ones(3, dtype=torch.float64)
    distant = torch.ones(3, dtype=torch.float64, device="meta")
    with Watch():
        three = torch.tensor(3.0, dtype=torch.float64)
        for pair in ((x, 3.0), (distant, 3.0), (distant, three), (1.0, distant)):
            enc.div_up(*pair)
            enc.div_down(*pair)
    assert len(seen) == 8
    for a, b in seen:
        assert isinstance(b, torch.Tensor)
        assert a.device == b.device


@pytest.mark.parametrize("off", [-INF, 0.0, INF])
def test_square_roots_hold_when_the_library_misses_the_nearest_float(monkeypatch, off):
    exact = torch.sqrt

    def careless(x):
        root = exact(x)
        return torch.nextafter(root, torch.full_like(root, off)) if off else root

    monkeypatch.setattr(torch, "sqrt", careless)
    up = _directed._unary("sqrt_up", math.sqrt, "sqrt", INF)
    down = _directed._unary("sqrt_down", math.sqrt, "sqrt", -INF)
    values = [4.0, 4.0 + 2.0**-50, 4.0 - 2.0**-51, 2.0, 1.0, 3.7, 5e-324, 1e308, 0.25 - 2.0**-54]
    x = tensor(values)
    for value, low, high in zip(values, down(x).tolist(), up(x).tolist(), strict=True):
        assert Fraction(low) ** 2 <= Fraction(value) <= Fraction(high) ** 2


def test_sparse_tensors_are_refused():
    with pytest.raises(InputError, match="dense"):
        enc.exact_float64(torch.eye(2, dtype=torch.float64).to_sparse())
