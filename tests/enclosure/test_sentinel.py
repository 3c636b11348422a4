"""The sentinel passes here and notices every planted fault."""

import os
import subprocess
import sys
import time

import pytest
import torch

from talweg._errors import UnsoundArithmeticError
from talweg.enclosure import require_sound_arithmetic


def test_this_machine_is_sound():
    require_sound_arithmetic()
    require_sound_arithmetic("cpu")


def test_it_is_quick():
    require_sound_arithmetic()
    best = min(timed() for _ in range(20))
    assert best < 0.02  # about 4 ms


def timed():
    start = time.thread_time()  # of this thread: a busy machine does not count
    require_sound_arithmetic()
    return time.thread_time() - start


def test_flush_to_zero_is_noticed():
    if not torch.set_flush_denormal(True):
        pytest.skip("this processor cannot flush subnormal numbers")
    try:
        with pytest.raises(UnsoundArithmeticError, match=r"subnormal|round"):
            require_sound_arithmetic()
    finally:
        torch.set_flush_denormal(False)
    require_sound_arithmetic()


def in_single_precision(operation):
    def faulty(*args, **kwargs):
        singles = [a.float() if isinstance(a, torch.Tensor) else a for a in args]
        return operation(*singles, **kwargs).double()

    return faulty


@pytest.mark.parametrize(
    ("owner", "name", "fault", "message"),
    [
        (torch, "matmul", in_single_precision(torch.matmul), "matmul"),
        (torch, "nextafter", lambda x, end: x, "nextafter"),
        (
            torch.linalg,
            "vector_norm",
            lambda x, dim=None: x.square().sum(dim).sqrt() * (1.0 + 1e-9),
            "norm",
        ),
    ],
)
def test_planted_faults_are_noticed(monkeypatch, owner, name, fault, message):
    monkeypatch.setattr(owner, name, fault)
    with pytest.raises(UnsoundArithmeticError, match=message):
        require_sound_arithmetic()


def test_emulated_products_are_noticed(monkeypatch):
    original = torch.matmul

    def emulated(a, b):
        top = a.abs().amax(-1, keepdim=True)
        return original(torch.where(a.abs() < top * 2.0**-80, 0.0, a), b)

    monkeypatch.setattr(torch, "matmul", emulated)
    with pytest.raises(UnsoundArithmeticError, match="matmul"):
        require_sound_arithmetic()


def test_a_redirected_library_is_noticed(monkeypatch):
    monkeypatch.setenv("IVAL_LIBRARY", "")
    with pytest.raises(UnsoundArithmeticError, match="IVAL_LIBRARY"):
        require_sound_arithmetic()


def with_operands_of(bits):
    """A product whose operands keep so many bits, with sums in double precision."""
    original = torch.matmul

    def rounded(x):
        mantissa, exponent = torch.frexp(x)
        return torch.ldexp((mantissa * 2.0**bits).round() / 2.0**bits, exponent)

    return lambda a, b: original(rounded(a), rounded(b))


@pytest.mark.parametrize("bits", [11, 16, 24, 48, 52])
def test_operands_of_fewer_bits_are_noticed(monkeypatch, bits):
    monkeypatch.setattr(torch, "matmul", with_operands_of(bits))
    with pytest.raises(UnsoundArithmeticError, match="matmul"):
        require_sound_arithmetic()


def test_a_norm_in_single_precision_is_noticed(monkeypatch):
    original = torch.linalg.vector_norm
    monkeypatch.setattr(
        torch.linalg, "vector_norm", lambda x, dim=None: original(x.float(), dim=dim).double()
    )
    with pytest.raises(UnsoundArithmeticError, match="norm"):
        require_sound_arithmetic()


@pytest.mark.parametrize("name", ["__sub__", "__truediv__", "sqrt"])
def test_operations_that_flush_are_noticed(monkeypatch, name):
    original = getattr(torch.Tensor, name)

    def flushing(*args):
        smallest = torch.full((), 2.0**-1022, dtype=torch.float64)
        args = [torch.as_tensor(x, dtype=torch.float64) for x in args]
        args = [torch.where(torch.lt(x.abs(), smallest), 0.0, x) for x in args]
        out = original(*args)
        return torch.where(torch.lt(out.abs(), smallest), 0.0, out)

    monkeypatch.setattr(torch.Tensor, name, flushing)
    with pytest.raises(UnsoundArithmeticError, match="subnormal"):
        require_sound_arithmetic()


def test_a_quotient_by_a_rounded_reciprocal_is_noticed(monkeypatch):
    original = torch.Tensor.__truediv__
    monkeypatch.setattr(
        torch.Tensor,
        "__truediv__",
        lambda x, y: x * original(torch.ones_like(x), y),
    )
    with pytest.raises(UnsoundArithmeticError, match="nearest"):
        require_sound_arithmetic()


def test_a_wrong_step_in_place_is_noticed(monkeypatch):
    monkeypatch.setattr(torch.Tensor, "nextafter_", lambda x, end: x)
    with pytest.raises(UnsoundArithmeticError, match="nextafter"):
        require_sound_arithmetic()


FLUSHING_WORKER = """
import torch
from talweg import UnsoundArithmeticError
from talweg.enclosure import require_sound_arithmetic
torch.set_num_threads(2)
torch.set_flush_denormal(True)
torch.ones(1 << 20, dtype=torch.float64) * 2.0  # starts the second thread, which keeps flushing
torch.set_flush_denormal(False)
flushed = (torch.full((1 << 17,), 2.0**-1022, dtype=torch.float64) * 0.5 == 0.0).any()
try:
    require_sound_arithmetic()
except UnsoundArithmeticError:
    print("noticed")
else:
    print("missed" if flushed else "nothing flushes")
"""


def test_a_second_thread_that_flushes_is_noticed():
    came = subprocess.run(
        [sys.executable, "-c", FLUSHING_WORKER],
        env={**os.environ, "OMP_NUM_THREADS": "2"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert came.stdout.strip() in ("noticed", "nothing flushes")
