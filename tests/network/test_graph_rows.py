"""Maps of a layer along a few directions of its rows: never below the norm of the whole form."""

from __future__ import annotations

import pytest
import torch
from tests.network.graph_bounds import with_an_infinite_entry
from torch import Tensor, nn

import talweg
from talweg.enclosure import Ball
from talweg.network import _graph_rows as graph_rows
from talweg.network._graph_rows import SplitRows, is_split, split_rows
from talweg.network._graph_state import GraphState, graph_state

SVD_ERROR = 1e-11  # float64 noise of LAPACK and of the products, relative


def _state(width: int, n: int, seed: int = 0) -> GraphState:
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(width, 6), nn.Tanh(), nn.Linear(6, 1)).double()
    X = torch.randn(n, width, dtype=torch.float64)
    from talweg.network import read

    return graph_state(read(model, X), X)


def _norm(rows: Tensor, grams: Tensor) -> float:
    """The norm of X -> (N_i^(1/2) X h_i)_i."""
    total = torch.einsum("nij,nk,nl->ikjl", grams, rows, rows)
    size = grams.shape[1] * rows.shape[1]
    return float(torch.linalg.eigvalsh(total.reshape(size, size))[-1].sqrt())


def _bound(split: SplitRows, grams: Tensor, parts: int) -> float:
    sizes = torch.linalg.eigvalsh(grams)[:, -1].sqrt() * (1.0 + 1e-12)
    for first in range(0, len(grams), parts):
        split.add(1, Ball.exact(grams[first : first + parts]), first)
    return split.norm_upper(1, sizes)


@pytest.mark.parametrize(("width", "n"), [(3, 9), (12, 5), (20, 30)])
@pytest.mark.parametrize("parts", [4, 100])
def test_it_is_above_the_norm_and_near(width: int, n: int, parts: int) -> None:
    state = _state(width, n)
    assert is_split(state, state.uses[0])
    split = split_rows(state, state.uses[0])
    rows = state.shared_rule(state.uses[0]).rows(state.visits[state.uses[0]]).mid[:, 0, 0]
    roots = torch.randn(n, 4, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    grams = roots @ roots.mT
    exact, bound = _norm(rows, grams), _bound(split, grams, parts)
    assert exact * (1.0 - SVD_ERROR) <= bound
    assert bound <= exact * (1.0 + 1e-6 if width < 8 else 1.6)


@pytest.mark.parametrize("size", [0.0, 0.1, 0.5, 3.0])
def test_any_directions_give_a_bound(size: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """What LAPACK answers is a hint."""
    state = _state(10, 8)
    generator = torch.Generator().manual_seed(2)
    v = torch.eye(11, dtype=torch.float64)
    v = v + size * torch.randn(11, 11, generator=generator, dtype=torch.float64)
    answer = torch.return_types.linalg_eigh((torch.zeros(11, dtype=torch.float64), v))
    monkeypatch.setattr(graph_rows, "DIRECTIONS", 3)
    monkeypatch.setattr(torch.linalg, "eigh", lambda matrix: answer)
    split = split_rows(state, state.uses[0])
    monkeypatch.undo()
    rows = state.shared_rule(state.uses[0]).rows(state.visits[state.uses[0]]).mid[:, 0, 0]
    roots = torch.randn(8, 3, 3, generator=generator, dtype=torch.float64)
    grams = roots @ roots.mT
    assert _norm(rows, grams) * (1.0 - SVD_ERROR) <= _bound(split, grams, 3)


def test_extreme_rows_have_directions() -> None:
    state = _state(3, 4)
    for scale in (1e200, 1e-200, 0.0):
        moved = graph_state(state.network, scale * state.visits[0].value.mid[:, :3].contiguous())
        assert split_rows(moved, moved.uses[0]).growth < 1.0 + 1e-12


def test_wide_layers_are_not_split() -> None:
    torch.manual_seed(0)
    wide = graph_rows.MOST_COLUMNS + 1
    model = nn.Sequential(nn.Linear(3, wide), nn.Tanh(), nn.Linear(wide, 1)).double()
    X = torch.randn(5, 3, dtype=torch.float64)
    from talweg.network import read

    state = graph_state(read(model, X), X)
    assert [is_split(state, a) for a in state.uses] == [False, True]


def test_embeddings_are_not_split() -> None:
    """Not even of one token, for which the bound would be the same."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Embedding(5, 4), nn.Flatten(), nn.Tanh(), nn.Linear(4, 1)).double()
    X = torch.tensor([[0], [1], [2]])
    from talweg.network import read

    state = graph_state(read(model, X), X)
    assert [is_split(state, a) for a in state.uses] == [False, True]


def test_a_deep_chain_gains_from_it() -> None:
    """64 inputs and three layers: within 1.5 of the attack, as the checker confirms elsewhere."""
    torch.manual_seed(0)
    X = torch.randn(40, 24, dtype=torch.float64) + 0.5
    y = torch.randn(40, 1, dtype=torch.float64)
    layers = (nn.Linear(24, 32), nn.Tanh(), nn.Linear(32, 32), nn.Tanh(), nn.Linear(32, 1))
    model = nn.Sequential(*layers).double()
    found = talweg.certify(model, (X, y), polish=False)
    assert found.slack is not None
    assert 1.0 <= found.slack <= 1.6


def test_rows_that_are_not_numbers_have_directions() -> None:
    """LAPACK does not see them; what they are claimed to be decides."""
    state = with_an_infinite_entry(_state(3, 4))
    assert split_rows(state, 0).growth < 1.0 + 1e-12
