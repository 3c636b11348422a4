"""Data is refused by name where it is malformed, and converted exactly where it is not."""

from __future__ import annotations

import math

import numpy
import pytest
import torch
from torch import nn

from talweg._errors import InputError
from talweg.network._data import check_data
from talweg.network._read import read


def _X(dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return (torch.arange(12.0).reshape(4, 3) / 7).to(dtype)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_conversion_is_exact_and_a_copy(dtype):
    X, y = _X(dtype), _X(dtype)[:, :2]
    data = check_data(X, y, 2)
    assert data.inputs.dtype == data.targets.dtype == torch.float64
    assert torch.equal(data.inputs.to(dtype), X)
    assert torch.equal(data.targets.to(dtype), y)
    assert data.inputs.data_ptr() != X.data_ptr()
    assert data.targets.is_contiguous()


def test_flat_targets_of_one_output():
    data = check_data(_X(), torch.zeros(4), 1)
    assert data.targets.shape == (4, 1)
    assert "(n, 1)" in data.notes[0]


def test_notes_mixed_dtypes_and_network_width():
    network = read(nn.Linear(3, 2), _X())
    assert (
        "weights are float32, data is float64"
        in check_data(_X(torch.float64), torch.zeros(4, 2), network).notes[0]
    )
    assert check_data(_X(), torch.zeros(4, 2), network).notes == ()
    with pytest.raises(InputError, match=r"3 features.*\(4, 2\)"):
        check_data(torch.zeros(4, 2), torch.zeros(4, 2), network)


def test_inference_and_grad_tensors_become_plain():
    with torch.inference_mode():
        X = _X()
        data = check_data(X, _X().requires_grad_(), 3)
    assert not data.inputs.is_inference()
    assert not data.targets.requires_grad


def _nan(row: int, column: int) -> torch.Tensor:
    X = _X()
    X[row, column] = math.nan
    return X


ONE = torch.zeros(4, 1)


@pytest.mark.parametrize(
    ("X", "y", "outputs", "message"),
    [
        (_X().numpy(), ONE, 1, "X .*must be a tensor.*ndarray.*torch.as_tensor"),
        (_X(), [0.0], 1, "y .*must be a tensor.*list"),
        (_nan(2, 1), ONE, 1, "X .*must be finite; row 2, column 1 is nan"),
        (_X(), torch.tensor([[0.0], [0.0], [math.inf], [0.0]]), 1, "y .*row 2, column 0 is inf"),
        (_X(), torch.tensor([0.0, math.nan, 0.0, 0.0]), 1, "y .*row 1 is nan"),
        (_X().long(), ONE, 1, r"X .*torch.int64.*Cast it: X.to"),
        (_X().to(torch.uint8), ONE, 1, r"X .*torch.uint8.*Cast it: X.to"),
        (_X(), ONE.bool(), 1, "y .*torch.bool.*one-hot"),
        (_X(), torch.zeros(4).long(), 10, "y .*torch.int64.*one_hot.*cast"),
        (_X().to(torch.complex64), ONE, 1, "X .*must be real.*complex64"),
        (_X().to_sparse(), ONE, 1, "X .*must be a dense tensor.*sparse.*to_dense"),
        (_X().to("meta"), ONE, 1, "X .*meta"),
        (torch.zeros(0, 3), torch.zeros(0, 1), 1, r"at least one sample.*\(0, 3\)"),
        (torch.zeros(4), ONE, 1, r"at least one axis more.*\(4,\).*X\[:, None\]"),
        (_X(), torch.zeros(4, 2), 1, r"shape \(n, 1\).*\(4, 2\), with X \(4, 3\)"),
        (_X(), torch.zeros(4), 2, r"shape \(n, 2\).*\(4,\).*nothing is broadcast"),
        (_X(), torch.zeros(1, 4), 1, r"shape \(n, 1\).*\(1, 4\)"),
        (_X(), torch.zeros(3, 1), 1, r"one row for each row.*\(3, 1\) and X \(4, 3\)"),
        (_X(), torch.zeros(5), 1, r"one row for each row.*\(5,\) and X \(4, 3\)"),
        (_X(), torch.zeros(()), 1, r"shape \(n, 1\).*\(\)"),
    ],
)
def test_malformed_data(X, y, outputs, message):
    with pytest.raises(InputError, match=message):
        check_data(X, y, outputs)


def test_numpy_is_not_converted_silently():
    with pytest.raises(InputError, match=r"torch\.as_tensor"):
        check_data(_X(), numpy.zeros(4), 1)
