"""Equal rows: grouped exactly, merged or refuted, against a naive twin."""

from __future__ import annotations

import time
from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from talweg._errors import InputError
from talweg.network._merge import ConflictingRows, MergedRows, merge_duplicates


def _t(rows: list[list[float]]) -> Tensor:
    return torch.tensor(rows, dtype=torch.float64)


def test_distinct_rows_stay():
    X, y = _t([[1, 2], [2, 1]]), _t([[0], [0]])
    merged = merge_duplicates(X, y)
    assert isinstance(merged, MergedRows)
    assert torch.equal(merged.inputs, X)
    assert merged.multiplicity.tolist() == [1, 1]


def test_duplicates_merge_and_signed_zeros_are_equal():
    X, y = _t([[0.0, 1], [5, 5], [-0.0, 1], [0.0, 1]]), _t([[-0.0], [3], [0.0], [0]])
    merged = merge_duplicates(X, y)
    assert isinstance(merged, MergedRows)
    assert merged.inputs.tolist() == [[0, 1], [5, 5]]
    assert merged.targets.tolist() == [[0], [3]]
    assert merged.multiplicity.tolist() == [3, 1]
    assert merged.inverse.tolist() == [0, 1, 0, 0]


def test_conflicts_name_rows_and_bound_the_loss():
    X = _t([[1, 1], [2, 2], [1, 1], [2, 2], [1, 1], [3, 3], [3, 3]])
    y = _t([[0], [1], [0], [1], [3], [1], [2]])
    conflict = merge_duplicates(X, y)
    assert isinstance(conflict, ConflictingRows)
    assert conflict.pairs == ((0, 4), (5, 6))
    assert conflict.groups == ((0, 2, 4), (5, 6))
    assert conflict.squares_lower == 6.5


def test_bound_is_rounded_down():
    X, y = _t([[1]] * 3), _t([[0.1], [0.2], [0.4]])
    conflict = merge_duplicates(X, y)
    assert isinstance(conflict, ConflictingRows)
    values = [Fraction(v) for v in y.flatten().tolist()]
    mean = sum(values) / 3
    exact = sum((v - mean) ** 2 for v in values)
    assert Fraction(conflict.squares_lower) <= exact
    assert float(exact) - conflict.squares_lower < 1e-16


@settings(max_examples=100, deadline=None)
@given(
    st.integers(1, 3).flatmap(
        lambda d: st.lists(
            st.lists(st.sampled_from([0.0, -0.0, 1.0, 5e-324, -1.0]), min_size=d, max_size=d),
            min_size=1,
            max_size=12,
        )
    ),
    st.lists(st.sampled_from([0.0, 1.0]), min_size=12, max_size=12),
)
def test_against_the_naive_twin(rows, targets):
    X, y = _t(rows), _t([[t] for t in targets[: len(rows)]])
    groups: dict[tuple[float, ...], list[int]] = {}
    for i, row in enumerate(rows):
        groups.setdefault(tuple(v + 0.0 for v in row), []).append(i)
    clash = [tuple(g) for g in groups.values() if len({targets[i] for i in g}) > 1]
    result = merge_duplicates(X, y)
    if clash:
        assert isinstance(result, ConflictingRows)
        assert result.groups == tuple(clash)
        assert all(targets[i] != targets[j] for i, j in result.pairs)
    else:
        assert isinstance(result, MergedRows)
        assert result.multiplicity.tolist() == [len(g) for g in groups.values()]
        assert torch.equal(result.inputs[result.inverse], X)
        assert torch.equal(result.targets[result.inverse], y)


def test_hundred_thousand_rows_are_fast():
    generator = torch.Generator().manual_seed(0)
    half = torch.randn(50_000, 20, generator=generator, dtype=torch.float64)
    X = torch.cat([half, half])
    y = X[:, :1].clone()
    start = time.perf_counter()
    merged = merge_duplicates(X, y)
    assert time.perf_counter() - start < 10
    assert isinstance(merged, MergedRows)
    assert len(merged.inputs) == 50_000
    assert bool((merged.multiplicity == 2).all())


def test_only_checked_data():
    with pytest.raises(InputError, match=r"X of merge_duplicates.*float32"):
        merge_duplicates(torch.zeros(2, 2), torch.zeros(2, 1))
    with pytest.raises(InputError, match=r"y of merge_duplicates.*\(3, 1\)"):
        merge_duplicates(_t([[1], [2]]), _t([[1], [2], [3]]))
