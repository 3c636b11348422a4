"""Maps along a few directions of the other layer's columns: never below the form of the pair."""

from __future__ import annotations

import pytest
import torch
from tests.network.graph_bounds import at_start, bounded, failures, with_an_infinite_entry
from tests.network.random_graphs import random_graph
from torch import nn

from talweg.network import _graph_columns as graph_columns
from talweg.network import _graph_start as graph_start
from talweg.network import read
from talweg.network._graph_columns import SplitColumns, columns_along, is_columned, split_columns
from talweg.network._graph_lipschitz import GraphLipschitz
from talweg.network._graph_state import GraphState, graph_state

OUTPUTS = (109, 110, 117, 123, 128, 141)
"""Seeds of graphs with several outputs."""


def _deep(outputs: int, n: int = 12) -> GraphState:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 3, 3, padding=1), nn.Tanh(), nn.AvgPool2d(2),
        nn.Conv2d(3, 4, 3, padding=1), nn.Tanh(), nn.AdaptiveAvgPool2d(1),
        nn.Flatten(), nn.Linear(4, outputs),
    ).double()  # fmt: skip
    X = torch.randn(n, 1, 4, 4, dtype=torch.float64)
    return graph_state(read(model, X), X)


@pytest.mark.parametrize("seed", OUTPUTS)
@pytest.mark.parametrize(("directions", "order"), [(1, 256), (2, 256), (16, 4), (16, 256)])
def test_it_is_above_the_form(
    seed: int, directions: int, order: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(graph_columns, "DIRECTIONS", directions)
    monkeypatch.setattr(graph_columns, "ORDER", order)
    drawn = random_graph(seed)
    assert drawn.network.output_dim > 1
    case = bounded(drawn)
    assert failures(at_start(case), 1e-9) == []


@pytest.mark.parametrize("size", [0.0, 0.1, 0.5, 3.0])
@pytest.mark.parametrize("seed", OUTPUTS[:3])
def test_any_directions_give_a_bound(
    size: float, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What LAPACK answers is a hint."""
    generator = torch.Generator().manual_seed(seed)

    def turned(state: GraphState, b: int) -> SplitColumns:
        v = split_columns(state, b).v
        noise = torch.randn(v.shape, generator=generator, dtype=torch.float64)
        return columns_along(v[:, -3:] + size * noise[:, -3:])

    monkeypatch.setattr(graph_start, "split_columns", turned)
    case = bounded(random_graph(seed))
    assert case.lipschitz._start.by_columns
    assert failures(at_start(case), 1e-9) == []


def test_several_outputs_gain_from_it() -> None:
    state = _deep(5)
    with_columns = GraphLipschitz(state)
    table = with_columns.layer_matrix_upper(0.0)
    pairs = with_columns._start.by_columns
    assert set(pairs) == {(0, 3), (0, 7), (3, 3), (3, 7)}
    with_columns._start.by_columns.clear()
    before = with_columns.layer_matrix_upper(0.0)
    assert bool((table <= before).all())
    for a, b in ((0, 2), (1, 1)):
        assert float(table[a, b]) < 0.96 * float(before[a, b])


def test_one_output_needs_none() -> None:
    assert GraphLipschitz(_deep(1, 4))._start.by_columns == {}


def test_pairs_of_layers_with_one_position_need_none() -> None:
    torch.manual_seed(0)
    tail = (nn.Flatten(), nn.Linear(12, 6), nn.Tanh(), nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3))
    X = torch.randn(4, 1, 3, 4, dtype=torch.float64)
    for head, wanted in (
        ([nn.Tanh()], set()),
        ([nn.Conv2d(1, 1, 3, padding=1), nn.Tanh()], {(0, 3), (0, 5), (0, 7)}),
    ):
        model = nn.Sequential(*head, *tail).double()
        state = graph_state(read(model, X), X)
        assert set(GraphLipschitz(state)._start.by_columns) == wanted


def test_extreme_rows_have_directions() -> None:
    state = _deep(2, 3)
    for scale in (1e200, 1e-200, 0.0):
        moved = graph_state(state.network, scale * state.visits[0].inputs[0].mid)
        assert split_columns(moved, moved.uses[0]).growth < 1.0 + 1e-12


def test_layers_with_many_rows_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    state = _deep(3, 2)
    for limit, left in ((4, [True, True, True]), (3, [True, False, True]), (2, [False] * 3)):
        monkeypatch.setattr(graph_columns, "ORDER", limit)
        assert [is_columned(state, b) for b in state.uses] == left


def test_rows_that_are_not_numbers_have_directions() -> None:
    """LAPACK does not see them; what they are claimed to be decides."""
    state = with_an_infinite_entry(_deep(2, 3))
    assert split_columns(state, 0).growth < 1.0 + 1e-12
