"""B3 in binary64 against attacks, the naive twin of the page, and the grade arb."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from flint import ctx
from generator import Problem, chain
from reference import attack, lipschitz, second_derivative

from talweg_check import _float64_units as units
from talweg_check._arrays import PRECISION, exact
from talweg_check._float64 import MidRad
from talweg_check._float64_lipschitz import JacobianLipschitz64
from talweg_check._float64_network import Network64
from talweg_check._float64_network import stages_of as stages64
from talweg_check._float64_units import Curvatures, Slopes, WeightedRows, largest_above
from talweg_check._lipschitz import JacobianLipschitz
from talweg_check._network import Network, stages_of
from talweg_check._verdict import Incomplete

CASES: dict[str, tuple[list[int], Any, dict[str, Any]]] = {
    "two layers": ([3, 6, 1], "tanh", {}),
    "three outputs": ([3, 5, 3], "sigmoid", {}),
    "no bias": ([3, 6, 1], "gelu", {"bias": False}),
    "scaled": ([3, 6, 2], "silu", {"scale": (3.0, 2.0)}),
    "wide inputs": ([9, 6, 1], "tanh", {}),
    "first layer only": ([3, 6, 2], "tanh", {"frozen": ("2.weight", "2.bias")}),
    "last layer only": ([3, 6, 2], "tanh", {"frozen": ("0.weight", "0.bias")}),
    "last weight frozen": ([3, 6, 2], "silu", {"frozen": ("2.weight",)}),
    "first bias only": ([3, 6, 2], "tanh", {"frozen": ("0.weight", "2.weight")}),
    "one layer": ([3, 2], "tanh", {}),
    "straight": ([3, 4, 2], "identity", {}),
    "first of three frozen": ([3, 4, 5, 2], "sin", {"frozen": ("0.weight", "0.bias")}),
    "last of three frozen and straight": ([3, 5, 4, 2], [("tanh", {}), ("identity", {})],
                                          {"frozen": ("4.weight", "4.bias")}),
}  # fmt: skip
COUNTS = np.array([1, 3, 1, 2])


@pytest.fixture(autouse=True)
def _precision():  # type: ignore[no-untyped-def]
    with ctx.workprec(PRECISION):
        yield


def _problem(name: str, seed: int) -> Problem:
    widths, function, options = CASES[name]
    rng = np.random.default_rng(seed)
    operations, weights = chain(rng, widths, function, **options)
    weights = {key: 2 * value for key, value in weights.items()}
    inputs = rng.normal(size=(4, widths[0]))
    return Problem(operations, weights, inputs, np.zeros((4, widths[-1])))


def _bound(problem: Problem) -> JacobianLipschitz64:
    stages = stages64(problem.operations, problem.weights)
    return JacobianLipschitz64(Network64(stages, problem.inputs, COUNTS))


@pytest.mark.parametrize("name", CASES)
def test_radii_one_after_the_other(name: str) -> None:
    """Above the attack; the formula of the page; hardly above the grade arb, which rounds more."""
    problem = _problem(name, 0)
    mine = _bound(problem)
    stages = stages_of(problem.operations, problem.weights)
    other = JacobianLipschitz(Network(stages, exact(problem.inputs), COUNTS))
    root = np.sqrt(np.repeat(COUNTS, problem.targets.shape[1]))
    found = attack(root[:, None, None] * second_derivative(problem), np.random.default_rng(1))
    for radius in (1e-9, 1e-4, 0.05, 0.7):
        bound = mine.upper(radius)
        assert found * (1 - 1e-6) <= bound
        assert bound <= float(other.upper(radius)) * (1 + 1e-9)
        if name != "scaled":  # of which the twin does not know
            twin = lipschitz(problem, COUNTS, radius)
            assert twin * (1 - 1e-7) <= bound <= twin * (1 + 4e-3) + 1e-9


def _setting(n: int = 9, m: int = 5, c: int = 4) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    return rng.normal(size=(n, c)), rng.random((n, m)), rng.random(n)


@pytest.mark.parametrize("columns", [4, 20])
@pytest.mark.parametrize("size", [1e-150, 1.0, 1e150])
def test_weighted_rows(columns: int, size: float) -> None:
    rows, weights, _ = _setting(c=columns)
    radii = 0.1 * np.abs(rows)
    thick, thin = WeightedRows(MidRad(rows, radii)), WeightedRows(MidRad(rows))
    for w in weights.T:
        true = np.linalg.norm(w[:, None] * rows, 2)
        with np.errstate(all="ignore"):
            bound = thin.norm(w * size) / size
        assert bound >= true * (1 - 1e-15)
        if size == 1:
            assert bound <= true * (1 + 1e-12)
        grown = rows + np.sign(rows) * radii
        assert thick.norm(w) >= np.linalg.norm(w[:, None] * grown, 2) * (1 - 1e-15)
    assert not thin.norm(np.full(9, np.nan)) <= 1e308
    hint = thin.norms_approx(weights)
    true = np.array([np.linalg.norm(w[:, None] * rows, 2) for w in weights.T])
    assert (hint <= true * (1 + 1e-14)).all()


def test_curvatures_are_above_the_perron_roots() -> None:
    rows, s, _ = _setting()
    s[:, 3] = 0.01
    s[2, 3] = 1.0  # nearly one row alone
    hat = np.linalg.norm(rows, axis=1)
    hat[[0, 1, 3, 4]] *= 0.5  # smaller than it can be, so that either bound is the smaller one
    theta = (rows @ rows.T) ** 2
    true = np.array([np.linalg.eigvalsh(w[:, None] * theta * w)[-1] ** 0.5 for w in s.T])
    weighted = WeightedRows(MidRad(rows))
    bends = Curvatures(s, hat, theta, weighted, None)
    assert (bends.bounds >= true * (1 - 1e-14)).all()
    bends.sharpen(np.array([1, 3]))
    norms = np.array([weighted.norm(w * hat) for w in s.T])
    assert (bends.bounds >= np.minimum(true, norms) * (1 - 1e-14)).all()
    sharp = np.minimum(true, norms)[[1, 3]]
    assert (bends.bounds[[1, 3]] <= sharp * (1 + 1e-4)).all()
    assert (norms < true).any()
    assert (norms > true).any()  # both kinds of bound are met
    for hint in (np.full_like(s, 1e-9), np.random.default_rng(4).random(s.shape) + 1e-9):
        worse = Curvatures(s, hat, theta, weighted, hint)
        assert (worse.bounds >= true * (1 - 1e-14)).all()
    for wrong in (np.nan, np.inf):
        theta[2, 3] = wrong
        with np.errstate(all="ignore"):
            bends = Curvatures(s, hat, theta, weighted, None)
            assert not (bends.bounds <= 1e308).any()


def test_slopes_after_a_smaller_ball() -> None:
    """Bounds carried over from the radius before are bounds still, for whatever weights."""
    rows, weights, _ = _setting()
    weighted = WeightedRows(MidRad(rows))
    before = Slopes(weights, weighted, None)
    before.sharpen(np.arange(5))
    rng = np.random.default_rng(5)
    for size in (1e-9, 1e-3, 3.0):
        moved = np.abs(weights + size * rng.normal(size=weights.shape))
        after = Slopes(moved, weighted, before)
        true = np.array([np.linalg.norm(w[:, None] * rows, 2) for w in moved.T])
        assert (after.bounds >= true * (1 - 1e-15)).all()
        if size == 1e-9:
            assert (after.bounds <= true * (1 + 1e-7)).all()


def test_the_largest_is_found_and_no_smaller(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(units, "AT_ONCE", 2)

    class Part:
        def __init__(self, rough: list[float], sharp: list[float]) -> None:
            self.bounds, self.sharp = np.array(rough), np.array(sharp)
            self.asked: list[int] = []

        def sharpen(self, chosen: np.ndarray) -> None:
            self.asked += chosen.tolist()
            self.bounds[chosen] = self.sharp[chosen]

    one = Part([9.0, 8, 7, 6, 1, 0], [1.0, 2, 5, 3, 0.5, 0])
    two = Part([0.0, 0, 1, 0, 0, 0], [0.0, 0, 0.5, 0, 0, 0])
    assert largest_above([one, two], lambda x, y: x + y) == 5.5
    assert 5 not in one.asked
    assert 5 not in two.asked
    lost = Part([1.0, np.nan, 3.0], [1.0, np.nan, 2.0])
    assert not largest_above([lost], lambda x: x) <= 1e308


@pytest.mark.parametrize(
    ("widths", "frozen"),
    [([3, 4, 5, 2], ()), ([3, 4, 5, 2], ("2.weight", "2.bias")),
     ([3, 4, 5, 2], ("4.weight", "4.bias"))],
)  # fmt: skip
def test_other_chains_are_not_spoken_of(widths: list[int], frozen: tuple[str, ...]) -> None:
    operations, weights = chain(np.random.default_rng(0), widths, "tanh", frozen=frozen)
    net = Network64(stages64(operations, weights), np.ones((2, 3)), np.ones(2, dtype=int))
    with pytest.raises(Incomplete, match="one hidden layer"):
        JacobianLipschitz64(net)
