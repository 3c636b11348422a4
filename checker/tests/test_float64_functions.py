"""Tables of entrywise functions against Arb: values, derivatives, their ranges."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from flint import arb, ctx

from talweg_check import _float64_functions as functions
from talweg_check._activations import derivative_bounds, derivatives
from talweg_check._arrays import PRECISION, approx, exact
from talweg_check._catalogue import function
from talweg_check._float64 import MidRad
from talweg_check._float64_functions import Tabulated, chain_at, chain_bounds
from talweg_check._verdict import Incomplete

PARAMETERS: dict[str, dict[str, float]] = {
    "softplus": {"beta": 3.0, "threshold": 1e9},
    "smooth_leaky_relu": {"slope": 0.1},
}
NAMES = ["tanh", "sigmoid", "silu", "gelu", "gelu_tanh", "sin", "identity", *PARAMETERS]
SCALE = {"kind": "scale", "numerator": 3.0, "denominator": 7.0}
OPERATIONS = [
    *({"kind": "elementwise", "function": name, "parameters": PARAMETERS.get(name, {})}
      for name in NAMES),
    SCALE,
]  # fmt: skip


@pytest.fixture(autouse=True)
def _precision():  # type: ignore[no-untyped-def]
    with ctx.workprec(PRECISION):
        yield


def _name(operation: dict[str, Any]) -> str:
    return operation.get("function", "scale")


def _points() -> np.ndarray:
    rng = np.random.default_rng(0)
    special = [0.0, -0.0, 5e-324, -3e-310, 1e-300, 1e-17, 9.9, -9.9, 25.0, -25.0]
    nodes = (np.arange(-6, 7) + 0.5) * 2.0**-8  # half way between two nodes, and beside it
    ends = [nodes, np.nextafter(nodes, 9), nodes * 64]
    return np.concatenate([3 * rng.normal(size=50), special, *ends])[None]


def _meets(ball: MidRad, balls: Any) -> bool:
    numbers = zip(ball.mid.ravel().tolist(), ball.radii.ravel().tolist(), balls.ravel(),
                  strict=True)  # fmt: skip
    return all(arb(mid, rad).overlaps(value) for mid, rad, value in numbers)


@pytest.mark.parametrize("operation", OPERATIONS, ids=_name)
def test_values_and_derivatives(operation: dict[str, Any]) -> None:
    x = _points()
    found = Tabulated(operation).at(MidRad(x), 2)
    wanted = derivatives([function(operation)], exact(x))
    for ball, balls in zip(found, wanted, strict=True):
        assert _meets(ball, balls)
        assert (ball.radii <= 4e-16 * (1 + np.abs(x))).all()
        with ctx.workprec(30):  # the radius is not so wide that this says nothing
            assert (np.abs(ball.mid - approx(balls)) <= 1e-14 * (1 + np.abs(x))).all()


@pytest.mark.parametrize("operation", OPERATIONS, ids=_name)
@pytest.mark.parametrize("radius", [1e-15, 9e-4])
def test_values_over_short_intervals(operation: dict[str, Any], radius: float) -> None:
    """Every point of the interval: the radius of the argument enters with the next derivative."""
    x = _points()
    found = Tabulated(operation).at(MidRad(x, np.full(x.shape, radius)), 2)
    for share in (-1.0, -0.3, 1.0):
        wanted = derivatives([function(operation)], exact(x) + arb(share) * arb(radius))
        for ball, balls in zip(found, wanted, strict=True):
            assert _meets(ball, balls)


def test_horner_errors_are_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without them some values lie outside."""
    x, operation = np.random.default_rng(1).normal(size=(1, 400)), OPERATIONS[0]
    monkeypatch.setattr(functions, "_horner_error", lambda *_: 0.0)
    wanted = derivatives([function(operation)], exact(x))
    assert not _meets(Tabulated(operation).at(MidRad(x), 2)[0], wanted[0])


def test_horner_errors_of_every_step_add_up() -> None:
    """With |t| near 1 those of the first steps are not small: a t^8, multiplied out."""
    a, rng = 0.7, np.random.default_rng(6)
    numbers = [0.0] * 8 + [a]
    bound = functions._horner_error([*map(arb, numbers), arb(0)], numbers, arb(1))
    worst = arb(0)
    for t in rng.uniform(0.95, 1, 3000):
        value = a
        for _ in range(8):
            value = value * float(t) + 0.0
        worst = worst.max(abs(arb(value) - arb(a) * arb(float(t)) ** 8))
    assert worst <= arb(bound)
    assert arb(bound) <= 10 * worst


def test_remainders_are_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three terms are too few for this cell; the remainder says so."""
    monkeypatch.setattr(functions, "ORDER", 3)
    x, operation = _points(), OPERATIONS[0]
    for ball, balls in zip(Tabulated(operation).at(MidRad(x), 2),
                           derivatives([function(operation)], exact(x)), strict=True):  # fmt: skip
        assert _meets(ball, balls)
        assert ball.radii.max() > 1e-9


def test_radii_beyond_a_cell_say_nothing() -> None:
    table = Tabulated(OPERATIONS[0])
    for ball in table.at(MidRad(np.array([[0.1, 0.3]]), np.array([[0.1, 1e-9]])), 2):
        assert (ball.radii == np.inf).tolist() == [[True, False]]
    for number in (np.nan,):
        assert not (table.at(MidRad(np.array([[number]])), 0)[0].magnitude() <= 1e308).any()


@pytest.mark.parametrize("number", [np.inf, 1e300, -1e9])
def test_arguments_far_apart_need_too_large_a_table(number: float) -> None:
    with np.errstate(all="ignore"), pytest.raises(Incomplete, match="spread too widely"):
        Tabulated(OPERATIONS[0]).at(MidRad(np.array([[0.0, number]])), 0)


def test_too_many_cells(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(functions, "CELLS", 100)
    with pytest.raises(Incomplete, match="too large a table"):
        Tabulated(OPERATIONS[0]).at(MidRad(np.linspace(-1, 1, 500)[None]), 0)


@pytest.mark.parametrize("operation", OPERATIONS, ids=_name)
@pytest.mark.parametrize("reach", [0.0, 1e-3, 0.7])
def test_bounds_on_intervals(operation: dict[str, Any], reach: float) -> None:
    """Those of the grade arb, and hardly more: both are hulls between turning points."""
    x = _points()
    found = chain_bounds([Tabulated(operation)], MidRad(x), np.full(1, reach))
    wanted = derivative_bounds([function(operation)], exact(x) + arb(0, reach))
    for mine, other in zip(found, wanted, strict=True):
        # Radii of Arb's wide balls have thirty bits.
        assert (mine >= approx(other) * (1 - 2e-7) - 1e-30).all()
        assert (mine <= approx(other) * (1 + 1e-9) + 2e-15 * (1 + np.abs(x))).all()
    turns = [0.0, 0.658479, -0.658479, np.sqrt(2), -np.sqrt(2), np.pi / 2, np.pi, -np.pi / 2]
    for share in (-1.0, 1.0, *turns):
        inside = x + share * reach if abs(share) <= 1 else np.full_like(x, share)
        within = np.abs(inside - x) <= reach
        thin = derivatives([function(operation)], exact(inside))[1:]
        for mine, other in zip(found, thin, strict=True):
            assert not any(abs(value) > arb(float(bound)) for bound, value in
                           zip(mine[within], other[within], strict=True))  # fmt: skip


def test_chains_of_functions() -> None:
    steps = [SCALE, OPERATIONS[0], OPERATIONS[2]]
    tables, chain = [Tabulated(s) for s in steps], [function(s) for s in steps]
    x = _points()
    for ball, balls in zip(chain_at(tables, MidRad(x), 2), derivatives(chain, exact(x)),
                           strict=True):  # fmt: skip
        assert _meets(ball, balls)
        assert (ball.radii <= 1e-14).all()
    for reach in (1e-6, 1e-2, 0.5):
        found = chain_bounds(tables, MidRad(x), np.full(1, reach))
        for share in (-1, -0.5, 0.2, 1):
            moved = derivatives(chain, exact(x) + arb(share) * arb(reach))[1:]
            for mine, other in zip(found, moved, strict=True):
                assert (mine >= np.abs(approx(other)) * (1 - 1e-14)).all()
    empty = chain_at([], MidRad(x), 2)
    assert (empty[0].mid == x).all()
    assert (empty[1].mid == 1).all()
    assert (empty[2].mid == 0).all()
    assert [bound.tolist() for bound in chain_bounds([], MidRad(x[:, :2]), np.ones(1))] == [
        [[1.0, 1.0]], [[0.0, 0.0]],
    ]  # fmt: skip


def test_rows_are_handled_in_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    x = np.random.default_rng(2).normal(size=(13, 4))
    table, reach = [Tabulated(OPERATIONS[0])], np.linspace(0, 1, 13)
    whole = chain_at(table, MidRad(x), 1), chain_bounds(table, MidRad(x), reach)
    monkeypatch.setattr(functions, "ENTRIES", 12)
    parts = chain_at(table, MidRad(x), 1), chain_bounds(table, MidRad(x), reach)
    assert all((p.mid == w.mid).all() for p, w in zip(parts[0], whole[0], strict=True))
    assert all((p == w).all() for p, w in zip(parts[1], whole[1], strict=True))


@pytest.mark.parametrize(("number", "refused"), [(6.6, False), (6.7, True), (np.nan, True)])
def test_softplus_beyond_its_threshold(number: float, refused: bool) -> None:
    operation = {"kind": "elementwise", "function": "softplus",
                 "parameters": {"beta": 3.0, "threshold": 20.0}}  # fmt: skip
    table, x = [Tabulated(operation)], MidRad(np.array([[0.0, number]]))
    actions = [lambda: chain_at(table, x, 1),
               lambda: chain_bounds(table, MidRad(x.mid - 1), np.ones(1))]  # fmt: skip
    for action in actions:
        if refused:
            with pytest.raises(Incomplete, match="softplus"):
                action()
        else:
            action()
