"""The sentinel passes here and notices every planted fault."""

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
    assert best < 0.02  # about 2 ms on an idle machine


def timed():
    start = time.perf_counter()
    require_sound_arithmetic()
    return time.perf_counter() - start


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
        (torch.linalg, "vector_norm", lambda x: x.square().sum().sqrt() * (1.0 + 1e-9), "norm"),
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
