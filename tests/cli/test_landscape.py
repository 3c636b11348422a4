"""The slice of the loss that `talweg report` computes: where it goes through and what is on it."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from tests.certificate.problems import proved
from torch import Tensor, nn

import talweg
from talweg.certificate import Document
from talweg.cli import _landscape
from talweg.cli._landscape import landscape_of, linearised_descent, side_of
from talweg.cli._stored_descent import KEPT_POINTS, Descent, descend
from talweg.cli._stored_model import measured_of
from talweg.network import FlatFunction, read


def linear(n: int = 4, d: int = 6) -> tuple[FlatFunction, Tensor]:
    """A linear model with more parameters than rows, and its targets."""
    torch.manual_seed(0)
    X = torch.randn(n, d, dtype=torch.float64)
    network = read(nn.Sequential(nn.Linear(d, 1)).double(), X)
    return FlatFunction(network, X), torch.randn(n, 1, dtype=torch.float64)


def half(targets: Tensor) -> Any:
    return lambda outputs: 0.5 * (outputs - targets).square().sum()


def document() -> Document:
    found = proved().document
    assert found is not None
    return found


def test_the_linearised_descent_of_a_linear_model_is_the_descent() -> None:
    function, y = linear()
    J = function.jacobian(function.start)
    kernel, residual = J @ J.T, (function(function.start) - y).reshape(-1)
    for share in (0.3, 1.7):  # of the stability limit 2: beyond 1 the largest part alternates
        step = share / float(torch.linalg.eigvalsh(kernel)[-1])
        ahead = linearised_descent(function, residual, kernel, step, 3)
        assert ahead.steps[0] == 3
        run = descend(function, half(y), step, int(ahead.steps[8]), keep=True)
        k = ahead.steps.index(run.kept[-1])
        torch.testing.assert_close(ahead.path[k], run.path[-1], rtol=1e-9, atol=1e-12)
        end = half(y)(function(ahead.path[-1]))
        assert end < 1e-9 * half(y)(function(function.start))


@pytest.mark.parametrize("step", [0.0, -1.0, 1e9])
def test_a_step_without_descent(step: float) -> None:
    function, y = linear()
    J = function.jacobian(function.start)
    with pytest.raises(ArithmeticError, match="does not converge"):
        linearised_descent(function, (function(function.start) - y)[:, 0], J @ J.T, step, 3)


def test_values_on_the_slice_are_those_of_the_loss() -> None:
    function, y = linear()
    run = descend(function, half(y), 0.05, 30, keep=True)
    assert len(run.kept) <= KEPT_POINTS
    found = landscape_of(function, half(y), run, 2.0, 5)
    [afar] = found["slices"]
    assert afar["x"][2] == afar["y"][2] == 0.0
    assert 10 ** afar["log10"][2][2] == pytest.approx(run.losses[0][1], rel=1e-3)
    step, x, y_end, loss = found["path"][-1]
    assert (step, loss) == (30, pytest.approx(run.losses[-1][1]))
    assert y_end == pytest.approx(0.0, abs=1e-12)  # the end lies on the first direction
    assert x == pytest.approx(float((run.path[-1] - run.path[0]).norm()))
    least, most = found["circle"]
    assert 0.0 < least <= most
    # All of the path is in the plane or as far from it as is said.
    x, y_ = (torch.tensor([p[i] for p in found["path"]], dtype=torch.float64) for i in (1, 2))
    lengths = (run.path - run.path[0]).norm(dim=1)
    gap = (lengths.square() - x.square() - y_.square()).clamp(min=0.0).sqrt()
    assert float(gap.max()) <= found["off_plane"] + 1e-7


def test_a_short_path_gets_a_slice_of_its_own() -> None:
    function, y = linear()
    run = descend(function, half(y), 1e-4, 30, keep=True)
    afar, near = landscape_of(function, half(y), run, 2.0, 5)["slices"]
    assert near["x"][-1] - near["x"][0] < 0.1 * (afar["x"][-1] - afar["x"][0])


def test_a_straight_path_has_a_second_direction_all_the_same() -> None:
    function, y = linear()
    start = function.start
    moved = torch.stack([start, start + 0.1, start + 0.2])
    run = Descent([(0, 1.0), (1, 0.9), (2, 0.8)], [0, 1, 2], moved)
    found = landscape_of(function, half(y), run, 2.0, 5)
    assert "at random" in found["second"]
    assert found["off_plane"] == pytest.approx(0.0, abs=1e-12)


def test_a_path_that_does_not_move() -> None:
    function, y = linear()
    run = descend(function, half(y), 0.0, 10, keep=True)
    with pytest.raises(ArithmeticError, match="does not move"):
        landscape_of(function, half(y), run, 1.0, 5)


def test_the_size_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    function, _ = linear()
    assert side_of(function, 7) == _landscape.SIDES[0]
    assert side_of(function, _landscape.MOST_PARAMETERS + 1) == 0
    sides = []
    for work in (1e5, 5e4, 2e4, 1.0):
        monkeypatch.setattr(_landscape, "MOST_WORK", work)
        sides.append(side_of(function, 7))
    assert sides == sorted(sides, reverse=True)
    assert sides[-1] == 0


def test_the_page_says_that_it_was_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_landscape, "MOST_WORK", 1.0)
    found = measured_of(document(), "x")
    assert "landscape" not in found
    assert any(text.startswith("The slice of the loss: left out") for text in found["left_out"])


def test_of_a_certificate() -> None:
    found = measured_of(document(), "x")
    landscape = found["landscape"]
    assert landscape["parameters"] == document().body["counts"]["parameters"]
    assert landscape["ahead"][-1][3] < 1e-4 * landscape["path"][0][3]
    # The claim: all of the path, and where it leads, lies in the ball.
    for _, x, y, _ in landscape["path"] + landscape["ahead"]:
        assert math.hypot(x, y) <= landscape["radius"]


def test_of_a_cross_entropy() -> None:
    torch.manual_seed(0)
    X, labels = torch.randn(6, 4), torch.tensor([0, 1, 2, 0, 1, 2])
    model = nn.Sequential(nn.Linear(4, 40), nn.Tanh(), nn.Linear(40, 3))
    certificate = talweg.certify(
        model, (X, labels), loss="cross_entropy", label_smoothing=0.1, polish=True
    )
    assert certificate.document is not None
    found = measured_of(certificate.document, "x")
    assert found["landscape"]["ahead"] == []
    assert len(found["landscape"]["path"]) > 2
