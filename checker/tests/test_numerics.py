"""Ranges, norms and eigenvalue bounds against dense sampling and NumPy."""

import contextlib
import math

import numpy as np
import pytest
from flint import arb, ctx
from generator import activation

from talweg_check._activations import derivative_bounds
from talweg_check._arrays import PRECISION, approx, exact
from talweg_check._catalogue import function
from talweg_check._linear_algebra import (
    _gram,
    nonnegative_product_upper,
    norm_upper,
    perron_roots_upper,
    scaled_norms_upper,
    smallest_eigenvalue_lower,
)
from talweg_check._verdict import Incomplete

PARAMETERS = {
    "softplus": {"beta": 1.5, "threshold": 1e9},
    "smooth_leaky_relu": {"slope": 0.1},
}
NAMES = ["tanh", "sigmoid", "silu", "gelu", "gelu_tanh", "sin", "identity", *PARAMETERS]


@pytest.fixture(autouse=True)
def _precision():  # type: ignore[no-untyped-def]
    with ctx.workprec(PRECISION):
        yield


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("radius", [0.0, 1e-6, 0.03, 0.8, 3.0, 40.0])
def test_derivative_bounds(name: str, radius: float) -> None:
    """Above every sampled value, and not above the largest by more than the sampling misses."""
    p = PARAMETERS.get(name, {})
    f = function({"kind": "elementwise", "function": name, "parameters": p})
    centres = np.concatenate([np.linspace(-7.3, 7.1, 60), [0.0, 20.0, -20.0]])
    balls = exact(centres) + arb(0, radius)
    first, second = (approx(bound) for bound in derivative_bounds([f], balls))
    grid = centres[:, None] + radius * np.linspace(-1, 1, 2001)
    with np.errstate(over="ignore", under="ignore"):
        slope = activation(name, grid, p)[1]
        ahead, behind = activation(name, grid + 1e-5, p)[1], activation(name, grid - 1e-5, p)[1]
    bend = abs(ahead - behind).max(1) / 2e-5
    slope = abs(slope).max(1)
    assert (slope <= first + 1e-13).all()
    assert (first <= slope * (1 + 1e-3 * radius) + 1e-7).all()
    assert (bend <= second + 1e-9).all()
    assert (second <= bend * (1 + 1e-2 * radius) + 1e-8).all()


def test_a_chain_of_functions() -> None:
    steps = [
        {"kind": "scale", "numerator": 3.0, "denominator": 2.0},
        {"kind": "elementwise", "function": "tanh", "parameters": {}},
        {"kind": "elementwise", "function": "silu", "parameters": {}},
    ]
    chain = [function(step) for step in steps]
    centres = np.linspace(-2, 2, 41)
    first, second = derivative_bounds(chain, exact(centres) + arb(0, 1e-3))
    x = centres[:, None] + 1e-3 * np.linspace(-1, 1, 101)
    value = lambda x: activation("silu", np.tanh(1.5 * x), {})[0]  # noqa: E731
    slope = abs(value(x + 1e-5) - value(x - 1e-5)) / 2e-5
    bend = abs(value(x + 1e-4) - 2 * value(x) + value(x - 1e-4)) / 1e-8
    assert (slope.max(1) <= approx(first) + 1e-9).all()
    assert (approx(first) <= slope.max(1) * 1.01 + 0.01).all()
    assert (bend.max(1) <= approx(second) + 1e-6).all()
    assert (approx(second) <= bend.max(1) * 1.01 + 0.05).all()


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (7, 1), (5, 9), (40, 33)])
@pytest.mark.parametrize("size", [1e-200, 1.0, 1e200])
def test_norm_upper(shape: tuple[int, int], size: float) -> None:
    matrix = np.random.default_rng(0).normal(size=shape)
    bound = norm_upper(exact(matrix) * arb(size)) / arb(size)
    norm = np.linalg.norm(matrix, 2)
    assert norm * (1 - 1e-14) <= float(bound) <= norm * (1 + 1e-7)


def test_norm_upper_of_special_matrices() -> None:
    assert norm_upper(exact(np.zeros((3, 4)))) == 0
    assert 2 <= norm_upper(exact(np.ones((2, 2)))) <= 2 + 1e-8
    assert not norm_upper(exact(np.array([[1.0, np.inf]]))) <= 1e300
    assert norm_upper(exact(np.eye(2)) + arb(0, 1)) >= 3  # the ball holds ((2, 1), (1, 2))


def test_smallest_eigenvalue_lower() -> None:
    rng = np.random.default_rng(1)
    basis = np.linalg.qr(rng.normal(size=(30, 30)))[0]
    matrix = (basis * np.geomspace(1e-9, 1, 30)) @ basis.T
    matrix = (matrix + matrix.T) / 2
    true = np.linalg.eigvalsh(matrix)[0]
    bound = float(smallest_eigenvalue_lower(exact(matrix), 0.999e-9))
    assert 0.99e-9 <= bound <= true + 1e-15
    assert float(smallest_eigenvalue_lower(exact(matrix), 2e-9)) <= true  # no factor exists
    wide = exact(matrix) + arb(0, 1e-9)
    assert float(smallest_eigenvalue_lower(wide, 0.999e-9)) <= true - 30e-9 * 0.9


def test_blocks_of_the_residual_join(monkeypatch: pytest.MonkeyPatch) -> None:
    matrix = np.random.default_rng(2).normal(size=(23, 23))
    matrix = matrix @ matrix.T + np.eye(23)
    whole = smallest_eigenvalue_lower(exact(matrix), 0.9)
    monkeypatch.setattr("talweg_check._linear_algebra.BLOCK", 5)
    assert abs(float(whole - smallest_eigenvalue_lower(exact(matrix), 0.9))) < 1e-14


def test_nonnegative_product_upper() -> None:
    rng = np.random.default_rng(3)
    one, two = rng.uniform(size=(6, 5)) ** 9, rng.uniform(size=(5, 4)) ** 9
    bound = approx(nonnegative_product_upper(one, exact(two)))
    assert (bound >= one @ two).all()
    assert (bound <= one @ two + 1e-7).all()


def test_a_zero_row_costs_the_perron_roots_nothing() -> None:
    """The vector that Collatz divides by is 1e-9 there; products keep enough bits for that."""
    rng = np.random.default_rng(5)
    rows = 1 + 0.1 * rng.random((6, 3))
    rows[0] = 0
    overlaps, weights = (rows @ rows.T) ** 2, 1 + rng.random((6, 4))
    bounds = perron_roots_upper(overlaps, exact(weights))
    for bound, column in zip(bounds, weights.T, strict=True):
        true = np.linalg.eigvalsh(column[:, None] * overlaps * column)[-1] ** 0.5
        assert true < bound < 1.001 * true


@pytest.mark.parametrize("columns", [2**20, 2**21 - 1, 2**21, 2**21 + 4096, 2**22])
def test_a_sum_of_squares_does_not_wrap_around(columns: int) -> None:
    """int64 sums of 2^21 squares of 2^42 are negative; such rows are too long, not short."""
    with pytest.raises(Incomplete, match="beyond the reach of 64 bits"):
        _gram(np.full((1, columns), 2**31 - 1, dtype=np.int64))


def test_rows_up_to_the_limit_have_exact_products() -> None:
    for columns in (1, 4, 1000):
        largest = math.isqrt((2**62 - 2**53) // columns)
        rows = np.array([[largest] * columns, [-largest] * columns], dtype=np.int64)
        assert _gram(rows).tolist() == [[columns * largest**2 * s for s in (1, -1)],
                                        [columns * largest**2 * s for s in (-1, 1)]]  # fmt: skip
        with pytest.raises(Incomplete):
            _gram(rows * 2)


@pytest.mark.parametrize("hint", [math.nan, math.inf, -math.inf, 1e300, -1e300, 0.0, 1e-300])
@pytest.mark.parametrize("call", [0, 1])
def test_any_answer_of_lapack_leaves_a_bound(
    hint: float, call: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    eigvalsh, calls = np.linalg.eigvalsh, []

    def answer(matrix: np.ndarray) -> np.ndarray:
        calls.append(matrix)
        return np.full(len(matrix), hint) if len(calls) == call + 1 else eigvalsh(matrix)

    monkeypatch.setattr(np.linalg, "eigvalsh", answer)
    matrix = np.array([[1.0, 2.0], [3.0, 4.0]])
    with np.errstate(all="ignore"), contextlib.suppress(Incomplete):
        assert norm_upper(exact(matrix)) >= np.linalg.norm(matrix, 2)


@pytest.mark.parametrize("rows", [[[0, 0], [1e-11, 0]], [[2e-9, 1e-9], [0, 0]], [[0, 0]]])
def test_rows_of_zeros_cost_no_sharpness(rows: list[list[float]]) -> None:
    """Bounds of numbers near 1e-11 used to be near 1e-9 beside a row of zeros."""
    matrix = np.array(rows, dtype=np.float64)
    (bound,) = scaled_norms_upper(exact(matrix), [exact(np.ones(len(matrix)))])
    true = float(np.linalg.norm(matrix, 2))
    assert true * (1 - 1e-15) <= float(bound) <= true * (1 + 1e-8) + 1e-300
