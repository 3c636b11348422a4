"""Shares of the layers in the Lipschitz bound: of chains and graphs, of some rows, estimated."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tests.certificate.problems import problem
from torch import Tensor, nn

import talweg
from talweg.certificate import Document, read_document
from talweg.cli import _layer_shares
from talweg.cli._layer_shares import layer_shares, shown_names
from talweg.cli._stored_model import measured_of
from talweg.network import network_state, read, state_lipschitz
from talweg_check import check


class Tied(nn.Module):
    """A convolution, and one linear layer used twice."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 3, 3, padding=1)
        self.twice, self.last = nn.Linear(12, 12), nn.Linear(12, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.tanh(self.first(x)).flatten(1)
        return self.last(torch.tanh(self.twice(torch.tanh(self.twice(x)))))


def tied(n: int = 4, seed: int = 0) -> tuple[nn.Module, Tensor, Tensor]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        X = torch.randn(n, 1, 2, 2, dtype=torch.float64)
        return Tied().double(), X, 0.3 * torch.randn(n, 1, dtype=torch.float64)


@pytest.fixture(scope="module")
def graph() -> Document:
    model, X, y = tied()
    made = talweg.certify(model, (X, y), polish=True, attack=False)
    assert made.document is not None, made.reason
    return made.document


def of(model: nn.Module, X: Tensor, **names: str) -> dict[str, Any]:
    flat = X.reshape(len(X), -1)
    found = layer_shares(read(model, X), flat, torch.ones(len(X)), 1e-3, names)
    assert found is not None
    return found


def test_a_graph_by_the_names_of_its_model(graph: Document) -> None:
    found = measured_of(graph, "a")["layers"]
    assert [name for name, _ in found["shares"]] == [
        "first.weight, first.bias", "twice.weight, twice.bias", "last.weight, last.bias",
    ]  # fmt: skip
    assert sum(share for _, share in found["shares"]) == pytest.approx(1.0)
    assert (found["method"], found["theory"], found["named"]) == ("bound", "B6", True)
    assert found["rows"] == found["of"] == 4


def test_shares_are_those_of_the_quadratic_form() -> None:
    """v_l (T v)_l over |T|, from the definition, for all rows."""
    model, X, _ = tied()
    found = of(model, X)
    matrix = state_lipschitz(network_state(read(model, X), X)).layer_matrix_upper(1e-3)
    values, vectors = torch.linalg.eigh(matrix)
    v = vectors[:, -1]
    expected = v * (matrix @ v) / values[-1]
    assert [share for _, share in found["shares"]] == pytest.approx(expected.tolist())


def test_the_checker_takes_a_file_with_names(graph: Document, tmp_path: Path) -> None:
    model, X, y = tied()
    talweg.certify(model, (X, y), polish=True, attack=False).save(tmp_path / "a.talweg")
    names = shown_names(read_document(tmp_path / "a.talweg").body)
    assert set(names.values()) == {name for name, _ in model.named_parameters()}
    assert len(names) == 6  # an array for each parameter, though one layer is used twice
    assert check(str(tmp_path / "a.talweg")).verdict == "valid"


def test_shares_of_frozen_layers() -> None:
    model, data = problem(widths=(3, 12, 12, 1))
    for parameter in model[0].parameters():  # type: ignore[index]
        parameter.requires_grad_(False)
    made = talweg.certify(model, data, polish=True, attack=False)
    assert made.document is not None, made.reason
    found = measured_of(made.document, "a")["layers"]
    assert [name for name, _ in found["shares"]] == ["2.weight, 2.bias", "4.weight, 4.bias"]
    assert sum(share for _, share in found["shares"]) == pytest.approx(1.0)
    assert found["theory"] == "B3"


def test_some_rows_where_all_are_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    model, X, _ = tied(n=9)
    everything = of(model, X)
    work = 3.5 * _layer_shares._graph_work(read(model, X))
    monkeypatch.setattr(_layer_shares, "MOST_GRAPH_WORK", work)
    some = of(model, X)
    assert (some["rows"], some["of"], some["method"]) == (3, 9, "bound")
    for (name, part), (same, whole) in zip(some["shares"], everything["shares"], strict=True):
        assert name == same
        assert part == pytest.approx(whole, abs=0.2)


def test_an_estimate_where_one_row_is_too_much(monkeypatch: pytest.MonkeyPatch) -> None:
    model, X, _ = tied()
    monkeypatch.setattr(_layer_shares, "MOST_ROW_WORK", 0)
    found = of(model, X)
    assert found["method"] == "direction"
    assert [name for name, _ in found["shares"]] == [name for name, _ in model.named_parameters()]
    assert sum(share for _, share in found["shares"]) == pytest.approx(1.0)
    shares = dict(found["shares"])
    assert shares["last.bias"] == pytest.approx(0.0, abs=1e-12)  # nothing bends along it
    monkeypatch.setattr(_layer_shares, "MOST_SEARCH_WORK", 0)
    flat = X.reshape(len(X), -1)
    assert layer_shares(read(model, X), flat, torch.ones(len(X)), 1e-3, {}) is None


def test_a_chain_that_is_too_large_is_estimated(monkeypatch: pytest.MonkeyPatch) -> None:
    model, (X, _) = problem(widths=(3, 12, 12, 1))
    monkeypatch.setattr(_layer_shares, "MOST_CHAIN_WORK", 0)
    assert of(model, X)["method"] == "direction"


def test_a_file_without_names(graph: Document) -> None:
    for provenance in ({}, {"parameters": 3}, {"parameters": {"weights/0.weight": 4}}, None):
        body = graph.body | {"provenance": provenance}
        found = measured_of(Document(body, graph.arrays), "a")["layers"]
        assert not found["named"]
        assert found["shares"][0][0] == "0.weight, 0.bias"
